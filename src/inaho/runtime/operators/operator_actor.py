"""The system actor on each node that answers operators: reports, drains, quarantines, events.

Associations belong to one node: one member may have quarantined an authority to which another is connected. So an
operator asks each member, and orders each member. Every process that knows the secret of the cluster may do so; the
audit log has what was released, blocked and drained.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from inaho.core.inputs import ResolveConflict
from inaho.core.pubsub.bottlenecks import Bottleneck
from inaho.errors import IllegalTransition
from inaho.observe.audit import audit_order
from inaho.runtime.control.shutdown import DrainReport
from inaho.runtime.grains.grain import Grain, method
from inaho.runtime.local.storage_access import StorageReport
from inaho.runtime.node.node import Node
from inaho.runtime.operators.event_feed import EventRecord, feed
from inaho.runtime.operators.reports import IdentityReport, KindReport, report_identity, report_kinds
from inaho.types import Struct

__all__ = ["DRAIN_S_MAX", "OPERATOR_KEY", "OperatorActor", "QuarantineRecord"]

OPERATOR_KEY: Final = "operator"

DRAIN_S_MAX: Final = 24 * 3600.0
"""The longest drain, in seconds, that another process can request."""


class QuarantineRecord(Struct, frozen=True):
    """One authority that a member has quarantined (SPEC CL-4).

    Attributes:
        authority: `host:port`; nothing is sent to it and nothing accepted from it.
        node_id: the process that is quarantined; empty if its id is unknown.
        incarnation: of that process, if known.
        reason: one sentence.
        left_s: seconds until the quarantine ends by itself, not below 0.
    """

    authority: str
    node_id: str
    incarnation: int
    reason: str
    left_s: float


class OperatorActor(Grain, name="inaho.operator", reentrant=True, idle_ttl_s=0):
    """Answers the requests of operators about this one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @method(idempotent=True)
    async def quarantined(self) -> list[QuarantineRecord]:
        """The quarantines of this node, sorted by authority."""
        node = self._node
        now = node.local.loop.time()
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
            authority: as in the answer of `quarantined`.

        Returns:
            Whether there was one. False is no error: members may have quarantined different authorities, and a
            quarantine may end by itself just before.
        """
        associations = self._node.associations
        if associations.machine.refusal(authority) is None:
            return False
        associations.release(authority)
        return True

    @method(idempotent=True)
    async def explain(self, kind: str, key: str) -> IdentityReport:
        """What this node knows about an identity, for `Cluster.where`."""
        return report_identity(self._node, kind, key)

    @method(idempotent=True)
    async def activations(self, kind: str, limit: int) -> list[KindReport]:
        """The activations of a kind, or of all kinds if it is empty, with at most `limit` of each listed."""
        return report_kinds(self._node, kind, limit)

    @method(idempotent=True)
    async def bottleneck(self, topic: str) -> Bottleneck | None:
        """What limits a topic, as this node sees it; None if it has no messages, or no numbers of its own here."""
        return self._node.topics.load.bottlenecks.get(topic)

    @method(idempotent=True, timeout=DRAIN_S_MAX)
    async def drain(self, drain_s: float | None) -> DrainReport:
        """Makes this node leave as at SIGTERM; returns when it has handed over everything.

        Args:
            drain_s: seconds for turns to end; `activation.drain_s` for None.
        """
        return await self._node.shutdown.drain(drain_s)

    @method(idempotent=True)
    async def set_blocked(self, authority: str, blocked: bool) -> bool:
        """Adds an authority to the block list, or removes it; returns whether that changed anything (SPEC VA-1.4).

        It waits until the topology of this node has the change.
        """
        return await self._node.block_list.set_blocked(authority, blocked=blocked)

    @method(idempotent=True)
    async def resolve_conflict(self, authority: str, keep: bool) -> bool:
        """Settles a `ViewConflict` that this node has published (SPEC CL-7.4).

        Args:
            authority: of the other side of the conflict, as in the event.
            keep: the view of this node holds: the members of the other side end their activations and join it.
                Otherwise this node ends its activations and joins the other side.

        Returns:
            Whether there can be a conflict. False if that authority is a member or unknown; with `keep=False` also if
            it
            has not recently reported another view: during a split it cannot be joined.
        """
        node = self._node
        assert node.control.driver is not None  # only members host this kind
        try:
            node.control.driver.feed(ResolveConflict(authority, keep))
        except IllegalTransition:
            return False
        audit_order("keep the view against" if keep else "give way to", authority, node.local.authority)
        return True

    @method(idempotent=True)
    async def storage(self) -> StorageReport:
        """What this node knows about its storage, for `Cluster.storages`."""
        return self._node.storage_access.report()

    @method(idempotent=True)
    async def accept_storage(self) -> StorageReport:
        """Accepts the present content of the storage; returns the report from before, see `StorageAccess.accept`."""
        return await self._node.storage_access.accept()

    async def events(self, names: list[str]) -> AsyncIterator[EventRecord]:
        """Events of the named classes, or all, from now on until this node leaves."""
        async with aclosing(feed(self._node, names)) as records:
            async for record in records:
                yield record
