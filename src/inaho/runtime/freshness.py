"""Answers that are not older than what was saved elsewhere: markers in the storage, read while members are doubted.

`core.activation.doubt` knows whom this node doubts. This module reads and writes the markers, and tells `Proofs` when
activations must prove that they have what is stored. While there is no doubt it does nothing. In doubt it reads one
record of the storage every `activation.freshness_s`, whatever the number of activations; where a marker is foreign,
activations that are called are proved as often, many in one read.

The order is what makes it safe. A node that doubts somebody writes its marker before it activates anything, so a save
of such an activation comes after the marker. A node on another side therefore finds the marker at the latest one read
after that save (`docs/decisions/0030-doubt.md` has the argument, and its limits).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from inaho.core.activation.doubt import DOUBT, FOUNDED, MARKERS_FORMAT, Doubts, Marker, Markers, add_marker
from inaho.errors import InahoError, StateConflict, StorageFailed, Unreachable, WrongIncarnation
from inaho.errors_cluster import describe
from inaho.events import (
    DoubtBegan,
    DoubtEnded,
    FreshnessUnknown,
    MemberEvent,
    MemberRemoved,
    MemberUnreachable,
    NodePaused,
    SelfRemoved,
)
from inaho.runtime.leases import SILENT
from inaho.runtime.proofs import Proofs, is_proved_kind, time_limit
from inaho.runtime.reconciliation import Reconciliation
from inaho.types import ClusterIdentity
from inaho.wire.codec import DECODE_ERRORS, decoder, encode

if TYPE_CHECKING:
    from inaho.events import Event
    from inaho.runtime.grain import Grain
    from inaho.runtime.node import Node
    from inaho.types import Member

__all__ = ["MARKERS", "Freshness"]

MARKERS: Final = ClusterIdentity("inaho.markers", "all")
"""Where the markers are. One record for all clusters that use the storage: their grains share it too."""

MARKER_EPOCH: Final = 1
"""All writers of the markers have one epoch: the version alone decides who was first."""

WRITE_ATTEMPTS: Final = 50
"""Attempts to replace the record of the markers, which others replace at the same time."""

WRITE_PAUSE_S: Final = 0.01
"""Longest random pause before the next attempt; it grows with the number of attempts."""

SAYS_AGAIN_S: Final = 60.0
"""How often the log repeats that freshness is unknown."""

_decode: Final = decoder(Markers)


class Freshness:
    """What one node knows of the age of its answers (SPEC CL-5.4).

    Args:
        node: the node.

    Attributes:
        doubts: whom it doubts.
        reads, writes: of the markers, counted.
        begun: activations of placed kinds that were begun in doubt, by kind and key.
    """

    def __init__(self, node: Node, proofs: Proofs) -> None:
        self.doubts = Doubts(node.node_id, node.config.membership.tombstone_s, node.config.membership.members_max)
        self.reads = 0
        self.writes = 0
        self.begun: dict[tuple[str, str], Grain[Any]] = {}
        self.reconciliation = Reconciliation(node, self)
        self._node = node
        self._proofs = proofs
        self._watching: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._marking: asyncio.Task[None] | None = None
        self._marked = 0
        """The episode of doubt for which this node has written its marker."""
        self._marked_at = 0.0
        self._founded = False
        """This node has founded a cluster, and its marker is not written yet."""
        self._inheriting: asyncio.Task[None] | None = None
        """Asks the others whom they doubt; None when it is known."""
        self._found_there = Markers()
        """What was there when this node wrote its marker last."""
        self._said_at = -SAYS_AGAIN_S

    @property
    def in_doubt(self) -> bool:
        """Whether this node doubts anybody."""
        return bool(self.doubts)

    @property
    def applies(self) -> bool:
        """Whether this node has activations whose state others may change."""
        node = self._node
        return not node.client and not node.storage_is_private and any(map(is_proved_kind, node.hosts.values()))

    # What happens to members.

    def notice(self, event: Event) -> None:
        """Takes note of an event of the control plane, before anything follows from it."""
        if isinstance(event, MemberUnreachable):
            self._doubt(event.member, event.member.incarnation, "unreachable")
        elif isinstance(event, MemberRemoved):
            if event.reason in ("left", "replaced"):
                self.is_harmless(event.member.node_id, event.reason)
            else:
                self._doubt(event.member, event.member.incarnation, "removed")
        elif isinstance(event, SelfRemoved | NodePaused):
            self.was_away("this node was removed" if isinstance(event, SelfRemoved) else "this process was paused")
        elif isinstance(event, MemberEvent) and self.doubts:
            for doubt in self.doubts.open():
                if doubt.authority == event.member.authority and doubt.node_id != event.member.node_id:
                    self.is_harmless(doubt.node_id, "replaced")
            self.reconciliation.begin()

    def _doubt(self, member: Member, incarnation: int, reason: str) -> None:
        if not self.applies or self._node.closing:
            return
        if self.doubts.begin(self._node.boot_time(), member.node_id, member.authority, incarnation):
            self._node.publish(DoubtBegan(authority=member.authority, node_id=member.node_id, reason=reason))
            self._watch_now()

    def was_away(self, reason: str) -> None:
        """Others may have taken over what is active here: doubts all of them, and proves everything once."""
        topology = self._node.topology
        for member in () if topology is None else topology.members:
            if member.node_id != self._node.node_id:
                self._doubt(member, -1, reason)
        if self.doubts:
            self._proofs.require_all()
            self.reconciliation.begin()

    def is_harmless(self, node_id: str, why: str) -> None:
        """A member has left in order, was replaced, or has confirmed that it let go of what it took over."""
        doubt = self.doubts.get(node_id)
        now = self._node.boot_time()
        if self.doubts.end(now, node_id, why) and doubt is not None:
            event = DoubtEnded(authority=doubt.authority, node_id=node_id, outcome=why, lasted_s=now - doubt.since)
            self._node.publish(event)
            self._watch_now()

    def founded(self) -> None:
        """This node has founded a cluster: says so in the storage, and looks who else has."""
        if self.applies:
            self._founded = True
            self._node.runner.spawn(self._found(), name="inaho-founded")

    def joined(self) -> None:
        """This node was admitted: whom the others doubt it doubts too, before it activates anything."""
        if self.applies:
            self._inheriting = self._node.runner.spawn(self._inherit(), name="inaho-inherit-doubts")

    async def _inherit(self) -> None:
        for node_id, authority in await self.reconciliation.doubted_by_others():
            if self.doubts.begin(self._node.boot_time(), node_id, authority):
                reason = "members doubted it when this node joined"
                self._node.publish(DoubtBegan(authority=authority, node_id=node_id, reason=reason))
                self._watch_now()

    async def _found(self) -> None:
        node = self._node
        began = node.boot_time()
        try:
            await self.before_activation()
        except InahoError as error:
            node.log.warning(
                "the marker of a new cluster is not written yet, which is tried again: %s", describe(error)
            )
            return
        markers = self._found_there
        others = self.doubts.foreign(markers.markers, self._live_ids(), self._live_authorities())
        for marker in others:
            if await self._answers(marker):
                node.log.warning(
                    "%s has founded a cluster named %r, but %s has founded another one (%r) over the same storage, so "
                    "both save the same grains. A process without seeds founds a cluster of its own: give this one "
                    "the seed %s to join the other, or another storage or data_dir",
                    node.authority, node.config.name, marker.authority, marker.cluster, marker.authority,
                )  # fmt: skip
        self._judge(began, markers)

    async def _answers(self, marker: Marker) -> bool:
        """Whether the process that wrote a marker still runs, or may."""
        try:
            async with asyncio.timeout(self._node.config.transport.handshake_timeout_s):
                await self._node.peers.connect(marker.authority, marker.node_id)
        except (Unreachable, WrongIncarnation) as error:  # nobody listens, or another process lives there
            self._node.log.debug(
                "%s, which founded a cluster once, does not run: %s", marker.authority, describe(error)
            )
            return False
        except (TimeoutError, InahoError):  # one of another cluster refuses us, and runs
            return True
        return True

    # Before an activation.

    async def before_activation(self) -> None:
        """Returns when this node may activate a kind with state: its marker is in the storage where one is needed.

        Raises:
            StorageFailed: it could not be written. Nothing was activated.
        """
        if self._inheriting is not None:
            await asyncio.wait((self._inheriting,))
            self._inheriting = None
        while self._founded or (self.doubts and self._marked != self.doubts.episode):
            if not self.applies:
                return
            if self._marking is None:
                self._marking = self._node.runner.spawn(self._mark(), name="inaho-marker")
                self._marking.add_done_callback(self._mark_ended)
            marking = self._marking
            await asyncio.wait((marking,))
            if marking.cancelled():
                raise StorageFailed("the node stops", authority=self._node.authority, maybe_executed=False)
            marking.result()

    def _mark_ended(self, task: asyncio.Task[None]) -> None:
        self._marking = None
        if not task.cancelled():
            task.exception()  # who waits for it raises it

    async def _mark(self) -> None:
        """Writes this node's marker."""
        node = self._node
        episode, founded = self.doubts.episode, self._founded
        marker = Marker(node.node_id, node.authority, FOUNDED if founded else DOUBT, node.unix_time(), node.config.name)
        storage = await node.open_storage()
        for attempt in range(WRITE_ATTEMPTS):
            markers, version = await self._read()
            data = encode(
                add_marker(
                    markers,
                    marker,
                    keep_s=2 * node.config.membership.tombstone_s,
                    markers_max=node.config.membership.members_max,
                )
            )
            try:
                await storage.save(MARKERS, data, expected_version=version, epoch=MARKER_EPOCH)
            except StateConflict:  # another node has written its own
                await asyncio.sleep(node.entropy.random.uniform(0.0, WRITE_PAUSE_S * (attempt + 1)))
            else:
                self.writes += 1
                self._found_there = markers
                self._marked, self._marked_at = (episode if self.doubts else self._marked), node.boot_time()
                self._founded = self._founded and not founded
                return
        raise StorageFailed("the markers are replaced all the time", identity=str(MARKERS), maybe_executed=False)

    async def _read(self) -> tuple[Markers, int]:
        """The markers, and the version of their record."""
        storage = await self._node.open_storage()
        self.reads += 1
        stored = await storage.load(MARKERS)
        if stored is None or stored.data is None:
            return Markers(), 0 if stored is None else stored.version
        try:
            markers: Markers = _decode(stored.data)
        except DECODE_ERRORS as error:
            raise StorageFailed(
                f"the record of the markers cannot be read: {error}", identity=str(MARKERS), maybe_executed=False
            ) from error
        if markers.format > MARKERS_FORMAT:
            raise StorageFailed(
                f"the record of the markers is in format {markers.format}, written by a later release; this one reads "
                f"format {MARKERS_FORMAT}: run the later release on all nodes",
                identity=str(MARKERS),
                maybe_executed=False,
            )
        return markers, stored.version

    def begins(self, kind: str, key: str, grain: Grain[Any]) -> None:
        """An activation of a placed kind begins in doubt. It ends before the members that are doubted may go on."""
        if self.doubts:
            self.begun[kind, key] = grain

    # While there is a doubt.

    def _watch_now(self) -> None:
        """Reads the markers now, and goes on while there is a doubt."""
        if self._watching is None:
            self._watching = self._node.runner.spawn(self._watch(), name="inaho-freshness")
            self._watching.add_done_callback(self._watch_ended)
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _watch_ended(self, task: asyncio.Task[None]) -> None:
        self._watching = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._node.log.error("reading the markers failed", exc_info=error)
        if self.doubts and not self._node.closing:
            self._node.loop.call_later(self._node.config.activation.freshness_s, self._watch_again)

    def _watch_again(self) -> None:
        if self.doubts and not self._node.closing:
            self._watch_now()

    async def _watch(self) -> None:
        node = self._node
        period_s = node.config.activation.freshness_s
        while self.doubts and not node.closing:
            began = node.boot_time()
            for doubt in self.doubts.expire(began):
                lasted_s = began - doubt.since
                node.publish(
                    DoubtEnded(authority=doubt.authority, node_id=doubt.node_id, outcome="expired", lasted_s=lasted_s)
                )
            self._wake = node.loop.create_future()
            try:
                async with time_limit(node):
                    markers, _ = await self._read()
                if self._marked == self.doubts.episode and began > self._marked_at + node.config.membership.tombstone_s:
                    await self._mark()  # before others drop it as one of a process that is gone
            except InahoError as error:
                self.unknown(error)
                if node.config.activation.when_unproved == "refuse" and not self._proofs.repeat:
                    self._proofs.repeat = True
                    self._proofs.require_all()
            else:
                self._judge(began, markers)
            self.reconciliation.begin()
            left_s = began + period_s - node.boot_time()
            if left_s > 0 and self.doubts:
                await asyncio.wait((self._wake,), timeout=left_s)
        if not self.doubts:
            self.begun.clear()

    def _judge(self, began: float, read: Markers) -> None:
        """Draws the consequences of a read of the markers that began then."""
        proofs, doubts = self._proofs, self.doubts
        foreign = doubts.foreign(read.markers, self._live_ids(), self._live_authorities())
        for marker in foreign:
            if not doubts.knows(marker.node_id):
                doubts.begin(began, marker.node_id, marker.authority)
                reason = "a process that this node has never met has activated grains"
                self._node.publish(DoubtBegan(authority=marker.authority, node_id=marker.node_id, reason=reason))
        goes_on = any(doubts.get(marker.node_id) is not None for marker in foreign)
        if (goes_on and not proofs.repeat) or (not goes_on and (foreign or proofs.repeat)):
            proofs.require_all()  # from now on, or for the last time
        proofs.repeat = goes_on
        doubts.settle(began)
        if doubts and self._watching is None:
            self._watch_now()

    def unknown(self, error: BaseException) -> None:
        """The storage does not answer, so nobody knows how old the answers of this node are."""
        node, now = self._node, self._node.boot_time()
        reason = describe(error)
        node.publish(FreshnessUnknown(authority=node.authority, reason=reason))
        if now - self._said_at >= SAYS_AGAIN_S:
            self._said_at = now
            node.log.warning(
                "this node doubts %d members and cannot read the storage, so its answers may be old "
                "(activation.when_unproved is %r): %s",
                len(self.doubts), node.config.activation.when_unproved, reason,
            )  # fmt: skip

    def _live(self) -> list[Member]:
        topology = self._node.topology
        return [] if topology is None else [member for member in topology.members if member.status not in SILENT]

    def _live_ids(self) -> set[str]:
        return {member.node_id for member in self._live()}

    def _live_authorities(self) -> set[str]:
        return {member.authority for member in self._live()}

    def check(self) -> None:
        """Asserts the invariants."""
        self.doubts.check()
        assert self.doubts or not self._proofs.repeat or not self.applies
