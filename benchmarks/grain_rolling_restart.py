"""What callers see while five real members with SQLite are restarted one after another (SIGTERM), under load.

    python benchmarks/grain_rolling_restart.py [--keys N] [--pause-ms N] [--rounds N] [--json]

Each key has a caller of its own that calls again soon after each answer; one call in four saves. The gap of a key and a
restart is the longest time without an answer of that key from the signal until all members are up again. Targets: no
call fails, and 99 in 100 gaps are at most 250 ms. `quiet_gap` is the same without a restart: pause, save and machine.
The history that all processes wrote down is judged in the end: nothing lost, one activation at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from measuring import Figures, percentile, show

import inaho
from inaho.testing.histories.grain_checkers import epochs_in_order, growing_counts, nothing_lost, one_activation
from inaho.testing.histories.grain_load import GrainLoad, until_up
from inaho.testing.histories.grain_process import GrainCluster

MEMBERS = 5
TARGET_MS = 250.0
QUIET_S = 3.0
SETTLE_S = 10.0


async def measure(keys: int, pause_s: float, rounds: int) -> Figures:
    """The figures of `rounds` restarts of every member."""
    with tempfile.TemporaryDirectory() as folder:
        async with GrainCluster(MEMBERS, Path(folder)) as cluster:
            config = cluster.config.replace(seeds=cluster.seeds)
            async with inaho.connect(config=config) as client:
                await until_up(client, cluster.node_ids)
                names = [f"key-{number}" for number in range(keys)]
                async with GrainLoad(client, cluster.journal, names, pause_s=pause_s) as load:
                    figures = await restarts(client, cluster, load, rounds)
                stored = await load.read_all()
            history = cluster.history()
            figures["acknowledged_saves"] = float(nothing_lost(history, stored))
            growing_counts(history)
            epochs_in_order(history, stored)
            one_activation(history, SETTLE_S, orderly=True)
    return figures


async def restarts(client: inaho.Cluster, cluster: GrainCluster, load: GrainLoad, rounds: int) -> Figures:
    began = time.monotonic()
    await asyncio.sleep(QUIET_S)
    quiet_ms = sorted(load.gap_s(key, began, began + QUIET_S) * 1e3 for key in load.answered)
    answers = sum(map(len, load.answered.values()))
    gaps_ms: list[float] = []
    left_ms: list[float] = []
    for _ in range(rounds):
        for member in cluster.members:
            signalled = time.monotonic()
            left_ms.append(await member.restart() * 1e3)
            await until_up(client, cluster.node_ids)
            await load.all_answered()
            until = time.monotonic()
            gaps_ms.extend(load.gap_s(key, signalled, until) * 1e3 for key in load.answered)
    gaps_ms.sort()
    return {
        "restarts": float(len(left_ms)),
        "calls_per_s_quiet": answers / QUIET_S,
        "calls_failed": float(len(load.failures)),
        "quiet_gap_p50_ms": percentile(quiet_ms, 0.5),
        "quiet_gap_p99_ms": percentile(quiet_ms, 0.99),
        "gap_p50_ms": percentile(gaps_ms, 0.5),
        "gap_p99_ms": percentile(gaps_ms, 0.99),
        "gap_max_ms": gaps_ms[-1],
        "leave_max_ms": max(left_ms),
        "target_gap_p99_ms": TARGET_MS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Gaps of keys while members restart.")
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--pause-ms", type=float, default=50.0, help="from an answer to the next call of a key")
    parser.add_argument("--rounds", type=int, default=2, help="restarts of every member")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    show(asyncio.run(measure(options.keys, options.pause_ms / 1e3, options.rounds)), options.json)


if __name__ == "__main__":
    main()
