"""What a test does through a node is done in the node's process: it is paused and dies with it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from opentelemetry.metrics import get_meter_provider

from inaho import Cluster, Grain, Struct
from inaho.actor import ActorRef
from inaho.errors import IllegalTransition, InvalidPid, Unreachable
from inaho.events import Event
from inaho.testing import OutOfTime, SimCluster


class Count(Struct):
    n: int = 0


class Local(Grain[Count], placement="prefer_local"):
    alive = 0

    async def get(self) -> int:
        return self.state.n

    async def slow_save(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        self.state.n += 1
        await self.save()
        return self.state.n

    async def begin(self) -> None:
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            type(self).alive += 1

    async def add(self, n: int) -> None:
        self.state.n += n
        await self.save()

    async def twice_and(self, n: int) -> None:
        self.state.n = 2 * self.state.n + n
        await self.save()

    async def owner(self) -> str:
        return self.cluster.authority

    async def fail(self) -> None:
        raise LookupError("as the grain said")

    async def lines(self) -> AsyncIterator[int]:
        for number in range(5):
            await asyncio.sleep(0.2)
            yield number


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


@pytest.mark.parametrize("on", [None, 0, 1])
def test_a_send_is_made_from_wherever_the_test_stands(on: int | None):
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        grain = sim.node(1).grain(Local, "k")
        sim.node(1).send(grain.add, 1)

        async def scenario() -> None:
            sim.node(1).send(grain.add, n=2)
            client = sim.client()
            client.send(client.grain(Local, "k").add, 4)
            while await grain.get() < 7:
                await asyncio.sleep(0.1)

        sim.run(scenario(), on=on, within_s=10.0)


@pytest.mark.parametrize("inside", [False, True])
def test_a_send_is_held_and_dies_with_the_process(inside: bool):
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        cluster = sim.node(1)
        grain = cluster.grain(Local, "k")
        sim.run(grain.get())

        async def send(seconds: float) -> None:
            cluster.send(grain.slow_save, seconds)

        def tell(seconds: float) -> None:
            if inside:
                sim.run(send(seconds))
            else:
                cluster.send(grain.slow_save, seconds)

        sim.pause(1)
        tell(0.5)
        sim.run_for(2.0)
        sim.resume(1)
        sim.run_for(0.4)
        assert sim.run(cluster.call("Local", "k", "get")) == 1, "its half second began when the process ran again"
        tell(1.0)
        sim.run_for(0.5)
        sim.crash(1)
        with pytest.raises(Unreachable, match="node 1, process 2 has crashed"):
            tell(0.0)
        sim.run_for(20.0)
        assert sim.run(sim.node(0).grain(Local, "k").get()) == 1, "no dead process saves"


def test_a_paused_process_sends_nothing():
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        far = sim.run(sim.node(0).grain(Local, "k").owner())
        sim.run(sim.node(1).grain(Local, "k").get())

        async def scenario() -> None:
            sim.pause(1)
            sim.node(1).send(sim.node(1).grain(Local, "k").add, 1)
            await asyncio.sleep(0.5)
            assert await sim.node(0).grain(Local, "k").get() == 0
            sim.resume(1)
            await asyncio.sleep(0.5)
            assert await sim.node(0).grain(Local, "k").get() == 1

        assert far == sim.authority(0)
        sim.run(scenario())


@pytest.mark.parametrize("at", [0, 1])
def test_a_send_keeps_its_order_with_calls_that_the_test_began_before_and_after(at: int):
    with SimCluster(nodes=2, seed=1, grains=[Local]) as sim:
        sim.run(sim.node(at).grain(Local, "k").get())
        cluster = sim.node(1)
        grain = cluster.grain(Local, "k")

        async def scenario() -> None:
            before = asyncio.ensure_future(grain.twice_and(1))
            await asyncio.sleep(0)
            cluster.send(grain.twice_and, 2)
            await grain.twice_and(4)
            await before
            assert await grain.get() == 2 * (2 * 1 + 2) + 4

        sim.run(scenario())


OTHER = "node-0:7700"


def nobody(cluster: Cluster) -> ActorRef:
    return cluster.actor(f"inaho://{cluster.config.name}@{OTHER}/user/nobody")


def release(cluster: Cluster) -> None:
    with pytest.raises(IllegalTransition):
        cluster.release(OTHER)


USES: dict[str, Callable[[Cluster, Any], Any]] = {
    "accept_storage": lambda cluster, _: cluster.accept_storage(),
    "actor": lambda cluster, _: nobody(cluster),
    "authority": lambda cluster, _: cluster.authority,
    "block": lambda cluster, _: cluster.block("nobody:1"),
    "blocked": lambda cluster, _: cluster.blocked(),
    "call": lambda cluster, _: cluster.call("Local", "k", "get"),
    "close": lambda cluster, _: cluster.close(),
    "config": lambda cluster, _: cluster.config,
    "context": lambda cluster, _: cluster.context,
    "delivery_counts": lambda cluster, _: cluster.delivery_counts(),
    "drain_at": lambda cluster, other: cluster.drain_at(other, drain_s=0.1),
    "events": lambda cluster, _: cluster.events(),
    "events_at": lambda cluster, other: cluster.events_at(other),
    "export_metrics": lambda cluster, _: cluster.export_metrics(get_meter_provider()),
    "grain": lambda cluster, _: cluster.grain(Local, "k").get(),
    "grains": lambda cluster, _: cluster.grains(Local),
    "leave": lambda cluster, _: cluster.leave(),
    "members": lambda cluster, _: cluster.members(),
    "metrics": lambda cluster, _: cluster.metrics(),
    "partition_bridge": lambda cluster, _: cluster.partition_bridge,
    "pid": lambda cluster, _: cluster.pid(nobody(cluster)),
    "quarantine": lambda cluster, _: cluster.quarantine(),
    "quarantine_at": lambda cluster, other: cluster.quarantine_at(other),
    "ready": lambda cluster, _: cluster.ready,
    "release": lambda cluster, _: release(cluster),
    "release_at": lambda cluster, other: cluster.release_at(other, "nobody:1"),
    "resolve_conflict_at": lambda cluster, other: cluster.resolve_conflict_at(other, OTHER, keep=True),
    "room": lambda cluster, _: cluster.room(nobody(cluster)),
    "runtime": lambda cluster, _: cluster.runtime,
    "self": lambda cluster, _: cluster.self,
    "send": lambda cluster, _: cluster.send(cluster.grain(Local, "k").add, 1),
    "storages": lambda cluster, _: cluster.storages(),
    "stream": lambda cluster, _: cluster.stream("Local", "k", "lines"),
    "system": lambda cluster, _: cluster.system,
    "unblock": lambda cluster, _: cluster.unblock("nobody:1"),
    "wait_gone": lambda cluster, other: cluster.wait_gone(other, 0.1),
    "wait_left": lambda cluster, _: cluster.wait_left(),
    "where": lambda cluster, _: cluster.where(Local, "k"),
}
"""A use of every public name of `Cluster`, with another member: what it is, or what is to be waited for."""


def test_there_is_a_use_of_every_public_name():
    assert sorted(USES) == [name for name in dir(Cluster) if not name.startswith("_")]


@pytest.mark.parametrize("name", USES)
def test_every_public_name_works_for_those_outside(name: str):
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        cluster, other = sim.node(1), sim.node(2).self
        used: Any = USES[name](cluster, other)

        async def wait() -> None:
            tasks: list[asyncio.Future[Any]]
            if inspect.iscoroutine(used):
                tasks = [asyncio.ensure_future(used)]
            elif hasattr(used, "__anext__"):
                tasks = [asyncio.ensure_future(anext(used))]
                await asyncio.sleep(0.1)
                sim.leave(0)  # it is told
            else:
                return
            if name == "wait_left":
                tasks.append(asyncio.ensure_future(cluster.leave()))
            await asyncio.gather(*tasks)

        sim.run(wait(), within_s=30.0)
