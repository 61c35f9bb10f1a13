"""The life of this node: finding the cluster, refuting accusations, rejoining after a removal, leaving.

One stage at a time, from a table. What others say about this node arrives as changes of its own record; the answer is
a refutation when they are wrong, and a fresh start under a new generation when they are right. A node is up in one
generation only: whatever ends that one stops its activations before the next begins.
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
from inaho.core.membership.member import with_status
from inaho.core.messages import JoinAccepted, JoinRequest, ViewVerdict
from inaho.core.node.exchange import Conversation
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
        view: what it speaks from.
        talk: for verdicts.
        anti_entropy: runs while this node is a member.
        outbox: where effects go.
    """

    def __init__(
        self, config: ClusterConfig, view: ClusterView, talk: Conversation, anti_entropy: AntiEntropy, outbox: Outbox
    ) -> None:
        self._config = config
        self._view = view
        self._talk = talk
        self._anti_entropy = anti_entropy
        self._outbox = outbox
        self.joiner = Joiner(view.me.authority, config.membership)
        self.leaver = Leaver(config.gossip.convergence_s)
        self.ballot = SelfBallot(2 * config.detection.probe_timeout_s, config.membership.remove_unreachable_after_s)
        self.stage: Stage = NEW
        # Accused while a ballot was open: refuted when it is settled.
        self._contested = False
        # This process has paused, and who went on without it will have said so by then.
        self._doubtful_until = 0.0

    # Joining.

    def start(self, now: float, seeds: tuple[str, ...]) -> None:
        """Begins to look for the cluster."""
        if self.stage is not NEW:
            raise IllegalTransition(f"a node that is {self.stage} cannot start", authority=self._view.me.authority)
        self._become(SEEKING)
        self._talk.seeds = seeds or self._config.seeds
        self.joiner.start(now, self._talk.seeds)

    def seek(self, now: float) -> None:
        """Goes on looking."""
        while (act := self.joiner.poll(now)) is not None:
            if isinstance(act, Ask):
                self._outbox.send(act.authority, JoinRequest(self._view.me))
            elif isinstance(act, Fail):
                self._become(FAILED)
                self._outbox.add(JoinFailed(act.code, act.reason, self._outbox.cause))
            else:
                # Whatever an acceptance that did not apply has left: who founds knows nobody.
                self._view.reset(now)
                up = with_status(self._view.me, MemberStatus.UP, max(first_of(1), self._view.me.incarnation))
                self._enter(now, up, "founded")

    def _enter(self, now: float, up: Member, reason: str) -> None:
        self.joiner.done()
        self._become(MEMBER)
        self._view.say(now, up, reason)
        self._view.own_changes.clear()
        self._view.topology.hurry(now)
        self._view.detector.start(now)
        self._anti_entropy.start(now)
        self._outbox.add(Joined(self._outbox.cause, reason == "founded"))

    def accepted(self, now: float, received: Received, accepted: JoinAccepted) -> None:
        """A contact admitted us: take its table, and be up."""
        mine = accepted.member.node_id == self._view.me.node_id and accepted.member.authority == self._view.me.authority
        if not mine or not self.joiner.awaits(received.authority, received.node_id):
            return
        self._view.adopt(now, accepted.table)
        record = self._view.table.get(self._view.me.authority)
        if record is None or record.node_id != self._view.me.node_id:
            return
        if not generation_of(self._view.me.incarnation) <= generation_of(record.incarnation) < GENERATION_MAX:
            return
        if record.status is not MemberStatus.JOINING:
            # The life for which we were accepted is over before it began: the next one must be above it.
            self._view.me = with_status(self._view.me, MemberStatus.JOINING, next_generation(record.incarnation))
            return
        self._enter(now, with_status(record, MemberStatus.UP), "joined")

    # Being spoken of.

    def answer_for_self(self, now: float) -> None:
        """Answers what others have said about this node."""
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
                # Somebody admitted us anew, which takes a removal or a late request; this life is over either way.
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
                # A refutation or a description that was not ours: only the next one is.
                self._refute(now, "refuted")
        if view.contested:
            # One says that we have no place. We ask the others, and answer when we know that they hear us.
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
        if now < self._doubtful_until or (record is not None and record.status is MemberStatus.UNREACHABLE):
            # Others owned meanwhile what runs here, and may have saved more since than it knows. After a pause an
            # accusation tells as much: what followed from it will not come any more, once this has answered it.
            self._doubtful_until = 0.0
            self._outbox.add(StopActivations("unreachable", self._outbox.cause))
        self._view.say(now, with_status(self._view.me, self._view.me.status, refuting(known)), reason)
        self._view.own_changes.clear()

    def hold_ballot(self, now: float) -> None:
        """Unreachable by our own table: asks seeds and others, and refutes once they hear us (SPEC CL-7.3)."""
        if not self.ballot.open:
            return
        others = self._view.peers()
        if self.ballot.asks(now):
            for authority in others:
                self._view.detector.prober.urge(authority)
        outcome = self.ballot.outcome(now, others, self._talk.seeds)
        if not outcome:
            return
        self.ballot.stop()
        record = self._view.table.get(self._view.me.authority)
        unreachable = record is not None and record.status is MemberStatus.UNREACHABLE
        if outcome == "isolated" and unreachable:
            self.lose_place(now, self._view.me, "isolated")
        elif unreachable or self._contested:
            self._refute(now, f"heard by {outcome}")
        self._contested = False

    def judged(self, now: float, received: Received, verdict: ViewVerdict) -> None:
        """A peer has no place for us in its view: settle whose view holds."""
        if self.stage is MEMBER and self._talk.yields_to(now, received, verdict):
            self.lose_place(now, verdict.member, "view refused", received.authority)

    def doubt(self, now: float) -> None:
        """This process did not run for a while and may have been removed: ask before anything is refuted."""
        if self.stage is MEMBER and self._view.peers():
            self.ballot.start(now)
            self._doubtful_until = now + self._config.membership.remove_unreachable_after_s

    def lose_place(self, now: float, record: Member, reason: str, towards: str = "") -> None:
        """Others have removed us: stop what runs here, forget the table, join again under a new generation."""
        if self.stage is LEAVING:
            # We were on our way out; there is nothing to come back for.
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
        self._talk.begin_anew()
        self.ballot.stop()
        self._doubtful_until = 0.0
        self._anti_entropy.stop()
        self._become(SEEKING)
        contacts = (towards, *others) if towards else others
        self.joiner.start(now, self._talk.seeds, contacts, again=True)
        self.seek(now)

    # Leaving.

    def leave(self, now: float, hold_s: float) -> None:
        """Begins to leave; work may drain for `hold_s` seconds."""
        if self.stage in (NEW, SEEKING):
            self._finish_leave()
        elif self.stage is MEMBER:
            self._become(LEAVING)
            self.ballot.stop()
            self._view.say(now, with_status(self._current(), MemberStatus.LEAVING), "left")
            self._view.own_changes.clear()
            self.leaver.start(now, hold_s)

    def _current(self) -> Member:
        """This node under an incarnation that no word of others outdoes."""
        record = self._view.table.get(self._view.me.authority)
        outdone = record is not None and record != self._view.me
        if record is not None and outdone:
            return with_status(self._view.me, self._view.me.status, refuting(record.incarnation))
        return self._view.me

    def progress_leave(self, now: float) -> None:
        """Goes on leaving, as far as others have been told."""
        if self.stage is not LEAVING:
            return
        if self._view.engine.agrees(self._view.peers()):
            self.leaver.told()
        if self.leaver.may_remove(now):
            if self._view.me.status is not MemberStatus.REMOVED:
                current = self._current()
                if current.incarnation != self._view.me.incarnation:
                    self._refute(now, "left")
                self._view.say(now, with_status(self._view.me, MemberStatus.REMOVED), "left")
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
