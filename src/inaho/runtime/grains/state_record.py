"""The durable state of an activation, with its stored version."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

__all__ = ["StateRecord"]


class StateRecord(msgspec.Struct, eq=False, gc=False):
    """State of one activation with the version that it was loaded or saved at.

    Attributes:
        stored_epoch: under which `version` was stored; -1 where that is not known.
        version_unknown: a save lost or was not answered, so another version than this may be stored.
        value_unfit: a turn failed, so the next owner must not go on from the value; what was saved is not concerned.
        broken: a turn failed half-way, and what was saved could not be loaded again. It is never saved.
        contested: a member that has not noticed anything may have the same activation, so this one is proved in time.
        lock: held by who writes; made when somebody does.
    """

    value: Any
    version: int
    stored_epoch: int = -1
    version_unknown: bool = False
    value_unfit: bool = False
    broken: bool = False
    contested: bool = False
    lock: asyncio.Lock | None = None

    def writing(self) -> asyncio.Lock:
        """Held by who writes: turns that interleave would else conflict with each other's versions."""
        if self.lock is None:
            self.lock = asyncio.Lock()
        return self.lock

    @property
    def busy(self) -> bool:
        """Somebody writes: a stream or a Task of the user's may do so beside the turns."""
        return self.lock is not None and self.lock.locked()
