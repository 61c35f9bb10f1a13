"""What an operator asks of one node: a system actor beside `PlacementActor`, called by clients that act for people.

The authority machine of a node is its own: what one member has quarantined, another may be talking to. So an operator
asks each member, and tells each member. Whoever proves the secret of the cluster may do so, as it may do anything else;
the audit log has what was released and why.
"""

from __future__ import annotations

from typing import Final

from inaho.runtime.grain import Grain, method
from inaho.types import Struct

__all__ = ["OPERATOR_KEY", "OperatorActor", "QuarantineRecord"]

OPERATOR_KEY: Final = "operator"


class QuarantineRecord(Struct, frozen=True):
    """One authority that a member has quarantined (SPEC CL-4).

    Attributes:
        authority: `host:port`; nothing is sent to it and nothing accepted from it.
        node_id: the process that is quarantined; empty when it never said who it is.
        incarnation: of that process, as far as known.
        reason: one sentence.
        left_s: seconds until the quarantine ends by itself, not below 0.
    """

    authority: str
    node_id: str
    incarnation: int
    reason: str
    left_s: float


class OperatorActor(Grain, name="inaho.operator", reentrant=True, idle_ttl_s=0):
    """Answers operators about this one node."""

    @method(idempotent=True)
    async def quarantined(self) -> list[QuarantineRecord]:
        """What this node has quarantined, sorted by authority."""
        node = self._inaho_host.node
        now = node.loop.time()
        return [
            QuarantineRecord(
                known.authority, known.node_id, known.incarnation, known.reason, max(0.0, known.until - now)
            )
            for known in node.associations.quarantined()
        ]

    @method(idempotent=True)
    async def release(self, authority: str) -> bool:
        """Ends a quarantine at once (SPEC CL-4.4).

        Args:
            authority: as `quarantined` tells it.

        Returns:
            Whether there was one. None is no error: the members need not have quarantined the same authorities, and
            some quarantines end by themselves just before they are released.
        """
        associations = self._inaho_host.node.associations
        if associations.machine.refusal(authority) is None:
            return False
        associations.release(authority)
        return True
