"""What a test sends through a node is sent by the node's process: it is held, keeps its order, and dies with it."""

from __future__ import annotations

import asyncio

import pytest

from inaho.errors import Unreachable
from inaho.testing import SimCluster
from support.local_grain import Local


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
