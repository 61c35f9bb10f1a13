"""Nodes and clients that are started inside of a coroutine, and what a failure tells of system kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from inaho import Grain
from inaho.errors import InahoError, Unreachable
from inaho.testing import SimCluster


class Counter(Grain):
    async def inc(self) -> int:
        self.count = getattr(self, "count", 0) + 1
        return self.count

    async def stream(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number


def test_a_client_inside_of_a_coroutine_calls_once_it_is_connected() -> None:
    with SimCluster(nodes=2, grains=[Counter]) as sim:

        async def inside() -> tuple[int, list[int], int]:
            client = sim.client()
            reference = client.grain(Counter, "a")
            counted = await reference.inc()
            numbers = [number async for number in client.grain(Counter, "b").stream(3)]
            return counted, numbers, len(client.members())

        assert sim.run(inside()) == (1, [0, 1, 2], 2)
        assert sim.run(sim.node(0).grain(Counter, "a").inc()) == 2


def test_several_clients_at_once_and_a_call_by_name() -> None:
    with SimCluster(nodes=2, grains=[Counter]) as sim:

        async def inside() -> list[int]:
            task = asyncio.current_task()
            clients = [sim.client() for _ in range(3)]
            assert asyncio.current_task() is task
            return sorted(await asyncio.gather(*(each.call("Counter", "a", "inc") for each in clients)))

        assert sim.run(inside()) == [1, 2, 3]


def test_a_client_that_finds_nobody_says_so_to_whoever_calls() -> None:
    with SimCluster(nodes=1, grains=[Counter]) as sim:
        sim.crash(0)

        async def inside() -> None:
            await sim.client().grain(Counter, "a").inc()

        with pytest.raises(InahoError) as raised:
            sim.run(inside())
        assert not raised.value.maybe_executed


def test_a_client_is_of_one_history() -> None:
    def trace() -> str:
        with SimCluster(nodes=2, seed=5, grains=[Counter]) as sim:

            async def inside() -> None:
                await sim.client().grain(Counter, "a").inc()

            sim.run(inside())
            return sim.trace_hash()

    assert trace() == trace()


def test_a_node_that_is_added_inside_of_a_coroutine_joins_meanwhile() -> None:
    with SimCluster(nodes=2, grains=[Counter]) as sim:

        async def inside() -> int:
            index = sim.add()
            await sim.until(lambda: sim.is_member(index))
            await sim.until(sim.converged)
            return await sim.node(index).grain(Counter, "a").inc()

        assert sim.run(inside()) == 1
        assert sim.members_seen_by(0).keys() == {0, 1, 2}


def test_a_client_whose_process_dies_while_it_starts_tells_its_callers() -> None:
    with SimCluster(nodes=1, grains=[Counter]) as sim:

        async def inside() -> None:
            client = sim.client()
            call = asyncio.ensure_future(client.grain(Counter, "a").inc())
            await asyncio.sleep(0)
            sim._clients[-1].process.kill()
            await call

        with pytest.raises(Unreachable):
            sim.run(inside())


class Reminded(Grain):
    async def on_reminder(self, reminder: object) -> None: ...

    async def hi(self) -> None: ...


@pytest.mark.parametrize("shown", [False, True])
def test_a_failure_tells_of_system_kinds_when_it_is_asked(shown: bool) -> None:
    with SimCluster(nodes=3, grains=[Reminded], show_system=shown) as sim:
        sim.run(sim.node(0).grain(Reminded, "a").hi())
        sim.crash(1)
        sim.run_for(2.0)  # the others take over its keepers
        error = ZeroDivisionError()
        sim.annotate(error)
    (note,) = error.__notes__
    assert ("inaho.reminders/" in note) == shown
    assert ("lines about system kinds are left out: show_system=True or --inaho-show-system" in note) != shown
    if not shown:
        assert "crash 1" in note and "MemberUnreachable" in note


def test_what_is_told_is_no_part_of_the_history() -> None:
    def trace(shown: bool) -> str:
        with SimCluster(nodes=1, grains=[Reminded], show_system=shown) as sim:
            sim.run(sim.node(0).grain(Reminded, "a").hi())
            return sim.trace_hash()

    assert trace(True) == trace(False)
