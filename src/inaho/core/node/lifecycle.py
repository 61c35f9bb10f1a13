"""The life of this node: finding the cluster, refuting accusations, rejoining after a removal, leaving.

There is one stage at a time, from a table. What others state about this node arrives as changes of its own record. If
they are wrong, it refutes; if they are right, it joins again under a new generation. A node is up in one generation
only: the end of a generation stops its activations before the next one begins.
"""

from __future__ import annotations

from typing import Final

from inaho.config import ClusterConfig
from inaho.core.effects import Joined, JoinFailed, Left, Outbox, StopActivations
from inaho.core.gossip.anti_entropy import AntiEntropy
from inaho.core.gossip.conflicts import SelfBallot
from inaho.core.inputs import Received
from inaho.core.membership.incarnation import GENERATION_MAX, first_of, generation_of, next_generation, refuting
from inaho.core.membership.join import Ask, Fail, Joiner
from inaho.core.membership.leave import Leaver
from inaho.core.membership.member import is_live, with_status
from inaho.core.messages import JoinAccepted, JoinRequest, ViewVerdict
from inaho.core.node.exchange import Exchange
from inaho.core.node.view import ClusterView
from inaho.errors import IllegalTransition
from inaho.events import SelfRemoved
from inaho.types import Member, MemberStatus

__all__ = ["FAILED", "LEAVING", "LEFT", "MEMBER", "NEW", "SEEKING", "STAGES", "Lifecycle", "Stage"]

Stage = str
NEW: Final[Stage] = "new"
SEEKING: Final[Stage] = "seeking"
MEMBER: Final[Stage] = "member"
LEAVING: Final[Stage] = "leaving"
LEFT: Final[Stage] = "left"
FAILED: Final[Stage] = "failed"

REGISTRATIONS: Final = 2
"""A node that founds by a record waits for the expiry of registrations so many times as long as they last."""

STAGES: Final[dict[Stage, tuple[Stage, ...]]] = {
    NEW: (SEEKING, LEFT),
    SEEKING: (MEMBER, FAILED, LEFT),
    MEMBER: (LEAVING, SEEKING),
    LEAVING: (LEFT,),
    LEFT: (),
    FAILED: (),
}


class Lifecycle:
    """The life of one node.

    Args:
        config: of the cluster.
        view: of this node.
        exchange: sends verdicts.
        anti_entropy: runs while this node is a member.
        outbox: takes the effects.
    """

    def __init__(
        self, config: ClusterConfig, view: ClusterView, exchange: Exchange, anti_entropy: AntiEntropy, outbox: Outbox
    ) -> None:
        self._config = config
        self._view = view
        self._exchange = exchange
        self._anti_entropy = anti_entropy
        self._outbox = outbox
        self.joiner = Joiner(view.me.authority, config.membership)
        self.joiner.held = not view.overlay.may_join(view.me.node_id)
        self.leaver = Leaver(config.gossip.convergence_s)
        self.ballot = SelfBallot(2 * config.detection.probe_timeout_s, config.membership.remove_unreachable_after_s)
        self.stage: Stage = NEW
        # Accused while a ballot was open: refuted when the ballot is decided.
        self._contested = False
        # This process has paused; nodes that removed it meanwhile will have sent that by this time.
        self._doubtful_until = 0.0
        self._by_record = False

    # Joining.

    def start(self, now: float, seeds: tuple[str, ...], *, by_record: bool = False) -> None:
        """Begins to look for the cluster; arguments as in `inputs.Start`."""
        if self.stage is not NEW:
            raise IllegalTransition(f"a node that is {self.stage} cannot start", authority=self._view.me.authority)
        self._become(SEEKING)
        self._exchange.seeds = seeds or self._config.seeds
        self._by_record = by_record
        # Dead members may be listed until their registrations expire; some back ends keep them for twice their time.
        patience_s = REGISTRATIONS * self._config.provisioning.ttl_s if by_record else 0.0
        self.joiner.start(now, self._exchange.seeds, by_record=by_record, patience_s=patience_s)

    def discovered(self, now: float, authorities: tuple[str, ...]) -> None:
        """The provider in use lists these: contacts of a search, and authorities that a member contacts."""
        known = frozenset(self._view.discovered)
        self._view.discovered = authorities
        self.joiner.discovered(now, authorities)
        if any(authority not in known and not is_live(self._view.table.get(authority)) for authority in authorities):
            self._anti_entropy.seek(now)

    def listed(self, now: float, members: tuple[Member, ...]) -> None:
        """The provider that is the membership lists these: a node that is not among them is no member."""
        view = self._view
        if not view.overlay.decides:
            return
        view.listed(now, members)
        self.joiner.held = not view.overlay.may_join(view.me.node_id)
        if self.joiner.held and self.stage in (MEMBER, LEAVING):
            self.lose_place(now, view.me, "not listed")

    def seek(self, now: float) -> None:
        """Continues the search for the cluster."""
        while (act := self.joiner.poll(now)) is not None:
            if isinstance(act, Ask):
                self._outbox.send(act.authority, JoinRequest(self._view.me))
            elif isinstance(act, Fail):
                self._become(FAILED)
                self._outbox.add(JoinFailed(act.code, act.reason, self._outbox.cause))
            else:
                # Drops what an acceptance that did not apply has left: a founder knows no other member.
                self._view.reset(now)
                up = with_status(self._view.me, MemberStatus.UP, max(first_of(1), self._view.me.incarnation))
                self._enter(now, up, "founded")

    def _enter(self, now: float, up: Member, reason: str) -> None:
        self.joiner.done()
        self._become(MEMBER)
        self._view.make_statement(now, up, reason)
        self._view.own_changes.clear()
        self._view.topology.hurry(now)
        self._view.detector.start(now)
        self._anti_entropy.start(now)
        self._outbox.add(Joined(self._outbox.cause, reason == "founded"))

    def accepted(self, now: float, received: Received, accepted: JoinAccepted) -> None:
        """A contact admitted this node: takes its table, and becomes a member."""
        mine = accepted.member.node_id == self._view.me.node_id and accepted.member.authority == self._view.me.authority
        if not mine or self.joiner.held or not self.joiner.awaits(received.authority, received.node_id):
            return
        self._view.adopt(now, accepted.table)
        record = self._view.table.get(self._view.me.authority)
        if record is None or record.node_id != self._view.me.node_id:
            return
        if not generation_of(self._view.me.incarnation) <= generation_of(record.incarnation) < GENERATION_MAX:
            return
        if record.status is not MemberStatus.JOINING:
            # This node was removed before it could take its place: the next generation must be above this one.
            self._view.me = with_status(self._view.me, MemberStatus.JOINING, next_generation(record.incarnation))
            return
        self._enter(now, with_status(record, MemberStatus.UP), "joined")

    # Statements about this node.

    def answer_for_self(self, now: float) -> None:
        """Answers what others have stated about this node."""
        view = self._view
        changes, view.own_changes = view.own_changes, []
        for change in changes:
            after = change.after
            ahead = generation_of(after.incarnation) - generation_of(view.me.incarnation)
            if after == view.me or ahead < 0:
                continue
            if after.node_id != view.me.node_id:
                self.lose_place(now, after, "replaced")
                return
            if ahead > 0:
                # A member admitted this node again, after a removal or by a late request. This generation is over in
                # both cases.
                self.lose_place(now, after, "readmitted")
                return
            if after.status is MemberStatus.REMOVED:
                if self.stage is MEMBER:
                    self.lose_place(now, after, change.entry.reason)
                    return
                view.me = after
            elif after.status is MemberStatus.UNREACHABLE:
                self.ballot.start(now)
            elif after.incarnation > view.me.incarnation or after.status is MemberStatus.UP:
                # A refutation or a description that this node did not make: it makes the next one.
                self._refute(now, "refuted")
        if view.contested:
            # One node reports that this node is no member. It asks the others, and answers once they confirm that they
            # hear it.
            view.contested = False
            self.ballot.start(now)
            self._contested = True
        if view.accused:
            view.accused = False
            if self.ballot.open:
                self._contested = True
            else:
                view.detector.health.worse()
                self._refute(now, "refuted")

    def _refute(self, now: float, reason: str) -> None:
        """Answers with a higher incarnation of this generation, which only the subject may do."""
        if self._view.me.status is MemberStatus.REMOVED:
            return
        record = self._view.table.get(self._view.me.authority)
        known = self._view.me.incarnation if record is None else max(record.incarnation, self._view.me.incarnation)
        doubted = now < self._doubtful_until or (record is not None and record.status is MemberStatus.UNREACHABLE)
        if doubted and not self._view.overlay.lists(self._view.me.node_id):
            # Others owned the activations of this node meanwhile, and may have saved newer state. After a pause an
            # accusation means the same: once it is refuted, its consequences will not be sent any more.
            self._doubtful_until = 0.0
            self._outbox.add(StopActivations("unreachable", self._outbox.cause))
        self._view.make_statement(now, with_status(self._view.me, self._view.me.status, refuting(known)), reason)
        self._view.own_changes.clear()

    def hold_ballot(self, now: float) -> None:
        """Unreachable by its own table: asks seeds and others, and refutes once they hear this node (SPEC CL-7.3)."""
        if not self.ballot.open:
            return
        others = self._view.peers()
        if self.ballot.asks(now):
            for authority in others:
                self._view.detector.prober.urge(authority)
        outcome = self.ballot.outcome(now, others, self._exchange.seeds)
        if not outcome:
            return
        self.ballot.stop()
        record = self._view.table.get(self._view.me.authority)
        unreachable = record is not None and record.status is MemberStatus.UNREACHABLE
        if outcome == "isolated" and unreachable and not self._view.overlay.lists(self._view.me.node_id):
            self.lose_place(now, self._view.me, "isolated")
        elif unreachable or self._contested:
            self._refute(now, f"heard by {outcome}")
        self._contested = False

    def on_verdict(self, now: float, received: Received, verdict: ViewVerdict) -> None:
        """Handles a verdict that this node is no member in a peer's view: decides which view holds."""
        if self.stage is MEMBER and self._exchange.yields_to(now, received, verdict):
            self.lose_place(now, verdict.member, "view refused", received.authority)

    def after_pause(self, now: float) -> None:
        """Handles a pause of this process: it may have been removed, so it asks before it refutes."""
        if self.stage is MEMBER and self._view.peers():
            self.ballot.start(now)
            self._doubtful_until = now + self._config.membership.remove_unreachable_after_s

    def lose_place(self, now: float, record: Member, reason: str, towards: str = "") -> None:
        """Others removed this node: stops its activations, forgets the table, joins again under a new generation."""
        if self.stage is LEAVING:
            # This node was leaving, so it does not join again.
            self._outbox.add(StopActivations(reason, self._outbox.cause))
            self._finish_leave()
            return
        view = self._view
        others = tuple(member.authority for member in view.others())
        gone = with_status(self._view.me, MemberStatus.REMOVED)
        self._outbox.publish(SelfRemoved(member=gone, reason=reason))
        self._outbox.add(StopActivations(reason, self._outbox.cause))
        least = next_generation(max(self._view.me.incarnation, record.incarnation))
        view.me = with_status(self._view.me, MemberStatus.JOINING, least)
        view.reset(now)
        self._exchange.reset_verdicts()
        self.ballot.stop()
        self._doubtful_until = 0.0
        self._anti_entropy.stop()
        self._become(SEEKING)
        contacts = (towards, *others) if towards else others
        self.joiner.start(now, self._exchange.seeds, contacts, again=True, by_record=self._by_record)
        self.seek(now)

    # Leaving.

    def leave(self, now: float, hold_s: float) -> None:
        """Begins to leave; activations may drain for `hold_s` seconds."""
        if self.stage in (NEW, SEEKING):
            self._finish_leave()
        elif self.stage is MEMBER:
            self._become(LEAVING)
            self.ballot.stop()
            self._view.make_statement(now, with_status(self._current(), MemberStatus.LEAVING), "left")
            self._view.own_changes.clear()
            self.leaver.start(now, hold_s)

    def _current(self) -> Member:
        """This node under an incarnation that no statement of others exceeds."""
        record = self._view.table.get(self._view.me.authority)
        outdone = record is not None and record != self._view.me
        if record is not None and outdone:
            return with_status(self._view.me, self._view.me.status, refuting(record.incarnation))
        return self._view.me

    def progress_leave(self, now: float) -> None:
        """Continues the leave, as far as others have acknowledged it."""
        if self.stage is not LEAVING:
            return
        if self._view.engine.agrees(self._view.peers()):
            self.leaver.told()
        if self.leaver.may_remove(now):
            if self._view.me.status is not MemberStatus.REMOVED:
                current = self._current()
                if current.incarnation != self._view.me.incarnation:
                    self._refute(now, "left")
                self._view.make_statement(now, with_status(self._view.me, MemberStatus.REMOVED), "left")
                self._view.own_changes.clear()
            self.leaver.removing(now)
        if self.leaver.may_go(now) or (self.leaver.phase == "telling" and not self._view.peers()):
            self._finish_leave()

    def _finish_leave(self) -> None:
        self._become(LEFT)
        self._view.detector.stop()
        self._anti_entropy.stop()
        self.leaver.gone()
        self._outbox.add(Left(self._outbox.cause))

    def _become(self, stage: Stage) -> None:
        if stage not in STAGES[self.stage]:
            raise IllegalTransition(f"a node cannot go from {self.stage} to {stage}", authority=self._view.me.authority)
        self.stage = stage

    def next_deadline(self) -> float | None:
        """When one of the parts has something to do."""
        if self.stage is SEEKING:
            return self.joiner.next_deadline()
        ask_at, go_at = self.ballot.next_deadline(), self.leaver.next_deadline()
        if ask_at is None or go_at is None:
            return go_at if ask_at is None else ask_at
        return min(ask_at, go_at)

    def check(self) -> None:
        """Asserts the invariants."""
        assert self.stage in STAGES
        self.joiner.check()
        self.leaver.check()
        if self.stage is MEMBER:
            me = self._view.me
            record = self._view.table.get(me.authority)
            assert me.status is MemberStatus.UP
            assert record is not None and record.node_id == me.node_id
            assert record.status is not MemberStatus.REMOVED
            assert generation_of(record.incarnation) == generation_of(me.incarnation)
