"""When reminders come: once, at a time of day, again and again; and which ones are refused. In virtual time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import inaho
from inaho import (
    ActivationConfig,
    ClusterConfig,
    Grain,
    InvalidArguments,
    InvalidConfig,
    MemoryStorage,
    NoSuchMethod,
    Overloaded,
)
from inaho.events import ReminderMissed
from inaho.runtime.reminders.shard import KEEPER
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from inaho.testing.simulation.simulation import UNIX_START_S
from support.reminders import LOG, SIM, Alarm, Start, dues, events, keeper_of, place_of, times


class Plain(Grain):
    """Has no `on_reminder`."""

    async def touch(self) -> int:
        return 1

    async def set(self) -> None:
        await self.remind("r", 1.0)


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
    sim = start(Plain, nodes=2, storage=MemoryStorage())
    sim.run_for(10.0)
    assert sim.run(sim.node(0).grain(Plain, "a").touch()) == 1
    with pytest.raises(InvalidArguments, match="no on_reminder"):
        sim.run(sim.node(0).grain(Plain, "a").set())
    assert all("Plain" in member.kinds and KEEPER not in member.kinds for member in sim.node(0).members())
    assert all(KEEPER not in sim.node(index)._node.hosts for index in range(2))


def test_the_delivering_method_is_not_part_of_the_interface(start: Start):
    sim = start()
    reference = sim.node(0).grain(Alarm, "a")
    assert {name for name in dir(reference) if not name.startswith("_")} == {"set", "set_at", "drop", "all"}
    with pytest.raises(NoSuchMethod) as raised:
        sim.run(sim.node(0).call("Alarm", "a", "on_reminder"))
    assert "inaho" not in raised.value.reason


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
