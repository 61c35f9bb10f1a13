"""Diffusing, reconciling, confirmed; conflicts; the messages themselves."""

from __future__ import annotations

import itertools
import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.config import GossipConfig
from inaho.core.gossip.anti_entropy import AntiEntropy, Calls
from inaho.core.gossip.conflicts import OURS, THEIRS, UNDECIDED, SelfBallot, Settlement, View, settle
from inaho.core.gossip.engine import CONFIRMED, DIFFUSING, RECONCILING, GossipEngine, Push, Reconcile
from inaho.core.gossip.rumours import RumourQueue, retransmit_limit
from inaho.core.messages import (
    Accusation,
    ControlMessage,
    Digest,
    Entry,
    Gossip,
    JoinRefused,
    Mark,
    MembershipDelta,
    News,
    OriginVersion,
    Probe,
    within_bounds,
)
from inaho.types import Member, MemberStatus

CONFIG = GossipConfig()
PEERS = ("a", "b", "c", "d")


def no_delta(origin: str, from_version: int) -> MembershipDelta:
    return MembershipDelta(origin, from_version, from_version + 1)


def test_news_is_pushed_until_spent_then_reconciled_then_quiet() -> None:
    engine = GossipEngine(CONFIG, random.Random(1))
    assert engine.next_deadline() is None
    engine.news_of(0.0, "o", 0)
    assert engine.phase == DIFFUSING
    now, sent = 0.0, 0
    while engine.phase == DIFFUSING:
        for due in engine.poll(now, PEERS):
            assert isinstance(due, Push)
            sent += len(due.targets)
            engine.rumours.collect(due.limit, len(due.targets), no_delta)
        engine.check()
        now += 0.1
    assert engine.phase == RECONCILING
    assert retransmit_limit(3, 5) <= sent < retransmit_limit(3, 5) + len(PEERS)
    for peer in PEERS[:3]:
        engine.heard(now, peer, True)
    assert engine.poll(now, PEERS) == []
    assert engine.phase == CONFIRMED and engine.next_deadline() is None
    assert engine.clock.stop(now) == pytest.approx(now)


def test_a_difference_is_settled_with_back_off_and_a_full_table_in_the_end() -> None:
    engine = GossipEngine(CONFIG, random.Random(1))
    engine.heard(0.0, "a", False)
    assert engine.phase == RECONCILING
    times: list[tuple[float, bool]] = []
    now = 0.0
    while len(times) < 5 and now < 60:
        now = max(now, engine.next_deadline() or now)
        engine.clock.late(now)
        times.extend((now, due.full) for due in engine.poll(now, ()) if isinstance(due, Reconcile))
        now += 1e-6
    assert [full for _, full in times] == [False, False, False, True, True]
    pauses = [later[0] - earlier[0] for earlier, later in itertools.pairwise(times)]
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6], abs=0.01)


def test_one_of_those_told_is_asked_instead_while_there_is_more_news_than_a_push_holds() -> None:
    engine = GossipEngine(GossipConfig(push_bytes_max=64), random.Random(1))
    for number in range(40):
        engine.news_of(0.0, f"origin-{number}", 0)
    kinds: list[tuple[type, ...]] = []
    now = 0.0
    while engine.rumours:
        rounds = engine.poll(now, PEERS)
        kinds.append(tuple(type(due) for due in rounds))
        told = [target for due in rounds if isinstance(due, Push) for target in due.targets]
        asked = [due.authority for due in rounds if isinstance(due, Reconcile) and not due.full]
        assert {*told, *asked} == set(PEERS)
        engine.rumours.collect(retransmit_limit(3, 5), len(told), no_delta)
        now += CONFIG.interval_s
    assert kinds[0] == (Push,)
    assert kinds[1] == (Reconcile, Push)
    engine.poll(now, PEERS)  # spent
    engine.news_of(now, "origin-1", 1)
    assert [type(due) for due in engine.poll(now, PEERS)] == [Push]


def test_agreement_of_all_ends_diffusion_early() -> None:
    engine = GossipEngine(CONFIG, random.Random(1))
    engine.news_of(0.0, "o", 0)
    engine.poll(0.0, ("a", "b"))
    engine.heard(0.01, "a", True)
    engine.heard(0.01, "b", True)
    engine.poll(0.01, ("a", "b"))
    assert engine.phase == CONFIRMED
    engine.check()


def test_a_push_stays_within_its_budget_and_accusations_are_bounded() -> None:
    queue = RumourQueue(2000, 5)
    for index in range(20):
        queue.accusation(Accusation(f"h{index}", f"n{index}", 1, "me", "dead"))
        queue.origin(f"o{index}", 0)
    queue.check()
    entries = tuple(Entry("o", n, Member(f"h{n}:1", "n" * 16, 1, MemberStatus.UP)) for n in range(1, 60))

    def delta(origin: str, from_version: int) -> MembershipDelta:
        return MembershipDelta(origin, from_version, 59, entries)

    news = queue.collect(6, 1, delta)
    assert len(msgspec.msgpack.encode(news)) < 2400
    assert len(news.accusations) == 5
    assert news.deltas[0].to_version < 59


@given(
    st.lists(st.sampled_from(PEERS), unique=True),
    st.lists(st.sampled_from(PEERS), unique=True),
    st.lists(st.sampled_from(PEERS), max_size=3),
    st.lists(st.sampled_from(PEERS), max_size=3),
)
def test_both_sides_settle_a_conflict_alike(a: list[str], b: list[str], c: list[str], d: list[str]) -> None:
    left, right = View(tuple(a), tuple(c)), View(tuple(b), tuple(d))
    opposite = {OURS: THEIRS, THEIRS: OURS, UNDECIDED: UNDECIDED}
    one, other = settle(left, right), settle(right, left)
    assert other == Settlement(opposite[one.holds], one.rule)


def test_seed_before_majority_before_operator() -> None:
    seeds = ("s",)
    assert settle(View(("s",), seeds), View(("a", "b"), seeds)) == Settlement(OURS, "seed")
    assert settle(View(("a",), seeds), View(("b", "c"), seeds)) == Settlement(THEIRS, "majority")
    assert settle(View(("a",), seeds), View(("b",), seeds)) == Settlement(UNDECIDED, "operator")


def test_a_ballot_is_carried_by_a_seed_or_a_majority() -> None:
    ballot = SelfBallot(1.0, 5.0)
    ballot.start(0.0)
    assert ballot.asks(0.0) and not ballot.asks(0.5) and ballot.asks(1.0)
    assert ballot.outcome(0.0, ("a", "b", "c"), ("s",)) == ""
    ballot.vote("a")
    assert ballot.outcome(0.0, ("a", "b", "c"), ()) == ""
    assert ballot.outcome(0.0, ("a", "b", "c"), ("a",)) == "seed"
    ballot.vote("b")
    assert ballot.outcome(0.0, ("a", "b", "c"), ()) == "majority"
    fresh = SelfBallot(1.0, 5.0)
    fresh.start(0.0)
    assert fresh.outcome(5.0, ("a",), ()) == "isolated"


def calls_of(members: int) -> tuple[int, list[float]]:
    """What one of so many members does in 100 s: marks to peers, and when it called the lost."""
    schedule = AntiEntropy(CONFIG, random.Random(1))
    assert schedule.next_deadline() is None
    schedule.start(0.0)
    others = tuple(f"p{index}" for index in range(members - 1))
    lost: list[float] = []
    peers = 0
    while (now := schedule.next_deadline()) is not None and now < 100.0:
        calls = schedule.poll(now, others, ("l",))
        assert calls != Calls() or not others
        peers += bool(calls.peer)
        if calls.lost:
            lost.append(now)
    assert schedule.poll(200.0, (), ()) == Calls()
    return peers, lost


def test_anti_entropy_is_slow_and_calls_the_lost_fast_at_first() -> None:
    peers, lost = calls_of(20)
    assert 7 <= peers <= 14
    assert lost[0] == pytest.approx(0.2)
    assert len([at for at in lost if at < 3.0]) >= 3 and len(lost) < 22


@pytest.mark.parametrize("members", [1, 2, 5, 10])
def test_the_members_together_call_the_lost_once_a_second(members: int) -> None:
    lost = calls_of(members)[1]
    assert max(later - at for at, later in pairwise(lost)) <= 1.25 * members
    assert len(lost) <= 100 / (0.75 * members) + 5


def test_all_who_are_lost_are_called_in_turn() -> None:
    schedule = AntiEntropy(CONFIG, random.Random(1))
    schedule.start(0.0)
    lost = tuple("abcdefgh")
    called: list[str] = []
    for _ in range(3):
        now = schedule.next_deadline() or 0.0
        schedule.poll(now, (), ())
        schedule.seek(now)
        called += schedule.poll(schedule.next_deadline() or 0.0, (), lost).lost
    assert len(called) == 9
    assert sorted(called[:8]) == list(lost)


def test_messages_travel_as_arrays_with_a_tag() -> None:
    mark = Mark(1, 2, 3)
    messages: list[ControlMessage] = [
        Probe(1, "n", mark),
        Digest(mark, (OriginVersion("o", 1),)),
        JoinRefused("c", "r", True),
    ]
    for message in messages:
        data = msgspec.msgpack.encode(message)
        assert isinstance(msgspec.msgpack.decode(data), list)
        assert msgspec.msgpack.decode(data, type=ControlMessage) == message
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode([99, 1]), type=ControlMessage)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(JoinRefused("c" * 2000, "r", True)), type=ControlMessage)
    deltas = tuple(MembershipDelta("o", 0, 1) for _ in range(3))
    assert "deltas" in within_bounds(Gossip(mark, News(deltas)), 2)
    assert within_bounds(Gossip(mark, News(deltas)), 3) == ""
