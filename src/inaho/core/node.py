"""The control plane of one node: `step(now, input) -> list[Effect]` and `next_deadline()`.

It owns the machines, gives each input to a handler and each deadline to the machine that set it, and decides what
belongs to more than one of them: being admitted, being removed, refuting, leaving. It knows no clock, socket or
chance; so a thousand of them run in one process under virtual time, and a seed replays every history.

A gap in the calls means that this process did not run. The node then shifts its own time by the gap, so that no
deadline passes for lack of attention: it was not the others that were silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from inaho.config import ClusterConfig
from inaho.core.conversation import Conversation
from inaho.core.detection.detector import Accused, Carried, Outcome
from inaho.core.effects import (
    ApplyTopology,
    CloseConnection,
    Effect,
    Joined,
    JoinFailed,
    Left,
    Outbox,
    StopActivations,
)
from inaho.core.gossip.anti_entropy import AntiEntropy
from inaho.core.gossip.consensus import SelfBallot
from inaho.core.gossip.engine import Push
from inaho.core.inputs import (
    AuthorityAnswered,
    BlockNode,
    Connected,
    DialFailed,
    Disconnected,
    Drained,
    Input,
    LeaveRequested,
    LoopLag,
    RandomSource,
    Received,
    ResolveConflict,
    Start,
    Tick,
    UnblockNode,
)
from inaho.core.membership.admission import Admit, Collisions, examine
from inaho.core.membership.join import Ask, Fail, Joiner
from inaho.core.membership.leave import Leaver
from inaho.core.membership.member import is_live, with_status
from inaho.core.membership.table import MembershipTable
from inaho.core.messages import (
    Digest,
    FullTable,
    Gossip,
    GossipAck,
    JoinAccepted,
    JoinRefused,
    JoinRequest,
    Probe,
    ProbeAck,
    ProbeRequest,
    ProbeResponse,
    ViewVerdict,
    within_bounds,
)
from inaho.core.view import ClusterView
from inaho.errors import IllegalTransition
from inaho.events import (
    AuthorityCollision,
    ConvergenceDelayed,
    ConvergenceReached,
    MemberSuspected,
    NodePaused,
    SelfRemoved,
    SuspicionCleared,
    TopologyChanged,
)
from inaho.types import Member, MemberStatus, TopologySnapshot

__all__ = ["ControlNode"]

Stage = str
NEW: Final[Stage] = "new"
SEEKING: Final[Stage] = "seeking"
MEMBER: Final[Stage] = "member"
LEAVING: Final[Stage] = "leaving"
LEFT: Final[Stage] = "left"
FAILED: Final[Stage] = "failed"

STAGES: Final[dict[Stage, tuple[Stage, ...]]] = {
    NEW: (SEEKING, LEFT),
    SEEKING: (MEMBER, FAILED, LEFT),
    MEMBER: (LEAVING, SEEKING),
    LEAVING: (LEFT,),
    LEFT: (),
    FAILED: (),
}


class ControlNode:
    """The control plane of one node.

    Args:
        config: of the cluster; `seeds` here serve when `Start` names none.
        member: this node; status and incarnation are overwritten as it joins.
        random: seeded, this node's own.
    """

    def __init__(self, config: ClusterConfig, member: Member, random: RandomSource) -> None:
        self._config = config
        self._outbox = Outbox()
        self._view = ClusterView(config, with_status(member, MemberStatus.JOINING), random, self._outbox)
        self._talk = Conversation(self._view, config.seeds)
        self._joiner = Joiner(member.authority, config.membership)
        self._leaver = Leaver(config.gossip.convergence_s)
        self._ballot = SelfBallot(
            2 * config.detection.probe_timeout_s, config.membership.remove_unreachable_after_s
        )
        self._anti_entropy = AntiEntropy(config.gossip, random)
        self._collisions = Collisions(config.membership.join_timeout_s, config.gossip.accusations_max)
        # Authorities that were removed without leaving, oldest first: they may be the other side of a partition.
        self._lost: dict[str, None] = {}
        self.stage: Stage = NEW
        # Accused while a ballot was open: refuted when it is settled.
        self._contested = False
        self._steps = 0
        # By how much our time lags behind the caller's, seconds: the sum of the pauses of this process.
        self._skipped_s = 0.0
        self._now = 0.0
        self._deadline: float | None = None
        self._handlers: dict[type, Callable[[float, Any], None]] = {
            Start: self._on_start,
            Tick: self._on_tick,
            Received: self._on_received,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            DialFailed: self._on_dial_failed,
            AuthorityAnswered: self._on_authority_answered,
            LeaveRequested: self._on_leave_requested,
            Drained: self._on_drained,
            LoopLag: self._on_loop_lag,
            ResolveConflict: self._on_resolve_conflict,
            BlockNode: self._on_block,
            UnblockNode: self._on_unblock,
        }
        self._message_handlers: dict[type, Callable[[float, Received, Any], None]] = {
            JoinRequest: self._on_join_request,
            JoinAccepted: self._on_join_accepted,
            JoinRefused: self._on_join_refused,
            Probe: self._on_probe,
            ProbeAck: self._on_probe_ack,
            ProbeRequest: self._on_probe_request,
            ProbeResponse: self._on_probe_response,
            Gossip: self._on_marked(self._talk.on_gossip),
            GossipAck: self._on_marked(self._talk.on_ack),
            Digest: self._on_marked(self._talk.on_digest),
            FullTable: self._on_marked(self._talk.on_full_table),
            ViewVerdict: self._on_verdict,
        }

    # The one way in and out.

    def step(self, now: float, input: Input) -> list[Effect]:  # noqa: A002  the interface's word
        """Takes one input.

        Args:
            now: seconds, monotonic, suspend included; never falls.
            input: what happened.

        Returns:
            Effects, in the order in which to carry them out.

        Raises:
            IllegalTransition: the input is of an unknown type, or not possible now. Nothing changed.
        """
        handler = self._handlers.get(type(input))
        if handler is None:
            raise IllegalTransition(f"unknown input {type(input).__name__}", authority=self.member.authority)
        self._steps += 1
        self._outbox.open(f"n{self._steps}")
        at = self._advance_time(now)
        handler(at, input)
        self._run(at)
        self._deadline = self._earliest()
        return self._outbox.take()

    def next_deadline(self) -> float | None:
        """When a `Tick` is due at the latest, in the caller's time; None when only an input can change anything."""
        return None if self._deadline is None else self._deadline + self._skipped_s

    @property
    def topology(self) -> TopologySnapshot:
        """The latest snapshot."""
        return self._view.topology.latest

    @property
    def table(self) -> MembershipTable:
        """The merged table; not to be changed from outside."""
        return self._view.table

    @property
    def member(self) -> Member:
        """This node as it sees itself: its present incarnation and status."""
        return self._view.me

    @property
    def gossip_phase(self) -> str:
        """`diffusing`, `reconciling` or `confirmed`."""
        return self._view.engine.phase

    def check(self) -> None:
        """Asserts the invariants of all machines."""
        assert self.stage in STAGES
        self._view.check()
        self._joiner.check()
        self._leaver.check()
        self._collisions.check()
        if self.stage is MEMBER:
            assert self.member.status is MemberStatus.UP

    # Time.

    def _advance_time(self, now: float) -> float:
        at = max(self._now, now - self._skipped_s)
        if self._deadline is not None and now >= self._deadline + self._skipped_s:
            # Lest rounding put a tick that comes exactly in time just before its deadline, for ever.
            at = max(at, self._deadline)
        allowed_s = self._config.detection.lag_busy_s
        if self._deadline is not None and at - self._deadline > allowed_s:
            gap_s = at - self._deadline - allowed_s
            self._skipped_s += gap_s
            at -= gap_s
            if gap_s >= self._config.detection.lag_wedged_s:
                self._view.lag_s = gap_s
                self._view.detector.grant_grace(at)
                if self.stage is MEMBER and self._view.peers():
                    # We may have been removed meanwhile: nothing is refuted before the others were asked.
                    self._ballot.start(at)
                self._outbox.publish(NodePaused(gap_s=gap_s))
        self._now = self._view.now = max(self._now, at)
        return self._now

    def _earliest(self) -> float | None:
        if self.stage in (LEFT, FAILED, NEW):
            return None
        if self.stage is SEEKING:
            return self._joiner.next_deadline()
        view = self._view
        times = (
            view.table.next_deadline(),
            view.detector.next_deadline(),
            view.removal.next_deadline(),
            view.engine.next_deadline(),
            view.topology.next_deadline(),
            self._anti_entropy.next_deadline(),
            self._ballot.next_deadline(),
            self._leaver.next_deadline(),
        )
        return min((at for at in times if at is not None), default=None)

    def _run(self, now: float) -> None:
        """Gives every machine its turn. Deadlines that have not come cost a comparison each."""
        if self.stage is SEEKING:
            self._seek(now)
        if self.stage in (MEMBER, LEAVING):
            self._answer_for_self(now)
        if self.stage not in (MEMBER, LEAVING):
            return
        view = self._view
        for outcome in view.detector.poll(now):
            self._conclude(now, outcome)
        for authority in view.removal.due(now):
            self._remove(now, authority)
        self._hold_ballot(now)
        if self.stage in (MEMBER, LEAVING):
            self._gossip(now)
            self._progress_leave(now)
            self._publish_topology(now)
            due = view.table.next_deadline()
            if due is not None and due <= now:
                view.table.expire(now)

    def _publish_topology(self, now: float) -> None:
        view = self._view
        snapshot = view.topology.poll(now, view.table.version, view.table.live, view.table.blocks.blocked)
        if snapshot is not None:
            self._outbox.add(ApplyTopology(snapshot, self._outbox.cause))
            self._outbox.publish(TopologyChanged(snapshot=snapshot))

    def _gossip(self, now: float) -> None:
        view = self._view
        peers = view.peers()
        before = view.engine.phase
        for due in view.engine.poll(now, peers):
            if isinstance(due, Push):
                news = view.collect(len(due.targets), due.limit)
                for target in due.targets:
                    self._outbox.send(target, Gossip(view.mark(), news))
            elif due.full:
                self._talk.send_table(now, due.authority)
            else:
                self._talk.send_digest(now, due.authority)
        if before != view.engine.phase == "confirmed":
            elapsed_s = view.engine.clock.stop(now)
            if elapsed_s is not None:
                self._outbox.publish(ConvergenceReached(elapsed_s=elapsed_s, version=view.table.version))
        late_s = view.engine.clock.late(now)
        if late_s is not None:
            self._outbox.publish(ConvergenceDelayed(elapsed_s=late_s, behind=view.engine.behind))
        calls = self._anti_entropy.poll(now, peers, self._lost_authorities())
        for authority in (calls.peer, calls.lost):
            if authority:
                self._outbox.send(authority, Gossip(view.mark()))

    # Joining.

    def _on_start(self, now: float, start: Start) -> None:
        self._become(SEEKING)
        self._talk.seeds = start.seeds or self._config.seeds
        self._joiner.start(now, self._talk.seeds)

    def _on_tick(self, now: float, tick: Tick) -> None:
        """Nothing but time: `_run` follows every input."""

    def _seek(self, now: float) -> None:
        while (act := self._joiner.poll(now)) is not None:
            if isinstance(act, Ask):
                self._outbox.send(act.authority, JoinRequest(self.member))
            elif isinstance(act, Fail):
                self._become(FAILED)
                self._outbox.add(JoinFailed(act.code, act.reason, self._outbox.cause))
            else:
                up = with_status(self.member, MemberStatus.UP, max(1, self.member.incarnation))
                self._enter(now, up, "founded")

    def _enter(self, now: float, up: Member, reason: str) -> None:
        self._joiner.done()
        self._become(MEMBER)
        self._view.say(now, up, reason)
        self._view.own_changes.clear()
        self._view.topology.hurry(now)
        self._view.detector.start(now)
        self._anti_entropy.start(now)
        self._outbox.add(Joined(self._outbox.cause))

    def _on_join_request(self, now: float, received: Received, request: JoinRequest) -> None:
        joiner = request.member
        answer = self._judge_joiner(now, received, joiner)
        if isinstance(answer, JoinRefused):
            self._outbox.send(received.authority, answer)
            return
        if isinstance(answer, Admit):
            self._view.say(now, answer.member, "admitted")
            self._collisions.settled(joiner.authority)
        accepted = JoinAccepted(answer.member, self._view.table.snapshot(now))
        self._outbox.send(received.authority, accepted)

    def _judge_joiner(self, now: float, received: Received, joiner: Member) -> Any:
        if (joiner.authority, joiner.node_id) != (received.authority, received.node_id):
            return JoinRefused("identity_mismatch", "the request names another node than its connection", False)
        if joiner.authority == self.member.authority:
            self._report_collision(now, joiner, self.member, alive=True)
            reason = f"{joiner.authority} is the authority of this node"
            return JoinRefused("authority_in_use", reason, False, self.member.node_id)
        if self.stage is not MEMBER:
            return JoinRefused("not_a_member", f"this node is {self.stage}", True)
        answer = examine(self._view.table, joiner, self._config.membership.members_max, self._is_dead)
        if isinstance(answer, JoinRefused) and answer.code == "authority_collision":
            holder = self._view.table.get(joiner.authority)
            if holder is not None and self._report_collision(now, joiner, holder, alive=False):
                reason = f"{joiner.authority} belongs to node {holder.node_id}, which is alive"
                return JoinRefused("authority_in_use", reason, False, holder.node_id)
        return answer

    def _report_collision(self, now: float, joiner: Member, holder: Member, alive: bool) -> bool:
        """Tells of a collision once per claimant and has the holder checked; True when it is known to be alive."""
        fresh, answered = self._collisions.claim(now, joiner.authority, joiner.node_id)
        if fresh:
            event = AuthorityCollision(
                authority=joiner.authority,
                node_id=holder.node_id,
                claimed_by=joiner.node_id,
                reason="a second node claims the authority of a member",
            )
            self._outbox.publish(event)
        if not alive:
            self._view.detector.prober.urge(joiner.authority)
        return answered

    def _is_dead(self, member: Member) -> bool:
        return self._view.detector.evidence.proves_death(member.authority, member.node_id)

    def _on_join_accepted(self, now: float, received: Received, accepted: JoinAccepted) -> None:
        mine = accepted.member.node_id == self.member.node_id and accepted.member.authority == self.member.authority
        if not mine or not self._joiner.awaits(received.authority):
            return
        self._view.merge(now, accepted.table)
        record = self._view.table.get(self.member.authority)
        if record is None or record.node_id != self.member.node_id or record.status > MemberStatus.UP:
            return
        if record.status is MemberStatus.UP:
            # A repeated acceptance of a life that we had left: one above it is ours.
            record = with_status(record, record.status, record.incarnation + 1)
        self._enter(now, with_status(record, MemberStatus.UP), "joined")

    def _on_join_refused(self, now: float, received: Received, refused: JoinRefused) -> None:
        self._joiner.refused(now, received.authority, refused)

    # Being spoken of.

    def _answer_for_self(self, now: float) -> None:
        """Answers what others have said about this node."""
        view = self._view
        changes, view.own_changes = view.own_changes, []
        for change in changes:
            after = change.after
            if after == self.member or after.incarnation < self.member.incarnation:
                continue
            if after.node_id != self.member.node_id:
                self._lose_place(now, after, "replaced")
                return
            if after.status is MemberStatus.REMOVED:
                if self.stage is MEMBER:
                    self._lose_place(now, after, change.entry.reason)
                    return
                view.me = after
            elif after.status is MemberStatus.UNREACHABLE:
                self._ballot.start(now)
            elif after.incarnation > self.member.incarnation and self.stage is MEMBER:
                view.say(now, with_status(self.member, self.member.status, after.incarnation + 1), "readmitted")
                view.own_changes.clear()
        if view.accused:
            view.accused = False
            if self._ballot.open:
                self._contested = True
            else:
                view.detector.health.worse()
                self._refute(now, "refuted")

    def _refute(self, now: float, reason: str) -> None:
        """Answers with a higher incarnation, which only the subject may do."""
        if self.member.status is MemberStatus.REMOVED:
            return
        record = self._view.table.get(self.member.authority)
        known = self.member.incarnation if record is None else max(record.incarnation, self.member.incarnation)
        self._view.say(now, with_status(self.member, self.member.status, known + 1), reason)
        self._view.own_changes.clear()

    def _hold_ballot(self, now: float) -> None:
        """Unreachable by our own table: asks seeds and others, and refutes once they hear us (SPEC CL-7.3)."""
        if not self._ballot.open:
            return
        others = self._view.peers()
        if self._ballot.asks(now):
            for authority in others:
                self._view.detector.prober.urge(authority)
        outcome = self._ballot.outcome(now, others, self._talk.seeds)
        if not outcome:
            return
        self._ballot.stop()
        record = self._view.table.get(self.member.authority)
        unreachable = record is not None and record.status is MemberStatus.UNREACHABLE
        if outcome == "isolated" and unreachable:
            self._lose_place(now, self.member, "isolated")
        elif unreachable or self._contested:
            self._refute(now, f"heard by {outcome}")
        self._contested = False

    def _on_verdict(self, now: float, received: Received, verdict: ViewVerdict) -> None:
        if self.stage is MEMBER and self._talk.yields_to(now, received, verdict):
            self._lose_place(now, verdict.member, "view refused", received.authority)

    def _lose_place(self, now: float, record: Member, reason: str, towards: str = "") -> None:
        """Others have removed us: stop what runs here, forget the table, join again as a new incarnation."""
        view = self._view
        others = tuple(member.authority for member in view.others())
        gone = with_status(self.member, MemberStatus.REMOVED)
        self._outbox.publish(SelfRemoved(member=gone, reason=reason))
        self._outbox.add(StopActivations(reason, self._outbox.cause))
        least = max(self.member.incarnation, record.incarnation) + 1
        view.me = with_status(self.member, MemberStatus.JOINING, least)
        view.reset(now)
        self._ballot.stop()
        self._anti_entropy.stop()
        self._lost.clear()
        self._become(SEEKING)
        contacts = (towards, *others) if towards else others
        self._joiner.start(now, self._talk.seeds, contacts, again=True)
        self._seek(now)

    # Speaking of others.

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
        if isinstance(outcome, Carried):
            if member.status < MemberStatus.UNREACHABLE and member.incarnation <= suspicion.incarnation:
                voices = tuple(suspicion.voices)
                view.say(now, with_status(member, MemberStatus.UNREACHABLE), suspicion.reason, voices)
        else:
            view.engine.rumours.forget_accused(suspicion.node_id)
            self._outbox.publish(SuspicionCleared(member=member, reason="not confirmed"))

    def _remove(self, now: float, authority: str) -> None:
        entry = self._view.table.entry(authority)
        if entry is not None and entry.member.status is MemberStatus.UNREACHABLE:
            removed = with_status(entry.member, MemberStatus.REMOVED)
            self._view.say(now, removed, entry.reason, entry.voices)

    def _lost_authorities(self) -> tuple[str, ...]:
        view = self._view
        for authority in view.drain_lost():
            if len(self._lost) >= self._config.membership.members_max:
                del self._lost[next(iter(self._lost))]
            self._lost[authority] = None
            self._anti_entropy.seek(self._now)
        candidates = dict.fromkeys((*self._talk.seeds, *self._lost))
        lost = []
        for authority in candidates:
            record = view.table.get(authority)
            if is_live(record):
                self._lost.pop(authority, None)
            elif record is None and authority not in self._talk.seeds:
                # Its tombstone is forgotten, and so is the hope for it.
                self._lost.pop(authority, None)
            elif authority != self.member.authority:
                lost.append(authority)
        return tuple(lost)

    # Leaving.

    def _on_leave_requested(self, now: float, request: LeaveRequested) -> None:
        if self.stage in (NEW, SEEKING):
            self._finish_leave()
        elif self.stage is MEMBER:
            self._become(LEAVING)
            self._ballot.stop()
            self._view.say(now, with_status(self._current(), MemberStatus.LEAVING), "left")
            self._view.own_changes.clear()
            self._leaver.start(now, request.hold_s)

    def _current(self) -> Member:
        """This node under an incarnation that no word of others outdoes."""
        record = self._view.table.get(self.member.authority)
        outdone = record is not None and record != self.member
        if record is not None and outdone:
            return with_status(self.member, self.member.status, record.incarnation + 1)
        return self.member

    def _on_drained(self, now: float, drained: Drained) -> None:
        self._leaver.drained(now)

    def _progress_leave(self, now: float) -> None:
        if self.stage is not LEAVING:
            return
        if self._view.engine.agrees(self._view.peers()):
            self._leaver.told()
        if self._leaver.may_remove(now):
            if self.member.status is not MemberStatus.REMOVED:
                current = self._current()
                if current.incarnation != self.member.incarnation:
                    self._refute(now, "left")
                self._view.say(now, with_status(self.member, MemberStatus.REMOVED), "left")
                self._view.own_changes.clear()
            self._leaver.removing(now)
            self._gossip(now)
        if self._leaver.may_go(now) or (self._leaver.phase == "telling" and not self._view.peers()):
            self._finish_leave()

    def _finish_leave(self) -> None:
        self._become(LEFT)
        self._view.detector.stop()
        self._anti_entropy.stop()
        self._leaver.gone()
        self._outbox.add(Left(self._outbox.cause))

    # Messages.

    def _on_received(self, now: float, received: Received) -> None:
        handler = self._message_handlers.get(type(received.message))
        if handler is None:
            raise IllegalTransition(f"unknown message {type(received.message).__name__}", authority=received.authority)
        membership = self._config.membership
        problem = within_bounds(received.message, membership.members_max + membership.tombstones_max)
        if problem:
            self._outbox.add(CloseConnection(received.authority, problem, self._outbox.cause))
        elif self.stage not in (NEW, LEFT, FAILED):
            handler(now, received, received.message)

    def _may_talk(self, now: float, received: Received) -> bool:
        if self.stage not in (MEMBER, LEAVING):
            return False
        mark = received.message.mark  # type: ignore[union-attr]
        if not self._talk.admits(now, received, mark):
            return False
        member = self._view.table.get(received.authority)
        if member is not None and member.node_id == received.node_id:
            self._view.detector.evidence.heard(now, received.authority, received.node_id, mark.lag_s)
        return True

    def _on_marked(
        self, handler: Callable[[float, Received, Any], None]
    ) -> Callable[[float, Received, Any], None]:
        def guarded(now: float, received: Received, message: Any) -> None:
            if self._may_talk(now, received):
                handler(now, received, message)

        return guarded

    def _on_probe(self, now: float, received: Received, probe: Probe) -> None:
        if self._may_talk(now, received):
            self._talk.on_news(now, received, probe.mark, probe.news)
            self._view.detector.on_probe(received, probe)

    def _on_probe_ack(self, now: float, received: Received, ack: ProbeAck) -> None:
        if self._may_talk(now, received):
            if self._view.detector.on_ack(received, ack):
                self._ballot.vote(received.authority)
                self._collisions.answered(received.authority)
            self._talk.on_news(now, received, ack.mark, ack.news)

    def _on_probe_request(self, now: float, received: Received, request: ProbeRequest) -> None:
        if self._may_talk(now, received):
            self._view.detector.on_request(now, received, request)

    def _on_probe_response(self, now: float, received: Received, response: ProbeResponse) -> None:
        if self.stage in (MEMBER, LEAVING):
            self._view.detector.on_response(response)

    # Evidence and operators.

    def _on_connected(self, now: float, connected: Connected) -> None:
        member = self._view.table.get(connected.authority)
        if member is None or not is_live(member) or member.node_id == connected.node_id:
            self._view.detector.evidence.connected(now, connected.authority, connected.node_id)

    def _on_disconnected(self, now: float, disconnected: Disconnected) -> None:
        member = self._view.table.get(disconnected.authority)
        if member is not None and member.node_id == disconnected.node_id and is_live(member):
            evidence = self._view.detector.evidence
            evidence.disconnected(disconnected.authority, disconnected.node_id, disconnected.reason)
            # A probe makes the driver dial again, and what comes of that tells a dead process from a lost packet.
            self._view.detector.prober.urge(disconnected.authority)

    def _on_dial_failed(self, now: float, failed: DialFailed) -> None:
        self._joiner.dial_failed(now, failed.authority, failed.reason)
        if self.stage in (MEMBER, LEAVING):
            self._view.detector.dial_failed(now, failed.authority, failed.reason)

    def _on_authority_answered(self, now: float, answered: AuthorityAnswered) -> None:
        member = self._view.table.get(answered.authority)
        if self.stage is not MEMBER or member is None or not is_live(member):
            return
        evidence = self._view.detector.evidence
        if evidence.answered(answered.authority, answered.node_id, member.node_id):
            # Two nodes cannot hold one port: proof, not a voice.
            voices = (self.member.node_id,)
            self._view.say(now, with_status(member, MemberStatus.REMOVED), "replaced", voices)
            self._collisions.settled(answered.authority)

    def _on_loop_lag(self, now: float, lag: LoopLag) -> None:
        self._view.lag_s = lag.lag_s
        if lag.lag_s >= self._config.detection.lag_busy_s:
            self._view.detector.health.worse()

    def _on_resolve_conflict(self, now: float, resolve: ResolveConflict) -> None:
        member = self._view.table.get(resolve.authority)
        if self.stage is not MEMBER or member is None or member.authority == self.member.authority:
            raise IllegalTransition("there is no conflict with that authority", authority=resolve.authority)
        if resolve.keep:
            self._talk.tell_verdict(now, member, rule="operator")
        else:
            self._lose_place(now, self.member, "operator", resolve.authority)

    def _on_block(self, now: float, block: BlockNode) -> None:
        self._view.block(now, block.authority, blocked=True)

    def _on_unblock(self, now: float, unblock: UnblockNode) -> None:
        self._view.block(now, unblock.authority, blocked=False)

    def _become(self, stage: Stage) -> None:
        if stage not in STAGES[self.stage]:
            raise IllegalTransition(f"a node cannot go from {self.stage} to {stage}", authority=self.member.authority)
        self.stage = stage
