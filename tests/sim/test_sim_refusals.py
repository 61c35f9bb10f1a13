"""Refusals before execution: they cost a call nothing but time, and a host that restarts is waited for."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from inaho import ClusterConfig, Grain, NoSuchKind, TopologyUnavailable, method
from inaho.testing import SimCluster


class Slow(Grain):
    began: ClassVar[list[str]] = []

    @method(idempotent=True, timeout=60.0)
    async def work(self, seconds: float) -> str:
        self.began.append(self.cluster.authority)
        await asyncio.sleep(seconds)
        return self.cluster.authority


class Gpu(Grain, role="gpu"):
    async def frame(self) -> str:
        return self.cluster.authority


class Placed(Grain, role="gpu", placement="least_loaded"):
    async def frame(self) -> str:
        return self.cluster.authority


class Plain(Grain):
    async def frame(self) -> str:
        return self.cluster.authority


class WithOneGpu(SimCluster):
    """Node 1 alone has the role."""

    def _node_config(self, index: int) -> ClusterConfig:
        config = super()._node_config(index)
        return config.replace(roles=("gpu",)) if index == 1 else config


def key_on(sim: SimCluster, index: int) -> str:
    lookup = sim.node(0).runtime.topology.lookup
    return next(k for k in map(str, range(10_000)) if lookup.owner("Slow", k).authority == sim.authority(index))


def test_refusals_use_up_no_attempts_of_an_idempotent_call(simulation_seed: int) -> None:
    """The owner is dead when the call begins; after many refused dials its successor dies too, while the call runs."""
    Slow.began.clear()
    with SimCluster(nodes=4, seed=simulation_seed, grains=[Slow]) as sim:
        key = key_on(sim, 3)

        async def scenario() -> str:
            sim.crash(3)
            call = asyncio.create_task(sim.node(0).grain(Slow, key).work(3.0))
            await sim.until(lambda: bool(Slow.began))
            assert sim.node(0).runtime.context.retries >= 3
            successor = next(index for index in range(3) if sim.authority(index) == Slow.began[0])
            if successor != 0:
                await asyncio.sleep(0.5)
                sim.crash(successor)
            return await call

        assert sim.run(scenario()).startswith("node-")


def test_attempts_that_may_have_run_stay_bounded(simulation_seed: int) -> None:
    """Three owners die one after another while the call runs: it is not begun a fourth time."""
    Slow.began.clear()
    with SimCluster(nodes=5, seed=simulation_seed, grains=[Slow]) as sim:
        key = key_on(sim, 3)

        async def scenario() -> None:
            call = asyncio.create_task(sim.node(0).grain(Slow, key).work(30.0))
            for number in range(1, 4):
                await sim.until(lambda n=number: len(Slow.began) == n or call.done())
                index = next(i for i in range(5) if sim.authority(i) == Slow.began[-1])
                if index == 0:
                    call.cancel()
                    return
                sim.crash(index)
            with pytest.raises(Exception, match="connection ended"):
                await call

        sim.run(scenario())
        assert len(Slow.began) <= 3


@pytest.mark.parametrize("how", ["leave", "crash"])
def test_calls_of_a_kind_whose_only_host_restarts_wait_for_it(how: str, simulation_seed: int) -> None:
    with WithOneGpu(nodes=3, seed=simulation_seed, grains=[Gpu, Placed, Plain]) as sim:
        assert sim.run(sim.node(0).grain(Gpu, "k").frame()) == sim.authority(1)
        getattr(sim, how)(1)
        sim.run_for(10)

        async def refused() -> None:
            for kind in (Gpu, Placed):
                for at in (0, 2):
                    with pytest.raises(TopologyUnavailable, match="role 'gpu'") as caught:
                        await sim.node(at).grain(kind, "k", timeout=2.0).frame()
                    assert not caught.value.maybe_executed
                    assert kind.__name__ in str(caught.value)
            with pytest.raises(TopologyUnavailable, match="kind Gpu"):
                await sim.node(0).call("Gpu", "k", "frame", timeout=1.0)
            with pytest.raises(NoSuchKind):
                await sim.node(0).call("Gqu", "k", "frame")

        sim.run(refused())

        async def wait() -> list[str]:
            calls = [
                asyncio.ensure_future(sim.node(2).grain(kind, f"k{number}", timeout=30).frame())
                for number in range(5)
                for kind in (Gpu, Placed)
            ]
            await asyncio.sleep(2)
            sim.restart(1)
            return await asyncio.gather(*calls)

        assert set(sim.run(wait())) == {sim.authority(1)}
