"""What an operator was told is done stays done: blocks through splits, pauses, restarts and ends of members."""

from __future__ import annotations

import asyncio

import pytest

from inaho import Grain
from inaho.testing import SimCluster


class Plain(Grain):
    async def where(self) -> str:
        return self.cluster.authority


def blocks(sim: SimCluster, *indexes: int) -> set[tuple[str, ...]]:
    return {sim.node(index).blocked() for index in indexes}


@pytest.mark.parametrize("what", ["block", "unblock"])
@pytest.mark.parametrize(("at", "how"), [(0, "pause"), (0, "split"), (2, "split")])
def test_an_order_on_the_side_that_gives_way_outlives_the_rejoin(
    what: str, at: int, how: str, simulation_seed: int
) -> None:
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Plain]) as sim:
        target = sim.authority(1)

        async def scenario() -> None:
            if what == "unblock":
                assert await sim.node(0).block(target)
                await asyncio.sleep(1)
            if how == "pause":
                sim.pause(at, 12.0)
                await asyncio.sleep(5)
            else:
                sim.partition({at}, {0, 1, 2} - {at})
                await asyncio.sleep(12)
            assert await getattr(sim.node(at), what)(target)
            sim.heal()

        sim.run(scenario())
        sim.wait_converged()
        sim.run_for(3)
        assert blocks(sim, 0, 1, 2) == {(target,) if what == "block" else ()}


@pytest.mark.parametrize("end", ["crash", "leave"])
def test_an_order_outlives_the_member_that_took_it(end: str, simulation_seed: int) -> None:
    """It ends in the moment in which the operator has the answer."""
    with SimCluster(nodes=4, seed=simulation_seed, grains=[Plain]) as sim:
        absent = "10.1.2.3:7700"

        async def scenario() -> None:
            assert await sim.node(3).block(absent)
            if end == "crash":
                sim.crash(3)

        sim.run(scenario())
        if end == "leave":
            sim.leave(3)
        sim.run_for(12)
        assert blocks(sim, 0, 1, 2) == {(absent,)}


def test_orders_outlive_restarts_of_all_others_and_hold_for_who_comes_later(simulation_seed: int) -> None:
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Plain]) as sim:
        later = "node-3:7700"
        assert sim.run(sim.node(2).block(later))
        for index in (0, 1):
            sim.crash(index)
            sim.run_for(8)
            sim.restart(index)
            sim.wait_converged()
        sim.add()
        sim.wait_converged()
        sim.run_for(2)
        assert sim.authority(3) == later
        assert blocks(sim, 0, 1, 2, 3) == {(later,)}

        async def places() -> set[str]:
            return {await sim.node(0).grain(Plain, f"k{number}").where() for number in range(40)}

        assert later not in sim.run(places())
        assert sim.run(sim.node(0).unblock(later))
        sim.run_for(2)
        assert blocks(sim, 0, 1, 2, 3) == {()}


def test_the_later_of_two_orders_holds_whoever_took_it(simulation_seed: int) -> None:
    """On both sides of a split: by the number of orders that each side knew of, the same everywhere."""
    with SimCluster(nodes=5, seed=simulation_seed, grains=[Plain]) as sim:
        target = sim.authority(1)

        async def scenario() -> None:
            sim.partition({4}, {0, 1, 2, 3})
            await asyncio.sleep(12)
            assert await sim.node(0).block(target)
            assert await sim.node(4).block(target)
            assert await sim.node(4).unblock(target)
            sim.heal()

        sim.run(scenario())
        sim.wait_converged()
        sim.run_for(3)
        assert blocks(sim, 0, 1, 2, 3, 4) == {()}


def test_a_member_without_a_place_repeats_the_order_it_was_given_meanwhile(simulation_seed: int) -> None:
    """Given in the moment in which it finds out that it was removed, the order is told once it is a member again."""
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Plain]) as sim:
        target = sim.authority(1)

        async def scenario() -> bool:
            sim.pause(2, 12.0)
            await asyncio.sleep(1)
            order = asyncio.ensure_future(sim.node(2).block(target))
            return await asyncio.wait_for(order, 60)

        assert sim.run(scenario())
        sim.wait_converged()
        sim.run_for(3)
        assert blocks(sim, 0, 1, 2) == {(target,)}


def test_a_drain_and_the_end_of_a_quarantine_on_the_side_that_gives_way_stay_done(simulation_seed: int) -> None:
    with SimCluster(nodes=5, seed=simulation_seed, grains=[Plain]) as sim:

        async def scenario() -> None:
            one, other, far = sim.node(0), sim.authority(1), sim.authority(4)
            one.runtime.connections.quarantine(far, "a test says so")
            sim.partition({0, 1}, {2, 3, 4})
            await asyncio.sleep(12)
            mine = {member.authority: member for member in one.members()}
            assert [record.authority for record in await one.quarantine_at(mine[one.authority])] == [far]
            assert await one.release_at(mine[one.authority], far)
            report = await one.drain_at(mine[other])
            assert report.authority == other
            sim.heal()

        sim.run(scenario())
        sim.wait_converged(60.0, among=[0, 2, 3, 4])
        sim.run_for(30)
        for index in (0, 2, 3, 4):
            assert sim.members_seen_by(index).keys() == {0, 2, 3, 4}
        one = sim.node(0)
        assert one.runtime.associations.quarantined() == ()
