"""A process that uses a SqliteStorage; `test_storage_sqlite_processes` starts, kills and limits it.

Usage: sqlite_process.py MODE PATH NUMBER
  count: adds 1 to a shared counter NUMBER times, starting over at each conflict.
  write: saves to NUMBER keys at once, for ever, printing "KEY VERSION" after each acknowledged save.
  fill: with files limited to NUMBER bytes, saves until the storage fails; prints what was acknowledged, then
    "failed MAYBE_EXECUTED REASON".
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys

from inaho.config import StorageConfig
from inaho.errors import StateConflict, StorageFailed
from inaho.storage import SqliteStorage
from inaho.types import ClusterIdentity


async def count(storage: SqliteStorage, number: int) -> None:
    identity = ClusterIdentity("Counter", "shared")
    for _ in range(number):
        while True:
            stored = await storage.load(identity)
            value, version = (0, 0) if stored is None else (int(stored.data or b"0"), stored.version)
            try:
                await storage.save(identity, str(value + 1).encode(), expected_version=version, epoch=1)
            except StateConflict:
                continue
            break


async def write(storage: SqliteStorage, number: int) -> None:
    async def writer(key: str) -> None:
        version = 0
        while True:
            data = f"{key}:{version + 1}".encode() * 20
            version = await storage.save(ClusterIdentity("Written", key), data, expected_version=version, epoch=1)
            print(key, version, flush=True)

    await asyncio.gather(*(writer(str(key)) for key in range(number)))


async def fill(storage: SqliteStorage, number: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    for key in itertools.count():
        try:
            await storage.save(ClusterIdentity("Written", str(key)), bytes(5000), expected_version=0, epoch=1)
        except StorageFailed as failure:
            print("failed", int(failure.maybe_executed), failure.reason, flush=True)
            return
        print(key, 1, flush=True)


async def main() -> None:
    mode, path, number = sys.argv[1:]
    patient = StorageConfig(busy_timeout_s=25.0)  # others hold the lock for as long as a busy disk takes
    async with SqliteStorage(path, config=patient) as storage:
        print("open", flush=True)
        await {"count": count, "write": write, "fill": fill}[mode](storage, int(number))


asyncio.run(main())
