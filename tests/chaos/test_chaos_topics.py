"""Real processes under load with topics: killed, restarted one by one, and their storage held up.

Histories are written by each process into a file of its own, which its death does not touch. What must hold is in
`inaho.testing.topic_checkers`. `benchmarks/topics_survive.py` does the same for longer, on Redis that restarts too.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from inaho.config import ClusterConfig, StorageConfig
from inaho.testing.histories.grain_history import Record
from inaho.testing.histories.topic_process import TopicCluster
from inaho.testing.topic_checkers import (
    in_publishing_order,
    keys_in_order,
    losses_told,
    nothing_unhandled,
    one_log,
    only_to_subscribers,
    repeated,
)

TOLD_S = 8.0
"""A killed member is removed within a second or two; its tail is unknown then."""

CONFIG = ClusterConfig(
    name="topic-cluster",
    secret="a secret of this machine",
    storage=StorageConfig(busy_timeout_s=30.0),  # the processes wait for one disk, and it may be busy
)


def judge(history: list[Record]) -> int:
    """Checks all promises; how many deliveries at least once were judged."""
    only_to_subscribers(history)
    in_publishing_order(history)
    losses_told(history, TOLD_S, until=time.monotonic())
    one_log(history)
    keys_in_order(history)
    repeated(history)
    return nothing_unhandled(history)


@pytest.mark.integration
@pytest.mark.timeout(180)
async def test_kills_restarts_and_a_storage_that_hangs_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random()
    async with TopicCluster(3, tmp_path, CONFIG) as cluster:
        await cluster.publishes(200)
        for _ in range(2):
            member = chance.choice(cluster.members)
            await member.kill()
            await cluster.publishes(100)
            await member.start()
        with closing(sqlite3.connect(tmp_path / "state.sqlite", timeout=30.0, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(2.0)  # nobody can write meanwhile
            database.execute("ROLLBACK")
        for member in cluster.members:
            await member.restart()
        await cluster.publishes(200)
        await cluster.settle(TOLD_S + 2.0)
        history = cluster.history()
    assert judge(history) > 300
    assert all(member.exit_codes[-2:-1] == [0] for member in cluster.members)
