"""The record of an ended activation that is handed to the next owner of its identity."""

from __future__ import annotations

from inaho.types import Struct

__all__ = ["ActivationRecord"]


class ActivationRecord(Struct, frozen=True, array_like=True):
    """What the previous owner tells the next one of an activation that it has ended.

    Attributes:
        was_active: whether there was one.
        version: of the state that it had loaded or saved last; 0 for none.
        epoch: its fencing token; the next one must exceed it.
        snapshot: its state as it stood, saved or not; None where there is none, or it is too large to take along.
        authority: of the node that ended it.
        drained: that node has nothing else of the partition, and need not be asked again.
        stored_epoch: under which `version` was stored; -1 where that node did not tell.
    """

    was_active: bool
    version: int = 0
    epoch: int = 0
    snapshot: bytes | None = None
    authority: str = ""
    drained: bool = False
    stored_epoch: int = -1
