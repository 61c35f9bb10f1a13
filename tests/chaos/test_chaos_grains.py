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
from inaho.testing.histories.grain_history import Paused, Refused
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


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_a_member_is_not_stopped_while_it_holds_the_lock_of_the_file(five: GrainCluster) -> None:
    """The lock would sleep with it: nobody could save until it wakes. Here another process holds it all the time."""
    member = five.members[0]
    with closing(sqlite3.connect(five.folder / "state.sqlite", timeout=30.0, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        stopping = asyncio.create_task(member.stop())
        done, _ = await asyncio.wait([stopping], timeout=1.5)
        assert not done
        database.execute("ROLLBACK")
        await stopping
    [seen] = [record for record in five.history() if isinstance(record, Paused)]
    assert seen.node == member.node_id
    status = Path(f"/proc/{member.pid}/stat").read_text()  # noqa: ASYNC240
    assert status.rpartition(")")[2].split()[0] == "T"
    member.go_on()


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
            await stopped.stop()
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
