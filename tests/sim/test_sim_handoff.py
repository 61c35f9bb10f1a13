"""Identities whose last holder is busy or on its way out: who waits for it, and which calls end at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice

import pytest

from inaho import CallCycle, Grain
from inaho.testing import SimCluster
from support.counters import Counter, add, is_active, key_of, owns


class Stubborn(Grain):
    async def on_deactivate(self, reason: str) -> None:
        for _ in range(2):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async def epoch(self) -> int:
        return self.context.epoch

    async def stop(self) -> None:
        self.deactivate()


class Ring(Grain):
    async def call_itself(self, after_s: float) -> str:
        await asyncio.sleep(after_s)
        return await self.cluster.grain(type(self), self.key).where()

    async def call_through(self, other: str, after_s: float) -> str:
        await asyncio.sleep(after_s)
        return await self.cluster.grain(type(self), other).call_back(self.key)

    async def call_back(self, caller: str) -> str:
        return await self.cluster.grain(type(self), caller).where()

    async def where(self) -> str:
        return self.cluster.authority


class ReentrantRing(Ring, reentrant=True): ...


class Brief(Grain, idle_ttl_s=2.0):
    async def work(self, seconds: float = 0.0) -> int:
        await asyncio.sleep(seconds)
        return self.context.epoch


@pytest.mark.parametrize("first_is_busy", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_who_slept_through_two_leaves_waits_for_what_the_second_still_runs(seed: int, first_is_busy: bool):
    with SimCluster(nodes=5, seed=seed, grains=[Counter]) as sim:
        key = key_of(sim, Counter, ({0, 1, 2, 3, 4}, 1), ({0, 2, 3, 4}, 2), ({0, 3, 4}, 3))
        other = key_of(sim, Counter, ({0, 1, 2, 3, 4}, 1), prefix="other")

        async def scenario() -> None:
            assert await add(sim, 0, key) == 1
            busy = add(sim, 0, other, 6.0 if first_is_busy else 0.0)
            await asyncio.sleep(0.05)
            sim.pause(3, 1.5)
            sim.leave(1)
            await sim.until(lambda: owns(sim, 2, key))
            await asyncio.sleep(0.2)
            slow = add(sim, 0, key, 4.0)
            await asyncio.sleep(0.3)
            assert is_active(sim, 2, key)
            sim.leave(2)
            await sim.until(lambda: owns(sim, 3, key))
            late = add(sim, 0, key)
            assert await asyncio.gather(slow, late, busy) == [2, 3, 1]

        sim.run(scenario())


@pytest.mark.parametrize("after_s", [-0.01, 0.0, 0.01, 0.015, 0.02, 0.025, 0.03, 0.05])
def test_one_that_joins_waits_for_what_one_that_leaves_still_runs(after_s: float):
    """The others may learn of both at once, and then nobody has had the identity in between."""
    with SimCluster(nodes=3, seed=1, grains=[Counter]) as sim:
        key = key_of(sim, Counter, ({0, 1, 2}, 2), ({0, 1, 3}, 3))

        async def begin() -> asyncio.Task[int]:
            assert await add(sim, 0, key) == 1
            slow = add(sim, 0, key, 4.0)
            sim.network.later(0.5, sim.leave, 2)
            await asyncio.sleep(0.5 + after_s)
            return slow

        async def end(slow: asyncio.Task[int]) -> None:
            await sim.until(lambda: owns(sim, 3, key))
            assert await asyncio.gather(slow, add(sim, 3, key)) == [2, 3]

        slow = sim.run(begin())
        assert sim.add() == 3
        sim.run(end(slow))


@pytest.mark.parametrize("seed", range(2))
def test_calls_go_on_when_a_partition_goes_back_to_who_is_asked_for_it(seed: int):
    """Node 3 is given the identity; what it asks node 0 for is under way when node 0 is given it back."""
    with SimCluster(nodes=3, seed=seed, grains=[Counter]) as sim:
        key = key_of(sim, Counter, ({0, 1, 2}, 0), ({0, 1, 2, 3}, 3))

        async def begin() -> asyncio.Task[int]:
            slow = add(sim, 0, key, 1.0)
            await asyncio.sleep(0.1)
            return slow

        async def end(slow: asyncio.Task[int]) -> None:
            await sim.until(lambda: owns(sim, 3, key) and not owns(sim, 0, key))
            sim.cut(3, 0)
            there = add(sim, 1, key)
            await asyncio.sleep(0.1)
            assert is_active(sim, 3, key)
            await sim.until(slow.done)
            sim.leave(3)
            await sim.until(lambda: owns(sim, 0, key))
            here = add(sim, 0, key)
            await asyncio.sleep(0.1)
            healed = sim.time
            sim.heal()
            assert sorted(await asyncio.gather(slow, there, here)) == [1, 2, 3]
            assert sim.time - healed < 1.0

        slow = sim.run(begin())
        assert sim.add() == 3
        sim.run(end(slow))


def test_a_hook_that_catches_its_cancellation_is_given_up():
    with SimCluster(nodes=1, seed=1, grains=[Stubborn]) as sim:
        grain = sim.node(0).grain(Stubborn, "a", timeout=60.0)
        epoch = sim.run(grain.epoch())
        sim.run(grain.stop())
        assert sim.run(grain.epoch()) > epoch


def test_an_activation_is_in_use_until_its_turn_ends():
    with SimCluster(nodes=1, seed=1, grains=[Brief]) as sim:

        async def scenario() -> None:
            grain = sim.node(0).grain(Brief, "a")
            epoch = await grain.work(3.0)
            await asyncio.sleep(1.5)
            assert await grain.work() == epoch
            await asyncio.sleep(2.5)
            assert await grain.work() > epoch

        sim.run(scenario())


@pytest.mark.parametrize("kind", [Ring, ReentrantRing])
@pytest.mark.parametrize("way", ["itself", "through another"])
@pytest.mark.parametrize("moves", ["leave", "join"])
def test_a_cycle_through_an_identity_that_moves_ends_at_once(
    kind: type[Ring], way: str, moves: str, simulation_seed: int
) -> None:
    """The turn still runs on the previous owner, and waits for a call that waits for the end of the turn."""
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Ring, ReentrantRing]) as sim:

        def keys_at(number: int, count: int) -> list[str]:
            owner, authority = sim.node(number).runtime.topology.lookup.owner, sim.authority(number)
            names = (f"k{each}" for each in range(1000))
            return list(islice((key for key in names if owner(kind.__name__, key).authority == authority), count))

        async def scenario() -> tuple[set[type], float]:
            keys, other = keys_at(1, 40), keys_at(2, 1)[0]
            refs = [sim.node(0).grain(kind, key, timeout=25.0) for key in keys]
            calls = [ref.call_itself(5.0) if way == "itself" else ref.call_through(other, 5.0) for ref in refs]
            running = [asyncio.ensure_future(call) for call in calls]
            await asyncio.sleep(1.0)
            began = sim.time
            if moves == "leave":
                sim.leave(1)
            else:
                sim.add()
            ends = await asyncio.gather(*running, return_exceptions=True)
            return set(map(type, ends)), sim.time - began

        ends, took_s = sim.run(scenario())
        if kind is Ring:
            assert ends == {CallCycle}
        elif way == "itself":
            assert ends == {str}  # the turn finds its own activation where it runs, though that is to end
        elif moves == "leave":
            assert ends == {CallCycle}
        else:
            assert ends == {CallCycle, str}  # what stays may call itself
        assert took_s < 6.0


@pytest.mark.parametrize("moves", ["leave", "join"])
@pytest.mark.parametrize("idle_first", [True, False])
def test_a_kind_that_has_nothing_to_hand_over_does_not_speak_for_another(
    idle_first: bool, moves: str, simulation_seed: int
) -> None:
    """The new owner of a busy identity waits, though the previous one has no activation of the kind before it."""
    kinds = [Ring, Counter] if idle_first else [Counter, Ring]
    with SimCluster(nodes=3, seed=simulation_seed, grains=kinds) as sim:

        async def scenario() -> list[int]:
            owner, authority = sim.node(1).runtime.topology.lookup.owner, sim.authority(1)
            keys = [key for key in (f"k{n}" for n in range(200)) if owner("Counter", key).authority == authority]
            running = [asyncio.ensure_future(sim.node(0).grain(Counter, key).add(5.0)) for key in keys]
            await asyncio.sleep(1.0)
            if moves == "leave":
                sim.leave(1)
            else:
                sim.add()
            await asyncio.sleep(1.0)
            behind = [asyncio.ensure_future(sim.node(2).grain(Counter, key).add()) for key in keys]
            await asyncio.gather(*running)
            return await asyncio.gather(*behind)

        assert set(sim.run(scenario())) == {2}
