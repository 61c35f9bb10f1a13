"""How soon a cluster is one again after all its members were ended at once and started again, as by a supervisor.

    python benchmarks/restart_of_all.py [--members N] [--keys N] [--signal TERM|KILL] [--rounds N] [--json]

Every member is a process with default settings; all share one SQLite file, and each is started again as soon as it
has ended. A client calls all the time. `left` is what the slowest member needs to end, `join` what each new process
needs in `inaho.join`. `agree` is from the moment in which the last new process has joined until the client sees exactly
the new members up, `since_signal` is from the signal to that; the start of the interpreters is a part of it, so only
figures of one machine compare. `gap` is the longest time without an answer of a key. `unavailable` counts calls that
failed with `topology_unavailable`: their deadline passed before there was a cluster again.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from measuring import Figures, percentile, show

import inaho
from inaho.testing.grain_load import GrainLoad, until_up
from inaho.testing.grain_process import GrainCluster


async def measure(members: int, keys: int, number: signal.Signals, rounds: int) -> Figures:
    """The figures of `rounds` restarts of everything."""
    with tempfile.TemporaryDirectory() as folder:
        async with GrainCluster(members, Path(folder)) as cluster:
            config = cluster.config.replace(seeds=cluster.seeds)
            async with inaho.connect(config=config) as client:
                await until_up(client, cluster.node_ids)
                names = [f"key-{number}" for number in range(keys)]
                async with GrainLoad(client, cluster.journal, names, pause_s=0.05) as load:
                    await load.all_answered()
                    return await restarts(client, cluster, load, number, rounds)


async def restarts(
    client: inaho.Cluster, cluster: GrainCluster, load: GrainLoad, number: signal.Signals, rounds: int
) -> Figures:
    agree_s: list[float] = []
    since_signal_s: list[float] = []
    left_s: list[float] = []
    join_s: list[float] = []
    gaps_s: list[float] = []
    for _ in range(rounds):
        signalled = time.monotonic()
        left_s.append(max(await asyncio.gather(*(member.restart(number) for member in cluster.members))))
        joined = time.monotonic()
        await until_up(client, cluster.node_ids, within_s=60.0)
        agreed = time.monotonic()
        agree_s.append(agreed - joined)
        for member in cluster.members:
            join_s.append([line["join_s"] for line in member.lines if line["event"] == "ready"][-1])
        since_signal_s.append(agreed - signalled)
        await load.all_answered()
        gaps_s.extend(load.gap_s(key, signalled, time.monotonic()) for key in load.answered)
    codes = Counter(failure.code for failure in load.failures)
    return {
        "rounds": float(rounds),
        "left_max_s": max(left_s),
        "join_p50_s": percentile(sorted(join_s), 0.5),
        "join_max_s": max(join_s),
        "agree_p50_s": percentile(sorted(agree_s), 0.5),
        "agree_max_s": max(agree_s),
        "since_signal_p50_s": percentile(sorted(since_signal_s), 0.5),
        "since_signal_max_s": max(since_signal_s),
        "gap_p50_s": percentile(sorted(gaps_s), 0.5),
        "gap_max_s": max(gaps_s),
        "calls_failed": float(len(load.failures)),
        "unavailable": float(codes["topology_unavailable"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A restart of all members at once.")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--signal", choices=["TERM", "KILL"], default="TERM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    number = signal.Signals[f"SIG{options.signal}"]
    show(asyncio.run(measure(options.members, options.keys, number, options.rounds)), options.json)


if __name__ == "__main__":
    main()
