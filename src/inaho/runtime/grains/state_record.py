"""The durable state of an activation, with its stored version."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

__all__ = ["StateRecord"]


class StateRecord(msgspec.Struct, eq=False, gc=False):
    """State of one activation with the version at which it was loaded or saved.

    Attributes:
        stored_epoch: under which `version` was stored; -1 where that is not known.
        version_unknown: a save lost or was not answered, so another version than this may be stored.
        value_unfit: a turn failed, so the value is neither saved nor handed over. What is stored is still good.
        contested: another member may unknowingly have the same activation, so this one is proved in time.
        lock: held by the writer; made at the first write.
    """

    value: Any
    version: int
    stored_epoch: int = -1
    version_unknown: bool = False
    value_unfit: bool = False
    contested: bool = False
    lock: asyncio.Lock | None = None

    def writing(self) -> asyncio.Lock:
        """Held by the writer. Without it turns that interleave would conflict with each other's versions."""
        if self.lock is None:
            self.lock = asyncio.Lock()
        return self.lock

    @property
    def busy(self) -> bool:
        """A write is running: a stream or a Task of the user may write beside the turns."""
        return self.lock is not None and self.lock.locked()
