"""Who must be doubted, and whose marker must be there, where sides form and meet again (docs/decisions/0030)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from inaho import ActivationConfig, ClusterConfig, Grain, Struct, method
from inaho.events import BlockListChanged, Event, MemberRemoved
from inaho.runtime.freshness.doubts import Freshness
from inaho.runtime.freshness.proofs import Proofs
from inaho.storage import MemoryStorage
from inaho.testing import FaultyStorage, SimCluster, StorageFaults
from inaho.types import MemberStatus

CONFIG = ClusterConfig(activation=ActivationConfig(reminder_shards=1))
"""So that few nodes have something of the runtime to activate, for which they would write a marker anyway."""


class Text(Struct):
    value: str = ""


class Note(Grain[Text]):
    async def put(self, value: str) -> None:
        self.state.value = value
        await self.save()

    @method(read_only=True)
    async def get(self) -> str:
        return self.state.value


class WorkerNote(Note, role="worker"):
    pass


class LocalNote(Note, placement="prefer_local"):
    pass


class RoleCluster(SimCluster):
    workers: frozenset[int] = frozenset()

    def _node_config(self, index: int) -> ClusterConfig:
        config = super()._node_config(index)
        return config.replace(roles=("worker",)) if index in self.workers else config


def owned(sim: SimCluster, by: int, seen_by: int, keys: Iterable[Any] = range(1000)) -> list[str]:
    lookup = sim.node(seen_by).runtime.topology.lookup
    return [key for key in map(str, keys) if lookup.owner("Note", key).authority == sim.authority(by)]


def save_on_both_sides(sim: SimCluster) -> str:
    """A key that node 0 has taken over and saved, and node 2 by its old view too; skips where that has noticed."""
    key = owned(sim, by=2, seen_by=2)[0]
    sim.partition({2}, {0, 1})
    lookup = sim.node(0).runtime.topology.lookup
    sim.wait_until(lambda: lookup.owner("Note", key).authority != sim.authority(2), 20.0)
    sim.run(sim.node(0).grain(Note, key).put("first"))
    if sim.node(2).runtime.freshness.in_doubt:
        pytest.skip("in this history both sides notice it at once")
    sim.run(sim.node(2).grain(Note, key).put("second"))
    return key


@pytest.mark.parametrize("seed", range(4))
def test_what_a_side_saves_before_it_notices_a_split_is_seen_in_time(seed: int):
    """Node 2 has no marker while it does not doubt anybody."""
    with SimCluster(3, seed, [Note], CONFIG) as sim:
        key = save_on_both_sides(sim)
        sim.run_for(1.01)
        assert sim.run(sim.node(0).grain(Note, key).get()) == "second"


@pytest.mark.parametrize("seed", range(4))
def test_a_side_that_notices_a_split_late_writes_its_marker_for_what_it_activated_before(
    seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Proofs, "member_lost", lambda _: None)  # so that the marker alone tells
    with SimCluster(3, seed, [Note], CONFIG) as sim:
        key = save_on_both_sides(sim)
        sim.wait_until(lambda: sim.node(2).runtime.freshness.in_doubt, 10.0)
        sim.run_for(1.5)
        assert sim.run(sim.node(0).grain(Note, key).get()) == "second"


@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_joins_learns_whom_to_doubt_from_members_without_grains_with_state(seed: int):
    sim = RoleCluster(4, seed, [WorkerNote], CONFIG)
    sim.workers = frozenset({1, 2, 4})
    with sim:
        sim.run(sim.node(0).grain(WorkerNote, "key").put("old"))
        sim.partition({0, 3}, {1, 2})
        sim.run_for(15.0)
        new = sim.add()
        sim.partition({0, 3, new}, {1, 2})
        sim.run_for(5.0)
        assert len(sim.node(new).runtime.freshness.doubts.open()) == 2
        sim.run(sim.node(new).grain(WorkerNote, "key").put("new"))
        for index in (0, 3, new):
            sim.crash(index)
        sim.heal()
        sim.run_for(1.5)
        assert sim.run(sim.node(2).grain(WorkerNote, "key").get()) == "new"


@pytest.mark.parametrize("seed", range(4))
def test_what_a_process_saved_that_nobody_here_has_met_counts_though_its_successor_is_there(seed: int):
    """Node 2 begins anew on the other side, saves, dies, and has a successor before the markers are read again."""
    with SimCluster(4, seed, [Note], CONFIG, storage_faults=StorageFaults()) as sim:
        before = owned(sim, by=3, seen_by=3)
        sim.partition({1, 2}, {0, 3})
        sim.run_for(15.0)
        sim.crash(2)
        sim.restart(2)
        sim.run_for(3.0)
        key = next(key for key in owned(sim, by=2, seen_by=2, keys=before) if key in owned(sim, by=3, seen_by=3))
        sim.run(sim.node(3).grain(Note, key).put("old"))
        freshness = sim.node(3).runtime.freshness
        reads = freshness.reads
        sim.wait_until(lambda: freshness.reads != reads, 5.0)
        sim.run(sim.node(2).grain(Note, key).put("new"))
        assert isinstance(sim.storage, FaultyStorage)
        sim.storage.faults = StorageFaults(slow=1.0, slow_s=0.4)
        for index in (1, 2):
            sim.crash(index)
        sim.heal()
        for index in (2, 1):
            sim.restart(index)
        sim.run_for(3.0)
        assert sim.run(sim.node(0).grain(Note, key).get()) == "new"


def test_who_founds_a_cluster_while_the_storage_is_away_looks_for_others_when_it_is_back(simulation_seed: int):
    with SimCluster(3, simulation_seed, [Note], storage_faults=StorageFaults()) as sim:
        key = owned(sim, by=1, seen_by=1)[0]
        sim.partition({0}, {1, 2})
        sim.run_for(15.0)
        sim.crash(0)
        assert isinstance(sim.storage, FaultyStorage)
        sim.storage.faults = StorageFaults(refuse=1.0)
        sim.restart(0)
        sim.run_for(1.0)
        sim.storage.faults = StorageFaults()
        sim.run(sim.node(0).grain(Note, key, timeout=20.0).put("first"))
        sim.run_for(2.0)
        sim.run(sim.node(1).grain(Note, key).put("second"))
        sim.run_for(1.5)
        assert sim.run(sim.node(0).grain(Note, key).get()) == "second"


def test_who_founds_a_cluster_again_does_not_look_for_its_former_process_at_its_own_authority(simulation_seed: int):
    """It would reach itself, and take the end of that connection for one of a member."""
    with SimCluster(1, simulation_seed, [Note]) as sim:
        sim.run(sim.node(0).grain(Note, "key").put("x"))
        sim.crash(0)
        sim.restart(0)
        sim.wait_until(lambda: sim.is_member(0), 30.0)
        assert sim.run(sim.node(0).grain(Note, "key").get()) == "x"
        sim.run_for(5.0)
        assert sim.authority(0) not in sim.node(0).runtime.peers.connections
        sim.check()


def test_a_crash_alone_has_no_proofs_though_all_have_written_their_markers(simulation_seed: int):
    with SimCluster(3, simulation_seed, [Note]) as sim:

        async def touch() -> None:
            for number in range(100):
                await sim.node(0).grain(Note, str(number)).put("x")

        sim.run(touch())
        sim.crash(2)
        sim.run_for(20.0)
        sim.run(touch())
        sim.run_for(5.0)
        assert all(sim.node(index).runtime.freshness.in_doubt for index in range(2))
        assert not any(sim.node(index).runtime.proofs.reads for index in range(2))


def test_a_node_that_joins_does_not_doubt_who_was_replaced_since_the_others_told(
    simulation_seed: int, monkeypatch: pytest.MonkeyPatch
):
    """Nothing would end that doubt before `tombstone_s`: the process is gone, and no event of its successor is due."""
    with SimCluster(3, simulation_seed, [Note], CONFIG) as sim:
        freshness = sim.node(2).runtime.freshness

        async def told() -> list[tuple[str, str]]:
            return [("0123456789abcdef", sim.authority(0)), ("fedcba9876543210", "elsewhere:1")]

        monkeypatch.setattr(sim.node(2).runtime.reconciliation, "doubted_by_others", told)
        sim.run(freshness._inherit())
        assert [doubt.authority for doubt in freshness.doubts.open()] == ["elsewhere:1"]


def test_a_process_is_not_taken_for_ended_by_what_is_heard_of_the_one_before_it(simulation_seed: int):
    """Node 0 lives on the other side as a new process, while its first process is not yet known to be gone here."""
    with SimCluster(3, simulation_seed, [Note], CONFIG) as sim:
        freshness = sim.node(2).runtime.freshness
        first = sim.node(0).runtime.local.node_id

        async def meet() -> None:
            freshness._begin("fedcba9876543210", "elsewhere:1", -1, "test")
            freshness._begin("0123456789abcdef", sim.authority(0), -1, "test")

        sim.run(meet())
        freshness._replaced({sim.authority(0): first})
        assert freshness.doubts.get("0123456789abcdef") is not None
        freshness._replaced({sim.authority(0): "0000000000000000"})
        assert freshness.doubts.get("0123456789abcdef") is None


def test_what_members_saved_that_were_replaced_before_this_node_noticed_anything_counts(simulation_seed: int):
    """Node 0 is cut off and does not know it when the others, which took over and saved, have new processes already."""
    with SimCluster(3, simulation_seed, [Note], CONFIG) as sim:
        keys = owned(sim, by=0, seen_by=0)[:20]
        for key in keys:
            sim.run(sim.node(0).grain(Note, key).put("old"))
        sim.partition({0}, {1, 2})
        sim.wait_until(lambda: sim.members_seen_by(1)[0] is not MemberStatus.UP, 20.0)
        lookup = sim.node(1).runtime.topology.lookup
        key = next(key for key in keys if lookup.owner("Note", key).authority == sim.authority(1))
        sim.run(sim.node(1).grain(Note, key).put("new"))
        freshness = sim.node(0).runtime.freshness
        assert not freshness.in_doubt
        for index in (1, 2):
            sim.crash(index, silent=True)
        sim.heal()
        for index in (1, 2):
            sim.restart(index)
        sim.wait_converged(within_s=60.0)
        sim.run_for(1.5)
        assert sim.run(sim.node(1).grain(Note, key).get()) == "new"
        assert not freshness.in_doubt


def test_a_member_that_is_replaced_costs_one_read_and_no_marker(simulation_seed: int):
    with SimCluster(3, simulation_seed, [Note], CONFIG) as sim:
        for key in owned(sim, by=2, seen_by=2)[:20]:
            sim.run(sim.node(0).grain(Note, key).put("old"))
        freshness = sim.node(2).runtime.freshness
        reads, writes = freshness.reads, freshness.others._record.writes
        member = next(member for member in sim.node(0).members() if member.authority == sim.authority(1))
        sim.run(_tell(freshness, MemberRemoved(member=member, reason="replaced")))
        sim.run_for(5.0)
        assert (freshness.reads, freshness.others._record.writes) == (reads + 1, writes)
        assert not freshness.in_doubt
        freshness.check()


async def _tell(freshness: Freshness, event: Event) -> None:
    freshness.notice(event)


@pytest.mark.parametrize("kind", [Note, LocalNote])
@pytest.mark.parametrize("way", ["cut", "pause"])
def test_a_block_that_its_member_hears_of_when_it_is_over_ends_what_was_taken_over(way: str, kind: type[Note]):
    """Nobody is unreachable at any time, and who took over leaves in order before anything else happens."""
    with SimCluster(3, 0, [Note, LocalNote], CONFIG) as sim:
        keys = owned(sim, by=0, seen_by=0)[:10]
        for key in keys:
            sim.run(sim.node(0).grain(kind, key).put("old"))
        if way == "cut":
            sim.partition({0}, {1, 2})
        else:
            sim.pause(0)
        sim.run(sim.node(1).block(sim.authority(0)))
        sim.run(put_all(sim, kind, keys))
        sim.run(sim.node(1).unblock(sim.authority(0)))
        if way == "cut":
            sim.heal()
        else:
            sim.resume(0)
        sim.leave(1)
        sim.run_for(5.0)
        assert [sim.run(sim.node(2).grain(kind, key).get()) for key in keys] == ["new"] * len(keys)
        sim.run_for(30.0)
        assert not sim.node(0).runtime.freshness.in_doubt


async def put_all(sim: SimCluster, kind: type[Note], keys: list[str]) -> None:
    await asyncio.gather(*(sim.node(1).grain(kind, key, timeout=1.6).put("new") for key in keys))


def test_nothing_is_activated_after_a_block_before_the_marker_is_there(simulation_seed: int):
    with SimCluster(2, simulation_seed, [Note], CONFIG, storage_faults=StorageFaults(slow=1.0, slow_s=0.2)) as sim:
        freshness = sim.node(1).runtime.freshness

        async def order() -> list[int]:
            freshness.notice(BlockListChanged(authority=sim.authority(0), blocked=True))
            first = asyncio.create_task(freshness.before_activation())
            await asyncio.sleep(0.1)
            writes: list[int] = []
            for waiting in (asyncio.create_task(freshness.before_activation()), first):
                await waiting
                writes.append(freshness.others._record.writes)
            return writes

        before = freshness.others._record.writes
        assert sim.run(order()) == [before + 1] * 2


def test_nobody_confirms_to_a_member_that_is_blocked_here_that_it_is_through(simulation_seed: int):
    """It may take over from that member yet. A member that is blocked has nothing active, and needs no confirmation."""
    with SimCluster(3, simulation_seed, [Note], CONFIG) as sim:
        sim.run(sim.node(1).block(sim.authority(0)))
        sim.run_for(3.0)
        blocked, other = sim.node(0).runtime, sim.node(1).runtime
        assert not other.reconciliation_answers.asked(blocked.local.node_id, -1)
        assert not blocked.freshness.in_doubt
        sim.run(sim.node(1).unblock(sim.authority(0)))
        sim.run_for(3.0)
        assert other.reconciliation_answers.asked(blocked.local.node_id, -1)
        assert not blocked.freshness.in_doubt


@pytest.mark.parametrize("within_s", [0.1, 0.2, 0.3])
def test_what_comes_up_as_a_block_ends_does_not_live_on_beside_what_the_blocked_member_has(within_s: float):
    slow = StorageFaults(slow=1.0, slow_s=0.2)
    with SimCluster(3, 0, [LocalNote], CONFIG, storage_faults=slow) as sim:
        lookup = sim.node(2).runtime.topology.lookup
        keys = [k for k in map(str, range(40)) if lookup.owner("LocalNote", k).authority == sim.authority(2)]
        for key in keys:
            sim.run(sim.node(2).grain(LocalNote, key).put("old"))

        async def scenario() -> list[str]:
            sim.partition({2}, {0, 1})
            await sim.node(0).block(sim.authority(2))
            reading = [asyncio.create_task(sim.node(0).grain(LocalNote, key).get()) for key in keys]
            await asyncio.sleep(within_s)
            await sim.node(0).unblock(sim.authority(2))
            await asyncio.sleep(0.1)
            sim.heal()
            await asyncio.gather(*reading)
            await asyncio.sleep(5.0)
            for key in keys:
                await sim.node(2).grain(LocalNote, key).put("new")
            return [await sim.node(0).grain(LocalNote, key).get() for key in keys]

        assert sim.run(scenario()) == ["new"] * len(keys)


def test_where_no_storage_is_shared_nothing_is_proved_by_it_after_a_crash(simulation_seed: int):
    """What was handed over is not in it."""
    with SimCluster(3, simulation_seed, [Note], CONFIG) as sim:
        keys = owned(sim, by=2, seen_by=0)[:20]
        for index in range(3):
            node = sim.node(index).runtime
            node.local.storage_is_private = True
            node.storage_access.storage, node.storage_access._opening = MemoryStorage(), None
        sim.crash(2)
        sim.wait_until(lambda: not owned(sim, by=2, seen_by=0) and not owned(sim, by=2, seen_by=1), 20.0)
        for _ in range(4):
            for key in keys:
                sim.run(sim.node(0).grain(Note, key).put("x"))
            sim.run_for(1.0)
        assert [sim.node(index).runtime.proofs.reads for index in range(2)] == [0, 0]
