"""A sixth real member joins five: how many of the active grains move, and how long calls wait meanwhile.

    python benchmarks/grain_rebalance.py [--keys N] [--repeat N] [--json]

A client asks every grain where it is before and after. `moved_of_ideal` compares the share that moved with the sixth
that the new member should have; target: 1.2 at most in every repetition, each of which is a new cluster. Grains may
move to the new member only. `gap_*` is the longest time without an answer of those keys that are called all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import Figures, percentile, show

import inaho
from inaho.testing.histories.grain_load import GrainLoad, until_up
from inaho.testing.histories.grain_process import GrainCluster
from inaho.testing.histories.grain_workload import Register

MEMBERS = 5
WATCHED = 100
IN_FLIGHT = 128
TARGET = 1.2


async def where(client: inaho.Cluster, keys: list[str]) -> dict[str, str]:
    """Node id of each grain, asked now; activates those that are not active."""
    found: dict[str, str] = {}
    left = iter(keys)

    async def worker() -> None:
        for key in left:
            found[key] = await client.grain(Register, key).where()

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return found


def connected(cluster: GrainCluster) -> Any:
    """A client of the cluster, for `async with`."""
    return inaho.connect(config=cluster.config.replace(seeds=cluster.seeds))


async def once(count: int) -> tuple[float, list[float]]:
    """Share of the grains that moved, of the ideal one; and the gaps of the watched keys in milliseconds."""
    keys = [f"customer-{number}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        async with GrainCluster(MEMBERS, Path(folder)) as cluster, connected(cluster) as client:
            await until_up(client, cluster.node_ids)
            before = await where(client, keys)
            async with GrainLoad(client, cluster.journal, keys[:WATCHED], pause_s=0.05) as load:
                began = time.monotonic()
                sixth = await cluster.add()
                await until_up(client, cluster.node_ids)
                await load.all_answered()
                gaps_ms = [load.gap_s(key, began, time.monotonic()) * 1e3 for key in load.answered]
                if load.failures:
                    raise RuntimeError(f"{len(load.failures)} calls failed, the last: {load.failures[-1]}")
            after = await where(client, keys)
    moved = [key for key in keys if before[key] != after[key]]
    if strayed := [key for key in moved if after[key] != sixth.node_id]:
        raise RuntimeError(f"{len(strayed)} grains moved between old members")
    return len(moved) / (count / (MEMBERS + 1)), gaps_ms


async def measure(count: int, repeat: int) -> Figures:
    """The figures of `repeat` joins."""
    shares: list[float] = []
    gaps_ms: list[float] = []
    for _ in range(repeat):
        share, gaps = await once(count)
        shares.append(share)
        gaps_ms.extend(gaps)
    gaps_ms.sort()
    return {
        "joins": float(repeat),
        "grains": float(count),
        "moved_of_ideal_least": min(shares),
        "moved_of_ideal_most": max(shares),
        "target_moved_of_ideal": TARGET,
        "gap_p50_ms": percentile(gaps_ms, 0.5),
        "gap_p99_ms": percentile(gaps_ms, 0.99),
        "gap_max_ms": gaps_ms[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a sixth member takes from five.")
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3, help="new clusters")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.keys, options.repeat))
    if options.json:
        show(figures, True)
        return
    for name, value in figures.items():
        print(f"{name:32} {value:14,.3f}")


if __name__ == "__main__":
    main()
