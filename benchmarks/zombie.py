"""One of five real members with SQLite is stopped (SIGSTOP) under load, taken for dead, and wakes (SIGCONT).

    python benchmarks/zombie.py [--stopped-s N] [--keys N] [--json]

When it is stopped it is in the middle of a turn that changes state and has yet to save; `late_saves_accepted` counts
those whose element is stored in the end: none may. It does not hold SQLite's lock then (`GrainProcess.stop`), or nobody
could save until it wakes. `back_ms` is the time from SIGCONT until all others, as a client sees them, have it up again
under a new incarnation; target: 5 s. `told_ms` is the time until it says that it was removed. The history that all
processes wrote down is judged in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from measuring import Figures, show

import inaho
from inaho.testing.histories.grain_checkers import epochs_in_order, growing_counts, nothing_lost, one_activation
from inaho.testing.histories.grain_history import Refused
from inaho.testing.histories.grain_load import GrainLoad, incarnations_up, until_up
from inaho.testing.histories.grain_process import GrainCluster
from inaho.testing.histories.grain_workload import Caller, Register

MEMBERS = 5
LATE = 5
TARGET_MS = 5000.0
SETTLE_S = 10.0


async def measure(stopped_s: float, keys: int) -> Figures:
    """The figures of one stop."""
    with tempfile.TemporaryDirectory() as folder:
        async with GrainCluster(MEMBERS, Path(folder)) as cluster:
            async with inaho.connect(config=cluster.config.replace(seeds=cluster.seeds)) as client:
                await until_up(client, cluster.node_ids)
                names = [f"key-{number}" for number in range(keys)]
                async with GrainLoad(client, cluster.journal, names, pause_s=0.05) as load:
                    figures = await stop_one(client, cluster, load, stopped_s)
                stored = await load.read_all()
            history = cluster.history()
            stopped = cluster.members[-1].node_id
            late = sum(element.startswith("late-") for elements in stored.values() for element in elements)
            refused = [record for record in history if isinstance(record, Refused) and record.node == stopped]
            figures["late_saves_accepted"] = float(late)
            figures["late_saves_refused"] = float(len(refused))
            figures["acknowledged_saves"] = float(nothing_lost(history, stored))
            growing_counts(history)
            epochs_in_order(history, stored)
            one_activation(history, SETTLE_S)
    return figures


async def stop_one(client: inaho.Cluster, cluster: GrainCluster, load: GrainLoad, stopped_s: float) -> Figures:
    member = cluster.members[-1]
    incarnation = incarnations_up(client)[member.node_id]
    theirs = [key for key, node in load.at.items() if node == member.node_id]
    caller = Caller(cluster.journal, "late", 900_000_000)
    late = [
        asyncio.create_task(caller.call(client, Register, key, "add", hold_s=6.0, retry=False)) for key in theirs[:LATE]
    ]
    await asyncio.sleep(1.0)
    since = len(member.lines)
    await member.stop()
    stopped_at = time.monotonic()
    await load.all_answered()
    elsewhere_s = time.monotonic() - stopped_at
    await asyncio.gather(*late)
    await asyncio.sleep(max(0.0, stopped_s - (time.monotonic() - stopped_at)))
    failures = len(load.failures)
    member.go_on()
    woken_at = time.monotonic()
    await until_up(client, cluster.node_ids)
    if incarnations_up(client)[member.node_id] <= incarnation:
        raise RuntimeError("it is up again under its old incarnation")
    back_s = time.monotonic() - woken_at
    told = await member.says("SelfRemoved", since)
    await load.all_answered()
    return {
        "stopped_s": stopped_s,
        "its_keys": float(len(theirs)),
        "all_answer_elsewhere_ms": elsewhere_s * 1e3,
        "told_ms": (told["at"] - woken_at) * 1e3,
        "back_ms": back_s * 1e3,
        "target_back_ms": TARGET_MS,
        "calls_failed_after_waking": float(len(load.failures) - failures),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A member that was stopped, and wakes.")
    parser.add_argument("--stopped-s", type=float, default=30.0)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    show(asyncio.run(measure(options.stopped_s, options.keys)), options.json)


if __name__ == "__main__":
    main()
