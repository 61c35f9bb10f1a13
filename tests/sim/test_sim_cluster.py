"""`SimCluster` itself: what it refuses, what it tells, how it ends."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from inaho import Grain
from inaho.events import Event, MemberUp
from inaho.testing import Deadlock, NotConverged, OutOfTime, SimCluster, SimulationFailed


class Sleeper(Grain):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def count(self, after_s: float) -> AsyncIterator[int]:
        await asyncio.sleep(after_s)
        yield 1
        await asyncio.sleep(100.0)

    async def drop(self) -> None:
        asyncio.get_running_loop().call_soon(self._fail)

    def _fail(self) -> None:
        raise LookupError("nobody looks here")


async def test_inside_of_a_loop_it_is_refused_in_words():
    cluster = SimCluster(nodes=1)
    with pytest.raises(SimulationFailed, match="make the test a plain function"):
        cluster.__enter__()


def test_a_run_that_takes_too_long_says_where_it_waits():
    async def forever() -> None:
        await asyncio.Event().wait()

    with SimCluster(nodes=1, grains=[Sleeper]) as sim:
        with pytest.raises(OutOfTime, match=r"test_sim_cluster\.py:\d+ in forever"):
            sim.run(forever(), within_s=5.0)
        assert sim.run(sim.node(0).grain(Sleeper, "a").sleep(1.0)) is None, "and it can go on"


def test_a_deadlock_is_told_when_no_node_is_left():
    with SimCluster(nodes=1) as sim:
        sim.crash(0)
        with pytest.raises(Deadlock):
            sim.run(asyncio.Event().wait())


def test_an_error_leaves_with_the_seed_the_replay_and_the_story():
    sim = SimCluster(nodes=2, seed=42)

    def test() -> None:
        with sim:
            sim.crash(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        test()
    [note] = caught.value.__notes__
    assert "simulation of seed 42" in note
    assert f"trace {sim.trace_hash()}" in note
    assert "test_an_error_leaves_with_the_seed" in note
    assert "crash 1" in note


def test_a_failure_that_nobody_saw_is_raised_at_the_end():
    def test() -> None:
        with SimCluster(nodes=2, seed=5, grains=[Sleeper]) as sim:
            sim.run(sim.node(0).grain(Sleeper, "a").drop())
            sim.run_for(1.0)

    with pytest.raises(SimulationFailed, match="nobody looks here") as caught:
        test()
    assert isinstance(caught.value.__cause__, LookupError)


def test_what_did_not_converge_is_shown_node_by_node():
    with SimCluster(nodes=3) as sim:
        sim.partition({0, 1}, {2})
        sim.run_for(10.0)
        assert sim.converged(among=[0, 1])
        with pytest.raises(NotConverged, match=r"node 0 sees \{0: UP, 1: UP\}; node 1 sees"):
            sim.wait_converged(within_s=0.1)


def test_events_tell_when_and_who():
    with SimCluster(nodes=2) as sim:
        sim.crash(1)
        sim.run_for(1.0)
        sim.restart(1)
        sim.wait_converged()
        ups = [each for each in sim.events if isinstance(each.event, MemberUp) and each.node == 1]
        assert {each.process for each in ups} == {2, 3}
        for each in sim.events:
            assert isinstance(each.event, Event)
            assert each.event.at == pytest.approx(1_750_000_000 + each.at, abs=1e-3)


def test_faults_that_make_no_sense_are_refused():
    with SimCluster(nodes=2) as sim:
        with pytest.raises(SimulationFailed, match="crash it first"):
            sim.restart(0)
        with pytest.raises(IndexError, match="there is no node 7"):
            sim.pause(7)
    with pytest.raises(ValueError, match="at least 1 node"):
        SimCluster(nodes=0)


@pytest.mark.parametrize("after_s", [0.0, 0.001, 1.0])
def test_an_end_in_the_middle_of_everything_leaves_nothing_behind(after_s: float):
    calls: list[asyncio.Future[object]] = []

    async def consume(items: AsyncIterator[int]) -> None:
        async for _ in items:
            pass

    with SimCluster(nodes=3, grains=[Sleeper]) as sim:

        async def many() -> None:
            for number in range(30):
                sleeper = sim.node(number % 3).grain(Sleeper, f"k{number % 4}")
                calls.append(asyncio.ensure_future(sleeper.sleep(100.0)))
                calls.append(asyncio.ensure_future(consume(sleeper.count(0.0 if number % 2 else 100.0))))
            await asyncio.sleep(after_s)

        sim.run(many())
    calls.clear()
    gc.collect()  # what is left unawaited or unclosed warns, and warnings are errors here
