"""Stateless calls of a client reach all members that host the kind; a late lease of another node keeps others out."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import ClassVar

from inaho import ActivationConfig, ClusterConfig, Grain, InahoError, stateless
from inaho.testing import SimCluster


@stateless(max=4)
class Worker(Grain):
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
