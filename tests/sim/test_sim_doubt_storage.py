"""Proofs where the storage is slow, away for a moment, or written all the time (docs/decisions/0030)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho import ClusterConfig, Grain, Struct, method
from inaho.storage import MemoryStorage
from inaho.testing import FaultyStorage, SimCluster, StorageFaults

AWAY = StorageFaults(refuse=1.0)


class Text(Struct):
    value: str = ""


class Note(Grain[Text]):
    async def put(self, value: str) -> None:
        self.state.value = value
        await self.save()

    @method(read_only=True)
    async def get(self) -> str:
        return self.state.value

    async def write_always(self) -> None:
        self.writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while True:
            await self.save()


class LateNote(Note):
    async def on_activate(self) -> None:
        await asyncio.sleep(4.0)


class Stuck(MemoryStorage):
    stuck = False

    async def _load(self, identity: Any) -> Any:
        if self.stuck:
            await asyncio.sleep(1e6)
        return await super()._load(identity)

    async def _versions(self, identities: Any) -> Any:
        if self.stuck:
            await asyncio.sleep(1e6)
        return await super()._versions(identities)


@pytest.fixture
def sim(simulation_seed: int) -> Any:
    with SimCluster(3, simulation_seed, [Note, LateNote], storage_faults=StorageFaults()) as cluster:
        yield cluster


def key_on(sim: SimCluster, index: int, kind: str = "Note", number: int = 0) -> str:
    lookup = sim.node(0).runtime.topology.lookup
    keys = [k for k in map(str, range(100)) if lookup.owner(kind, k).authority == sim.authority(index)]
    return keys[number]


def set_faults(sim: SimCluster, faults: StorageFaults) -> None:
    assert isinstance(sim.storage, FaultyStorage)
    sim.storage.faults = faults


def make_stale(sim: SimCluster, key: str) -> None:
    """Node 1 has the activation; node 0, cut off, takes over, saves, and dies before anybody hears of it."""
    sim.run(sim.node(1).grain(Note, key).put("old"))
    sim.partition({0}, {1, 2})
    sim.run_for(15.0)
    sim.run(sim.node(0).grain(Note, key).put("new"))
    sim.crash(0)
    sim.heal()


def test_what_was_answered_unproved_after_the_doubt_is_proved_when_the_storage_is_back(sim: SimCluster):
    key = key_on(sim, 1)
    make_stale(sim, key)
    sim.restart(0)
    node = sim.node(1).runtime
    sim.wait_until(lambda: not node.freshness.in_doubt, 30.0)
    set_faults(sim, AWAY)
    assert sim.run(sim.node(2).grain(Note, key).get()) == "old"
    sim.run_for(5.0)
    set_faults(sim, StorageFaults())
    sim.run_for(1.5)
    assert sim.run(sim.node(2).grain(Note, key).get()) == "new"
    assert not node.proofs.blind


def test_the_proof_of_one_activation_does_not_stand_for_another_that_was_answered_unproved(sim: SimCluster):
    key, other = key_on(sim, 1), key_on(sim, 1, number=1)
    sim.run(sim.node(1).grain(Note, other).put("other"))
    make_stale(sim, key)
    proofs = sim.node(1).runtime.proofs

    async def scenario() -> str:
        await sim.until(lambda: proofs.repeat, 5.0)
        set_faults(sim, AWAY)
        assert await sim.node(2).grain(Note, key).get() == "old"
        await asyncio.sleep(1.3)
        set_faults(sim, StorageFaults())
        assert await sim.node(2).grain(Note, other).get() == "other"
        await asyncio.sleep(2.0)
        return await sim.node(2).grain(Note, key).get()

    assert sim.run(scenario()) == "new"


def test_an_activation_that_takes_long_to_come_up_is_proved_before_its_first_turn(sim: SimCluster):
    key = key_on(sim, 1, "LateNote")
    sim.partition({0}, {1, 2})
    sim.run_for(15.0)
    sim.run(sim.node(0).grain(LateNote, key).put("first"))
    sim.run_for(2.0)

    async def scenario() -> str:
        reading = asyncio.create_task(sim.node(2).grain(LateNote, key, timeout=20.0).get())
        await asyncio.sleep(1.0)
        await sim.node(0).grain(LateNote, key).put("second")
        return await reading

    assert sim.run(scenario()) == "second"


@pytest.mark.parametrize("slow_s", [0.01, 0.05])
def test_one_that_saves_all_the_time_is_proved_by_its_saves(sim: SimCluster, slow_s: float):
    key = key_on(sim, 1)
    sim.run(sim.node(1).grain(Note, key).put("mine"))
    set_faults(sim, StorageFaults(slow=1.0, slow_s=slow_s))
    sim.run(sim.node(1).grain(Note, key).write_always())
    make_stale(sim, key_on(sim, 1, number=1))
    sim.run_for(3.0)
    before = sim.node(1).runtime.proofs.reads
    for _ in range(20):
        assert sim.run(sim.node(2).grain(Note, key, timeout=1.0).get()) == "mine"
        sim.run_for(0.1)
    assert sim.node(1).runtime.proofs.reads - before <= 4


def test_a_slow_storage_is_waited_for(sim: SimCluster):
    key = key_on(sim, 1)
    make_stale(sim, key)
    set_faults(sim, StorageFaults(slow=1.0, slow_s=2.4))
    sim.run_for(6.0)
    assert sim.run(sim.node(2).grain(Note, key).get()) == "new"


def test_a_storage_that_never_answers_keeps_no_call_longer_than_an_operation_may_take(simulation_seed: int):
    storage = Stuck()
    with SimCluster(3, simulation_seed, [Note], storage=storage) as sim:
        key = key_on(sim, 1)
        make_stale(sim, key)
        sim.wait_until(lambda: sim.node(1).runtime.proofs.repeat, 5.0)
        storage.stuck = True
        assert sim.run(sim.node(2).grain(Note, key, timeout=8.0).get()) == "old"
        storage.stuck = False
        sim.run_for(8.0)
        assert sim.run(sim.node(2).grain(Note, key).get()) == "new"


def test_a_storage_that_raises_what_it_should_not_is_one_that_does_not_answer(simulation_seed: int):
    class Broken(MemoryStorage):
        broken = False

        async def _versions(self, identities: Any) -> Any:
            if self.broken:
                raise ConnectionError("reset by the server")
            return await super()._versions(identities)

    storage = Broken()
    with SimCluster(3, simulation_seed, [Note], storage=storage) as sim:
        key = key_on(sim, 1)
        make_stale(sim, key)
        sim.wait_until(lambda: sim.node(1).runtime.proofs.repeat, 5.0)
        storage.broken = True
        assert sim.run(sim.node(2).grain(Note, key, timeout=8.0).get()) == "old"
        storage.broken = False
        sim.run_for(2.5)
        assert sim.run(sim.node(2).grain(Note, key).get()) == "new"


def test_whatever_asks_for_proofs_there_is_one_read_a_second(sim: SimCluster):
    key = key_on(sim, 1)
    make_stale(sim, key)
    sim.run_for(1.5)
    proofs = sim.node(1).runtime.proofs
    assert sim.run(sim.node(2).grain(Note, key).get()) == "new"
    for _ in range(5):
        sim.run_for(0.15)
        proofs.require_all()
        sim.run(sim.node(2).grain(Note, key).get())
    sim.run_for(1.5)
    before = proofs.reads
    for _ in range(100):
        sim.run(sim.node(2).grain(Note, key).get())
        sim.run_for(0.1)
    assert proofs.reads - before <= 11


def test_when_unproved_refuse_no_call_is_answered_and_none_hangs_until_the_storage_is_back(simulation_seed: int):
    config = ClusterConfig().replace(activation=ClusterConfig().activation.replace(when_unproved="refuse"))
    with SimCluster(3, simulation_seed, [Note], config=config, storage_faults=StorageFaults()) as sim:
        key = key_on(sim, 1)
        make_stale(sim, key)
        sim.run_for(1.5)
        set_faults(sim, AWAY)
        for _ in range(3):
            began = sim.time
            with pytest.raises(inaho.StorageFailed):  # tried again until its deadline
                sim.run(sim.node(2).grain(Note, key, timeout=8.0).get())
            assert sim.time - began < 8.5
        set_faults(sim, StorageFaults())
        sim.run_for(1.5)
        assert sim.run(sim.node(2).grain(Note, key).get()) == "new"


def test_when_unproved_refuse_one_read_that_hangs_refuses_no_longer_than_an_operation_may_take(simulation_seed: int):
    config = ClusterConfig().replace(activation=ClusterConfig().activation.replace(when_unproved="refuse"))
    storage = Stuck()
    with SimCluster(3, simulation_seed, [Note], config=config, storage=storage) as sim:
        key = key_on(sim, 1)
        make_stale(sim, key)
        sim.wait_until(lambda: sim.node(1).runtime.proofs.repeat, 5.0)

        async def scenario() -> str:
            storage.stuck = True
            reading = asyncio.create_task(sim.node(2).grain(Note, key, timeout=20.0).get())
            await asyncio.sleep(1.0)
            storage.stuck = False  # but for the read that hangs already
            return await reading

        assert sim.run(scenario()) == "new"


def test_a_marker_whose_write_hangs_keeps_no_activation_longer_than_an_operation_may_take(simulation_seed: int):
    storage = Stuck()
    with SimCluster(3, simulation_seed, [Note], storage=storage) as sim:
        sim.crash(0)
        sim.wait_until(lambda: sim.node(1).runtime.freshness.in_doubt, 20.0)
        freshness = sim.node(1).runtime.freshness

        async def scenario() -> None:
            freshness._marking._episode = 0
            storage.stuck = True
            with pytest.raises(inaho.StorageFailed):
                await freshness.before_activation()
            storage.stuck = False
            await freshness.before_activation()

        sim.run(scenario())
