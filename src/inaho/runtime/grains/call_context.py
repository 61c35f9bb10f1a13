"""`self.context`: what a grain can read about the call that is running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.types import ClusterIdentity, Epoch

if TYPE_CHECKING:
    from inaho.runtime.grains.activation import Turn

__all__ = ["CallContext"]


class CallContext:
    """The call that is running, as `self.context` gives it."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    @property
    def caller(self) -> ClusterIdentity | None:
        """The grain that waits for this call; None when the caller is none."""
        turn = self._turn
        if turn.caller is not None:
            return turn.caller.grain.identity
        if turn.chain:
            return ClusterIdentity(turn.chain[-1].kind, turn.chain[-1].key)
        return None

    @property
    def caller_authority(self) -> str:
        """Node that the call came from; empty for a client, this node's own for a local call."""
        connection = self._turn.connection
        return self._turn.grain._inaho_host.authority if connection is None else connection.peer.authority

    @property
    def deadline(self) -> float:
        """When the caller stops waiting, in seconds of the loop's clock."""
        return self._turn.deadline

    @property
    def trace(self) -> str:
        """W3C `traceparent` of the caller; empty when not traced."""
        return self._turn.trace

    @property
    def epoch(self) -> Epoch:
        """Fencing token of this activation, for the user's own databases: it only grows for one identity."""
        return self._turn.grain._inaho_lease.epoch
