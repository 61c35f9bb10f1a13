"""Five real processes that share an SQLite file, under load: restarted one by one, killed, stopped.

What must hold is asserted whatever the machine is busy with; how fast it goes is printed by the scripts
`grain_rolling_restart.py`, `grain_kill.py` and `zombie.py` in `benchmarks`. Histories are written by each process into
files of its own, which its death does not touch.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

import inaho
from inaho.config import ClusterConfig, RpcConfig, StorageConfig
from inaho.testing.histories.grain_checkers import epochs_in_order, growing_counts, nothing_lost, one_activation
from inaho.testing.histories.grain_history import Refused
from inaho.testing.histories.grain_load import GrainLoad, until_up
from inaho.testing.histories.grain_process import GrainCluster, GrainProcess
from inaho.testing.histories.grain_workload import Caller, Register

KEYS = [f"key-{number}" for number in range(30)]
SETTLE_S = 10.0
"""From agreement of views to the end of what must end, on a machine with other work."""


@pytest.fixture
async def five(tmp_path: Path) -> AsyncIterator[GrainCluster]:
    config = ClusterConfig(
        name="grain-cluster",
        secret="a secret of this machine",
        storage=StorageConfig(busy_timeout_s=30.0),  # five processes wait for one disk, and it may be busy
        rpc=RpcConfig(timeout_s=40.0),
    )
    async with GrainCluster(5, tmp_path, config) as cluster:
        yield cluster


def client_of(cluster: GrainCluster) -> inaho.runtime.cluster.join.Joining:
    return inaho.connect(config=cluster.config.replace(seeds=cluster.seeds))


def one_with_a_key(cluster: GrainCluster, load: GrainLoad) -> tuple[GrainProcess, list[GrainProcess]]:
    """A member where some key lives, and the others."""
    chosen = next(member for member in reversed(cluster.members) if member.node_id in load.at.values())
    return chosen, [member for member in cluster.members if member is not chosen]


async def stop_outside_a_commit(cluster: GrainCluster, member: GrainProcess) -> None:
    """Stops it where it does not hold SQLite's lock, which would sleep with it: then nobody saves until it goes on."""

    def can_be_locked() -> bool:
        with closing(sqlite3.connect(cluster.folder / "state.sqlite", timeout=0.5, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            database.execute("ROLLBACK")
            return True

    member.stop()
    while not await asyncio.to_thread(can_be_locked):
        member.go_on()
        await asyncio.sleep(0.05)
        member.stop()


@pytest.mark.integration
@pytest.mark.timeout(180)
async def test_a_rolling_restart_under_load_fails_no_call(five: GrainCluster) -> None:
    async with client_of(five) as client:
        await until_up(client, five.node_ids)
        async with GrainLoad(client, five.journal, KEYS) as load:
            for member in five.members:
                await member.restart()
                await until_up(client, five.node_ids)
                await load.all_answered()
            assert load.failures == []
        stored = await load.read_all()
    assert [member.exit_codes for member in five.members] == [[0]] * 5
    history = five.history()
    assert nothing_lost(history, stored) > 2 * len(KEYS)  # as many as `all_answered` waits for, however slow it is
    growing_counts(history)
    epochs_in_order(history, stored)
    one_activation(history, SETTLE_S, orderly=True)


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_a_kill_under_load_concerns_the_dead_node_alone(five: GrainCluster) -> None:
    async with client_of(five) as client:
        await until_up(client, five.node_ids)
        async with GrainLoad(client, five.journal, KEYS) as load:
            killed, rest = one_with_a_key(five, load)
            theirs = {key for key, node in load.at.items() if node == killed.node_id}
            assert theirs
            await killed.kill()
            await load.all_answered()
            await until_up(client, [member.node_id for member in rest])
            await load.all_answered()
            assert killed.node_id not in load.at.values()
            assert {failure.key for failure in load.failures} <= theirs
            assert all(failure.maybe_executed for failure in load.failures), load.failures
        stored = await load.read_all()
    history = five.history()
    assert nothing_lost(history, stored) > len(KEYS) // 2
    growing_counts(history)
    epochs_in_order(history, stored)
    one_activation(history, SETTLE_S)


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_a_stopped_node_that_wakes_harms_nothing_and_comes_back(five: GrainCluster) -> None:
    async with client_of(five) as client:
        await until_up(client, five.node_ids)
        async with GrainLoad(client, five.journal, KEYS) as load:
            stopped, rest = one_with_a_key(five, load)
            contested = next(key for key, node in load.at.items() if node == stopped.node_id)
            caller = Caller(five.journal, "late", 900_000_000)
            late = asyncio.create_task(caller.call(client, Register, contested, "add", hold_s=6.0, retry=False))
            await asyncio.sleep(0.5)  # it has begun, and is in the middle of it
            await stop_outside_a_commit(five, stopped)
            await until_up(client, [member.node_id for member in rest])
            await load.all_answered()
            assert stopped.node_id not in load.at.values()
            failed = await late
            assert failed is not None and failed.maybe_executed
            # Its successor has saved: from then on the storage refuses the one that sleeps.
            refused = await Caller(five.journal, "next", 910_000_000).call(client, Register, contested, "add")
            assert refused is None
            stopped.go_on()
            await until_up(client, five.node_ids)
            await load.all_answered()
        stored = await load.read_all()
    assert stopped.exit_codes == []
    assert not any(element.startswith("late-") for element in stored[contested])
    history = five.history()
    nothing_lost(history, stored)
    growing_counts(history)
    epochs_in_order(history, stored)
    one_activation(history, SETTLE_S)
    codes = {record.code for record in history if isinstance(record, Refused) and record.node == stopped.node_id}
    assert codes <= {"state_conflict", "ownership_changed", "storage_failed"}  # the last when its disk is busy
