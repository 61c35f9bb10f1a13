"""Reminders: saved, delivered wherever the grain is then, through crashes, moves and splits. In virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import inaho
from inaho import (
    ActivationConfig,
    ClusterConfig,
    ClusterIdentity,
    Grain,
    InvalidArguments,
    InvalidConfig,
    MemoryStorage,
    NoSuchMethod,
    Overloaded,
    StorageFailed,
    Timeout,
    method,
)
from inaho.core.activation.reminders import Reminder, ReminderRecord
from inaho.errors import InvalidPid, TopologyUnavailable, Unreachable
from inaho.events import ReminderFailed, ReminderMissed
from inaho.runtime.reminders.keeper import ReminderKeeper
from inaho.runtime.reminders.shard import KEEPER, ReminderShard, shard_of
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from inaho.testing.simulation.simulation import UNIX_START_S
from inaho.wire.codec import decoder
from inaho.wire.stored import unpack_state

LOG: list[tuple[str, float, Reminder]] = []
"""Key, virtual Unix time, and what was given."""

FAIL: list[BaseException] = []
"""What the next deliveries raise."""

SIM: list[SimCluster] = []

TASKS: list[asyncio.Future[None]] = []
"""What goes on beside the story."""


@pytest.fixture(autouse=True)
def empty() -> None:
    LOG.clear()
    FAIL.clear()
    TASKS.clear()


class Alarm(Grain):
    """Notes what it is reminded of."""

    async def on_reminder(self, reminder: Reminder) -> None:
        LOG.append((self.key, SIM[-1].unix_time(), reminder))
        if FAIL:
            raise FAIL.pop(0)

    async def set(self, name: str, due: float, period_s: float | None = None, catch_up: str = "once") -> None:
        await self.remind(name, due, period_s, catch_up=catch_up)

    async def set_at(self, name: str, when: datetime) -> None:
        await self.remind(name, when)

    async def drop(self, name: str) -> bool:
        return await self.forget(name)

    async def all(self) -> list[Reminder]:
        return await self.reminders()


class Bell(Grain):
    """Another kind with reminders."""

    async def on_reminder(self, reminder: Reminder) -> None: ...


@pytest.mark.parametrize("begun", [True, False], ids=["in the middle", "before"])
def test_a_node_that_dies_of_a_reminder_is_not_killed_for_ever(
    start: Start, monkeypatch: pytest.MonkeyPatch, begun: bool
):
    """A connection that ends in the middle of a delivery counts; one that cannot be made does not."""

    async def lost(*_: Any) -> None:
        raise Unreachable("the connection ended before an answer came", maybe_executed=begun)

    monkeypatch.setattr("inaho.runtime.reminders.keeper_calls.KeeperCalls.deliver", lost)
    sim = start()
    sim.run(sim.node(0).grain(Alarm, "a").set("r", 5.0))
    sim.run_for(600.0)
    failed = [each.given_up for each in events(sim, ReminderFailed)]
    assert failed == [False] * 7 + [True] if begun else len(failed) > 8 and not any(failed)


class Plain(Grain):
    """Has no `on_reminder`."""

    async def touch(self) -> int:
        return 1

    async def set(self) -> None:
        await self.remind("r", 1.0)


Start = Callable[..., SimCluster]


@pytest.fixture
def start() -> Generator[Start]:
    """A simulated cluster with few shards."""

    def begin(*grains: Any, nodes: int = 1, seed: int = 0, storage: Any = None, **activation: Any) -> SimCluster:
        config = ClusterConfig(activation=ActivationConfig(**{"reminder_shards": 8, **activation}))
        sim = SimCluster(nodes=nodes, seed=seed, grains=grains or (Alarm,), config=config, storage=storage)
        SIM.append(sim)
        sim.__enter__()
        return sim

    yield begin
    for sim in SIM:
        for index in range(len(sim._nodes)):
            if sim.is_member(index) and KEEPER in sim.node(index)._node.hosts:
                for keeper in sim.node(index)._node.hosts[KEEPER].activations.values():
                    if hasattr(keeper, "_schedule"):
                        keeper._schedule.check()
        sim.check()
        sim.__exit__(None, None, None)
    SIM.clear()


def times(key: str = "a") -> list[float]:
    """When reminders were given to that grain, in seconds since the start of the simulation."""
    return [round(at - UNIX_START_S, 1) for each, at, _ in LOG if each == key]


def dues(key: str = "a") -> list[float]:
    """For when those named `r` or `once` were given."""
    return [
        round(reminder.due - UNIX_START_S, 1) for each, _, reminder in LOG if each == key and reminder.name != "late"
    ]


def events(sim: SimCluster, kind: type[Any]) -> list[Any]:
    return [each.event for each in sim.events if type(each.event) is kind]


def keeper_of(sim: SimCluster, key: str = "a", shards: int = 8) -> int:
    """Index of the node that keeps the reminders of `Alarm/key`."""
    shard = shard_of("Alarm", key, shards)
    found = [
        index
        for index in range(len(sim._nodes))
        if sim.is_member(index) and shard in sim.node(index)._node.hosts[KEEPER].activations
    ]
    assert len(found) == 1
    return found[0]


def place_of(sim: SimCluster, key: str = "a") -> int | None:
    """Index of the node where `Alarm/key` is active."""
    found = [
        index
        for index in range(len(sim._nodes))
        if sim.is_member(index) and key in sim.node(index)._node.hosts["Alarm"].activations
    ]
    return found[0] if found else None


def test_a_reminder_comes_once_at_its_time_though_the_grain_was_unloaded(start: Start):
    sim = start(idle_ttl_s=5.0)
    began = sim.time
    sim.run(sim.node(0).grain(Alarm, "a").set("tea", 60.0))
    sim.run_for(50.0)
    assert place_of(sim) is None
    sim.run_for(100.0)
    assert times() == [pytest.approx(began + 60.0, abs=0.2)]
    [(_, _, reminder)] = LOG
    assert (reminder.name, reminder.period_s, reminder.missed, reminder.attempt) == ("tea", 0.0, 0, 1)
    assert sim.run(sim.node(0).grain(Alarm, "a").all()) == []


def test_a_time_of_day_needs_its_zone(start: Start):
    sim = start()
    grain = sim.node(0).grain(Alarm, "a")
    when = datetime.fromtimestamp(sim.unix_time(), UTC) + timedelta(seconds=30)
    sim.run(grain.set_at("r", when))
    with pytest.raises(InvalidArguments, match="time zone"):
        sim.run(grain.set_at("r", when.replace(tzinfo=None)))
    sim.run_for(31.0)
    assert [reminder.due for _, _, reminder in LOG] == [pytest.approx(when.timestamp())]


def test_a_periodic_reminder_goes_on_until_it_is_forgotten(start: Start):
    sim = start(nodes=2)
    grain = sim.node(0).grain(Alarm, "a")
    began = sim.time
    sim.run(grain.set("r", 10.0, 20.0))
    sim.run_for(55.0)
    assert times() == [pytest.approx(began + at, abs=0.2) for at in (10.0, 30.0, 50.0)]
    [listed] = sim.run(grain.all())
    assert (listed.name, listed.period_s, listed.catch_up, listed.attempt) == ("r", 20.0, "once", 0)
    assert listed.due - UNIX_START_S == pytest.approx(began + 70.0, abs=0.2)
    assert sim.run(grain.drop("r")) is True
    assert sim.run(grain.drop("r")) is False
    sim.run_for(60.0)
    assert len(LOG) == 3


def test_a_reminder_that_is_set_again_replaces_the_first(start: Start):
    sim = start()
    grain = sim.node(0).grain(Alarm, "a")
    began = sim.time
    sim.run(grain.set("r", 10.0))
    sim.run(grain.set("r", 20.0))
    sim.run(grain.set("s", 15.0))
    sim.run_for(30.0)
    assert [reminder.name for _, _, reminder in LOG] == ["s", "r"]
    assert times() == [pytest.approx(began + at, abs=0.2) for at in (15.0, 20.0)]


def test_an_on_reminder_that_raises_is_asked_again_with_growing_pauses(start: Start):
    sim = start()
    FAIL.extend([ValueError("no")] * 3)
    sim.run(sim.node(0).grain(Alarm, "a").set("r", 1.0))
    sim.run_for(60.0)
    assert [reminder.attempt for _, _, reminder in LOG] == [1, 2, 3, 4]
    pauses = [later - sooner for sooner, later in zip(times(), times()[1:], strict=False)]
    for pause, longest in zip(pauses, (1.0, 2.0, 4.0), strict=True):
        assert longest / 2 - 0.2 <= pause <= longest + 0.2
    failed = events(sim, ReminderFailed)
    assert [(str(each.identity), each.name, each.attempt, each.given_up) for each in failed] == [
        ("Alarm/a", "r", attempt, False) for attempt in (1, 2, 3)
    ]
    assert "no" in failed[0].reason
    assert sim.run(sim.node(0).grain(Alarm, "a").all()) == []


def test_an_occurrence_that_always_fails_is_given_up_and_the_next_one_comes(start: Start):
    sim = start()
    FAIL.extend([ValueError("no")] * 8)
    sim.run(sim.node(0).grain(Alarm, "a").set("r", 1.0, 600.0))
    sim.run_for(700.0)
    assert [(reminder.attempt, reminder.missed) for _, _, reminder in LOG] == [
        *((attempt, 0) for attempt in range(1, 9)),
        (1, 1),
    ]
    assert [each.given_up for each in events(sim, ReminderFailed)] == [False] * 7 + [True]


class Busy(Grain, name="Alarm"):
    """An `Alarm` whose turns are long."""

    async def on_reminder(self, reminder: Reminder) -> None:
        LOG.append((self.key, SIM[-1].unix_time(), reminder))
        if self.key.startswith("hanging"):
            await asyncio.sleep(3600.0)
        if self.key.startswith("asking"):
            await self.cluster.grain(Busy, f"busy, as {self.key} finds", timeout=0.5).work()

    async def set(self) -> None:
        await self.remind("r", 5.0)

    @method(timeout=7200.0)
    async def work(self) -> None:
        await asyncio.sleep(400.0)


async def begin_both(one: Coroutine[Any, Any, None], other: Coroutine[Any, Any, None]) -> None:
    """Returns when the first has ended; the second goes on."""
    await one
    TASKS.append(asyncio.ensure_future(other))


def key_of(sim: SimCluster, prefix: str, keeper: int) -> str:
    """A key of `Alarm` at node 0 whose reminders that node keeps."""
    leases = [sim.node(index)._node.leases for index in range(2)]
    keys = (f"{prefix}{number}" for number in range(10_000))
    return next(
        key for key in keys if leases[0].owns("Alarm", key) and leases[keeper].owns(KEEPER, shard_of("Alarm", key, 8))
    )


KEEPERS = pytest.mark.parametrize("keeper", [0, 1], ids=["keeper here", "keeper elsewhere"])


@KEEPERS
def test_a_grain_that_is_busy_for_minutes_gets_its_reminder_afterwards(start: Start, keeper: int):
    """Where the keeper is elsewhere, its own deadline passes first, and it does not know that nothing ran."""
    sim = start(Busy, nodes=2)
    key = key_of(sim, "k", keeper)
    grain = sim.node(0).grain(Busy, key)
    sim.run(begin_both(grain.set(), grain.work()))
    sim.slow(0, 0.15)
    sim.run_for(600.0)
    assert len(LOG) == 1
    failed = events(sim, ReminderFailed)
    assert 8 <= len(failed) <= 20 and not any(each.given_up for each in failed)


@KEEPERS
@pytest.mark.parametrize("what", ["hanging", "asking"])
def test_an_on_reminder_that_never_ends_in_time_is_given_up(start: Start, keeper: int, what: str):
    """What it was told by others counts as its own failure, though the keeper's own call might fail in the same way."""
    sim = start(Busy, nodes=2)
    sim.slow(0, 0.15)
    key = key_of(sim, what, keeper)
    busy = sim.node(0).grain(Busy, f"busy, as {key} finds")
    sim.run(begin_both(sim.node(0).grain(Busy, key).set(), busy.work()))
    sim.run_for(399.0)
    assert [reminder.attempt for each, _, reminder in LOG if each == key] == list(range(1, 9))
    failed = events(sim, ReminderFailed)
    assert [each.given_up for each in failed] == [False] * 7 + [True]
    assert ("the deadline passed while on_reminder ran" if what == "hanging" else "Timeout") in failed[0].reason


@pytest.mark.parametrize("catch_up", ["once", "skip", "all"])
def test_a_restart_of_the_whole_cluster_makes_up_for_what_passed_by_the_policy(start: Start, catch_up: str):
    sim = start(nodes=2, reminder_catch_up_max=4)
    began = sim.time
    sim.run(sim.node(0).grain(Alarm, "a").set("r", 10.0, 40.0, catch_up))
    sim.run(sim.node(0).grain(Alarm, "b").set("once", 20.0, None, catch_up))
    sim.run_for(15.0)
    assert len(LOG) == 1
    sim.crash(0)
    sim.crash(1)
    sim.run_for(380.0)  # 50, 90 … 370 pass
    LOG.clear()
    sim.restart(0)
    sim.restart(1)
    sim.run_for(70.0)  # until about 465
    offsets = [round(due - began) for due in dues("a")]
    caught = {"once": [370], "skip": [], "all": [250, 290, 330, 370]}[catch_up]
    assert offsets == [*caught, 410, 450]
    missed = [reminder.missed for key, _, reminder in LOG if key == "a"]
    first = {"once": 8, "skip": 9, "all": 5}[catch_up]
    assert missed == [first, *[0] * (len(offsets) - 1)]
    assert [round(due - began) for due in dues("b")] == ([] if catch_up == "skip" else [20])
    assert sum(each.count for each in events(sim, ReminderMissed) if each.identity.key == "a") == first


@pytest.mark.parametrize("victim", ["keeper", "grain"])
def test_no_occurrence_is_lost_when_a_node_dies(start: Start, victim: str, simulation_seed: int):
    seed = simulation_seed
    sim = start(nodes=3, seed=seed)
    began = sim.time
    sim.run(sim.node(0).grain(Alarm, "a").set("r", 3.0, 3.0, "all"))
    sim.run_for(7.0 + seed % 10 * 0.37)
    sim.crash(keeper_of(sim) if victim == "keeper" else place_of(sim) or 0, silent=bool(seed % 2))
    sim.run_for(25.0)
    seen = [round((due - began) / 3.0) for due in dues()]
    assert sorted(set(seen)) == list(range(1, max(seen) + 1)), "an occurrence is lost"
    assert max(seen) >= 9
    assert len(seen) <= len(set(seen)) + 1  # the one whose end was not saved may come again
    assert len(sim.run(sim.node(next(i for i in range(3) if sim.is_member(i))).grain(Alarm, "a").all())) == 1


def test_a_split_loses_no_occurrence_and_afterwards_one_keeper_is_left(start: Start, simulation_seed: int):
    sim = start(nodes=3, seed=simulation_seed)
    began = sim.time
    sim.run(sim.node(0).grain(Alarm, "a").set("r", 5.0, 5.0, "all"))
    sim.run_for(6.0)
    alone = keeper_of(sim)
    others = {0, 1, 2} - {alone}
    sim.partition({alone}, others)
    sim.run_for(30.0)
    # Set on the far side, whose keeper may not be the one that stays.
    sim.run(sim.node(min(others)).grain(Alarm, "a").set("late", 40.0), on=min(others))
    sim.heal()
    sim.wait_converged()
    sim.run_for(20.0)
    since = len(LOG)
    reached = int((sim.time - began - 0.5) / 5.0)
    seen = [round((due - began) / 5.0) for due in dues()]
    assert set(range(1, reached + 1)) <= set(seen), "an occurrence is lost"
    sim.run_for(40.0)
    after = [each for each in LOG[since:] if each[2].name == "r"]
    assert 7 <= len(after) <= 9  # one keeper: each occurrence once
    assert sum(reminder.name == "late" for _, _, reminder in LOG) >= 1


def test_what_remind_has_acknowledged_survives_the_end_of_everything(start: Start):
    sim = start(nodes=2)
    keys = [f"k{number}" for number in range(10)]

    async def set_all() -> None:
        await asyncio.gather(*(sim.node(0).grain(Alarm, key).set("r", 5.0) for key in keys))

    sim.run(set_all())
    sim.crash(0)
    sim.crash(1)
    sim.run_for(2.0)
    sim.restart(0)
    sim.restart(1)
    sim.run_for(15.0)
    assert sorted(key for key, _, _ in LOG) == keys


def test_a_reminder_of_a_kind_that_nobody_hosts_waits_for_it(start: Start):
    storage = MemoryStorage()
    sim = start(Alarm, Bell, storage=storage)
    sim.run(sim.node(0).grain(Alarm, "a").set("r", 5.0))
    sim.close()
    sim = start(Bell, storage=storage)
    sim.run_for(150.0)
    assert LOG == []
    failed = events(sim, ReminderFailed)
    assert 5 <= len(failed) <= 15 and not any(each.given_up for each in failed)  # pauses grow to a minute
    assert {each.attempt for each in failed} == {1} and "no member hosts it" in failed[0].reason
    sim.close()
    sim = start(Alarm, Bell, storage=storage)
    sim.run_for(5.0)
    assert [(key, reminder.attempt) for key, _, reminder in LOG] == [("a", 1)]


def test_a_keeper_learns_of_what_another_saved_that_died_before_it_could_tell(start: Start):
    sim = start(nodes=3)
    sim.run(sim.node(0).grain(Alarm, "a").set("first", 600.0))
    alone = keeper_of(sim)
    others = sorted({0, 1, 2} - {alone})
    sim.partition({alone}, set(others))
    sim.run_for(15.0)
    sim.run(sim.node(others[0]).grain(Alarm, "a").set("late", 60.0), on=others[0])
    for index in others:
        sim.crash(index)
    sim.heal()
    for index in others:
        sim.restart(index)
    sim.wait_converged()
    sim.run_for(1.0)
    assert keeper_of(sim) == alone
    sim.run_for(60.0)
    assert [reminder.name for _, _, reminder in LOG] == ["late"]
    listed = sim.run(sim.node(0).grain(Alarm, "a").all())
    assert [reminder.name for reminder in listed] == ["first"]


def test_whatever_happens_every_occurrence_comes_and_none_that_was_not_asked_for(start: Start, simulation_seed: int):
    """Crashes, restarts, splits, pauses, leaves and joins, one after the other, while ten grains have reminders."""
    chance = random.Random(simulation_seed)
    sim = start(nodes=3, seed=simulation_seed)
    began = sim.time
    keys = [f"k{number}" for number in range(10)]

    async def set_all() -> None:
        await asyncio.gather(*(sim.node(0).grain(Alarm, key).set("r", 5.0, 5.0, "all") for key in keys))
        await asyncio.gather(*(sim.node(0).grain(Alarm, key).set("once", chance.uniform(5, 60)) for key in keys))

    sim.run(set_all())
    for _ in range(6):
        members = [index for index in range(len(sim._nodes)) if sim.is_member(index)]
        victim = chance.choice([index for index in members if index])  # the first one keeps the cluster together
        what = chance.choice(["crash", "silent crash", "split", "pause", "leave"])
        if what == "split":
            sim.partition({victim}, set(members) - {victim})
            sim.run_for(chance.uniform(1.0, 15.0))
            sim.heal()
        elif what == "pause":
            sim.pause(victim, chance.uniform(0.5, 12.0))
        elif what == "leave":
            sim.leave(victim)
            sim.add()
        else:
            sim.crash(victim, silent=what == "silent crash")
            sim.run_for(chance.uniform(0.0, 8.0))
            sim.restart(victim)
        sim.run_for(chance.uniform(0.0, 6.0))
    sim.wait_converged()
    sim.run_for(45.0)
    reached = int((sim.time - began - 1.0) / 5.0)
    for key in keys:
        beats = [
            reminder.due - UNIX_START_S - began for each, _, reminder in LOG if each == key and reminder.name == "r"
        ]
        numbers = [round(due / 5.0) for due in beats]
        assert set(numbers) >= set(range(1, reached + 1)), f"{key} lost an occurrence"
        assert all(abs(due - 5.0 * number) < 1.0 for due, number in zip(beats, numbers, strict=True))
        assert any(each == key and reminder.name == "once" for each, _, reminder in LOG)
    assert all(at >= reminder.due - 0.001 for _, at, reminder in LOG)
    settled = [(key, round(reminder.due, 1)) for key, at, reminder in LOG if at > sim.unix_time() - 20.0]
    assert len(settled) == len(set(settled)), "two keepers are left"


def test_a_leaving_keeper_hands_its_reminders_over(start: Start):
    sim = start(nodes=3)
    began = sim.time
    sim.run(sim.node(0).grain(Alarm, "a").set("r", 4.0, 4.0, "all"))
    sim.run_for(5.0)
    sim.leave(keeper_of(sim))
    sim.run_for(15.0)
    sim.add()
    sim.run_for(20.0)
    assert [round((due - began) / 4.0) for due in dues()] == list(range(1, len(LOG) + 1))
    assert len(LOG) >= 9


def test_what_is_saved_is_what_is_kept(start: Start):
    sim = start()
    began = sim.unix_time()

    async def many() -> None:
        await asyncio.gather(*(sim.node(0).grain(Alarm, "a").set(f"r{n}", 100.0 + n) for n in range(20)))

    sim.run(many())
    stored = sim.run(sim.storage.load(ClusterIdentity(KEEPER, shard_of("Alarm", "a", 8))))
    assert stored is not None and stored.data is not None
    shard = decoder(ReminderShard)(unpack_state(stored.data))
    assert shard.shards == 8
    assert {record.name for record in shard.records} == {f"r{n}" for n in range(20)}
    record = next(record for record in shard.records if record.name == "r3")
    assert record == ReminderRecord("Alarm", "a", "r3", pytest.approx(began + 103.0, abs=0.1), 0.0, "once")
    assert stored.version <= 20


class SlowStorage(MemoryStorage):
    """Takes 100 ms per write, as a disk under load."""

    async def _write(self, *arguments: Any, **named: Any) -> int:
        await asyncio.sleep(0.1)
        return await super()._write(*arguments, **named)


def test_changes_that_come_together_share_a_save(start: Start):
    class Many(Alarm, name="Alarm"):
        async def set_all(self, count: int) -> None:
            await asyncio.gather(*(self.remind(f"r{n}", 1000.0) for n in range(count)))

    sim = start(Many, storage=SlowStorage(), reminders_per_grain_max=100)
    sim.run_for(1.0)
    began, before = sim.time, sim.storage.saves
    sim.run(sim.node(0).grain(Many, "a").set_all(100))
    assert sim.storage.saves - before <= 3
    assert sim.time - began < 0.5
    assert len(sim.run(sim.node(0).grain(Many, "a").all())) == 100


class Unsteady(MemoryStorage):
    """Loses saves of keepers while told so: refused, or committed without an acknowledgement."""

    how = ""

    async def _write(self, identity: ClusterIdentity, *arguments: Any, **named: Any) -> int:
        if identity.kind != KEEPER or not self.how:
            return await super()._write(identity, *arguments, **named)
        if self.how == "lost acknowledgement":
            await super()._write(identity, *arguments, **named)
        raise StorageFailed(self.how, maybe_executed=self.how == "lost acknowledgement")


@pytest.mark.parametrize("how", ["refused", "lost acknowledgement"])
def test_a_storage_that_fails_is_told_and_nothing_acknowledged_is_lost(start: Start, how: str):
    storage = Unsteady()
    sim = start(storage=storage)
    grain = sim.node(0).grain(Alarm, "a", timeout=30.0)
    sim.run(grain.set("first", 60.0))
    storage.how = how
    with pytest.raises(inaho.InahoError):
        sim.run(grain.set("second", 70.0))
    storage.how = ""
    sim.run_for(10.0)
    sim.run(grain.set("third", 80.0))
    sim.run_for(120.0)
    names = [reminder.name for _, _, reminder in LOG]
    assert names.count("first") == 1 and names.count("third") == 1
    stored = sim.run(sim.storage.load(ClusterIdentity(KEEPER, shard_of("Alarm", "a", 8))))
    assert stored is not None and stored.data is not None
    assert decoder(ReminderShard)(unpack_state(stored.data)).records == []


class Backed(Grain):
    """Asks another before it is active."""

    down = False

    async def on_activate(self) -> None:
        if Backed.down:
            raise Timeout("the backend did not answer")

    async def set(self) -> None:
        await self.remind("r", 1.0)
        self.deactivate()

    async def on_reminder(self, reminder: Reminder) -> None:
        LOG.append((self.key, SIM[-1].unix_time(), reminder))


def test_a_grain_that_cannot_come_up_for_long_has_not_been_asked(start: Start):
    """Its occurrence is not given up, though what its `on_activate` called may have run."""
    sim = start(Backed)
    Backed.down = False
    sim.run(sim.node(0).grain(Backed, "a").set())
    Backed.down = True
    sim.run_for(600.0)
    assert not LOG
    failures = events(sim, ReminderFailed)
    assert len(failures) > 8
    assert not any(failure.given_up for failure in failures)
    Backed.down = False
    sim.run_for(90.0)
    assert [reminder.attempt for _, _, reminder in LOG] == [1]


def test_bounds_are_clear_errors(start: Start):
    sim = start(reminders_per_grain_max=2, reminders_max=3, reminder_shards=1)
    grain = sim.node(0).grain(Alarm, "a")
    sim.run(grain.set("1", 100.0))
    sim.run(grain.set("2", 100.0))
    with pytest.raises(Overloaded, match="reminders_per_grain_max"):
        sim.run(grain.set("3", 100.0))
    sim.run(sim.node(0).grain(Alarm, "b").set("1", 100.0))
    with pytest.raises(Overloaded, match="reminders_max"):
        sim.run(sim.node(0).grain(Alarm, "c").set("1", 100.0))
    for wrong, match in (
        (("", 1.0), "name"),
        (("x" * 300, 1.0), "200 bytes"),
        (("r", -1.0), "0 seconds or more"),
        (("r", float("nan")), "0 seconds or more"),
        (("r", 1.0, 0.5), "timer"),
        (("r", 1.0, 0.0), "above 0"),
        (("r", 1.0, 2.0, "twice"), "skip, once, all"),
    ):
        with pytest.raises(InvalidArguments, match=match):
            sim.run(grain.set(*wrong))
    assert len(sim.run(grain.all())) == 2


def test_a_kind_without_on_reminder_has_none_and_its_cluster_no_keepers(start: Start):
    storage = MemoryStorage()
    sim = start(Plain, nodes=2, storage=storage)
    sim.run_for(10.0)
    assert sim.run(sim.node(0).grain(Plain, "a").touch()) == 1
    with pytest.raises(InvalidArguments, match="no on_reminder"):
        sim.run(sim.node(0).grain(Plain, "a").set())
    assert all(member.kinds == ("Plain",) for member in sim.node(0).members())
    assert storage.loads == 0 and sim.node(0)._node.storage_access._opening is None


def test_the_delivering_method_is_not_part_of_the_interface(start: Start):
    sim = start()
    reference = sim.node(0).grain(Alarm, "a")
    assert {name for name in dir(reference) if not name.startswith("_")} == {"set", "set_at", "drop", "all"}
    with pytest.raises(NoSuchMethod) as raised:
        sim.run(sim.node(0).call("Alarm", "a", "on_reminder"))
    assert "inaho" not in raised.value.reason


def test_a_keeper_that_finds_another_number_of_shards_says_so(start: Start):
    storage = MemoryStorage()
    sim = start(storage=storage, reminder_shards=1)
    sim.run(sim.node(0).grain(Alarm, "a").set("r", 100.0))
    sim.close()
    sim = start(storage=storage, reminder_shards=2)
    sim.run_for(5.0)
    key = next(key for key in "abcdefgh" if shard_of("Alarm", key, 2) == "0")
    with pytest.raises(inaho.InahoError, match="saved in 1 shards"):
        sim.run(sim.node(0).grain(Alarm, key).set("r", 100.0))


def test_a_keeper_takes_only_what_belongs_to_it(start: Start):
    """Peers may have another configuration, or no good intentions."""
    sim = start()
    keeper = sim.node(0).grain(ReminderKeeper, shard_of("Alarm", "a", 8))
    due = sim.unix_time() + 1.0
    sim.run(keeper.put(ReminderRecord("Alarm", "a", "r", due)))
    wrong_shard = next(key for key in "bcdefgh" if shard_of("Alarm", key, 8) != shard_of("Alarm", "a", 8))
    with pytest.raises(InvalidConfig, match="reminder_shards is 8 here"):
        sim.run(keeper.put(ReminderRecord("Alarm", wrong_shard, "r", due)))
    with pytest.raises(InvalidPid):
        sim.run(keeper.put(ReminderRecord("not a kind", "a", "r", due)))
    unknown = next(key for key in map(str, range(99)) if shard_of("Unknown", key, 8) == shard_of("Alarm", "a", 8))
    with pytest.raises(TopologyUnavailable, match="hosts the kind"):
        sim.run(keeper.put(ReminderRecord("Unknown", unknown, "r", due)))
    sim.run_for(5.0)
    assert [key for key, _, _ in LOG] == ["a"]


class Kitchen(Grain):
    """Lives on other members than `Alarm`."""

    async def on_reminder(self, reminder: Reminder) -> None:
        LOG.append((self.key, 0.0, reminder))

    async def set(self) -> None:
        await self.remind("r", 0.2)


async def test_a_keeper_delivers_to_kinds_that_its_node_does_not_know(fleet: Any, eventually: Any):
    """Real time: the members host different kinds, and keepers are on both."""
    first = await fleet.member(Alarm)
    second = await fleet.member(Kitchen)
    await eventually(lambda: len(first.members()) == len(second.members()) == 2)
    keys = [f"k{number}" for number in range(12)]
    await asyncio.gather(*(second.grain(Kitchen, key).set() for key in keys))
    await eventually(lambda: len(LOG) >= len(keys))
    assert sorted({key for key, _, _ in LOG}) == sorted(keys)
    homes = {first._node.leases.owns(KEEPER, shard_of("Kitchen", key, 64)) for key in keys}
    assert homes == {True, False}


async def test_memory_of_one_node_is_no_place_for_reminders():
    async with inaho.join(
        "127.0.0.1:7700", grains=[Alarm], storage="memory", transport=MemoryTransport(MemoryNetwork())
    ) as cluster:
        with pytest.raises(InvalidConfig, match="outlives this process"):
            await cluster.grain(Alarm, "a").set("r", 1.0)


@pytest.mark.parametrize("seed", [5])
def test_one_seed_is_one_history(seed: int):
    def history() -> str:
        LOG.clear()
        config = ClusterConfig(activation=ActivationConfig(reminder_shards=4))
        with SimCluster(nodes=3, seed=seed, grains=[Alarm], config=config) as sim:
            SIM.append(sim)
            sim.run(sim.node(0).grain(Alarm, "a").set("r", 1.0, 2.0))
            sim.run_for(4.0)
            sim.crash(keeper_of(sim, shards=4))
            sim.run_for(20.0)
            SIM.pop()
            assert LOG
            return sim.trace_hash()

    assert history() == history()
