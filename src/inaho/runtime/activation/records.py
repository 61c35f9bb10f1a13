"""The record of an ended activation, for the next owner of its identity."""

from __future__ import annotations

from inaho.types import Struct

__all__ = ["ActivationRecord"]


class ActivationRecord(Struct, frozen=True, array_like=True):
    """What the previous owner reports to the next one about an activation that it has ended.

    Attributes:
        was_active: whether there was an activation.
        version: of the state that it loaded or saved last; 0 for none.
        epoch: of its lease; the next activation must have a higher one.
        snapshot: its last state, saved or not; None if it had no state, or the state is too large or may not be used.
        authority: of the node that ended it.
        drained: whether that node has no other activation of the partition, and need not be asked again.
        stored_epoch: under which `version` was stored; -1 if that node did not report it.
    """

    was_active: bool
    version: int = 0
    epoch: int = 0
    snapshot: bytes | None = None
    authority: str = ""
    drained: bool = False
    stored_epoch: int = -1
