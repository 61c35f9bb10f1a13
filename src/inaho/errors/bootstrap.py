"""Errors of the installation of a node (SPEC BS-1)."""

from __future__ import annotations

from inaho.errors.base import InahoError

__all__ = ["BridgeCreateFailed", "StatusStore"]


class BridgeCreateFailed(InahoError):
    """The partition bridge could not be created; nothing was enabled."""

    code = "bridge_create_failed"


class StatusStore(InahoError):
    """The bootstrap status store failed, which blocks the start."""

    code = "status_store"
