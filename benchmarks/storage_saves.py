"""Saves per second of the storages: each of `--in-flight` writers saves its own record again and again.

    python benchmarks/storage_saves.py sqlite:/var/tmp/saves.db redis://localhost:6379/9 postgresql://localhost/bench

What it measures is as much the disk as the storage: every acknowledged save is durable in the sense of its server.
The records are left behind; give it a database that may have them.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import time

import uvloop

from inaho.storage import Storage
from inaho.storage.urls import shown, storage_from_url
from inaho.types import ClusterIdentity


async def writer(storage: Storage, name: ClusterIdentity, data: bytes, until: float, waits: list[float]) -> None:
    version = 0
    begun = time.perf_counter()
    while begun < until:
        version = await storage.save(name, data, expected_version=version, epoch=1)
        ended = time.perf_counter()
        waits.append(ended - begun)
        begun = ended


async def measure(url: str, in_flight: int, size: int, seconds: float) -> str:
    waits: list[float] = []
    kind = f"Bench{secrets.token_hex(4)}"
    async with storage_from_url(url) as storage:
        begun = time.perf_counter()
        names = [ClusterIdentity(kind, str(number)) for number in range(in_flight)]
        await asyncio.gather(*(writer(storage, name, bytes(size), begun + seconds, waits) for name in names))
        rate = len(waits) / (time.perf_counter() - begun)
    cuts = statistics.quantiles(waits, n=100)
    return f"{shown(url):50} {rate:10,.0f} saves/s   p50 {cuts[49] * 1e3:6.2f} ms   p99 {cuts[98] * 1e3:6.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--bytes", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    for url in given.urls:
        print(uvloop.run(measure(url, given.in_flight, given.bytes, given.seconds)), flush=True)


if __name__ == "__main__":
    main()
