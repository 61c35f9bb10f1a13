"""What callers see when one of five real members with SQLite is killed (`kill -9`) under load, with default settings.

    python benchmarks/grain_kill.py [--repeat N] [--keys N] [--pause-ms N] [--json]

Each key has a caller of its own that calls again soon after each answer; one call in four saves. `back_*` is the time
from the signal to the first answer of a key that lived on the dead member; target: 2 s for 99 in 100. `others_failed`
counts calls of all other keys that failed; target: none. Members take turns, and each starts again before the next one
dies. The history that all processes wrote down is judged in the end: every acknowledged save is there, once.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from measuring import Figures, percentile, show

import inaho
from inaho.testing.histories.grain_checkers import epochs_in_order, growing_counts, nothing_lost, one_activation
from inaho.testing.histories.grain_load import GrainLoad, until_up
from inaho.testing.histories.grain_process import GrainCluster

MEMBERS = 5
TARGET_MS = 2000.0
REST_S = 2.0
SETTLE_S = 10.0


async def measure(repeat: int, keys: int, pause_s: float) -> Figures:
    """The figures of `repeat` deaths."""
    back_ms: list[float] = []
    others_ms: list[float] = []
    failed = {True: 0, False: 0}
    with tempfile.TemporaryDirectory() as folder:
        async with GrainCluster(MEMBERS, Path(folder)) as cluster:
            async with inaho.connect(config=cluster.config.replace(seeds=cluster.seeds)) as client:
                await until_up(client, cluster.node_ids)
                names = [f"key-{number}" for number in range(keys)]
                async with GrainLoad(client, cluster.journal, names, pause_s=pause_s) as load:
                    for number in range(repeat):
                        await asyncio.sleep(REST_S + random.uniform(0.0, 0.5))
                        await load.all_answered()
                        member = cluster.members[number % MEMBERS]
                        theirs = {key for key, node in load.at.items() if node == member.node_id}
                        before, killed_at = len(load.failures), time.monotonic()
                        await member.kill()
                        await load.all_answered()
                        until = time.monotonic()
                        for key in names:
                            if key in theirs:
                                back_ms.append(load.first_answer_s(key, killed_at) * 1e3)
                            else:
                                others_ms.append(load.gap_s(key, killed_at, until) * 1e3)
                        for failure in load.failures[before:]:
                            failed[failure.key in theirs] += 1
                        await member.start()
                        await until_up(client, cluster.node_ids)
                stored = await load.read_all()
            history = cluster.history()
            acknowledged = nothing_lost(history, stored)
            growing_counts(history)
            epochs_in_order(history, stored)
            one_activation(history, SETTLE_S)
    back_ms.sort()
    others_ms.sort()
    return {
        "deaths": float(repeat),
        "others_failed": float(failed[False]),
        "others_gap_p99_ms": percentile(others_ms, 0.99),
        "dead_failed": float(failed[True]),
        "back_p50_ms": percentile(back_ms, 0.5),
        "back_p99_ms": percentile(back_ms, 0.99),
        "back_max_ms": back_ms[-1],
        "target_back_p99_ms": TARGET_MS,
        "acknowledged_saves": float(acknowledged),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What callers see of a member's death.")
    parser.add_argument("--repeat", type=int, default=10, help="members to kill, one after another")
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--pause-ms", type=float, default=50.0, help="from an answer to the next call of a key")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    show(asyncio.run(measure(options.repeat, options.keys, options.pause_ms / 1e3)), options.json)


if __name__ == "__main__":
    main()
