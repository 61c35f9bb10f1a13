"""User grains on whole nodes: what a caller sees of faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from inaho import Grain, InahoError, Struct, Unreachable
from inaho.events import ActivationStarted
from inaho.testing import Faults, SimCluster, SimulationFailed


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def add(self, amount: int = 1) -> int:
        self.state.value += amount
        await self.save()
        return self.state.value

    async def where(self) -> str:
        return self.cluster.authority

    async def slowly(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return self.cluster.authority

    async def numbers(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            await asyncio.sleep(0.1)
            yield number

    async def ask(self, key: str) -> str:
        return await self.cluster.grain(Counter, key).where()


def keys_on(sim: SimCluster, index: int, count: int = 1) -> list[str]:
    """Keys of counters that node `index` owns now."""
    found: list[str] = []

    async def look() -> None:
        for number in range(1000):
            if len(found) == count:
                return
            if await sim.node(0).grain(Counter, f"key-{number}").where() == sim.authority(index):
                found.append(f"key-{number}")

    sim.run(look())
    return found


def test_a_call_crosses_nodes_and_finds_one_activation(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:

        async def everybody_adds() -> list[int]:
            return [await sim.node(index).grain(Counter, "one").add() for index in range(3)]

        assert sim.run(everybody_adds()) == [1, 2, 3]
        assert len([each for each in sim.events if isinstance(each.event, ActivationStarted)]) == 1


def test_concurrent_calls_of_all_nodes_lose_nothing(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:

        async def storm() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(300):
                    group.create_task(sim.node(number % 3).grain(Counter, f"k{number % 7}").add())

        sim.run(storm())

        async def total() -> int:
            return sum([await sim.node(0).grain(Counter, f"k{number}").add(0) for number in range(7)])

        assert sim.run(total()) == 300


def test_a_client_calls_through_any_member(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:
        client = sim.client()
        [key] = keys_on(sim, 2)
        assert sim.run(client.grain(Counter, key).where()) == sim.authority(2)
        sim.crash(2)
        sim.wait_converged(within_s=10.0)
        assert sim.run(client.grain(Counter, key).where()) in {sim.authority(0), sim.authority(1)}


def test_streams_and_calls_between_grains_take_virtual_time(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:
        here, there = keys_on(sim, 0)[0], keys_on(sim, 1)[0]
        before = sim.time

        async def read() -> list[int]:
            return [number async for number in sim.node(0).grain(Counter, there).numbers(5)]

        assert sim.run(read()) == [0, 1, 2, 3, 4]
        assert 0.5 <= sim.time - before < 0.6
        assert sim.run(sim.node(2).grain(Counter, here).ask(there)) == sim.authority(1)


def test_both_sides_of_a_partition_serve(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:
        [far] = keys_on(sim, 2)
        [near] = keys_on(sim, 0)
        sim.run(sim.node(0).grain(Counter, far).add(10))
        sim.partition({0, 1}, {2})
        sim.run_for(15.0)
        assert sim.run(sim.node(0).grain(Counter, far).add()) == 11, "activated anew from what was saved"
        assert sim.run(sim.node(2).grain(Counter, near).where()) == sim.authority(2)
        sim.heal()
        sim.wait_converged(within_s=15.0)
        assert sim.run(sim.node(1).grain(Counter, far).add()) == 12


def test_a_grain_of_a_crashed_node_answers_elsewhere_with_its_saved_state(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:
        keys = keys_on(sim, 1, count=5)

        async def add(amount: int) -> list[int]:
            return [await sim.node(0).grain(Counter, key).add(amount) for key in keys]

        assert sim.run(add(5)) == [5] * 5
        sim.crash(1)
        sim.wait_converged(within_s=10.0)
        assert sim.run(add(1)) == [6] * 5
        sim.restart(1)
        sim.wait_converged(within_s=10.0)
        assert sim.run(add(1)) == [7] * 5


def test_a_call_under_way_to_a_node_that_crashes_is_told_so(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:
        [key] = keys_on(sim, 1)

        async def scenario() -> None:
            call = asyncio.create_task(sim.node(0).grain(Counter, key, retry=False).slowly(5.0))
            await asyncio.sleep(1.0)
            sim.crash(1)
            with pytest.raises(InahoError) as caught:
                await call
            assert caught.value.maybe_executed

        sim.run(scenario())


def test_a_call_through_a_node_that_crashes_ends(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:
        [key] = keys_on(sim, 1)
        reference = sim.node(0).grain(Counter, key)

        async def scenario() -> None:
            call = asyncio.create_task(reference.slowly(5.0))
            await asyncio.sleep(1.0)
            sim.crash(0)
            with pytest.raises(Unreachable):
                await call
            with pytest.raises(InahoError):
                await reference.where()

        sim.run(scenario())
        with pytest.raises(SimulationFailed, match="dead"):
            sim.node(0)


def test_a_call_to_a_paused_node_waits_for_it(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:
        [key] = keys_on(sim, 1)
        sim.pause(1, 0.8)
        before = sim.time
        assert sim.run(sim.node(0).grain(Counter, key).where()) == sim.authority(1)
        assert 0.8 <= sim.time - before < 0.9


def test_a_call_from_a_paused_node_leaves_when_it_goes_on(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:
        [key] = keys_on(sim, 1)
        sim.pause(0, 0.8)
        before = sim.time
        assert sim.run(sim.node(0).grain(Counter, key).where()) == sim.authority(1)
        assert 0.8 <= sim.time - before < 0.9


def test_control_faults_do_not_touch_calls(simulation_seed: int):
    faults = Faults(control_loss=0.3, control_repeat=0.3, control_reorder=0.3)
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter], faults=faults) as sim:

        async def add() -> list[int]:
            return [await sim.node(number % 3).grain(Counter, "one").add() for number in range(200)]

        assert sim.run(add()) == list(range(1, 201))


def test_code_that_runs_on_a_node_is_paused_and_crashes_with_it(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Counter]) as sim:
        sim.pause(1, 5.0)
        before = sim.time
        sim.run(asyncio.sleep(1.0), on=1)
        assert sim.time - before == pytest.approx(6.0), "it begins when the pause is over"
        sim.network.later(1.0, sim.crash, 1)
        with pytest.raises(SimulationFailed, match="node 1 crashed"):
            sim.run(asyncio.sleep(10.0), on=1)
