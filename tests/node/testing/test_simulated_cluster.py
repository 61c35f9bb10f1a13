"""What a test does through a node is done in the node's process: it is paused and dies with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inaho.errors import InvalidPid, Unreachable
from inaho.events import Event
from inaho.testing import OutOfTime, SimCluster
from support.local_grain import Local

Call = Callable[[Any], Awaitable[Any]]


async def one(grain: Any) -> Any:
    return await grain.slow_save(1.0)


async def queued(grain: Any) -> Any:
    first = asyncio.ensure_future(grain.slow_save(1.0))
    try:
        await grain.slow_save(1.0)
    finally:
        await asyncio.wait((first,))
        first.exception()


async def stream(grain: Any) -> Any:
    return [line async for line in grain.lines()]


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("call", [one, queued, stream])
def test_a_crash_ends_calls_of_the_test_at_once_and_nothing_goes_on(call: Call, silent: bool):
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        grain = sim.node(1).grain(Local, "k")
        sim.run(grain.get())

        async def scenario() -> None:
            calling = asyncio.ensure_future(call(grain))
            await asyncio.sleep(0.5)
            sim.crash(1, silent=silent)
            crashed = sim.time
            with pytest.raises(Unreachable, match=r"node 1.* has crashed") as caught:
                await calling
            assert caught.value.maybe_executed
            assert sim.time == crashed

        sim.run(scenario())
        sim.run_for(20.0)
        assert sim.run(sim.node(0).grain(Local, "k").get()) == 0, "no dead process saves"


def test_tasks_that_a_grain_starts_in_a_call_of_the_test_die_with_the_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Local, "alive", 0)
    with SimCluster(nodes=2, seed=1, grains=[Local]) as sim:
        sim.run(sim.node(1).grain(Local, "k").begin())
        sim.run_for(2.5)
        sim.crash(1)
        sim.run_for(3.0)
    assert Local.alive == 2


def test_a_pause_delays_calls_of_the_test():
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        grain = sim.node(1).grain(Local, "k")
        sim.run(grain.get())

        async def scenario() -> float:
            began = sim.time
            calling = asyncio.ensure_future(grain.slow_save(1.0))
            await asyncio.sleep(0.1)
            sim.pause(1, 3.0)
            await calling
            return sim.time - began

        assert sim.run(scenario()) == pytest.approx(3.1)


def test_a_caller_that_gives_up_does_not_wait_for_a_paused_process():
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        grain = sim.node(1).grain(Local, "k")
        sim.run(grain.get())

        async def scenario() -> None:
            sim.pause(1, 3.0)
            began = sim.time
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await grain.slow_save(0.0)
            assert sim.time - began == pytest.approx(1.0)
            await asyncio.sleep(4.0)
            assert await grain.get() == 0, "the call was cancelled before the process ran again"

        sim.run(scenario())


def test_what_is_asked_of_a_node_that_is_no_more_fails_at_once():
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        crashed, left = sim.node(1), sim.node(2)
        grain = crashed.grain(Local, "k")
        sim.run(grain.get())
        sim.crash(1)
        sim.leave(2)
        ended = sim.time

        async def scenario() -> None:
            for attempt in (grain.get(), stream(grain), crashed.call("Local", "k", "get"), crashed.where(Local, "k")):
                with pytest.raises(Unreachable, match="node 1, process 2 has crashed") as caught:
                    await attempt
                assert not caught.value.maybe_executed
            with pytest.raises(Unreachable, match="node 2, process 3 has left"):
                await left.grain(Local, "k").get()

        sim.run(scenario())
        assert sim.time == ended


def test_streams_and_answers_come_as_from_the_node_itself():
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        cluster = sim.node(1)
        grain = cluster.grain(Local, "k")

        async def scenario() -> None:
            assert await grain.owner() == cluster.authority
            assert await stream(grain) == [0, 1, 2, 3, 4]
            assert [line async for line in cluster.stream("Local", "k", "lines")] == [0, 1, 2, 3, 4]
            async for line in grain.lines():
                assert line == 0
                break
            assert await cluster.call("Local", "k", "get") == 0
            with pytest.raises(LookupError, match="as the grain said"):
                await grain.fail()
            with pytest.raises(InvalidPid):
                await cluster.where("no kind", "k")
            assert (await cluster.grains(Local)).count == 1

        sim.run(scenario())
        sim.run(scenario(), on=1)
        assert sim.node(1) is cluster
        assert grain == sim.node(1).grain(Local, "k")
        sim.run_for(1.0)
        assert not sim.node(1).runtime.hosts["Local"].streams


def test_a_feed_of_events_ends_with_the_process():
    with SimCluster(nodes=2, seed=1, grains=[Local]) as sim:
        feed = sim.node(1).events(Event)

        async def scenario() -> None:
            waiting = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0.0)
            sim.crash(1)
            with pytest.raises(Unreachable, match="has crashed"):
                await waiting

        sim.run(scenario())


def test_a_call_that_takes_too_long_says_where_it_waits_in_the_process():
    with SimCluster(nodes=2, seed=1, grains=[Local]) as sim:
        grain = sim.node(1).grain(Local, "k")
        sim.run(grain.get())
        with pytest.raises(OutOfTime, match=r"in wait_for_turn < .* in enter < test_simulated_cluster\.py:\d+ in one"):
            sim.run(one(grain), within_s=0.5)


def test_a_stream_that_its_consumer_leaves_ends_in_the_process():
    with SimCluster(nodes=2, seed=1, grains=[Local]) as sim:
        grain = sim.node(1).grain(Local, "k")
        streams = sim.node(1).runtime.hosts["Local"].streams

        async def scenario() -> None:
            reading = asyncio.ensure_future(stream(grain))
            await asyncio.sleep(0.5)
            assert len(streams) == 1
            reading.cancel()
            await asyncio.wait((reading,))
            assert reading.cancelled()
            await asyncio.sleep(0.1)
            assert not len(streams)
            lines: Any = grain.lines()
            assert await anext(lines) == 0
            await lines.aclose()
            await asyncio.sleep(0.1)
            assert not len(streams)

        sim.run(scenario())


def test_a_stream_whose_node_crashes_between_two_items_gives_no_more():
    with SimCluster(nodes=2, seed=1, grains=[Local]) as sim:
        streams: list[Any] = [sim.node(1).grain(Local, "k").lines() for _ in range(2)]

        async def scenario() -> None:
            assert [await anext(lines) for lines in streams] == [0, 0]
            await asyncio.sleep(0.5)
            sim.crash(1)
            with pytest.raises(Unreachable, match="has crashed"):
                await anext(streams[0])

        sim.run(scenario())
        streams.clear()
        sim.run_for(5.0)


def test_a_process_that_calls_through_another_is_outside_of_that_one():
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        grain = sim.node(1).grain(Local, "k")
        sim.run(grain.get())

        async def scenario() -> None:
            calling = asyncio.ensure_future(grain.slow_save(1.0))
            await asyncio.sleep(0.5)
            sim.crash(1)
            with pytest.raises(Unreachable, match=r"node 1.* has crashed"):
                await calling

        sim.run(scenario(), on=0)
        assert sim.run(sim.node(0).grain(Local, "k").get()) == 0
