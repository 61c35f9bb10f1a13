"""Failure detection of one node: combines probes, suspicions, evidence from connections and local health.

It returns its conclusions as outcomes (`Accused`, `Confirmed`, `Lapsed`); the node decides what happens to the member.
Unreachable members are still probed, so that a member that is back learns the accusations and refutes.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from inaho.config import DetectionConfig
from inaho.core.detection.evidence import Evidence
from inaho.core.detection.health import LocalHealth
from inaho.core.detection.probe import DIRECT, Outstanding, Prober
from inaho.core.detection.suspicion import Suspicion, Suspicions
from inaho.core.effects import Outbox
from inaho.core.inputs import RandomSource, Received
from inaho.core.messages import Accusation, Mark, News, Probe, ProbeAck, ProbeRequest, ProbeResponse
from inaho.types import Member, MemberStatus

__all__ = ["Accused", "Confirmed", "Detector", "Lapsed", "Outcome", "Surroundings"]

GRACE_INTERVALS = 3
JOINING_INTERVALS = 10
"""A joiner whose acceptance was lost answers no probe until it asks again."""


class Accused(msgspec.Struct, frozen=True):
    """An accusation by a new source: to be passed on."""

    accusation: Accusation
    first: bool


class Confirmed(msgspec.Struct, frozen=True):
    """There was enough time and there are enough sources: the member is unreachable."""

    suspicion: Suspicion


class Lapsed(msgspec.Struct, frozen=True):
    """No second source in time: the suspicion is dropped."""

    suspicion: Suspicion


Outcome = Accused | Confirmed | Lapsed


class Surroundings(Protocol):
    """What detection reads of the node, and what it sends along with probes."""

    def others(self) -> tuple[Member, ...]:
        """Live members but this node."""
        ...

    def get(self, authority: str) -> Member | None:
        """The record of an authority."""
        ...

    def mark(self) -> Mark:
        """The mark of this node."""
        ...

    def piggyback(self, node_id: str) -> News:
        """Statements to send along with a message to that node."""
        ...


class Detector:
    """The detector of one node.

    Args:
        node_id: this node, the accuser in its own accusations.
        config: see `DetectionConfig`.
        members_max: bounds what is kept per member.
        random: shuffles and chooses helpers.
        around: the members, and what is sent along with probes.
        outbox: takes the probes.
    """

    def __init__(
        self,
        node_id: str,
        config: DetectionConfig,
        members_max: int,
        random: RandomSource,
        around: Surroundings,
        outbox: Outbox,
    ) -> None:
        self._node_id = node_id
        self._config = config
        self._random = random
        self._around = around
        self._outbox = outbox
        self.health = LocalHealth(config.health_max)
        self.prober = Prober(config, random)
        self.suspicions = Suspicions(config)
        self.evidence = Evidence(config, members_max)
        self._grace_until = 0.0
        # Until when each member that is joining is expected, in the order in which they were admitted.
        self._expected: dict[str, float] = {}
        self._outcomes: list[Outcome] = []

    def start(self, now: float) -> None:
        """This node is a member."""
        self.prober.start(now)

    def stop(self) -> None:
        """This node is no member any more."""
        self.prober.stop()
        self.suspicions.clear()
        self._expected.clear()
        self._outcomes.clear()

    def grant_grace(self, now: float) -> None:
        """This process did not run for a while, so silence may be its own fault: for now it accuses nobody."""
        self._grace_until = now + GRACE_INTERVALS * self._config.probe_interval_s
        self.health.worse()

    def expect(self, now: float, authority: str) -> None:
        """A node was admitted there and may not know it yet: its silence means nothing for a while."""
        self._expected[authority] = now + JOINING_INTERVALS * self._config.probe_interval_s

    def arrived(self, authority: str) -> None:
        """That node is no longer joining."""
        self._expected.pop(authority, None)

    def forget(self, authority: str) -> None:
        """The member is gone or is another node now."""
        self.suspicions.forget(authority)
        self.evidence.forget(authority)

    # Messages.

    def on_probe(self, received: Received, probe: Probe) -> None:
        """Answers a probe that is meant for this node."""
        if probe.target == self._node_id:
            news = self._around.piggyback(received.node_id)
            self._outbox.send(received.authority, ProbeAck(probe.sequence, self._node_id, self._around.mark(), news))

    def on_ack(self, received: Received, ack: ProbeAck) -> bool:
        """Takes an answer; True when it ends a probe of that very node."""
        probe = self.prober.answered(ack.sequence, received.node_id) if ack.target == received.node_id else None
        if probe is None:
            return False
        if probe.asked_by:
            response = ProbeResponse(probe.asked_sequence, probe.member.node_id, reached=True)
            self._outbox.send(probe.asked_by, response)
        else:
            self.health.better()
        return True

    def on_request(self, now: float, received: Received, request: ProbeRequest) -> None:
        """Probes a member for another node."""
        member = self._around.get(request.authority)
        if member is not None and member.node_id == request.target != self._node_id:
            self._probe(now, member, received.authority, request.sequence)

    def on_response(self, now: float, received: Received, response: ProbeResponse) -> None:
        """Takes the result of a helper."""
        if response.reached:
            self.prober.answered(response.sequence, response.target)
        else:
            self.prober.not_reached(now, response.sequence, response.target, received.authority)

    def on_accusation(self, now: float, accusation: Accusation, heard: bool) -> None:
        """Handles an accusation against a member, and probes it; `heard`: the accuser itself sent it."""
        member = self._around.get(accusation.authority)
        if member is None or member.node_id != accusation.node_id or accusation.incarnation < member.incarnation:
            return
        if self._accusable(now, member) and accusation.accuser != self._node_id:
            self._note(now, accusation, heard)
            if not self.prober.probing(accusation.authority):
                self.prober.urge(accusation.authority)

    def accuses(self, member: Member) -> bool:
        """Whether this node itself could not reach that member, and the member has not answered since."""
        suspicion = self.suspicions.get(member.authority)
        return (
            suspicion is not None
            and suspicion.node_id == member.node_id
            and suspicion.incarnation >= member.incarnation
            and self._node_id in suspicion.sources
        )

    def silent_too_long(self, member: Member) -> bool:
        """Whether the member was silent to this node for so long that with a second source it would be unreachable."""
        suspicion = self.suspicions.get(member.authority)
        return suspicion is not None and suspicion.extended and self.accuses(member)

    # Evidence from connections.

    def dial_failed(self, now: float, authority: str, reason: str) -> None:
        """A connection that ended and a refused port are one confirmation, and start a suspicion at once."""
        member = self._around.get(authority)
        if self.evidence.dial_failed(authority, reason) and member is not None and self._may_accuse(now, member):
            self._accuse(now, member, "dead")
            self.suspicions.confirm(authority, "dead")

    # Time.

    def poll(self, now: float) -> list[Outcome]:
        """Probes the members whose turn it is, ends probes whose time is up, and returns the outcomes."""
        for probe in self.prober.due(now):
            self._time_out(now, probe)
        for authority in self.prober.take_urgent():
            self._probe_authority(now, authority)
        if self.prober.is_turn(now):
            turn = self.prober.turn(now, self.health.multiplier, self._around.others())
            if turn:
                self._probe_authority(now, turn)
        due = self.suspicions.due(now)
        if due:
            # All are judged before any is decided: a decided one is no suspect any more, and would count as a source.
            for suspicion, needed in [(suspicion, self.sources_needed(suspicion.authority)) for suspicion in due]:
                self._judge(suspicion, needed)
        if not self._outcomes:
            return []
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def sources_needed(self, authority: str) -> int:
        """How many sources are needed against that member: two if another member could be the second one.

        A member that is accused itself counts as a possible source: else a member that accuses all others would be the
        only one.
        """
        for member in self._around.others():
            if member.authority != authority and member.status < MemberStatus.UNREACHABLE and not self.accuses(member):
                return 2
        return 1

    def _probe_authority(self, now: float, authority: str) -> None:
        member = self._around.get(authority)
        if member is not None and member.status is not MemberStatus.REMOVED:
            self._probe(now, member)

    def _probe(self, now: float, member: Member, asked_by: str = "", asked_sequence: int = 0) -> None:
        sequence = self.prober.begin(now, member, self.health.multiplier, asked_by, asked_sequence)
        if sequence is not None:
            news = self._around.piggyback(member.node_id)
            self._outbox.send(member.authority, Probe(sequence, member.node_id, self._around.mark(), news))

    def _time_out(self, now: float, probe: Outstanding) -> None:
        if probe.asked_by:
            self.prober.finish(probe)
            response = ProbeResponse(probe.asked_sequence, probe.member.node_id, reached=False)
            self._outbox.send(probe.asked_by, response)
        elif probe.stage is DIRECT:
            helpers = self._helpers(probe.member.authority)
            for helper in helpers:
                request = ProbeRequest(
                    probe.sequence, probe.member.authority, probe.member.node_id, self._around.mark()
                )
                self._outbox.send(helper, request)
            self.prober.go_indirect(now, probe, helpers, self.health.multiplier + 1)
        else:
            self._failed(now, probe)

    def _failed(self, now: float, probe: Outstanding) -> None:
        self.prober.finish(probe)
        authority = probe.member.authority
        member = self._around.get(authority)
        if member is None or member.node_id != probe.member.node_id:
            return
        if member.status is MemberStatus.UNREACHABLE or self._expects(now, member):
            return  # known to be silent, which says nothing about this node
        if probe.helpers:
            # If helpers did not even answer "not reached", this node may be the one that receives nothing.
            self.health.worse(sum(1 for helper in probe.helpers if helper not in probe.refusals and self._well(helper)))
        elif not self.evidence.proves_death(authority, member.node_id):
            self.health.worse()
        if self._may_accuse(now, member):
            self._accuse(now, member, self.evidence.reason(now, authority, member.node_id))

    def _well(self, authority: str) -> bool:
        """Whether nothing speaks against that member, so that its silence would be unexpected."""
        member = self._around.get(authority)
        reachable = member is not None and member.status < MemberStatus.UNREACHABLE
        return reachable and authority not in self.suspicions and not self.prober.failing(authority)

    def _helpers(self, authority: str) -> list[str]:
        able = [
            member.authority
            for member in self._around.others()
            if member.authority != authority and member.status < MemberStatus.UNREACHABLE
        ]
        return self._random.sample(able, min(self._config.indirect_probes, len(able)))

    def _may_accuse(self, now: float, member: Member) -> bool:
        return now >= self._grace_until and self._accusable(now, member)

    def _accusable(self, now: float, member: Member) -> bool:
        return member.status < MemberStatus.UNREACHABLE and not self._expects(now, member)

    def _expects(self, now: float, member: Member) -> bool:
        """Whether that member may not know yet that it is one."""
        expected = now < self._expected.get(member.authority, now)
        return expected and not self.evidence.proves_death(member.authority, member.node_id)

    def _accuse(self, now: float, member: Member, reason: str) -> None:
        self._note(now, Accusation(member.authority, member.node_id, member.incarnation, self._node_id, reason))

    def _note(self, now: float, accusation: Accusation, heard: bool = True) -> None:
        known = self.suspicions.get(accusation.authority)
        first = known is None or known.incarnation < accusation.incarnation
        others = sum(
            1
            for member in self._around.others()
            if member.authority != accusation.authority and member.status < MemberStatus.UNREACHABLE
        )
        if self.suspicions.accuse(now, accusation, others, heard):
            self._outcomes.append(Accused(accusation, first))

    def _judge(self, suspicion: Suspicion, needed: int) -> None:
        enough = len(suspicion.sources) >= needed
        if not enough and not suspicion.extended:
            suspicion.extended = True
            self.prober.urge(suspicion.authority)
            return
        self.suspicions.forget(suspicion.authority)
        self._outcomes.append(Confirmed(suspicion) if enough else Lapsed(suspicion))

    def next_deadline(self) -> float | None:
        """When `poll` has something to do."""
        probe_at, judge_at = self.prober.next_deadline(), self.suspicions.next_deadline()
        if probe_at is None or judge_at is None:
            return judge_at if probe_at is None else probe_at
        return min(probe_at, judge_at)

    def check(self) -> None:
        """Asserts the invariants of all parts."""
        self.health.check()
        self.prober.check()
        self.suspicions.check()
        self.evidence.check()
        for authority in self._expected:
            member = self._around.get(authority)
            assert member is not None and member.status is MemberStatus.JOINING
