"""The keepers of reminders: what they save, and that no occurrence is lost through crashes, splits and errors of the
storage. In virtual time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

import inaho
from inaho import ClusterIdentity, Grain, InvalidConfig, MemoryStorage, StorageFailed
from inaho.core.activation.reminders import Reminder, ReminderRecord
from inaho.errors import InvalidPid, TopologyUnavailable
from inaho.events import ReminderFailed
from inaho.runtime.reminders.keeper import ReminderKeeper
from inaho.runtime.reminders.shard import KEEPER, ReminderShard, shard_of
from inaho.testing.simulation.simulation import UNIX_START_S
from inaho.wire.codec import decoder
from inaho.wire.stored import unpack_state
from support.reminders import LOG, Alarm, Start, dues, events, keeper_of, place_of


class Bell(Grain):
    """Another kind with reminders."""

    async def on_reminder(self, reminder: Reminder) -> None: ...


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
