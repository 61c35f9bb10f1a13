"""Stateless calls of a client reach all members that host the kind; a late lease of another node keeps others out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

import pytest

from inaho import ActivationConfig, ClusterConfig, Grain, InahoError, method, stateless
from inaho.testing import SimCluster


@stateless(max=4)
class Worker(Grain):
    async def where(self) -> str:
        return self.cluster.authority

    @method(idempotent=True, attempt_timeout=1.0)
    async def attempted(self) -> str:
        return self.cluster.authority

    async def streamed(self) -> AsyncIterator[str]:
        yield self.cluster.authority


@stateless(max=4)
class Other(Grain):
    async def where(self) -> str:
        return self.cluster.authority


def test_stateless_calls_of_a_client_are_spread_over_the_members(simulation_seed: int) -> None:
    with SimCluster(nodes=4, seed=simulation_seed, grains=[Worker]) as sim:
        client = sim.client()
        worker = client.grain(Worker, "one key")

        async def places(count: int) -> Counter[str]:
            return Counter([await worker.where() for _ in range(count)])

        sim.run(places(20))  # members are dialled
        found = sim.run(places(400))
        assert set(found) == {sim.authority(index) for index in range(4)}
        assert min(found.values()) >= 50
        sim.crash(3)
        sim.run_for(10)
        assert set(sim.run(places(100))) == {sim.authority(index) for index in range(3)}
        assert sim.run(sim.node(0).block(sim.authority(1)))
        sim.run_for(1)
        assert set(sim.run(places(100))) == {sim.authority(0), sim.authority(2)}


@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
def test_each_way_to_call_a_stateless_kind_reaches_all_members_in_turn(simulation_seed: int, nodes: int) -> None:
    with SimCluster(nodes=nodes, seed=simulation_seed, grains=[Worker, Other]) as sim:
        client = sim.client()
        worker, patient, other = (
            client.grain(Worker, "key"),
            client.grain(Worker, "key", timeout=5.0),
            client.grain(Other, "key"),
        )

        async def streamed(reference: Worker) -> str:
            (place,) = [place async for place in reference.streamed()]
            return place

        ways: dict[str, Callable[[], Awaitable[str]]] = {
            "call": worker.where,
            "with a time-out": patient.where,
            "with a time-out per attempt": worker.attempted,
            "stream": lambda: streamed(worker),
            "stream with a time-out": lambda: streamed(patient),
            "of another kind": other.where,
        }

        async def scenario() -> None:
            for _ in range(2 * nodes):  # members are dialled
                await worker.where()
            await asyncio.sleep(2.0)
            evenly = dict.fromkeys((sim.authority(index) for index in range(nodes)), 4)
            for name, way in ways.items():
                assert Counter([await way() for _ in range(4 * nodes)]) == evenly, name
                assert Counter(await asyncio.gather(*(way() for _ in range(4 * nodes)))) == evenly, name
            for together in (("call", "of another kind"), ("call", "stream"), ("call", "with a time-out per attempt")):
                found: dict[str, list[str]] = {name: [] for name in together}
                for _ in range(4 * nodes):
                    for name in together:
                        found[name].append(await ways[name]())
                assert all(Counter(places) == evenly for places in found.values()), found

        sim.run(scenario())


PENDING_S = 3.0


class Slow(Grain, placement="least_loaded"):
    """Takes longer to come up than a lease may be pending, and heeds no cancellation."""

    up: ClassVar[dict[str, int]] = {}
    most: ClassVar[int] = 0
    seconds: ClassVar[float] = 0.0

    async def on_activate(self) -> None:
        end = asyncio.get_running_loop().time() + Slow.seconds
        while (left_s := end - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left_s)
            except asyncio.CancelledError:
                continue

    async def work(self) -> str:
        Slow.up[self.key] = Slow.up.get(self.key, 0) + 1
        Slow.most = max(Slow.most, Slow.up[self.key])
        try:
            await asyncio.sleep(2.0)
        finally:
            Slow.up[self.key] -= 1
        return self.cluster.authority


def most_at_once(seed: int) -> int:
    """How many activations of one identity ran together, where hosts were slow and paused after owners had granted."""
    Slow.up.clear()
    Slow.most, Slow.seconds = 0, 2.5
    config = ClusterConfig(activation=ActivationConfig(lease_pending_s=PENDING_S))
    with SimCluster(nodes=3, seed=seed, grains=[Slow], config=config) as sim:

        async def scenario() -> None:
            refs = [sim.node(n % 3).grain(Slow, f"k{n}", timeout=40) for n in range(12)]
            calls = [asyncio.ensure_future(ref.work()) for ref in refs]
            await asyncio.sleep(0.5)
            for n in range(12):
                calls.append(asyncio.ensure_future(sim.node((n + 1) % 3).grain(Slow, f"k{n}", timeout=40).work()))
            sim.pause(1, 2.0)  # shorter than it takes to be found unreachable
            await asyncio.sleep(30)
            for result in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(result, str | InahoError)

        sim.run(scenario())
    return Slow.most


def test_a_late_lease_gives_no_second_activation(simulation_seed: int) -> None:
    assert most_at_once(simulation_seed) == 1
