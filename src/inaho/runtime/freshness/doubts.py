"""Decides when this node doubts members, and begins and ends what follows from it: markers, reads, proofs.

`core.activation.doubt` knows which members this node doubts. This module reads and writes the markers, and tells
`Proofs` when activations must prove that they have the stored state. Without a doubt it does nothing. In doubt it reads
one record of the storage every `activation.freshness_s`, whatever the number of activations. If a marker is foreign,
activations that are called are proved at that interval, many in one read. So are activations that begin in the first
seconds of a doubt, when the lost member may not have noticed anything yet.

The order makes it safe. A node that doubts a member writes its marker before it activates anything, so a save of such
an activation comes after the marker. A node on another side therefore finds the marker at the latest one read after
that save (`docs/decisions/0030-doubt.md` has the argument, and its limits).
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from inaho.errors import InahoError
from inaho.errors.inspection import describe
from inaho.events import (
    BlockListChanged,
    DoubtBegan,
    DoubtEnded,
    MemberEvent,
    MemberLeaving,
    MemberRemoved,
    MemberUnreachable,
    NodePaused,
    SelfRemoved,
)
from inaho.runtime.freshness.marker_reader import live_members

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubt, Doubts
    from inaho.events import Event
    from inaho.runtime.freshness.marker_reader import MarkerReader
    from inaho.runtime.freshness.marking import Marking
    from inaho.runtime.freshness.other_clusters import OtherClusters
    from inaho.runtime.freshness.proofs import Proofs
    from inaho.runtime.freshness.reconciliation import Reconciliation
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.types import Member

__all__ = ["Freshness"]


class Freshness:
    """Bounds the age of one node's answers (SPEC CL-5.4).

    Args:
        local: the node.
        topology: of the node.
        doubts: the members that it doubts.
        marking: writes the marker of the node.
        reader: reads the markers.
        proofs: proves its activations.
        others: warns of other clusters over the same storage.
        reconciliation: asks doubted members that can be reached again.

    Attributes:
        doubts, others: see above.
        begun: activations of placed kinds that were begun in doubt or after a block, by kind and key.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        doubts: Doubts,
        marking: Marking,
        reader: MarkerReader,
        proofs: Proofs,
        others: OtherClusters,
        reconciliation: Reconciliation,
    ) -> None:
        self.doubts = doubts
        self.others = others
        self.begun: dict[tuple[str, str], Activation] = {}
        self._local = local
        self._topology = topology
        self._marking = marking
        self._reader = reader
        self._proofs = proofs
        self._reconciliation = reconciliation
        self._watching: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._blocked_at = -math.inf
        """When a member was blocked last. Until it knows of the block, or is doubted, it keeps its activations."""
        self._inheriting: asyncio.Task[None] | None = None
        """Asks other members which members they doubt; None when that is known."""
        self._over_at = 0.0
        self._founding_due = False
        """This node has founded a cluster, and had no kind with state then."""

    @property
    def reads(self) -> int:
        """Reads of the markers, counted."""
        return self._reader.reads

    @property
    def in_doubt(self) -> bool:
        """Whether this node doubts a member and has activations for which that matters."""
        return bool(self.doubts) and self.applies

    @property
    def applies(self) -> bool:
        """Whether this node has activations whose state others may change."""
        return bool(self._marking.kinds)

    # What happens to members.

    def notice(self, event: Event) -> None:
        """Handles an event of the control plane, before other parts react to it."""
        if isinstance(event, MemberLeaving | MemberRemoved) and event.member.node_id != self._local.node_id:
            self.others.member_goes(event.member.node_id)
        if isinstance(event, MemberUnreachable):
            self._doubt(event.member, event.member.incarnation, "unreachable")
        elif isinstance(event, MemberRemoved):
            if event.reason == "replaced" and self.doubts.get(event.member.node_id) is None:
                # It may have doubted this node, taken over its activations, saved, and reported nothing: read once.
                self._doubt(event.member, -1, "")
                self.doubts.end(self._local.boot_time(), event.member.node_id, event.reason)
            if event.reason in ("left", "replaced"):
                self.is_harmless(event.member.node_id, event.reason)
            else:
                self._doubt(event.member, event.member.incarnation, "removed")
        elif isinstance(event, SelfRemoved | NodePaused):
            self.was_away("this node was removed" if isinstance(event, SelfRemoved) else "this process was paused")
        elif isinstance(event, BlockListChanged):
            if event.authority == self._local.authority:
                self.was_away("an operator blocks this node, or has blocked it")
            elif event.blocked:
                self._marking.member_blocked()
                self._proofs.member_lost()
                self._blocked_at = self._over_at = self._local.boot_time()
        elif isinstance(event, MemberEvent) and self.doubts:
            self._replaced({event.member.authority: event.member.node_id})
            self._begin_reconciliation()

    def _replaced(self, live: dict[str, str]) -> None:
        """Ends doubts of replaced processes. `live` has node ids by authority: if one joined in this time of doubt, the
        doubted process at that authority has ended."""
        for doubt in self.doubts.open():
            node_id = live.get(doubt.authority, doubt.node_id)
            if node_id != doubt.node_id and node_id not in self._reader.known:
                self.is_harmless(doubt.node_id, "replaced")

    def _doubt(self, member: Member, incarnation: int, reason: str) -> None:
        """Begins a doubt, also if no activation here depends on it: a node that joins asks this node for its doubts."""
        if not self._local.client and not self._local.closing:
            self._begin(member.node_id, member.authority, incarnation, reason)

    def _begin(self, node_id: str, authority: str, incarnation: int, reason: str) -> None:
        now = self._local.boot_time()
        if not self.doubts:
            self._reader.doubt_begins()
            if now > self._over_at + self._local.config.membership.tombstone_s:
                self.begun.clear()
        if self.doubts.begin(now, node_id, authority, incarnation):
            self._proofs.member_lost()
            if reason and self.applies:
                self._local.publish(DoubtBegan(authority=authority, node_id=node_id, reason=reason))
            self._watch_now()

    def was_away(self, reason: str) -> None:
        """Others may have taken over activations of this node: doubts all members, and proves all activations once."""
        for member in self._topology.members:
            if member.node_id != self._local.node_id:
                self._doubt(member, -1, reason)
        if self.in_doubt:
            self._proofs.require_all(at_once=True)  # its state may be old by any time, and calls wait in sockets
        self._begin_reconciliation()

    def is_harmless(self, node_id: str, why: str) -> None:
        """Ends a doubt: the member left, was replaced, or has confirmed that it released what it took over."""
        doubt = self.doubts.get(node_id)
        now = self._local.boot_time()
        if self.doubts.end(now, node_id, why) and doubt is not None:
            self._tell_end(doubt, why, now)
            self._watch_now()

    def _tell_end(self, doubt: Doubt, why: str, now: float) -> None:
        if self.applies:
            lasted_s = now - doubt.since
            self._local.publish(
                DoubtEnded(authority=doubt.authority, node_id=doubt.node_id, outcome=why, lasted_s=lasted_s)
            )

    def founded(self) -> None:
        """This node has founded a cluster: writes that to the storage, and reads whether others have founded one."""
        self._marking.founded()
        self._founding_due = True
        if self.applies:
            self._begin_founding()

    def _begin_founding(self) -> None:
        self._founding_due = False
        self._local.spawn(self._found(), name="inaho-founded")

    def joined(self) -> None:
        """This node was admitted: before it activates anything, it doubts the members that others doubt."""
        if not self._local.client:
            self._inheriting = self._local.spawn(self._inherit(), name="inaho-inherit-doubts")

    async def _inherit(self) -> None:
        for node_id, authority in await self._reconciliation.doubted_by_others():
            live = live_members(self._topology).get(authority, node_id)  # another process may have joined there since
            if node_id != self._local.node_id and live == node_id:
                self._begin(node_id, authority, -1, "members doubted it when this node joined")
        self.others.look()

    @property
    def inherits(self) -> bool:
        """Whether this node still asks other members which members they doubt."""
        return self._inheriting is not None and not self._inheriting.done()

    async def _found(self) -> None:
        told = False
        while True:
            began = self._local.boot_time()
            try:
                await self.before_activation()
                break
            except InahoError as error:
                if self._local.closing:
                    return
                if not told:
                    self._local.log.warning("writing the marker of a new cluster failed, retrying: %s", describe(error))
                told = True
            await asyncio.sleep(self._local.config.activation.freshness_s)
        markers = self._marking.found_there
        await self.others.warn(markers, founded=True)
        self._reader.judge(began, markers)
        if self.doubts and self._watching is None:
            self._watch_now()

    # Before an activation.

    async def before_activation(self) -> None:
        """Returns when this node may activate a kind with state: its marker is in the storage where one is needed.

        Raises:
            StorageFailed: the marker could not be written. Nothing was activated.
        """
        if self._inheriting is not None:
            await asyncio.wait((self._inheriting,))
            self._inheriting = None
        if self._founding_due:
            self._begin_founding()
        if self._marking.is_due:
            await self._marking.written()

    def begins(self, kind: str, key: str, grain: Activation) -> None:
        """Notes an activation of a placed kind that begins in doubt or after a block: it must end before the doubt."""
        if self.doubts or self._local.boot_time() <= self._blocked_at + self._local.config.membership.tombstone_s:
            self.begun[kind, key] = grain

    # While there is a doubt.

    def _watch_now(self) -> None:
        """Reads the markers now, and repeatedly while there is a doubt."""
        if self._watching is None:
            self._watching = self._local.spawn(self._watch(), name="inaho-freshness")
            self._watching.add_done_callback(self._watch_ended)
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _watch_ended(self, task: asyncio.Task[None]) -> None:
        self._watching = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._local.log.error("reading the markers failed", exc_info=error)
        if self.doubts and not self._local.closing:
            self._local.loop.call_later(self._local.config.activation.freshness_s, self._watch_again)

    def _watch_again(self) -> None:
        if self.doubts and not self._local.closing:
            self._watch_now()

    async def _watch(self) -> None:
        period_s = self._local.config.activation.freshness_s
        while self.doubts and not self._local.closing:
            began = self._local.boot_time()
            for doubt in self.doubts.expire(began):
                self._tell_end(doubt, "expired", began)
            self._replaced(live_members(self._topology))
            self._wake = self._local.loop.create_future()
            if self.applies:
                await self._reader.look(began)
            else:
                self.doubts.settle(began)
            self._begin_reconciliation()
            left_s = began + period_s - self._local.boot_time()
            if left_s > 0 and self.doubts:
                await asyncio.wait((self._wake,), timeout=left_s)
        self._over_at = self._local.boot_time()  # other members may still ask about `begun`

    def _begin_reconciliation(self) -> None:
        self._reconciliation.begin(lambda node_id: self.is_harmless(node_id, "confirmed"))

    def check(self) -> None:
        """Asserts the invariants."""
        self.doubts.check()
        assert self.doubts or not self._proofs.repeat or not self.applies
