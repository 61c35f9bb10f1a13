"""Identities whose last holder is busy, stopped or on its way out: who waits for it, and what it can still save."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice

import msgspec
import pytest

from inaho import CallCycle, ClusterIdentity, Grain, StateConflict, Struct, Unreachable
from inaho.core.identity.hashing import node_digest, rendezvous_score
from inaho.testing import SimCluster
from inaho.wire.stored import unpack_state


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def add(self, seconds: float = 0.0) -> int:
        await asyncio.sleep(seconds)
        self.state.value += 1
        await self.save()
        return self.state.value

    async def look(self) -> int:
        return self.state.value

    async def where(self) -> str:
        return self.cluster.authority


class Near(Counter, placement="prefer_local"): ...


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


def key_of(sim: SimCluster, kind: type[Counter], *owners: tuple[set[int], int], prefix: str = "k") -> str:
    """A key that each of these sets of nodes gives to the node that is named with it."""

    def owner(key: str, among: set[int]) -> int:
        partition = sim.node(0).runtime.topology.lookup.partition(kind.__name__, key)
        return max(among, key=lambda index: rendezvous_score(node_digest(sim.authority(index)), partition))

    keys = (f"{prefix}{number}" for number in range(10_000))
    return next(key for key in keys if all(owner(key, among) == index for among, index in owners))


def owns(sim: SimCluster, index: int, key: str) -> bool:
    """Whether node `index` takes itself for the owner."""
    return sim.is_member(index) and sim.node(index).runtime.leases.owns("Counter", key)


def is_active(sim: SimCluster, index: int, key: str) -> bool:
    return key in sim.node(index).runtime.hosts["Counter"].activations


def add(
    sim: SimCluster, index: int, key: str, seconds: float = 0.0, *, kind: type[Counter] = Counter
) -> asyncio.Task[int]:
    """A call through node `index`, begun now; one that takes time is not tried again."""
    return asyncio.ensure_future(sim.node(index).grain(kind, key, timeout=60.0, retry=not seconds).add(seconds))


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


async def goes_on_in_vain(sim: SimCluster, kind: type[Counter], key: str) -> None:
    """Node 3 goes on after node 0 has read what was saved last."""
    grain = sim.node(0).grain(kind, key)
    assert await grain.look() == 1
    sim.resume(3)
    await asyncio.sleep(1.0)
    stored = await sim.storage.load(ClusterIdentity(kind.__name__, key))
    assert stored is not None and stored.data is not None
    assert msgspec.msgpack.decode(unpack_state(stored.data)) == {"value": 1}
    assert await grain.look() == 1
    assert await grain.add() == 2


@pytest.mark.parametrize("seed", range(2))
def test_one_that_stops_while_it_leaves_cannot_save_once_its_successor_has_read(seed: int):
    with SimCluster(nodes=4, seed=seed, grains=[Counter]) as sim:
        key = key_of(sim, Counter, ({0, 1, 2, 3}, 3), ({0, 1, 2}, 0))

        async def scenario() -> None:
            assert await add(sim, 0, key) == 1
            slow = add(sim, 0, key, 1.51)
            await asyncio.sleep(0.5)
            sim.leave(3)
            await asyncio.sleep(1.0)
            sim.pause(3)
            with pytest.raises(Unreachable):
                await slow
            await sim.until(lambda: 3 not in sim.members_seen_by(0))
            await goes_on_in_vain(sim, Counter, key)

        sim.run(scenario())


@pytest.mark.parametrize("seed", range(2))
def test_one_that_stops_and_is_blocked_cannot_save_once_its_successor_has_read(seed: int):
    with SimCluster(nodes=4, seed=seed, grains=[Counter]) as sim:
        key = key_of(sim, Counter, ({0, 1, 2, 3}, 3), ({0, 1, 2}, 0))

        async def scenario() -> None:
            assert await add(sim, 0, key) == 1
            slow = add(sim, 0, key, 0.51)
            await asyncio.sleep(0.5)
            sim.pause(3)
            await sim.node(0).block(sim.authority(3))
            await sim.until(lambda: owns(sim, 0, key))
            await goes_on_in_vain(sim, Counter, key)
            with pytest.raises(StateConflict):
                await slow

        sim.run(scenario())


@pytest.mark.parametrize("seed", range(2))
def test_a_holder_that_fell_silent_cannot_save_once_its_successor_has_read(seed: int):
    """The identity is placed: node 0 owns it before and after."""
    with SimCluster(nodes=4, seed=seed, grains=[Near]) as sim:
        key = key_of(sim, Near, ({0, 1, 2, 3}, 0))

        async def scenario() -> None:
            assert await add(sim, 3, key, kind=Near) == 1
            assert await sim.node(3).grain(Near, key).where() == sim.authority(3)
            slow = add(sim, 0, key, 0.51, kind=Near)
            await asyncio.sleep(0.5)
            sim.pause(3)
            with pytest.raises(Unreachable):
                await slow
            await sim.until(lambda: 3 not in sim.members_seen_by(0))
            await goes_on_in_vain(sim, Near, key)

        sim.run(scenario())


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


@pytest.mark.parametrize("seed", range(2))
def test_what_was_saved_is_told_until_an_owner_has_heard_and_passed_on_by_one_that_stood_in(seed: int):
    with SimCluster(nodes=4, seed=seed, grains=[Counter]) as sim:
        key = key_of(sim, Counter, ({0, 1, 2, 3}, 0), ({1, 2, 3}, 1))

        def heard(index: int) -> int:
            record = sim.node(index).runtime.saved_versions.expected("Counter", key)
            return 0 if record is None else record.version

        sim.crash(0)
        told = sim.node(2).runtime.saved_versions
        told._ended["Counter", key] = 7
        told.owners_changed()  # the owner is dead, and nobody knows it yet
        sim.wait_until(lambda: heard(1) == 7, 10.0)
        sim.restart(0)
        sim.wait_until(lambda: heard(0) == 7, 10.0)
        sim.wait_until(lambda: heard(1) == 0, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_one_that_paused_and_was_stood_in_for_begins_again(seed: int):
    with SimCluster(nodes=4, seed=seed, grains=[Counter]) as sim:
        key = key_of(sim, Counter, ({0, 1, 2, 3}, 0), ({1, 2, 3}, 1))
        grain = sim.node(2).grain(Counter, key, timeout=20.0)
        assert sim.run(grain.add()) == 1
        sim.pause(0, 8.0)
        sim.wait_until(lambda: sim.node(1).runtime.leases.owns("Counter", key), 8.0)
        assert sim.run(grain.add()) == 2
        sim.run_for(8.0)
        assert sim.run(sim.node(0).grain(Counter, key, timeout=20.0).look()) == 2


class Unsaved(Grain[Count]):
    """Changes its state and saves nothing."""

    async def add(self) -> int:
        self.state.value += 1
        return self.state.value

    async def look(self) -> int:
        return self.state.value


class SavedAtTheEnd(Unsaved):
    async def on_deactivate(self, reason: str) -> None:
        await self.save()


@pytest.mark.parametrize("how", ["join", "leave"])
def test_what_on_deactivate_saves_survives_a_move_and_what_nobody_saves_does_not(how: str):
    with SimCluster(nodes=3, seed=11, grains=[Unsaved, SavedAtTheEnd]) as sim:
        keys = [str(number) for number in range(40)]

        async def ask(kind: type[Unsaved], method: str) -> list[int]:
            return [await getattr(sim.node(0).grain(kind, key), method)() for key in keys]

        sim.run(ask(Unsaved, "add"))
        sim.run(ask(SavedAtTheEnd, "add"))
        here = [sim.node(2)._node.leases.owns("Unsaved", key) for key in keys]
        if how == "join":
            sim.add()
            sim.wait_converged()
            moved = [sim.node(3)._node.leases.owns("Unsaved", key) for key in keys]
        else:
            sim.leave(2)
            moved = here
        sim.run_for(3.0)
        assert 3 <= sum(moved) <= 37
        assert sim.run(ask(SavedAtTheEnd, "look")) == [1] * 40
        assert sim.run(ask(Unsaved, "look")) == [0 if gone else 1 for gone in moved]


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
