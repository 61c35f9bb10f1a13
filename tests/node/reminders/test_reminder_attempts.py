"""Attempts to give a reminder: an `on_reminder` that raises, is busy or kills its node, a grain that does not come up.
In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from inaho import Grain, Timeout, method
from inaho.core.activation.reminders import Reminder
from inaho.errors import Unreachable
from inaho.events import ReminderFailed
from inaho.runtime.reminders.shard import KEEPER, shard_of
from inaho.testing.cluster.sim_cluster import SimCluster
from support.reminders import FAIL, LOG, SIM, TASKS, Alarm, Start, events, times


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
