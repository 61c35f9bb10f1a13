"""Every machine of the core moves on at its own deadline, whatever the floats.

A shell sets one timer to `next_deadline()` and gives the machine that time. A machine that then still says "now" is
asked again at once, for ever: in virtual time the clock never moves on. So a deadline must be the very number that the
machine compares `now` with, and not another sum that is equal only without rounding.
"""

from __future__ import annotations

import ast
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inaho.core
from inaho.config import ClusterConfig, DeliveryConfig, DetectionConfig, GossipConfig, MembershipConfig
from inaho.core.activation.idle import IdleWheel
from inaho.core.activation.reminders import ReminderRecord, ReminderSchedule
from inaho.core.delivery.associations import Authorities
from inaho.core.delivery.delay_queue import DelayQueue, Parcel
from inaho.core.detection.probe import Prober
from inaho.core.detection.suspicion import Suspicions
from inaho.core.effects import Send
from inaho.core.gossip.anti_entropy import AntiEntropy
from inaho.core.gossip.conflicts import SelfBallot
from inaho.core.gossip.convergence import ConvergenceClock
from inaho.core.gossip.engine import GossipEngine, Reconcile
from inaho.core.inputs import LeaveRequested, Received, Start, Tick
from inaho.core.membership.claims import Claims
from inaho.core.membership.incarnation import first_of
from inaho.core.membership.join import Joiner
from inaho.core.membership.leave import Leaver
from inaho.core.membership.removal import RemovalClock
from inaho.core.membership.tombstones import Tombstones
from inaho.core.membership.topology import TopologyPublisher
from inaho.core.messages import Accusation, JoinAccepted, JoinRequest
from inaho.core.node import ControlNode
from inaho.types import Member, MemberStatus

AT_ONCE_MAX = 8
"""Steps at one instant that a machine may ask for: some work takes two."""

Turn = tuple[Callable[[], float | None], Callable[[float], object]]
"""`next_deadline`, and the step that is due then."""


def member(number: int) -> Member:
    return Member(f"10.0.0.{number}:7700", f"{number:016x}", first_of(1), MemberStatus.UP, kinds=("Cart",))


# One entry per machine: given the time and a length in seconds it is made, with something to wait for.


def tombstones(now: float, length_s: float) -> Turn:
    stones = Tombstones(length_s, 10)
    stones.bury(now, member(1))
    stones.orphan(now, "f" * 16)

    def expire(at: float) -> None:
        stones.fading(at)
        stones.expire(at)

    return stones.next_deadline, expire


def suspicions(now: float, length_s: float) -> Turn:
    suspects = Suspicions(DetectionConfig(probe_interval_s=length_s / 10, probe_timeout_s=length_s / 20))
    for accuser in range(2):
        suspects.accuse(now, Accusation("10.0.0.1:7700", "1" * 16, 1, f"{accuser:016x}", "silent"), others=3)

    def judge(at: float) -> None:
        for suspicion in suspects.due(at):
            if suspicion.extended:
                suspects.forget(suspicion.authority)
            suspicion.extended = True

    return suspects.next_deadline, judge


def prober(now: float, length_s: float) -> Turn:
    probes = Prober(DetectionConfig(probe_interval_s=length_s, probe_timeout_s=length_s / 3), random.Random(1))
    probes.start(now)
    others = (member(1), member(2))

    def probe(at: float) -> None:
        for late in probes.due(at):
            if late.helpers:
                probes.finish(late)
            else:
                probes.go_indirect(at, late, ["10.0.0.2:7700"], 2)
        if probes.turn(at, 1, others):
            probes.begin(at, others[0], 1)

    return probes.next_deadline, probe


def removals(now: float, length_s: float) -> Turn:
    clock = RemovalClock(length_s, length_s / 7)
    clock.watch(now, "10.0.0.1:7700", 0)
    clock.watch(now, "10.0.0.2:7700", 2)
    return clock.next_deadline, clock.due


def claims(now: float, length_s: float) -> Turn:
    told = Claims(10, length_s, length_s / 3)
    told.record(now, "2" * 16, member(1))

    def look(at: float) -> None:
        told.due(at)
        told.expire(at)

    return told.next_deadline, look


def joiner(now: float, length_s: float) -> Turn:
    config = MembershipConfig(join_timeout_s=4 * length_s, join_retry_s=length_s / 4, found_after_s=length_s)
    search = Joiner("10.0.0.9:7700", config)
    search.start(now, ("10.0.0.1:7700", "10.0.0.2:7700"))

    def seek(at: float) -> None:
        while search.poll(at) is not None:
            pass

    return search.next_deadline, seek


def leaver(now: float, length_s: float) -> Turn:
    leave = Leaver(length_s)
    leave.start(now, length_s / 3)

    def go(at: float) -> None:
        if leave.may_remove(at):
            leave.removing(at)
        if leave.may_go(at):
            leave.gone()

    return leave.next_deadline, go


def topology(now: float, length_s: float) -> Turn:
    publisher = TopologyPublisher(length_s)
    publisher.changed(now)
    return publisher.next_deadline, lambda at: publisher.poll(at, 1, (), ())


def engine(now: float, length_s: float) -> Turn:
    config = GossipConfig(interval_s=length_s / 20, convergence_s=length_s, anti_entropy_s=length_s * 4)
    gossip = GossipEngine(config, random.Random(1))
    gossip.news_of(now, "1" * 16, 1)
    gossip.differs(now, "10.0.0.2:7700")
    peers = ("10.0.0.1:7700", "10.0.0.2:7700")

    def poll(at: float) -> None:
        for each in gossip.poll(at, peers):
            if isinstance(each, Reconcile) and each.full:
                gossip.heard(at, each.authority, equal=True)
        gossip.clock.late(at)

    return gossip.next_deadline, poll


def convergence(now: float, length_s: float) -> Turn:
    clock = ConvergenceClock(length_s)
    clock.start(now)
    return clock.next_deadline, clock.late


def anti_entropy(now: float, length_s: float) -> Turn:
    calls = AntiEntropy(GossipConfig(interval_s=length_s / 20, anti_entropy_s=length_s), random.Random(1))
    calls.start(now)
    return calls.next_deadline, lambda at: calls.poll(at, ("10.0.0.1:7700",), ("10.0.0.2:7700",))


def ballot(now: float, length_s: float) -> Turn:
    question = SelfBallot(length_s / 3, length_s)
    question.start(now)

    def ask(at: float) -> None:
        question.asks(at)
        if question.outcome(at, ["10.0.0.1:7700"], []):
            question.stop()

    return question.next_deadline, ask


def delays(now: float, length_s: float) -> Turn:
    queue: DelayQueue[Parcel[int]] = DelayQueue(DeliveryConfig(queue_age_s=length_s), "10.0.0.1:7700")
    queue.offer(Parcel(1, 10), now)
    queue.offer(Parcel(2, 10), now + length_s / 7)
    return queue.next_deadline, queue.expire


def authorities(now: float, length_s: float) -> Turn:
    config = DeliveryConfig(quarantine_s=length_s)
    known = Authorities(config, random.Random(1), redial_s=0.1, redial_max_s=1.0)
    known.condemned("10.0.0.1:7700", "a test", now)
    return known.next_deadline, known.tick


def reminders(catch_up: str) -> Callable[[float, float], Turn]:
    def make(now: float, length_s: float) -> Turn:
        schedule = ReminderSchedule(records_max=9, grain_max=9, catch_up_max=3, late_s=length_s / 3)
        # From an hour ago: some occurrences are missed.
        schedule.set(ReminderRecord("Cart", "a", "x", now - 3600.0, max(1.0, length_s), catch_up))

        def deliver(at: float) -> None:
            for delivery in schedule.due(at)[0]:
                assert delivery.reminder.due <= at, "an occurrence that has not come is delivered"
                schedule.ended(delivery)

        return schedule.next_deadline, deliver

    return make


MACHINES: dict[str, Callable[[float, float], Turn]] = {
    "tombstones": tombstones,
    "suspicions": suspicions,
    "prober": prober,
    "removals": removals,
    "claims": claims,
    "joiner": joiner,
    "leaver": leaver,
    "topology": topology,
    "engine": engine,
    "convergence": convergence,
    "anti_entropy": anti_entropy,
    "ballot": ballot,
    "delays": delays,
    "authorities": authorities,
    "reminders-once": reminders("once"),
    "reminders-skip": reminders("skip"),
    "reminders-all": reminders("all"),
}

moments = st.floats(min_value=0.0, max_value=3.2e7, allow_nan=False)
"""From the start of the machine to a year after it."""

lengths = st.floats(min_value=0.1, max_value=86_400.0, allow_nan=False)


def assert_moves_on(next_deadline: Callable[[], float | None], step: Callable[[float], object], now: float) -> float:
    """Steps at the machine's next deadline until it asks for a later one; returns that, infinity when there is none."""
    for _ in range(AT_ONCE_MAX):
        due = next_deadline()
        if due is None:
            return float("inf")
        if due > now:
            return due
        step(now)
    raise AssertionError(f"at {now!r} the machine asks for {next_deadline()!r} again and again")


@pytest.mark.parametrize("name", MACHINES)
@settings(max_examples=150)
@given(now=moments, length_s=lengths)
def test_a_machine_moves_on_at_its_deadline(name: str, now: float, length_s: float) -> None:
    next_deadline, step = MACHINES[name](now, length_s)
    for _ in range(40):
        now = assert_moves_on(next_deadline, step, now)
        if now == float("inf"):
            return
        step(now)


@settings(max_examples=300)
@given(touched=moments, ttl_s=lengths)
def test_an_idle_activation_is_found_when_its_bucket_has_come(touched: float, ttl_s: float) -> None:
    wheel = IdleWheel(ttl_s)
    wheel.add("a", touched)
    now = touched
    while not wheel.behind(now):
        now += ttl_s / 16
    assert wheel.due(now, lambda _: touched, 1) == ["a"]
    assert now <= touched + ttl_s * 1.2


def admitted(now: float, tombstone_s: float, members: int = 3) -> ControlNode:
    """A member that has founded a cluster and admitted others, who never say a word again."""
    config = ClusterConfig()
    config = config.replace(membership=config.membership.replace(tombstone_s=tombstone_s))
    founder = Member("10.0.0.1:7700", "1" * 16, 0, MemberStatus.JOINING)
    node = ControlNode(config, founder, random.Random(7))
    node.step(now, Start(("10.0.0.1:7700",)))
    for number in range(2, members + 1):
        joining = Member(f"10.0.0.{number}:7700", f"{number:016x}", 0, MemberStatus.JOINING)
        joins = ControlNode(config, joining, random.Random(number))
        (asked,) = joins.step(now, Start(("10.0.0.1:7700",)))
        assert isinstance(asked, Send) and isinstance(asked.message, JoinRequest)
        answers = node.step(now, Received(joining.authority, joining.node_id, asked.message))
        assert any(isinstance(each, Send) and isinstance(each.message, JoinAccepted) for each in answers)
    return node


@settings(max_examples=25, deadline=None)
@given(now=moments, tombstone_s=st.floats(min_value=60.0, max_value=7200.0))
def test_a_control_plane_moves_on_through_silence_removal_and_the_end_of_tombstones(
    now: float, tombstone_s: float
) -> None:
    node = admitted(now, tombstone_s)
    end = now + tombstone_s + 60.0
    for _ in ticks(node, now, end):
        node.check()
    assert len(node.table.live) == 1 and not node.table.tombstones
    node.step(end, LeaveRequested(3.3))
    for _ in ticks(node, end, end + 60.0):
        node.check()
    assert node.stage == "left"


def ticks(node: ControlNode, now: float, end: float) -> Iterator[float]:
    """Gives the node a tick at each of its deadlines."""
    for _ in itertools.count():
        now = assert_moves_on(node.next_deadline, lambda at: node.step(at, Tick()), now)
        if now >= end:
            return
        yield now
        node.step(now, Tick())


@settings(max_examples=25, deadline=None)
@given(now=moments, pause_s=st.floats(min_value=0.1, max_value=90_000.0))
def test_a_control_plane_moves_on_after_a_pause(now: float, pause_s: float) -> None:
    """After a pause its own time lags behind the caller's: deadlines are sums of both."""
    node = admitted(now, 3600.0)
    for at in ticks(node, now, now + 30.0):
        now = at
        if node.gossip_phase == "confirmed":
            break
    now += pause_s
    node.step(now, Tick())
    for _ in ticks(node, now, now + 120.0):
        node.check()


# The rule itself.


def subtractions_from_now(source: str) -> list[int]:
    """Lines that compare `now - x` with something."""
    found: list[int] = []
    for each in ast.walk(ast.parse(source)):
        if isinstance(each, ast.Compare):
            for side in (each.left, *each.comparators):
                if isinstance(side, ast.BinOp) and isinstance(side.op, ast.Sub) and _is_now(side.left):
                    found.append(each.lineno)
    return found


def _is_now(node: Any) -> bool:
    return (isinstance(node, ast.Name) and node.id == "now") or (isinstance(node, ast.Attribute) and node.attr == "now")


def test_no_machine_compares_an_age_where_others_compute_a_deadline() -> None:
    """`now >= since + length`, which is what a deadline is, and never `now - since >= length`, which rounds apart."""
    root = Path(inaho.core.__file__).parent
    found = [
        f"{path.relative_to(root)}:{line}"
        for path in sorted(root.rglob("*.py"))
        for line in subtractions_from_now(path.read_text())
    ]
    assert not found


def test_the_rule_sees_both_sides() -> None:
    assert subtractions_from_now("ok = now - since < 3.0\nok = 3.0 <= now - since\nok = now < since + 3.0") == [1, 2]
