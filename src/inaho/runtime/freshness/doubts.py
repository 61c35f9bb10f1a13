"""Answers that are not older than what was saved elsewhere: markers in the storage, read while members are doubted.

`core.activation.doubt` knows whom this node doubts. This module reads and writes the markers, and tells `Proofs` when
activations must prove that they have what is stored. While there is no doubt it does nothing. In doubt it reads one
record of the storage every `activation.freshness_s`, whatever the number of activations. Where a marker is foreign,
activations that are called are proved as often, many in one read; so are those that begin in the first seconds of a
doubt, when the member that was lost may not have noticed it yet.

The order is what makes it safe. A node that doubts somebody writes its marker before it activates anything, so a save
of such an activation comes after the marker. A node on another side therefore finds the marker at the latest one read
after that save (`docs/decisions/0030-doubt.md` has the argument, and its limits).
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from inaho.core.activation.doubt import DOUBT, FOUNDED, Doubts, Marker, Markers
from inaho.errors import InahoError, StorageFailed
from inaho.errors.inspection import describe
from inaho.events import (
    BlockListChanged,
    DoubtBegan,
    DoubtEnded,
    FreshnessUnknown,
    MemberEvent,
    MemberLeaving,
    MemberRemoved,
    MemberUnreachable,
    NodePaused,
    SelfRemoved,
)
from inaho.runtime.activation.leases import SILENT
from inaho.runtime.freshness.marker_record import MarkerRecord
from inaho.runtime.freshness.other_clusters import OtherClusters
from inaho.runtime.freshness.proofs import Proofs, is_proved_kind, time_limit
from inaho.runtime.freshness.reconciliation import Reconciliation

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubt
    from inaho.events import Event
    from inaho.runtime.grains.grain import Grain
    from inaho.runtime.node.node import Node
    from inaho.types import Member

__all__ = ["Freshness"]

SAYS_AGAIN_S: Final = 60.0
"""How often the log repeats that freshness is unknown."""


class Freshness:
    """What one node knows of the age of its answers (SPEC CL-5.4).

    Args:
        node: the node.

    Attributes:
        doubts: whom it doubts.
        others: clusters over the same storage.
        begun: activations of placed kinds that were begun in doubt or after a block, by kind and key.
    """

    def __init__(self, node: Node, proofs: Proofs) -> None:
        self.doubts = Doubts(
            node.local.node_id, node.local.config.membership.tombstone_s, node.local.config.membership.members_max
        )
        self.begun: dict[tuple[str, str], Grain[Any]] = {}
        self.reconciliation = Reconciliation(node, self)
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self._record = MarkerRecord(node)
        self.others = OtherClusters(node, self, self._record)
        self._proofs = proofs
        self._watching: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._marking: asyncio.Task[None] | None = None
        self._marked = 0
        """The episode of doubt for which this node has written its marker."""
        self._marked_at = 0.0
        self._founded = False
        """This node has founded a cluster, and its marker is not written yet."""
        self._blocked_at = -math.inf
        """When a member was blocked last; until it has heard of that, or is doubted, it keeps what it had."""
        self._took_over = False
        """A member was blocked and may not know it; what this node takes over from it waits for a marker."""
        self._inheriting: asyncio.Task[None] | None = None
        """Asks the others whom they doubt; None when it is known."""
        self._known: set[str] = set()
        """Node ids of the members that lived when the present time of doubt began."""
        self._ended: set[str] = set()
        """Node ids of processes that have ended, as far as is known, and whose markers have been seen."""
        self._over_at = 0.0
        self._found_there = Markers()
        """What was there when this node wrote its marker last."""
        self._said_at = -SAYS_AGAIN_S

    @property
    def reads(self) -> int:
        """Of the markers, counted."""
        return self._record.reads

    @property
    def in_doubt(self) -> bool:
        """Whether this node doubts anybody, and has activations for which that matters."""
        return bool(self.doubts) and self.applies

    @property
    def applies(self) -> bool:
        """Whether this node has activations whose state others may change."""
        node = self._node
        return (
            not self._local.client
            and not self._local.storage_is_private
            and any(map(is_proved_kind, node.hosts.values()))
        )

    # What happens to members.

    def notice(self, event: Event) -> None:
        """Takes note of an event of the control plane, before anything follows from it."""
        if isinstance(event, MemberLeaving | MemberRemoved) and event.member.node_id != self._local.node_id:
            self.others.member_goes(event.member.node_id)
        if isinstance(event, MemberUnreachable):
            self._doubt(event.member, event.member.incarnation, "unreachable")
        elif isinstance(event, MemberRemoved):
            if event.reason == "replaced" and self.doubts.get(event.member.node_id) is None:
                # It may have doubted this node, taken over from it and saved, and have told nobody: one read.
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
                self.was_away("an operator has blocked this node, or had")
            elif event.blocked:
                self._took_over = True
                self._proofs.member_lost()
                self._blocked_at = self._over_at = self._local.boot_time()
        elif isinstance(event, MemberEvent) and self.doubts:
            self._replaced({event.member.authority: event.member.node_id})
            self.reconciliation.begin()

    def _replaced(self, live: dict[str, str]) -> None:
        """Node ids by authority: who is doubted at one of these has ended if the other came in this time of doubt."""
        for doubt in self.doubts.open():
            node_id = live.get(doubt.authority, doubt.node_id)
            if node_id != doubt.node_id and node_id not in self._known:
                self.is_harmless(doubt.node_id, "replaced")

    def _doubt(self, member: Member, incarnation: int, reason: str) -> None:
        """Also where nothing here depends on it: a node that joins asks this one."""
        if not self._local.client and not self._local.closing:
            self._begin(member.node_id, member.authority, incarnation, reason)

    def _begin(self, node_id: str, authority: str, incarnation: int, reason: str) -> None:
        now = self._local.boot_time()
        if not self.doubts:
            self._known = set(self._live().values())
            if now > self._over_at + self._local.config.membership.tombstone_s:
                self.begun.clear()
        if self.doubts.begin(now, node_id, authority, incarnation):
            self._proofs.member_lost()
            if reason and self.applies:
                self._local.publish(DoubtBegan(authority=authority, node_id=node_id, reason=reason))
            self._watch_now()

    def was_away(self, reason: str) -> None:
        """Others may have taken over what is active here: doubts all of them, and proves everything once."""
        topology = self._topology.snapshot
        for member in () if topology is None else topology.members:
            if member.node_id != self._local.node_id:
                self._doubt(member, -1, reason)
        if self.in_doubt:
            self._proofs.require_all()
        self.reconciliation.begin()

    def is_harmless(self, node_id: str, why: str) -> None:
        """A member has left in order, was replaced, or has confirmed that it let go of what it took over."""
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
        """This node has founded a cluster: says so in the storage, and looks who else has."""
        if self.applies:
            self._founded = True
            self._local.spawn(self._found(), name="inaho-founded")

    def joined(self) -> None:
        """This node was admitted: whom the others doubt it doubts too, before it activates anything."""
        if not self._local.client:
            self._inheriting = self._local.spawn(self._inherit(), name="inaho-inherit-doubts")

    async def _inherit(self) -> None:
        for node_id, authority in await self.reconciliation.doubted_by_others():
            live = self._live().get(authority, node_id)  # another process may have joined there since
            if node_id != self._local.node_id and live == node_id:
                self._begin(node_id, authority, -1, "members doubted it when this node joined")
        self.others.look()

    @property
    def inherits(self) -> bool:
        """Whether this node still asks the others whom they doubt."""
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
                    self._local.log.warning(
                        "the marker of a new cluster is not written yet, which is tried again: %s", describe(error)
                    )
                told = True
            await asyncio.sleep(self._local.config.activation.freshness_s)
        markers = self._found_there
        await self.others.warn(markers, founded=True)
        self._judge(began, markers)

    def foreign(self, read: Markers) -> list[Marker]:
        """The markers of processes that are no live members, nor left in order."""
        return self.doubts.foreign(read.markers, set(self._live().values()))

    # Before an activation.

    async def before_activation(self) -> None:
        """Returns when this node may activate a kind with state: its marker is in the storage where one is needed.

        Raises:
            StorageFailed: it could not be written. Nothing was activated.
        """
        if self._inheriting is not None:
            await asyncio.wait((self._inheriting,))
            self._inheriting = None
        while self._founded or self._took_over or (self.doubts and self._marked != self.doubts.episode):
            if not self.applies:
                return
            marking = self._begin_mark()
            await asyncio.wait((marking,))
            if marking.cancelled():
                raise StorageFailed("the node stops", authority=self._local.authority, maybe_executed=False)
            marking.result()

    def _begin_mark(self) -> asyncio.Task[None]:
        if self._marking is None:
            self._marking = self._local.spawn(self._mark(), name="inaho-marker")
            self._marking.add_done_callback(self._mark_ended)
        return self._marking

    def _mark_ended(self, task: asyncio.Task[None]) -> None:
        self._marking = None
        if not task.cancelled():
            task.exception()  # who waits for it raises it

    async def _mark(self) -> None:
        """Writes this node's marker."""
        node = self._node
        episode, founded = self.doubts.episode, self._founded
        marker = Marker(
            self._local.node_id,
            self._local.authority,
            FOUNDED if founded else DOUBT,
            self._local.unix_time(),
            self._local.config.name,
        )
        async with time_limit(node):  # all activations of this node wait for it
            markers = await self._record.add(marker)
        self._found_there = markers
        self._marked, self._marked_at = (episode if self.doubts else self._marked), self._local.boot_time()
        self._founded, self._took_over = self._founded and not founded, False

    def begins(self, kind: str, key: str, grain: Grain[Any]) -> None:
        """An activation of a placed kind begins, in doubt or after a block: it ends before the others may go on."""
        if self.doubts or self._local.boot_time() <= self._blocked_at + self._local.config.membership.tombstone_s:
            self.begun[kind, key] = grain

    # While there is a doubt.

    def _watch_now(self) -> None:
        """Reads the markers now, and goes on while there is a doubt."""
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
            self._replaced(self._live())
            self._wake = self._local.loop.create_future()
            if self.applies:
                await self._look(began)
            else:
                self.doubts.settle(began)
            self.reconciliation.begin()
            left_s = began + period_s - self._local.boot_time()
            if left_s > 0 and self.doubts:
                await asyncio.wait((self._wake,), timeout=left_s)
        self._over_at = self._local.boot_time()  # what was begun may be asked about yet

    async def _look(self, began: float) -> None:
        """Reads the markers, and writes this node's own where it has activations: one that began just now may save,
        and whoever found this node unreachable before that does not know of it."""
        node = self._node
        unmarked = self._marked != self.doubts.episode and self.doubts.open()
        if unmarked and any(host.activations for host in node.hosts.values() if is_proved_kind(host)):
            self._begin_mark()
        try:
            async with time_limit(node):
                markers, _ = await self._record.read()
                if (
                    self._marked == self.doubts.episode
                    and began > self._marked_at + self._local.config.membership.tombstone_s
                ):
                    await self._mark()  # before others drop it as one of a process that is gone
        except InahoError as error:
            self.unknown(error)
            if self._local.config.activation.when_unproved == "refuse" and not self._proofs.repeat:
                self._proofs.repeat = True
                self._proofs.require_all()
        else:
            self._judge(began, markers)

    def _judge(self, began: float, read: Markers) -> None:
        """Draws the consequences of a read of the markers that began then."""
        proofs, doubts, live = self._proofs, self.doubts, self._live()
        if not doubts:
            self._known = set(live.values())
        # Who became a member in this time of doubt may have been on another side before.
        foreign = doubts.foreign(read.markers, self._known & set(live.values()))
        ended: set[str] = set()
        for marker in foreign:
            if doubts.knows(marker.node_id):
                continue
            if live.get(marker.authority, marker.node_id) != marker.node_id:  # nobody knows when it saved last
                ended.add(marker.node_id)
                continue
            doubts.begin(began, marker.node_id, marker.authority)
            reason = "a process that this node has never met, or not before the doubt, has activated grains"
            self._local.publish(DoubtBegan(authority=marker.authority, node_id=marker.node_id, reason=reason))
        foreign = [marker for marker in foreign if marker.node_id not in self._ended]
        self._ended = ended
        goes_on = any(doubts.get(marker.node_id) is not None for marker in foreign)
        if (goes_on and not proofs.repeat) or (not goes_on and (foreign or proofs.repeat)):
            proofs.require_all()  # from now on, or for the last time
        proofs.repeat = goes_on
        doubts.settle(began)
        if doubts and self._watching is None:
            self._watch_now()

    def unknown(self, error: BaseException) -> None:
        """The storage does not answer, so nobody knows how old the answers of this node are."""
        now = self._local.boot_time()
        reason = describe(error)
        self._local.publish(FreshnessUnknown(authority=self._local.authority, reason=reason))
        if now - self._said_at >= SAYS_AGAIN_S:
            self._said_at = now
            self._local.log.warning(
                "this node doubts %d members and cannot read the storage, so its answers may be old "
                "(activation.when_unproved is %r): %s",
                len(self.doubts), self._local.config.activation.when_unproved, reason,
            )  # fmt: skip

    def _live(self) -> dict[str, str]:
        """Node ids of the live members by authority."""
        topology = self._topology.snapshot
        members = () if topology is None else topology.members
        return {member.authority: member.node_id for member in members if member.status not in SILENT}

    def check(self) -> None:
        """Asserts the invariants."""
        self.doubts.check()
        assert self.doubts or not self._proofs.repeat or not self.applies
