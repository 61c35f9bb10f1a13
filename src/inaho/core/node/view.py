"""The view of one node: applies each change of the table to gossip, detection, removal and topology.

All statements, those of this node and those of others, go through `absorb`. So a change of a record always reaches
gossip, detection, removal, topology and the event stream, in that order, and no handler can leave one out.
`corroboration` decides whether a statement of another node is accepted.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

from inaho.config import ClusterConfig
from inaho.core.detection.detector import Detector
from inaho.core.effects import Outbox
from inaho.core.gossip.engine import GossipEngine
from inaho.core.gossip.loads import Loads
from inaho.core.gossip.rumours import retransmit_limit
from inaho.core.inputs import RandomSource
from inaho.core.membership.claims import new_life
from inaho.core.membership.delta import Applied, Change
from inaho.core.membership.incarnation import generation_of
from inaho.core.membership.member import is_live, with_status
from inaho.core.membership.removal import RemovalClock
from inaho.core.membership.table import MembershipTable
from inaho.core.membership.topology import TopologyPublisher
from inaho.core.messages import Mark, MembershipDelta, News, OriginVersion, TableSnapshot
from inaho.core.node.corroboration import Corroboration
from inaho.core.node.provider_overlay import ProviderOverlay
from inaho.events import (
    BlockListChanged,
    MemberEvent,
    MemberJoining,
    MemberLeaving,
    MemberReachable,
    MemberRemoved,
    MemberUnreachable,
    MemberUp,
    StatementRefused,
    SuspicionCleared,
)
from inaho.types import Member, MemberStatus

__all__ = ["ClusterView"]

NO_NEWS: Final = News()
REFUSALS_TOLD_MAX: Final = 8
"""Refusals published for one message; a table of invented members makes thousands, and the first ones are enough."""

_EVENTS: Final[dict[MemberStatus, type[MemberEvent]]] = {
    MemberStatus.JOINING: MemberJoining,
    MemberStatus.UP: MemberUp,
    MemberStatus.LEAVING: MemberLeaving,
    MemberStatus.UNREACHABLE: MemberUnreachable,
    MemberStatus.REMOVED: MemberRemoved,
}


class ClusterView:
    """The view of one node.

    Args:
        config: all groups.
        me: this node as it describes itself.
        random: the seeded generator of this node.
        outbox: takes the effects.
    """

    def __init__(self, config: ClusterConfig, me: Member, random: RandomSource, outbox: Outbox) -> None:
        self.config = config
        self.me = me
        self.outbox = outbox
        self.table = MembershipTable(me.node_id, config.membership)
        self.engine = GossipEngine(config.gossip, random)
        self.detector = Detector(me.node_id, config.detection, config.membership.members_max, random, self, outbox)
        self.removal = RemovalClock(config.membership.remove_unreachable_after_s, config.detection.probe_interval_s)
        self.topology = TopologyPublisher(config.membership.update_period_s)
        self.corroboration = Corroboration(config, me.node_id, self)
        self.loads = Loads(me.node_id, config.detection.probe_interval_s, config.membership.members_max)
        # Changes of this node's own record by others, and whether a member accuses this node: for the node to answer.
        self.own_changes: list[Change] = []
        self.accused = False
        # Whether a node reports that this node is no member, and this node waits for a second source.
        self.contested = False
        # Authorities that were removed without a leave, since the last call of `drain_lost`.
        self.lost: list[str] = []
        self.overlay = ProviderOverlay(
            decides=config.membership.source == "provider",
            own=me.node_id,
            members_max=config.membership.members_max,
        )
        # Authorities that the provider in use lists, in its order.
        self.discovered: tuple[str, ...] = ()
        # Authorities that the provider in use blocks, sorted.
        self.provider_blocks: tuple[str, ...] = ()
        self.now = 0.0
        # Event-loop lag that this node reports, seconds.
        self.lag_s = 0.0
        self._others: tuple[Member, ...] = ()
        self._peers: tuple[str, ...] = ()
        # The `live` of which both were made.
        self._others_of: tuple[Member, ...] = ()

    # What others read.

    def others(self) -> tuple[Member, ...]:
        """Live members but this node, sorted by authority."""
        live = self.table.live
        if live is not self._others_of:
            self._others_of = live
            authorities = self.table.authorities
            at = bisect_left(authorities, self.me.authority)
            beyond = at + (at < len(live) and authorities[at] == self.me.authority)
            self._others = live[:at] + live[beyond:]
            self._peers = authorities[:at] + authorities[beyond:]
            if self.table.unreachable:
                self._peers = tuple(m.authority for m in self._others if m.status < MemberStatus.UNREACHABLE)
        return self._others

    def peers(self) -> tuple[str, ...]:
        """Authorities of the others that are not unreachable."""
        self.others()
        return self._peers

    def get(self, authority: str) -> Member | None:
        """The record of that authority."""
        return self.table.get(authority)

    def mark(self) -> Mark:
        """The mark of this node."""
        version, load = self.loads.own(self.now)
        return Mark(self.me.incarnation, self.table.version, self.table.content_hash(), self.lag_s, version, load)

    def known_loads(self) -> tuple[tuple[str, int], ...]:
        """Node id and load of each live member whose load is known, sorted."""
        live = self.table.live
        return self.loads.known(self.now, (member.node_id for member in live), len(live))

    def same(self, mark: Mark) -> bool:
        """Whether the sender of that mark has this node's table."""
        return mark.version == self.table.version and mark.content_hash == self.table.content_hash()

    def delta(self, origin: str, from_version: int) -> MembershipDelta:
        """What still holds of an origin's statements."""
        return self.table.delta(self.now, origin, from_version)

    def collect(self, copies: int, limit: int) -> News:
        """Statements, accusations and loads to send to `copies` peers."""
        loads = self.loads.collect(limit, copies)
        if not self.engine.rumours:
            return News(loads=loads) if loads else NO_NEWS
        news = self.engine.rumours.collect(limit, copies, self.delta)
        return msgspec.structs.replace(news, loads=loads) if loads else news

    def piggyback(self, node_id: str) -> News:
        """Statements to send along with a message to that node; an accused node gets its accusations first."""
        against = self.engine.rumours.accusations_of(node_id)
        limit = retransmit_limit(self.config.gossip.retransmit_factor, len(self.table))
        news = self.collect(1, limit)
        suspicion = None if against else self.detector.suspicions.get(self._authority(node_id))
        if suspicion is not None:
            against = suspicion.as_accusations()
        if not against:
            return news
        told = {(accusation.node_id, accusation.accuser) for accusation in news.accusations}
        missing = tuple(item for item in against if (item.node_id, item.accuser) not in told)
        return News(news.deltas, news.accusations + missing, news.blocks, news.loads) if missing else news

    def _authority(self, node_id: str) -> str:
        member = self.table.find(node_id)
        return "" if member is None else member.authority

    def drain_lost(self) -> list[str]:
        """Authorities that were removed without a leave, since the last call."""
        if not self.lost:
            return []
        lost, self.lost = self.lost, []
        return lost

    # What changes it.

    def make_statement(self, now: float, member: Member, reason: str = "", sources: tuple[str, ...] = ()) -> None:
        """Makes a statement as this node, and sends it to the others."""
        covered = self.table.covered(self.table.node_id)
        change = self.table.author(now, member, reason, sources)
        if member.node_id == self.me.node_id:
            self.me = member
        self.absorb(now, Applied([change], {self.table.node_id: covered}))
        if member.node_id == self.me.node_id:
            self.engine.hurry(now)

    def learn(self, now: float, news: News, sender: str) -> tuple[OriginVersion, ...]:
        """Applies statements that the node `sender` sent; returns the ranges that are missing before them."""
        if news == NO_NEWS:
            return ()
        wants: list[OriginVersion] = []
        covered, credible = self.table.covered, self.corroboration.judge(now, sender)
        for delta in news.deltas:
            if delta.to_version <= covered(delta.origin):
                continue  # most statements that are pushed are known already
            applied = self.table.apply(now, delta, credible)
            wants.extend(OriginVersion(gap.origin, gap.from_version) for gap in applied.gaps)
            self.absorb(now, applied, sender)
        for notice in self.table.blocks.merge(news.blocks):
            self.engine.blocked(now, notice)
            self.topology.changed(now)
            self.outbox.publish(BlockListChanged(authority=notice.authority, blocked=notice.blocked))
        if news.loads:
            self.loads.merge(now, news.loads, lambda node_id: self.table.find(node_id) is not None)
        for accusation in news.accusations:
            if accusation.node_id == self.me.node_id:
                self.accused = self.accused or accusation.incarnation >= self.me.incarnation
            else:
                heard = accusation.accuser == sender and self.corroboration.is_source(sender)
                self.detector.on_accusation(now, accusation, heard)
        return tuple(wants)

    def adopt(self, now: float, snapshot: TableSnapshot) -> None:
        """Takes over the table of the member that admitted this node, without a second source."""
        self.absorb(now, self.table.merge(now, snapshot))
        self.learn(now, News(blocks=snapshot.blocks), "")
        known = frozenset(snapshot.blocks)
        for notice in self.table.blocks.notices:
            if notice not in known:  # an order that this node took while it reached no other member
                self.engine.blocked(now, notice)

    def merge(self, now: float, snapshot: TableSnapshot, sender: str) -> None:
        """Merges a whole table that the node `sender` sent."""
        self.absorb(now, self.table.merge(now, snapshot, self.corroboration.judge(now, sender)), sender)
        self.learn(now, News(blocks=snapshot.blocks), sender)

    def block(self, now: float, authority: str, blocked: bool) -> None:
        """Applies an operator's order."""
        notice = self.table.blocks.set(authority, blocked)
        if notice is not None:
            self.engine.blocked(now, notice)
            self.topology.changed(now)
            self.outbox.publish(BlockListChanged(authority=authority, blocked=blocked))

    def members(self) -> tuple[Member, ...]:
        """The members of the topology: those of gossip, or of gossip and of the provider that is the membership."""
        return self.overlay.members(self.table.live, self.table.removed)

    def listed(self, now: float, members: tuple[Member, ...]) -> None:
        """The provider that is the membership lists these, and no others."""
        before = {member.node_id: member for member in self.members()}
        self.overlay.read(members)
        after = {member.node_id: member for member in self.members()}
        for node_id, member in after.items():
            was = before.get(node_id)
            if was is None or (was.status is MemberStatus.JOINING and member.status is MemberStatus.UP):
                self.outbox.publish(MemberUp(member=member, reason="listed"))
            elif was.status is MemberStatus.UNREACHABLE and member.status is MemberStatus.UP:
                self.outbox.publish(MemberReachable(member=member, reason="listed"))
            elif was.status is MemberStatus.UP and member.status is MemberStatus.UNREACHABLE:
                self.outbox.publish(MemberUnreachable(member=member, reason="not listed"))
        for node_id, member in before.items():
            if node_id not in after:
                gone = with_status(member, MemberStatus.REMOVED)
                self.overlay.ended(member)
                self.outbox.publish(MemberRemoved(member=gone, reason="not listed"))
        if before != after:
            self.topology.hurry(now)  # placement goes by this list, and it has all changes at once (SPEC PR-3.1)

    def set_provider_blocks(self, now: float, authorities: tuple[str, ...]) -> None:
        """The provider in use blocks these authorities, and no others (SPEC PR-4.2)."""
        before, self.provider_blocks = self.provider_blocks, authorities
        applies = self.topology.hurry if self.overlay.decides else self.topology.changed
        for authority in sorted({*before} ^ {*authorities}):
            applies(now)
            self.outbox.publish(BlockListChanged(authority=authority, blocked=authority in authorities))

    @property
    def blocked(self) -> tuple[str, ...]:
        """Authorities that may hold no lease, sorted: blocked by an operator, or by the provider in use."""
        ordered = self.table.blocks.blocked
        return tuple(sorted({*ordered, *self.provider_blocks})) if self.provider_blocks else ordered

    def absorb(self, now: float, applied: Applied, sender: str = "") -> None:
        """Applies the consequences of changes, and investigates statements of `sender` that were held back."""
        for origin, from_version in applied.advanced.items():
            self.engine.news_of(now, origin, from_version)
        for change in applied.changes:
            self._consider(now, change)
            if sender and self._joined(change):
                self.corroboration.member_joined(now, change.after)
        for refusal in applied.refused[:REFUSALS_TOLD_MAX]:
            entry = refusal.entry
            self.outbox.publish(
                StatementRefused(authority=entry.member.authority, origin=entry.origin, reason=refusal.reason)
            )
        for entry in applied.deferred:
            self.corroboration.investigate(now, sender, entry)
        if applied.advanced or applied.changes:
            self.topology.changed(now)

    def _joined(self, change: Change) -> bool:
        """Whether the change brings a new node, or a new generation of one."""
        before, after = change.before, change.after
        if not is_live(after) or after.node_id == self.me.node_id:
            return False
        return before is None or not is_live(before) or new_life(before, after)

    def _consider(self, now: float, change: Change) -> None:
        before, after = change.before, change.after
        self.corroboration.record_changed(before, after)
        self._announce(now, change)
        if after.authority == self.me.authority:
            self.own_changes.append(change)
            return
        if after.status is MemberStatus.JOINING:
            self.detector.expect(now, after.authority)
        else:
            self.detector.arrived(after.authority)
        replaced = before is not None and before.node_id != after.node_id
        reborn = before is not None and generation_of(before.incarnation) != generation_of(after.incarnation)
        if before is not None and (replaced or after.incarnation > before.incarnation or not is_live(after)):
            self.engine.rumours.forget_accused(before.node_id)
            self.detector.suspicions.forget(after.authority)
        if not is_live(after) and change.entry.reason != "left":
            self.lost.append(after.authority)
        if before is not None and (replaced or not is_live(after)):
            self.loads.forget(before.node_id)
        if replaced or not is_live(after):
            self.detector.forget(after.authority)
        if replaced or reborn or not is_live(after):
            self.engine.forget(after.authority)
        if after.status is MemberStatus.UNREACHABLE:
            self.detector.suspicions.forget(after.authority)
            self.engine.forget(after.authority)
            self.removal.watch(now, after.authority, self._rank())
        else:
            self.removal.forget(after.authority)

    def _rank(self) -> int:
        """How many reachable members come before this node, by authority."""
        return sum(1 for authority in self.peers() if authority < self.me.authority)

    def _announce(self, now: float, change: Change) -> None:
        before, after, reason = change.before, change.after, change.entry.reason
        same_node = (
            before is not None
            and before.node_id == after.node_id
            and generation_of(before.incarnation) == generation_of(after.incarnation)
        )
        if before is not None and is_live(before) and not same_node:
            # This node missed what came between, but watchers must learn that the former generation is over.
            gone = with_status(before, MemberStatus.REMOVED)
            self.outbox.publish(MemberRemoved(member=gone, reason="replaced"))
        if same_node and before is not None and before.status is after.status:
            if self.detector.suspicions.forget(after.authority) is not None:
                self.outbox.publish(SuspicionCleared(member=after, reason=reason or "refuted"))
            return
        if before is None and not is_live(after):
            return
        if (
            same_node
            and before is not None
            and before.status is MemberStatus.UNREACHABLE
            and after.status
            in (
                MemberStatus.UP,
                MemberStatus.LEAVING,
            )
        ):
            reason = self.detector.evidence.returned(after.authority, after.node_id) or reason
            self.outbox.publish(MemberReachable(member=after, reason=reason))
            return
        self.outbox.publish(_EVENTS[after.status](member=after, reason=reason))

    def reset(self, now: float) -> None:
        """Forgets the cluster before this node joins again, except its own numbering and operators' orders.

        The side that removed this node may not have the last orders. They carry counters, so both lists can be merged.
        """
        old = self.table
        self.table = MembershipTable(self.me.node_id, self.config.membership)
        self.table.blocks = old.blocks
        self.table.continue_from(old.covered(old.node_id), old.version)
        self.engine.reset()
        self.detector.stop()
        self.removal.clear()
        self.corroboration.clear()
        self.loads.clear()
        self.own_changes.clear()
        self.lost.clear()
        self.accused = self.contested = False

    def check(self) -> None:
        """Asserts the invariants of all parts."""
        self.table.check()
        self.engine.check()
        self.detector.check()
        self.topology.check()
        self.corroboration.check()
        self.loads.check()
        self.overlay.check()
