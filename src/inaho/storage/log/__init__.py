"""Logs of topics: `LogStorage`, the port beside `Storage`. Each back end's own is in the package of that back end."""

from __future__ import annotations

from inaho.storage.log.base import LogBounds, LogRecord, LogStorage

__all__ = ["LogBounds", "LogRecord", "LogStorage"]
