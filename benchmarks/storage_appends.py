"""Appends per second to the logs of the storages: each of `--logs` keepers appends to its own log again and again.

    python benchmarks/storage_appends.py sqlite:/var/tmp/logs.db redis://localhost:6379/9 postgresql://localhost/bench

`--savers` writers save states beside them. What it measures is as much the disk as the storage: every acknowledged
append is durable in the sense of its server. The records are left behind; give it a database that may have them.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import time

import uvloop
from storage_saves import writer

from inaho.storage.log import LogStorage
from inaho.storage.urls import shown, storage_from_url
from inaho.types import ClusterIdentity


async def keeper(logs: LogStorage, log: str, batch: list[bytes], until: float, waits: list[float]) -> None:
    end = (await logs.open_log(log, epoch=1)).end
    begun = time.perf_counter()
    while begun < until:
        await logs.append(log, batch, offset=end, epoch=1)
        end += len(batch)
        ended = time.perf_counter()
        waits.append(ended - begun)
        begun = ended


async def measure(url: str, given: argparse.Namespace) -> str:
    waits: list[float] = []
    saves: list[float] = []
    prefix = f"bench-{secrets.token_hex(4)}"
    batch = [bytes(given.bytes)] * given.records
    async with storage_from_url(url) as storage:
        if storage.log is None:
            return f"{shown(url):50} has no logs"
        cpu, begun = time.process_time(), time.perf_counter()
        until = begun + given.seconds
        names = [ClusterIdentity(prefix, str(number)) for number in range(given.savers)]
        await asyncio.gather(
            *(keeper(storage.log, f"{prefix}/{number}", batch, until, waits) for number in range(given.logs)),
            *(writer(storage, name, bytes(256), until, saves) for name in names),
        )
        seconds = time.perf_counter() - begun
        busy = (time.process_time() - cpu) / seconds
    cuts = statistics.quantiles(waits, n=100)
    rate = len(waits) / seconds
    beside = f"   {len(saves) / seconds:8,.0f} saves/s" if given.savers else ""
    return (
        f"{shown(url):50} {rate:8,.0f} appends/s   {rate * given.records:10,.0f} records/s{beside}   "
        f"p50 {cuts[49] * 1e3:6.2f} ms   p99 {cuts[98] * 1e3:6.2f} ms   {busy:.0%} of a core"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--logs", type=int, default=8)
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--bytes", type=int, default=150)
    parser.add_argument("--savers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    for url in given.urls:
        print(uvloop.run(measure(url, given)), flush=True)


if __name__ == "__main__":
    main()
