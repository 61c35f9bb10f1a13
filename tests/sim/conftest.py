"""The fixtures of the pytest plugin, which users have through its entry point."""

from __future__ import annotations

from inaho.testing.plugin import inaho_cluster, inaho_seed

__all__ = ["inaho_cluster", "inaho_seed"]
