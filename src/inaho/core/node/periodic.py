"""Periodic work: gossip, contact removed members, mark members unreachable or removed."""

from __future__ import annotations

from inaho.core.bounded_map import BoundedMap
from inaho.core.detection.detector import Accused, Confirmed, Outcome
from inaho.core.effects import ApplyTopology, Outbox
from inaho.core.gossip.anti_entropy import AntiEntropy
from inaho.core.gossip.engine import CONFIRMED, Push
from inaho.core.membership.member import is_live, with_status
from inaho.core.messages import Gossip
from inaho.core.node.exchange import Exchange
from inaho.core.node.view import ClusterView
from inaho.events import (
    BlockListApplied,
    ConvergenceDelayed,
    ConvergenceReached,
    MemberSuspected,
    SuspicionCleared,
    TopologyChanged,
)
from inaho.types import MemberStatus

__all__ = ["Periodic"]


class Periodic:
    """Does the periodic work of one member.

    Args:
        view: of this node.
        exchange: sends digests and tables.
        anti_entropy: when to contact which authority.
        outbox: takes the effects.
        lost_max: bound of the removed authorities that are contacted because they may be back.
    """

    def __init__(
        self, view: ClusterView, exchange: Exchange, anti_entropy: AntiEntropy, outbox: Outbox, lost_max: int
    ) -> None:
        self._view = view
        self._exchange = exchange
        self._anti_entropy = anti_entropy
        self._outbox = outbox
        # Authorities that were removed without a leave, oldest first: they may be the other side of a network
        # partition.
        self._lost: BoundedMap[str, None] = BoundedMap(lost_max)
        # Those of them, of the seeds and of the discovered authorities that are no members, and the table version,
        # seeds and discovered authorities of which this was computed.
        self._calling: tuple[str, ...] = ()
        self._calling_of: tuple[int, tuple[str, ...], tuple[str, ...]] | None = None

    def detect(self, now: float) -> None:
        """Probes, and announces what follows from silence."""
        for outcome in self._view.detector.poll(now):
            self._conclude(now, outcome)
        for authority in self._view.removal.due(now):
            self._remove(now, authority)
        credible, stubborn = self._view.corroboration.review(now)
        for authority in credible:
            self._view.engine.differs(now, authority)
        for authority in (*stubborn, *self._view.corroboration.expire(now)):
            # It has removed a member that this node knows to be well. If two nodes tell it so, it has lost its own
            # place.
            speaker = self._view.table.get(authority)
            if speaker is not None:
                self._exchange.send_verdict(now, speaker)

    def publish_topology(self, now: float) -> None:
        """Applies the changes that one period has gathered."""
        view = self._view
        due = view.topology.next_deadline()
        if due is None or now < due:
            return
        blocked_before = view.topology.latest.blocked
        members, latest = view.members(), view.topology.latest
        if view.overlay.decides and members != latest.members and view.table.version <= latest.version:
            view.table.adopt_version(latest.version + 1)  # the members changed, and no statement of gossip did
        snapshot = view.topology.poll(now, view.table.version, members, view.blocked)
        if snapshot is not None:
            self._outbox.add(ApplyTopology(snapshot, self._outbox.cause))
            self._outbox.publish(TopologyChanged(snapshot=snapshot))
            # After the topology: applying it revokes leases first, and the event reports that this is done.
            for authority in snapshot.blocked:
                if authority not in blocked_before:
                    self._outbox.publish(BlockListApplied(authority=authority, version=snapshot.version))

    def gossip(self, now: float) -> None:
        """Sends rumours, reconciles differences, measures convergence."""
        view = self._view
        peers = view.peers()
        before = view.engine.phase
        for due in view.engine.poll(now, peers):
            if isinstance(due, Push):
                news = view.collect(len(due.targets), due.limit)
                for target in due.targets:
                    self._outbox.send(target, Gossip(view.mark(), news))
            elif due.full:
                self._exchange.send_table(now, due.authority)
            else:
                self._exchange.send_digest(now, due.authority)
        if before != view.engine.phase == CONFIRMED:
            elapsed_s = view.engine.clock.stop(now)
            if elapsed_s is not None:
                self._outbox.publish(ConvergenceReached(elapsed_s=elapsed_s, version=view.table.version))
        late_s = view.engine.clock.late(now)
        if late_s is not None:
            self._outbox.publish(ConvergenceDelayed(elapsed_s=late_s, behind=view.engine.behind))
        calls = self._anti_entropy.poll(now, peers, self._lost_authorities(now))
        for authority in (calls.peer, *calls.lost):
            if authority:
                self._outbox.send(authority, Gossip(view.mark()))

    def _conclude(self, now: float, outcome: Outcome) -> None:
        view = self._view
        if isinstance(outcome, Accused):
            accusation = outcome.accusation
            view.engine.accused(now, accusation)
            member = view.table.get(accusation.authority)
            if outcome.first and member is not None:
                self._outbox.publish(MemberSuspected(member=member, reason=accusation.reason))
            return
        suspicion = outcome.suspicion
        member = view.table.get(suspicion.authority)
        if member is None or member.node_id != suspicion.node_id:
            return
        if isinstance(outcome, Confirmed):
            if member.status < MemberStatus.UNREACHABLE and member.incarnation <= suspicion.incarnation:
                sources = tuple(suspicion.sources)
                view.make_statement(now, with_status(member, MemberStatus.UNREACHABLE), suspicion.reason, sources)
        else:
            view.engine.rumours.forget_accused(suspicion.node_id)
            self._outbox.publish(SuspicionCleared(member=member, reason="not confirmed"))

    def _remove(self, now: float, authority: str) -> None:
        view = self._view
        entry = view.table.entry(authority)
        if entry is not None and entry.member.status is MemberStatus.UNREACHABLE:
            if view.overlay.lists(entry.member.node_id):
                view.removal.put_off(now, authority)
                return
            alone = entry.origin == view.me.node_id and len(entry.sources) < view.detector.sources_needed(authority)
            if alone and not view.engine.acknowledged(view.peers()):
                # There was no other possible source when this node announced it. Now there could be one, and it has not
                # reported yet.
                view.removal.put_off(now, authority)
                return
            removed = with_status(entry.member, MemberStatus.REMOVED)
            sources = entry.sources if entry.origin == view.me.node_id else view.corroboration.sources(authority)
            view.make_statement(now, removed, entry.reason, sources or (view.me.node_id,))

    def _lost_authorities(self, now: float) -> tuple[str, ...]:
        view = self._view
        for authority in view.drain_lost():
            self._calling_of = None
            self._lost[authority] = None
            self._anti_entropy.seek(now)
        stand = (view.table.version, self._exchange.seeds, view.discovered)
        if stand == self._calling_of:
            return self._calling
        named = dict.fromkeys((*self._exchange.seeds, *view.discovered))
        candidates = dict.fromkeys((*named, *self._lost))
        lost: list[str] = []
        for authority in candidates:
            record = view.table.get(authority)
            if is_live(record):
                self._lost.pop(authority, None)
            elif record is None and authority not in named:
                # Its tombstone is forgotten, so it is not contacted any more.
                self._lost.pop(authority, None)
            elif authority != view.me.authority:
                lost.append(authority)
        self._calling_of, self._calling = stand, tuple(lost)
        return self._calling
