"""Whose word counts: what one member tells in the name of others takes nobody's place away (`membership.testimony`)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.core.effects import Effect, StopActivations
from inaho.core.inputs import Received
from inaho.core.membership.claims import Claims, ends_life
from inaho.core.membership.incarnation import first_of, next_generation
from inaho.core.messages import (
    SOURCES_MAX,
    Accusation,
    ControlMessage,
    Entry,
    FullTable,
    Gossip,
    Mark,
    MembershipDelta,
    News,
    OriginVersion,
    Probe,
    TableSnapshot,
    ViewVerdict,
)
from inaho.events import MemberRemoved, MemberUnreachable, SelfRemoved, StatementRefused
from inaho.testing.control_plane.simulation import ControlSimulation
from inaho.types import Member, MemberStatus

STATUSES = [MemberStatus.LEAVING, MemberStatus.UNREACHABLE, MemberStatus.REMOVED]


class Cluster:
    """Five nodes; 1 and 2 tell 0 of 4."""

    def __init__(self) -> None:
        self.simulation = ControlSimulation(3)
        self.simulation.start_many(5)
        assert self.simulation.run_until(self.simulation.converged, 5.0)
        self.simulation.run(12.0)
        self.listener = self.simulation.authority(0)
        self.subject = self.simulation.nodes[self.simulation.authority(4)].member

    def node_id(self, index: int) -> str:
        return self.simulation.nodes[self.simulation.authority(index)].member.node_id

    def mark(self, index: int) -> Mark:
        node = self.simulation.nodes[self.simulation.authority(index)]
        return Mark(node.member.incarnation, node.table.version, node.table.content_hash())

    def hear(self, speaker: int, message: ControlMessage, listener: int = 0) -> list[Effect]:
        heard = Received(self.simulation.authority(speaker), self.node_id(speaker), message)
        return self.simulation.give(self.simulation.authority(listener), heard)

    def tell(self, speaker: int, origin: int, member: Member, reason: str = "dead", listener: int = 0) -> list[Effect]:
        """`speaker` tells a statement of `origin`, with sources that it says there were."""
        node_id = self.node_id(origin)
        covered = self.simulation.nodes[self.simulation.authority(listener)].table.covered(node_id)
        sources = tuple(self.node_id(index) for index in (1, 2, 3))
        entry = Entry(node_id, covered + 1, member, reason, sources)
        return self.hear(
            speaker,
            Gossip(self.mark(speaker), News((MembershipDelta(node_id, covered, covered + 1, (entry,)),))),
            listener,
        )

    def gone(self, status: MemberStatus = MemberStatus.REMOVED) -> Member:
        return Member(self.subject.authority, self.subject.node_id, self.subject.incarnation, status)

    def status(self) -> MemberStatus | None:
        return self.simulation.status(self.listener, self.subject.authority)

    def unharmed(self) -> None:
        self.simulation.run(20.0)
        assert self.simulation.converged()
        for event in (MemberUnreachable, MemberRemoved, SelfRemoved, StopActivations):
            assert not self.simulation.effects(event)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


# Statements.


@pytest.mark.parametrize("origin", [1, 2, 4])
@pytest.mark.parametrize("status", STATUSES)
def test_one_member_ends_no_life_in_whosever_name(cluster: Cluster, status: MemberStatus, origin: int) -> None:
    for _ in range(3):
        cluster.tell(1, origin, cluster.gone(status), "left" if origin == 4 else "dead")
        assert cluster.status() is MemberStatus.UP
        cluster.simulation.run(0.3)
    cluster.unharmed()


@pytest.mark.parametrize("status", STATUSES)
def test_two_members_do(cluster: Cluster, status: MemberStatus) -> None:
    cluster.tell(1, 1, cluster.gone(status))
    cluster.tell(2, 1, cluster.gone(status))
    assert cluster.status() is status


@pytest.mark.parametrize("status", [MemberStatus.LEAVING, MemberStatus.REMOVED])
def test_its_subject_may_say_it_alone(cluster: Cluster, status: MemberStatus) -> None:
    cluster.tell(4, 4, cluster.gone(status), "left")
    assert cluster.status() is status


def test_the_subject_is_no_second_source_against_itself(cluster: Cluster) -> None:
    cluster.tell(1, 1, cluster.gone(MemberStatus.UNREACHABLE))
    cluster.tell(4, 1, cluster.gone(MemberStatus.UNREACHABLE))
    assert cluster.status() is MemberStatus.UP
    cluster.unharmed()


def test_a_table_is_one_source_too(cluster: Cluster) -> None:
    entry = Entry(cluster.node_id(2), 99, cluster.gone(), "dead")
    table = TableSnapshot(99, (OriginVersion(cluster.node_id(2), 99),), (entry,))
    cluster.hear(1, FullTable(cluster.mark(1), table, reply=False))
    assert cluster.status() is MemberStatus.UP
    cluster.hear(2, FullTable(cluster.mark(2), table, reply=False))
    assert cluster.status() is MemberStatus.REMOVED


@pytest.mark.parametrize("same", [True, False])
def test_one_member_gives_nobodys_authority_away(cluster: Cluster, same: bool) -> None:
    node_id = cluster.subject.node_id if same else "f" * 16
    incarnation = next_generation(cluster.subject.incarnation)
    successor = Member(cluster.subject.authority, node_id, incarnation, MemberStatus.JOINING)
    cluster.tell(1, 1, successor, "admitted")
    assert cluster.simulation.nodes[cluster.listener].table.get(cluster.subject.authority) == cluster.subject
    cluster.unharmed()


def test_the_subject_asks_the_others_before_it_believes_that_it_is_gone(cluster: Cluster) -> None:
    effects = cluster.tell(1, 1, cluster.gone(), listener=4)
    assert not any(isinstance(effect, StopActivations) for effect in effects)
    cluster.unharmed()
    assert cluster.simulation.nodes[cluster.subject.authority].member.incarnation > cluster.subject.incarnation


def test_what_finds_no_second_source_is_refused_and_reported(cluster: Cluster) -> None:
    cluster.tell(1, 2, cluster.gone())
    cluster.simulation.run(6.0)
    (refused,) = [effect.event for _, _, effect in cluster.simulation.effects(StatementRefused)]  # type: ignore[union-attr]
    assert refused.authority == cluster.subject.authority
    assert refused.origin == cluster.node_id(1)
    cluster.unharmed()


# Accusations.


def test_accusations_that_one_passes_on_are_no_sources(cluster: Cluster) -> None:
    accused = cluster.subject
    for _ in range(8):
        named = tuple(
            Accusation(accused.authority, accused.node_id, first_of(1) + 90, cluster.node_id(index), "dead")
            for index in (1, 2, 3)
        )
        cluster.hear(1, Gossip(cluster.mark(1), News(accusations=named)))
        cluster.simulation.run(0.2)
    assert not cluster.simulation.effects(MemberUnreachable)
    cluster.unharmed()


def test_an_accusation_makes_the_listener_look_for_itself_and_tell_the_accused(cluster: Cluster) -> None:
    accused = cluster.subject
    accusation = Accusation(accused.authority, accused.node_id, accused.incarnation, cluster.node_id(2), "silent")
    effects = cluster.hear(1, Gossip(cluster.mark(1), News(accusations=(accusation,))))
    probes = [effect.message for effect in effects if isinstance(getattr(effect, "message", None), Probe)]  # type: ignore[union-attr]
    assert [probe.target for probe in probes] == [accused.node_id]
    assert accusation in probes[0].news.accusations
    cluster.unharmed()


# Verdicts.


@pytest.mark.parametrize("rule", ["", "operator"])
def test_one_verdict_takes_nobodys_place(cluster: Cluster, rule: str) -> None:
    members = tuple(cluster.simulation.authority(index) for index in range(4))
    for _ in range(3):
        cluster.hear(1, ViewVerdict(cluster.mark(1), cluster.gone(), members, members[:1], rule), listener=4)
        cluster.simulation.run(0.2)
    cluster.unharmed()


def test_two_verdicts_do(cluster: Cluster) -> None:
    members = tuple(cluster.simulation.authority(index) for index in range(4))
    for speaker in (1, 2):
        cluster.hear(speaker, ViewVerdict(cluster.mark(speaker), cluster.gone(), members, members[:1]), listener=4)
    assert cluster.simulation.effects(SelfRemoved, cluster.subject.authority)


# The parts.


def member(incarnation: int = 1 << 20, status: MemberStatus = MemberStatus.UP, node_id: str = "x") -> Member:
    return Member("10.0.0.9:1", node_id, incarnation, status)


def test_what_ends_a_life() -> None:
    assert not ends_life(None, member())
    assert not ends_life(member(status=MemberStatus.REMOVED), member(1 << 21))
    assert not ends_life(member(status=MemberStatus.JOINING), member())
    assert not ends_life(member(status=MemberStatus.UNREACHABLE), member((1 << 20) + 1))
    assert ends_life(member(), member(1 << 21))
    assert ends_life(member(), member(node_id="y"))
    for status in STATUSES:
        assert ends_life(member(), member(status=status))


def test_a_claim_covers_what_it_outdoes_and_no_other_life() -> None:
    claims = Claims(4, 5.0, 1.0)
    assert claims.record(0.0, "a", member(status=MemberStatus.REMOVED))
    assert not claims.record(1.0, "a", member(status=MemberStatus.UNREACHABLE))
    assert claims.senders(member(status=MemberStatus.UNREACHABLE)) == ("a",)
    assert claims.senders(member(1 << 21, MemberStatus.UNREACHABLE)) == ()
    claims.record_changed(member((1 << 20) + 1))
    assert claims.senders(member(status=MemberStatus.REMOVED)) == ("a",)
    claims.record_changed(member(status=MemberStatus.REMOVED))
    assert claims.next_deadline() is None


def test_a_claim_is_looked_at_again_and_withdrawn_with_its_tellers_life() -> None:
    claims = Claims(4, 5.0, 1.0)
    claims.record(0.0, "a", member(status=MemberStatus.REMOVED))
    claims.record(0.5, "b", member(status=MemberStatus.REMOVED))
    assert claims.due(0.9) == [] and claims.next_deadline() == 1.0
    assert [sender for sender, _ in claims.due(1.0)] == ["a"]
    assert claims.due(1.0) == []
    claims.withdraw("a")
    assert claims.senders(member(status=MemberStatus.REMOVED)) == ("b",)
    claims.withdraw("b")
    assert claims.next_deadline() is None


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.integers(0, 5),
            st.sampled_from(list(MemberStatus)),
            st.floats(0.0, 3.0),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_testimony_is_bounded_and_lapses(told: list[tuple[int, int, MemberStatus, float, bool]]) -> None:
    claims, now = Claims(4, 5.0, 1.0), 0.0
    for sender, subject, status, pause_s, expire in told:
        now += pause_s
        claims.record(now, f"t{sender}", Member(f"10.0.0.{subject}:1", "x", 1 << 20, status))
        if expire:
            assert all(claim.since + 5.0 <= now for _, claim in claims.expire(now))
            assert all(claim.look_at > now for _, claim in claims.due(now))
            deadline = claims.next_deadline()
            assert deadline is None or deadline > now
        assert len(claims.senders(Member(f"10.0.0.{subject}:1", "x", 1 << 20, status))) <= SOURCES_MAX
        claims.check()
    claims.expire(now + 5.0)
    assert claims.next_deadline() is None
