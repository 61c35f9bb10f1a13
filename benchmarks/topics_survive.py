"""Topics of five real members under load while members are killed and restarted, and their storage restarts.

    python benchmarks/topics_survive.py [--rounds N] [--kills N] [--storage redis|sqlite] [--json]

A round is ten kills of random members, a rolling restart, and a restart of the storage: Redis is killed and comes back
after two seconds; an SQLite file, which has no server, is locked for two seconds. `lost` counts messages at least once
that were acknowledged and not handled, `untold` promises at most once that were broken, `disordered` those about order:
none may be. `handled_again` counts duplicates: their member was killed or the storage failed before the position was
saved.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from measuring import Figures, show

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from inaho.config import ClusterConfig, StorageConfig
from inaho.testing import topic_checkers as promises
from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_history import Record
from inaho.testing.histories.topic_history import Handled, Published
from inaho.testing.histories.topic_process import TopicCluster
from support.service_servers import RedisServer

MEMBERS = 5
AWAY_S = 2.0
TOLD_S = 12.0


class Lock:
    """An SQLite file that nobody can write to for a while."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def restart(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=30.0, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(AWAY_S)
            database.execute("ROLLBACK")


class Server:
    """Redis that is killed and comes back with its data."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    async def restart(self) -> None:
        self.server.kill()
        await asyncio.sleep(AWAY_S)
        self.server.start()


@contextmanager
def redis() -> Generator[RedisServer, None, None]:
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.end()


async def one_round(folder: Path, kills: int, storage: str | None, restart: Callable[[], Any]) -> list[Record]:
    """The history of one round."""
    config = ClusterConfig(
        name="topic-cluster",
        secret="a secret of this machine",
        storage=StorageConfig(busy_timeout_s=30.0),
    )
    async with TopicCluster(MEMBERS, folder, config, storage=storage) as cluster:
        await cluster.publishes(200)
        for _ in range(kills):
            member = random.choice(cluster.members)
            await member.kill()
            await asyncio.sleep(random.uniform(0.0, 2.0))
            await member.start()
            await asyncio.sleep(random.uniform(0.0, 1.0))
        for member in cluster.members:
            await member.restart()
        await restart()
        await cluster.publishes(200)
        await cluster.settle(TOLD_S, within_s=120.0)
        return cluster.history()


def judge(history: list[Record]) -> Counter[str]:
    """What was broken, by promise; each reason is printed."""
    found: Counter[str] = Counter()
    until = time.monotonic()
    checks: list[tuple[str, Callable[[], Any]]] = [
        ("lost", lambda: promises.nothing_unhandled(history)),
        ("disordered", lambda: promises.one_log(history)),
        ("disordered", lambda: promises.keys_in_order(history)),
        ("disordered", lambda: promises.in_publishing_order(history)),
        ("untold", lambda: promises.losses_told(history, TOLD_S, until=until)),
        ("untold", lambda: promises.only_to_subscribers(history)),
    ]
    for name, check in checks:
        try:
            check()
        except PromiseBroken as broken:
            print(broken, file=sys.stderr, flush=True)
            found[name] += 1
    return found


async def measure(rounds: int, kills: int, where: str) -> Figures:
    """The figures of all rounds, each with a cluster of its own."""
    found: Counter[str] = Counter()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="inaho-topics-") as name:
            folder = Path(name)
            if where == "redis":
                with redis() as server:
                    history = await one_round(folder, kills, server.url, Server(server).restart)
            else:
                history = await one_round(folder, kills, None, Lock(folder / "state.sqlite").restart)
        found += judge(history)
        found["handled_again"] += promises.repeated(history)["handled again"]
        found["published"] += sum(isinstance(record, Published) for record in history)
        found["handled"] += sum(isinstance(record, Handled) for record in history)
    names = ("published", "handled", "handled_again", "lost", "disordered", "untold")
    return {"rounds": float(rounds), **{name: float(found[name]) for name in names}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Topics while members are killed and restarted.")
    parser.add_argument("--rounds", type=int, default=1, help="clusters, one after another")
    parser.add_argument("--kills", type=int, default=10, help="of each round")
    parser.add_argument("--storage", choices=("redis", "sqlite"), default="redis")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    show(asyncio.run(measure(options.rounds, options.kills, options.storage)), options.json)


if __name__ == "__main__":
    main()
