"""Reminders where wall clocks differ between members, or are set while a keeper runs."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime

import pytest

from inaho import ActivationConfig, ClusterConfig, Grain, InvalidArguments, MemoryStorage
from inaho.core.activation.reminders import Reminder, ReminderRecord
from inaho.runtime.reminders.keeper import LOOK_AGAIN_S, ReminderKeeper
from inaho.runtime.reminders.shard import KEEPER, shard_of
from inaho.testing.cluster.sim_cluster import SimCluster

HOUR_S = 3600.0
SHARDS = 8
LOG: list[tuple[str, float, Reminder]] = []
"""Name, virtual seconds, and what was given."""
SIM: list[SimCluster] = []


class Clock(Grain):
    async def on_reminder(self, reminder: Reminder) -> None:
        LOG.append((reminder.name, SIM[-1].time, reminder))

    async def set(self, name: str, due: float, period_s: float | None = None) -> None:
        await self.remind(name, due, period_s)

    async def set_at(self, name: str, due: datetime, period_s: float | None = None) -> None:
        await self.remind(name, due, period_s)

    async def place(self) -> str:
        return self.cluster.authority

    async def all(self) -> list[Reminder]:
        return await self.reminders()


class Clocks:
    """A cluster whose members have wall clocks of their own, ahead by `ahead_s`."""

    def __init__(self, nodes: int = 3, seed: int = 0) -> None:
        config = ClusterConfig(activation=ActivationConfig(reminder_shards=SHARDS))
        self.sim = SimCluster(nodes=nodes, seed=seed, grains=[Clock], config=config, storage=MemoryStorage())
        self.ahead_s = [0.0] * (nodes + 1)
        SIM.append(self.sim)
        self.sim.__enter__()
        for index in range(nodes):
            self.take_clock(index)

    def take_clock(self, index: int) -> None:
        self.sim.node(index)._node.local.unix_time = lambda: self.sim.unix_time() + self.ahead_s[index]

    def keeper_of(self, key: str) -> int:
        shard = shard_of("Clock", key, SHARDS)
        (found,) = (
            index
            for index in range(len(self.sim._nodes))
            if self.sim.is_member(index) and shard in self.sim.node(index)._node.hosts[KEEPER].activations
        )
        return found

    def key_apart(self) -> tuple[str, int, int]:
        """A key whose grain and keeper are on two members, and these."""
        for number in range(100):
            key = f"k{number}"
            place = self.sim.run(self.sim.node(0).grain(Clock, key).place())
            at = next(index for index in range(len(self.sim._nodes)) if self.sim.authority(index) == place)
            if at != self.keeper_of(key):
                return key, at, self.keeper_of(key)
        raise AssertionError("every grain is with its keeper")

    def set(self, key: str, name: str, due: float, period_s: float | None = None) -> None:
        self.sim.run(self.sim.node(0).grain(Clock, key).set(name, due, period_s))


@pytest.fixture(autouse=True)
def clocks() -> Generator[None]:
    LOG.clear()
    yield
    for sim in SIM:
        for index in range(len(sim._nodes)):
            if sim.is_member(index):
                for keeper in sim.node(index)._node.hosts[KEEPER].activations.values():
                    if hasattr(keeper, "_schedule"):
                        keeper._schedule.check()
        sim.__exit__(None, None, None)
    SIM.clear()


def waits(name: str, since: float) -> list[float]:
    return [round(at - since, 1) for each, at, _ in LOG if each == name]


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S, 86_400.0 * 400])
@pytest.mark.parametrize("whose", ["keeper", "grain"])
def test_a_delay_is_one_whatever_the_clocks_of_grain_and_keeper(ahead_s: float, whose: str):
    clocks = Clocks()
    clocks.sim.run_for(5.0)
    key, at, keeper = clocks.key_apart()
    clocks.ahead_s[keeper if whose == "keeper" else at] = ahead_s
    began = clocks.sim.time
    clocks.set(key, "x", 10.0)
    clocks.set(key, "p", 10.0, 10.0)
    clocks.sim.run_for(45.0)
    assert waits("x", began) == [10.0]
    assert waits("p", began) == [10.0, 20.0, 30.0, 40.0]
    assert [reminder.missed for _, _, reminder in LOG] == [0] * 5


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S, 7.0, -7.0])
def test_a_clock_that_is_set_moves_no_delay_and_no_period_after_it(step_s: float):
    clocks = Clocks(nodes=1)
    clocks.set("a", "x", 10.0)
    clocks.set("a", "late", 100.0)
    clocks.set("a", "p", 10.0, 10.0)
    began = clocks.sim.time
    clocks.sim.run_for(5.0)
    clocks.ahead_s[0] = step_s
    clocks.sim.run_for(60.0)
    clocks.ahead_s[0] = 0.0  # set right again
    clocks.sim.run_for(55.0)
    assert waits("x", began) == [10.0]
    assert waits("late", began) == [100.0]
    assert waits("p", began) == [10.0 * count for count in range(1, 13)]
    dues = [reminder.due for name, _, reminder in LOG if name == "p"]
    assert len(set(dues)) == len(dues), "two occurrences have one time, by which a grain tells them apart"


def test_a_time_of_day_follows_the_clock():
    clocks = Clocks(nodes=1)
    noon = datetime.fromtimestamp(clocks.sim.unix_time() + 600.0, UTC)
    began = clocks.sim.time
    clocks.sim.run(clocks.sim.node(0).grain(Clock, "a").set_at("noon", noon))
    clocks.sim.run_for(5.0)
    clocks.ahead_s[0] = 500.0  # it is ten past by now, nearly
    clocks.sim.run_for(200.0)
    (wait_s,) = waits("noon", began)
    assert 100.0 <= wait_s <= 100.0 + LOOK_AGAIN_S


def test_an_occurrence_whose_delivery_failed_keeps_its_time_through_a_step(monkeypatch: pytest.MonkeyPatch):
    """The grain knows by `due` that it is the same one; the next is a period after it by the new clock."""
    clocks = Clocks(nodes=1)
    fail = [True]

    async def failing(self: Clock, reminder: Reminder) -> None:
        LOG.append((reminder.name, clocks.sim.time, reminder))
        if fail.pop() if fail else False:
            clocks.ahead_s[0] = HOUR_S
            raise RuntimeError("not now")

    monkeypatch.setattr(Clock, "on_reminder", failing)
    began = clocks.sim.time
    clocks.set("a", "p", 10.0, 10.0)
    clocks.sim.run_for(25.0)
    first, again, after = [reminder for _, _, reminder in LOG]
    assert first.due == again.due and again.attempt == 2
    assert after.due == pytest.approx(first.due + 10.0 + HOUR_S, abs=0.01)
    assert after.missed == 0 and waits("p", began)[-1] == 20.0


def test_a_stored_time_is_one_of_the_keeper_that_wrote_it():
    """Said in the documents: the next keeper, whose clock is an hour behind, waits an hour longer."""
    clocks = Clocks(nodes=2)
    clocks.sim.run_for(5.0)
    key, _, keeper = clocks.key_apart()
    other = 1 - keeper
    clocks.ahead_s[other] = -HOUR_S
    clocks.set(key, "x", 60.0)
    began = clocks.sim.time
    clocks.sim.leave(keeper)
    clocks.sim.run_for(HOUR_S)
    assert waits("x", began) == []
    clocks.sim.run_for(90.0)
    assert len(waits("x", began)) == 1


def test_a_delay_is_a_time_of_day_for_the_next_keeper():
    """Said in the documents: it follows that one's clock when that is set."""
    clocks = Clocks(nodes=2)
    clocks.sim.run_for(5.0)
    key, _, keeper = clocks.key_apart()
    clocks.set(key, "x", 60.0)
    began = clocks.sim.time
    clocks.sim.leave(keeper)
    clocks.sim.run_for(10.0)
    clocks.ahead_s[1 - keeper] = -600.0
    clocks.sim.run_for(600.0)
    assert waits("x", began) == []
    clocks.sim.run_for(90.0)
    assert len(waits("x", began)) == 1


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_delay_that_is_none_is_refused_by_grain_and_keeper(wrong: float):
    clocks = Clocks(nodes=1)
    with pytest.raises(InvalidArguments):
        clocks.set("a", "x", wrong)
    keeper = clocks.sim.node(0).grain(ReminderKeeper, shard_of("Clock", "a", SHARDS))
    with pytest.raises(InvalidArguments):
        clocks.sim.run(keeper.put(ReminderRecord("Clock", "a", "x", 0.0), wrong))
    assert clocks.sim.run(clocks.sim.node(0).grain(Clock, "a").all()) == []
