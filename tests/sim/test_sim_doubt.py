"""The age of answers while members have lost sight of each other (docs/decisions/0030), case by case.

What happens under random faults is in `test_sim_freshness`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

import inaho
from inaho import ClusterConfig, Grain, Struct, method
from inaho.events import DoubtBegan, FreshnessUnknown
from inaho.testing import FaultyStorage, SimCluster, StorageFaults
from inaho.types import MemberStatus


class Text(Struct):
    value: str = ""


class Cell(Grain[Text]):
    """One value; every way in which somebody may see it."""

    ticked: ClassVar[list[tuple[str, str]]] = []

    async def put(self, value: str) -> None:
        self.state.value = value
        await self.save()

    async def change(self, value: str) -> None:
        self.state.value = value

    @method(read_only=True)
    async def get(self) -> str:
        return self.state.value

    async def where(self) -> str:
        return self.cluster.authority

    async def start_ticking(self) -> None:
        self.timer(self.tick, 0.5)

    async def tick(self) -> None:
        self.ticked.append((self.cluster.authority, self.state.value))

    async def follow(self) -> AsyncIterator[str]:
        while True:
            yield self.state.value
            await asyncio.sleep(0.5)


class LocalCell(Cell, placement="prefer_local"):
    pass


class Door(Grain):
    """Calls a cell from its own node."""

    async def look(self, key: str) -> tuple[str, str]:
        return self.cluster.authority, await self.cluster.grain(Cell, key).get()


def key_on(sim: SimCluster, index: int, kind: str = "Cell") -> str:
    lookup = sim.node(0).runtime.topology.lookup
    return next(k for k in map(str, range(10_000)) if lookup.owner(kind, k).authority == sim.authority(index))


def make_stale(sim: SimCluster, key: str, kind: type[Cell] = Cell) -> None:
    """Node 1 has the activation; node 0, cut off, takes over, saves, and dies before anybody hears of it."""
    sim.run(sim.node(1).grain(kind, key).put("old"))
    sim.partition({0}, {1, 2})
    sim.run_for(15.0)
    sim.run(sim.node(0).grain(kind, key).put("new"))
    sim.crash(0)
    sim.heal()


@pytest.fixture
def sim(simulation_seed: int) -> Any:
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Cell, LocalCell, Door]) as cluster:
        yield cluster


@pytest.mark.parametrize("kind", [Cell, LocalCell])
@pytest.mark.parametrize("restart", [False, True])
def test_what_a_side_saved_before_it_died_unheard_is_answered(sim: SimCluster, kind: type[Cell], restart: bool):
    key = key_on(sim, 1)
    make_stale(sim, key, kind)
    if restart:
        sim.restart(0)
    sim.run_for(1.5)
    assert sim.run(sim.node(2).grain(kind, key).get()) == "new"
    sim.run_for(60.0)
    assert sim.run(sim.node(1).grain(kind, key).get()) == "new"


def test_without_doubt_nothing_is_read_and_in_doubt_one_record_per_second(sim: SimCluster):
    def reads(index: int) -> int:
        return sim.node(index).runtime.freshness.reads

    async def touch() -> None:
        for number in range(100):
            await sim.node(0).grain(Cell, str(number)).put("x")

    sim.run(touch())
    before = [reads(index) for index in range(3)]
    sim.run_for(60.0)
    assert [reads(index) for index in range(3)] == before
    assert not any(sim.node(index).runtime.freshness.in_doubt for index in range(3))
    sim.crash(2)
    sim.run_for(20.0)
    assert all(sim.node(index).runtime.freshness.in_doubt for index in range(2))
    before = [reads(index) for index in range(2)]
    sim.run(touch())
    sim.run_for(30.0)
    assert all(29 <= reads(index) - before[index] <= 33 for index in range(2))
    assert not any(sim.node(index).runtime.proofs.reads for index in range(2)), "nobody else has activated anything"
    sim.restart(2)
    sim.run_for(10.0)
    assert not any(sim.node(index).runtime.freshness.in_doubt for index in range(2))


def test_after_a_crash_what_the_others_take_over_is_proved_for_some_seconds_only(sim: SimCluster):
    """The member that is lost might live, and not have noticed yet that others take over from it."""

    def is_on_2(key: str, seen_by: int) -> bool:
        return sim.node(seen_by).runtime.topology.lookup.owner("Cell", key).authority == sim.authority(2)

    keys = [key for key in map(str, range(100)) if is_on_2(key, 0)]

    async def touch() -> None:
        await asyncio.gather(*(sim.node(0).grain(Cell, key).put("x") for key in keys))

    def reads() -> list[int]:
        return [sim.node(index).runtime.proofs.reads for index in range(2)]

    def touch_for(seconds: int) -> list[list[int]]:
        """By touch and node, how many batches were proved."""
        proved: list[list[int]] = []
        for _ in range(4 * seconds):
            before = reads()
            sim.run(touch())
            sim.run_for(0.25)
            proved.append([now - then for now, then in zip(reads(), before, strict=True)])
        return proved

    sim.run(touch())
    sim.crash(2)
    sim.wait_until(lambda: not (is_on_2(keys[0], 0) or is_on_2(keys[0], 1)), 20.0)
    for of_node in zip(*touch_for(10), strict=True):
        times = [batches for batches in of_node if batches]
        assert 5 <= len(times) <= 11, "each node proves once a second"
        assert max(times) <= 2, "calls that come while a batch is proved share the next one"
    touch_for(15)
    before = reads()
    touch_for(15)
    assert sim.node(0).runtime.freshness.in_doubt
    assert reads() == before


@pytest.fixture
def slow_sim(simulation_seed: int) -> Any:
    """A read takes longer than calls are apart from each other on their way."""
    slow = StorageFaults(slow=1.0, slow_s=0.05)
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Cell], storage_faults=slow) as cluster:
        yield cluster


def test_proofs_are_batched_and_repeated_once_a_second_at_most(slow_sim: SimCluster):
    sim = slow_sim
    keys = [
        k
        for k in map(str, range(200))
        if sim.node(0).runtime.topology.lookup.owner("Cell", k).authority == sim.authority(1)
    ]

    async def read_all() -> list[str]:
        return list(await asyncio.gather(*(sim.node(2).grain(Cell, key).get() for key in keys)))

    for key in keys:
        sim.run(sim.node(1).grain(Cell, key).put("old"))
    make_stale(sim, keys[0])
    sim.run_for(1.5)
    proofs = sim.node(1).runtime.proofs
    before = proofs.reads
    values = sim.run(read_all())
    assert values[0] == "new"
    assert set(values[1:]) == {"old"}
    assert proofs.reads - before <= 3
    before = proofs.reads
    for _ in range(100):
        sim.run(sim.node(2).grain(Cell, keys[1]).get())
        sim.run_for(0.1)
    assert 5 <= proofs.reads - before <= 11


def test_calls_of_the_same_node_ticks_and_stream_items_pass_the_same_gate(sim: SimCluster):
    Cell.ticked.clear()
    key = key_on(sim, 1)
    door = next(
        k
        for k in map(str, range(10_000))
        if sim.node(0).runtime.topology.lookup.owner("Door", k).authority == sim.authority(1)
    )
    sim.run(sim.node(1).grain(Cell, key).start_ticking())
    seen: list[str] = []

    async def follow() -> None:
        async for item in sim.node(2).grain(Cell, key).follow():
            seen.append(item)

    async def scenario() -> tuple[str, str]:
        await sim.node(1).grain(Cell, key).put("old")
        following = asyncio.create_task(follow())
        await asyncio.sleep(1.0)
        sim.partition({0}, {1, 2})
        await asyncio.sleep(15.0)
        await sim.node(0).grain(Cell, key).put("new")
        sim.crash(0)
        sim.heal()
        await asyncio.sleep(2.5)
        ticks, items = len(Cell.ticked), len(seen)
        looked = await sim.node(1).grain(Door, door).look(key)
        await asyncio.sleep(5.0)
        assert all(value != "old" for where, value in Cell.ticked[ticks:] if where == sim.authority(1))
        assert "old" not in seen[items:]
        with pytest.raises(inaho.InahoError):
            await following
        return looked

    assert sim.run(scenario()) == (sim.authority(1), "new")


def test_a_paused_member_proves_what_it_has_before_it_answers(sim: SimCluster):
    key = key_on(sim, 1)
    sim.run(sim.node(1).grain(Cell, key).put("old"))

    async def scenario() -> str:
        sim.pause(1)
        await asyncio.sleep(15.0)
        await sim.node(0).grain(Cell, key).put("new")
        sim.resume(1)
        return await sim.node(1).grain(Cell, key, timeout=5.0).get()

    assert sim.run(scenario()) == "new"


def test_a_member_that_joins_a_side_in_doubt_doubts_with_it(sim: SimCluster):
    """The new member saves and dies with all of its side: nobody else ever heard of it."""
    key = key_on(sim, 1)
    sim.run(sim.node(1).grain(Cell, key).put("old"))
    sim.partition({0}, {1, 2})
    sim.run_for(15.0)
    new = sim.add()
    sim.partition({0, new}, {1, 2})
    sim.run_for(10.0)
    doubted = {doubt.authority for doubt in sim.node(new).runtime.freshness.doubts.open()}
    assert doubted == {sim.authority(1), sim.authority(2)}
    sim.run(sim.node(new).grain(Cell, key).put("new"))
    sim.crash(0)
    sim.crash(new)
    sim.heal()
    sim.run_for(1.5)
    assert sim.run(sim.node(2).grain(Cell, key).get()) == "new"


def test_who_founds_a_cluster_over_the_same_storage_is_seen_by_the_rest_of_the_old_one(simulation_seed: int):
    """The first seed restarts while it is cut off, founds anew, saves and dies."""
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Cell]) as sim:
        key = key_on(sim, 1)
        sim.run(sim.node(1).grain(Cell, key).put("old"))
        sim.partition({0}, {1, 2})
        sim.run_for(10.0)
        sim.crash(0)
        sim.restart(0)
        sim.run_for(30.0)
        sim.run(sim.node(0).grain(Cell, key, timeout=20.0).put("new"))
        sim.crash(0)
        sim.heal()
        sim.run_for(1.5)
        assert sim.run(sim.node(2).grain(Cell, key).get()) == "new"


def test_what_is_lost_is_an_error_and_not_the_old_state(sim: SimCluster):
    key = key_on(sim, 1)
    make_stale(sim, key)
    assert sim.run(sim.node(2).grain(Cell, key).get()) == "new"
    grain = sim.node(1).runtime.hosts["Cell"].activations[key]
    assert grain._inaho_record is not None
    grain._inaho_record.version += 5  # as if the storage had had more once
    sim.run_for(1.5)
    with pytest.raises(inaho.StateMissing):
        sim.run(sim.node(2).grain(Cell, key).get())


@pytest.mark.parametrize("policy", ["answer", "refuse"])
def test_without_the_storage_answers_are_given_or_refused_by_setting(simulation_seed: int, policy: str):
    """The refused call has 8 s. Its pauses are 3 to 6 s and then 6 to 12 s.

    So there is no time for a third attempt, and none is under way at the deadline. If one is, nobody knows yet whether
    it runs, and the call ends as a time-out.
    """
    config = ClusterConfig()
    config = config.replace(
        activation=config.activation.replace(when_unproved=policy),
        rpc=config.rpc.replace(retry_base_s=6.0, retry_max_s=12.0),
    )
    faults = StorageFaults()
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Cell], config=config, storage_faults=faults) as sim:
        key = key_on(sim, 1)
        make_stale(sim, key)
        told: list[FreshnessUnknown] = []
        sim.node(1).system.events.subscribe_callback(FreshnessUnknown, told.append)
        assert isinstance(sim.storage, FaultyStorage)
        sim.storage.faults = StorageFaults(refuse=1.0)
        sim.run_for(3.0)
        if policy == "answer":
            assert sim.run(sim.node(2).grain(Cell, key, timeout=8.0).get()) == "old"
        else:
            began = sim.time
            with pytest.raises(inaho.StorageFailed) as caught:
                sim.run(sim.node(2).grain(Cell, key, timeout=8.0).get())
            assert not caught.value.maybe_executed
            assert 3.0 < sim.time - began < 7.0, "it is tried twice"
        assert told
        sim.storage.faults = StorageFaults()
        sim.run_for(2.5)
        assert sim.run(sim.node(2).grain(Cell, key).get()) == "new"


def test_an_activation_in_doubt_hands_over_no_snapshot(sim: SimCluster):
    """What it has not saved ends with it: another may have saved more."""
    key = key_on(sim, 1)
    sim.run(sim.node(1).grain(Cell, key).put("saved"))
    sim.run(sim.node(1).grain(Cell, key).change("not saved"))
    sim.crash(0)
    sim.run_for(10.0)
    assert sim.node(1).runtime.freshness.in_doubt
    sim.leave(1)
    sim.run_for(15.0)
    assert sim.run(sim.node(2).grain(Cell, key).get()) == "saved"


def test_doubts_are_told_as_events_and_end(sim: SimCluster):
    began: list[DoubtBegan] = []
    sim.node(1).system.events.subscribe_callback(DoubtBegan, began.append)
    sim.partition({0}, {1, 2})
    sim.run_for(20.0)
    assert next((event.authority, event.reason) for event in began) == (sim.authority(0), "unreachable")
    sim.heal()
    sim.wait_converged(within_s=60.0)
    sim.run_for(10.0)
    for index in range(3):
        assert not sim.node(index).runtime.freshness.in_doubt
        sim.node(index).runtime.freshness.check()
        assert all(member.status is MemberStatus.UP for member in sim.node(index).members())


def test_never_saved_is_proved_too(sim: SimCluster):
    key = key_on(sim, 1)
    assert sim.run(sim.node(1).grain(Cell, key).get()) == ""
    sim.partition({0}, {1, 2})
    sim.run_for(15.0)
    sim.run(sim.node(0).grain(Cell, key).put("first"))
    sim.crash(0)
    sim.heal()
    sim.run_for(1.5)
    assert sim.run(sim.node(2).grain(Cell, key).get()) == "first"
