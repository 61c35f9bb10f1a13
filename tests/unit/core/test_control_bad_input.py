"""What a member that lies or errs can do to a control plane: tables stay bounded, and nobody goes on one source."""

from __future__ import annotations

import pytest

from inaho.config import ClusterConfig
from inaho.core.effects import CloseConnection, Effect, Send
from inaho.core.inputs import LoadChanged, Received, Start
from inaho.core.membership.incarnation import first_of, refuting
from inaho.core.messages import (
    VERSION_MAX,
    Accusation,
    ControlMessage,
    Digest,
    Entry,
    FullTable,
    Gossip,
    JoinAccepted,
    Mark,
    MembershipDelta,
    News,
    OriginVersion,
    ProbeRequest,
    TableSnapshot,
    ViewVerdict,
)
from inaho.errors import IllegalTransition
from inaho.events import MemberRemoved, MemberUnreachable, SelfRemoved, StatementRefused
from inaho.testing.control_plane.simulation import ControlSimulation
from inaho.types import Member, MemberStatus
from inaho.wire.codec import DECODE_ERRORS, decoder, encode


@pytest.mark.parametrize("lag_s", [float("nan"), float("inf"), -float("inf"), 1e10])
def test_a_lag_that_is_no_time_is_refused(lag_s: float):
    digest = Digest(Mark(1, 2, 3, lag_s), ())
    with pytest.raises(DECODE_ERRORS, match=r"Expected `float`"):
        decoder(ControlMessage)(encode(digest))
    sane = Digest(Mark(1, 2, 3, 0.25), ())
    assert decoder(ControlMessage)(encode(sane)) == sane


class Cluster:
    """Five nodes, of which the second lies to the first."""

    def __init__(self, members_max: int = 4096) -> None:
        config = ClusterConfig()
        membership = config.membership.replace(members_max=members_max, tombstones_max=members_max)
        self.simulation = ControlSimulation(3, config.replace(membership=membership))
        self.simulation.start_many(5)
        assert self.simulation.run_until(self.simulation.converged, 5.0)
        self.simulation.run(2.0)
        self.victim, self.liar = self.simulation.authority(0), self.simulation.authority(1)
        self.node = self.simulation.nodes[self.victim]
        self.liar_id = self.simulation.nodes[self.liar].member.node_id

    def mark(self) -> Mark:
        node = self.simulation.nodes[self.liar]
        return Mark(node.member.incarnation, node.table.version, node.table.content_hash())

    def tell(self, message: ControlMessage) -> list[Effect]:
        return self.simulation.give(self.victim, Received(self.liar, self.liar_id, message))

    def push(self, *deltas: MembershipDelta, accusations: tuple[Accusation, ...] = ()) -> list[Effect]:
        return self.tell(Gossip(self.mark(), News(deltas, accusations)))

    def unharmed(self) -> None:
        """After a while all five are still there, and nobody had to come back."""
        self.simulation.run(20.0)
        assert self.simulation.converged()
        assert not self.simulation.effects(MemberRemoved)
        assert not self.simulation.effects(SelfRemoved)
        self.node.check()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def invented(count: int, origin: str) -> tuple[Entry, ...]:
    return tuple(
        Entry(origin, index + 1, Member(f"10.9.{index}:1", f"{index:016x}", first_of(1), MemberStatus.JOINING))
        for index in range(count)
    )


def test_an_accusation_of_everybody_by_one_removes_nobody(cluster: Cluster) -> None:
    others = [node.member for authority, node in cluster.simulation.nodes.items() if authority != cluster.liar]
    for _ in range(5):
        cluster.push(
            accusations=tuple(
                Accusation(member.authority, member.node_id, member.incarnation, cluster.liar_id, "dead")
                for member in others
            )
        )
        cluster.simulation.run(1.0)
    assert not cluster.simulation.effects(MemberUnreachable)
    cluster.unharmed()


@pytest.mark.parametrize("range_of", [(5, 3), (0, VERSION_MAX + 1), (VERSION_MAX + 1, VERSION_MAX + 2)])
def test_impossible_ranges_close_the_connection(cluster: Cluster, range_of: tuple[int, int]) -> None:
    version = cluster.node.table.version
    effects = cluster.push(MembershipDelta(cluster.liar_id, *range_of))
    assert any(isinstance(effect, CloseConnection) and effect.authority == cluster.liar for effect in effects)
    assert cluster.node.table.version == version
    cluster.unharmed()


def test_statements_outside_of_their_range_or_of_another_origin_are_passed_over(cluster: Cluster) -> None:
    before = cluster.node.table.content_hash()
    covered = cluster.node.table.covered(cluster.liar_id)
    stray = Member("10.9.0.0:1", "f" * 16, first_of(1), MemberStatus.JOINING)
    entries = (Entry(cluster.liar_id, covered + 9, stray), Entry("0" * 16, covered + 1, stray))
    cluster.push(MembershipDelta(cluster.liar_id, covered, covered + 1, entries))
    assert cluster.node.table.content_hash() == before
    assert cluster.node.table.get(stray.authority) is None


def test_a_version_from_the_future_is_asked_for_and_not_believed(cluster: Cluster) -> None:
    covered = cluster.node.table.covered(cluster.liar_id)
    effects = cluster.push(MembershipDelta(cluster.liar_id, covered + 1000, covered + 1001))
    wants = [want for effect in effects for want in getattr(getattr(effect, "message", None), "wants", ())]
    assert OriginVersion(cluster.liar_id, covered) in wants
    assert cluster.node.table.covered(cluster.liar_id) == covered
    cluster.unharmed()


def test_a_table_version_that_leaves_no_room_is_not_adopted(cluster: Cluster) -> None:
    absurd = Mark(cluster.mark().incarnation, 2**63 - 1, cluster.node.table.content_hash())
    lines = tuple(OriginVersion(o, v) for o, v in sorted(cluster.node.table.digest(cluster.simulation.now).items()))
    cluster.tell(Digest(absurd, lines))
    assert cluster.node.table.version < 2**40
    cluster.unharmed()


def test_incarnations_beyond_the_bound_are_refused_and_reported(cluster: Cluster) -> None:
    subject = cluster.simulation.nodes[cluster.simulation.authority(4)].member
    covered = cluster.node.table.covered(cluster.liar_id)
    for incarnation in (first_of(5000), refuting(subject.incarnation)):
        far = Member(subject.authority, subject.node_id, incarnation, MemberStatus.UP)
        entry = Entry(cluster.liar_id, covered + 1, far)
        cluster.push(MembershipDelta(cluster.liar_id, covered, covered + 1, (entry,)))
    refused = [effect.event for _, _, effect in cluster.simulation.effects(StatementRefused)]  # type: ignore[union-attr]
    assert [event.origin for event in refused] == [cluster.liar_id] * 2
    assert cluster.node.table.get(subject.authority) == subject


def test_a_hundred_thousand_invented_members_close_the_connection(cluster: Cluster) -> None:
    entries = invented(100_000, cluster.liar_id)
    effects = cluster.push(MembershipDelta(cluster.liar_id, 0, 100_000, entries))
    assert any(isinstance(effect, CloseConnection) for effect in effects)
    snapshot = TableSnapshot(1, (OriginVersion(cluster.liar_id, 100_000),), entries)
    effects = cluster.tell(FullTable(cluster.mark(), snapshot, reply=False))
    assert any(isinstance(effect, CloseConnection) for effect in effects)
    assert len(cluster.node.table) == 5
    cluster.unharmed()


def test_a_table_of_as_many_inventions_as_are_allowed_stays_bounded() -> None:
    cluster = Cluster(members_max=40)
    snapshot = TableSnapshot(1, (OriginVersion("e" * 16, 80),), invented(80, "e" * 16))
    effects = cluster.tell(FullTable(cluster.mark(), snapshot, reply=False))
    assert len(cluster.node.table) == 40
    assert 0 < sum(isinstance(getattr(effect, "event", None), StatementRefused) for effect in effects) <= 8
    cluster.node.check()


def test_an_admission_that_was_not_asked_for_changes_nothing(cluster: Cluster) -> None:
    before = cluster.node.table.version, cluster.node.table.content_hash()
    foreign = TableSnapshot(9, (OriginVersion("e" * 16, 3),), invented(3, "e" * 16))
    assert not cluster.tell(JoinAccepted(cluster.node.member, foreign))
    assert before == (cluster.node.table.version, cluster.node.table.content_hash())


@pytest.mark.parametrize("status", list(MemberStatus))
def test_a_namesake_elsewhere_harms_nobody(cluster: Cluster, status: MemberStatus) -> None:
    simulation = cluster.simulation
    named = simulation.nodes[simulation.authority(2)].member
    covered = cluster.node.table.covered(cluster.liar_id)
    namesake = Entry(cluster.liar_id, covered + 1, Member("10.0.0.9:7700", named.node_id, named.incarnation, status))
    lie = Gossip(cluster.mark(), News((MembershipDelta(cluster.liar_id, covered, covered + 1, (namesake,)),)))
    for authority in simulation.nodes:
        if authority != cluster.liar:
            simulation.give(authority, Received(cluster.liar, cluster.liar_id, lie))
    simulation.run(40.0)
    cluster.unharmed()


def test_a_verdict_of_a_generation_that_nobody_may_have_is_passed_over() -> None:
    simulation = ControlSimulation(1)
    simulation.start_many(2)
    assert simulation.run_until(simulation.converged, 5.0)
    node, liar = (simulation.nodes[simulation.authority(index)] for index in (0, 1))
    me, mark = node.member, Mark(liar.member.incarnation, liar.table.version, liar.table.content_hash())
    far = Member(me.authority, me.node_id, first_of(2**42), MemberStatus.REMOVED)
    verdict = ViewVerdict(mark, far, (liar.member.authority,), (me.authority,))
    simulation.give(me.authority, Received(liar.member.authority, liar.member.node_id, verdict))
    simulation.run(20.0)
    assert simulation.converged()
    assert node.member == me


def test_a_node_that_is_asked_to_probe_itself_does_not(cluster: Cluster) -> None:
    me = cluster.node.member
    cluster.simulation.give(cluster.victim, LoadChanged(5))
    effects = cluster.tell(ProbeRequest(7, me.authority, me.node_id, cluster.mark()))
    assert not any(isinstance(effect, Send) and effect.authority == me.authority for effect in effects)
    cluster.unharmed()


def test_a_member_cannot_be_started_again(cluster: Cluster) -> None:
    with pytest.raises(IllegalTransition, match="member cannot start"):
        cluster.simulation.give(cluster.victim, Start((cluster.liar,)))
    assert cluster.node.stage == "member"
    cluster.unharmed()


@pytest.mark.parametrize("generation", [1, 2**40, 2**43 - 1])
def test_an_acceptance_that_does_not_apply_leaves_nothing(generation: int) -> None:
    simulation = ControlSimulation(1)
    founder, contact = simulation.authority(0), simulation.authority(1)
    simulation.partition([founder], [contact])
    node = simulation.start(founder, [founder, contact])
    simulation.run(0.01)
    former = Member(founder, "e" * 16, first_of(generation), MemberStatus.REMOVED)
    admitted = Member(founder, node.member.node_id, first_of(1), MemberStatus.JOINING)
    table = TableSnapshot(1, (), (Entry("f" * 16, 1, former, "dead"),))
    simulation.give(founder, Received(contact, "f" * 16, JoinAccepted(admitted, table)))
    simulation.run(3.0)
    assert node.stage == "member"
    assert node.topology.members == (node.member,)
    node.check()
