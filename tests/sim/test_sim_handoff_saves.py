"""Identities whose last holder is stopped, silent or gone: what it can still save, and who is told what was saved."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from inaho import ClusterIdentity, Grain, StateConflict, Unreachable
from inaho.testing import SimCluster
from inaho.wire.stored import unpack_state
from support.counters import Count, Counter, add, key_of, owns


class Near(Counter, placement="prefer_local"): ...


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
