"""Runs many seeds of the freshness swarm in a few processes; prints each that fails with the command that replays it.

Usage: `python scripts/freshness_seeds.py [--first 0] [--count 200] [--jobs 2] [--episode NAME] [--storage NAME]`.

One seed takes about half a second of CPU. Why not pytest: it would keep two thousand reports and print none of what was
judged; and one failing seed shall not end the run, because the kinds of failures tell more than the first one.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from inaho.testing.histories.freshness_episodes import EPISODES
from inaho.testing.histories.freshness_storage import STORAGES
from inaho.testing.histories.freshness_swarm import FreshnessSwarm

CHUNK = 4
"""Seeds that a process takes at once."""


def run_seed(seed: int, *, episode: str, storage: str) -> tuple[int, str, str, Counter[str], float]:
    """Seed, episode, what went wrong, what was judged, and seconds of CPU."""
    logging.disable(logging.CRITICAL)
    began = time.process_time()
    swarm = FreshnessSwarm(seed, episode=episode, storage=storage)
    judged: Counter[str] = Counter()
    wrong = ""
    try:
        with swarm.sim:
            swarm.run()
            judged = swarm.check()
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    about = f"{swarm.episode}, {swarm.storage_name}, {swarm.nodes} nodes"
    return seed, about, wrong, judged, time.process_time() - began


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Run seeds of the freshness swarm.")
    parser.add_argument("--first", type=int, default=0, help="first seed (0)")
    parser.add_argument("--count", type=int, default=200, help="how many (200)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--episode", default="", choices=["", *EPISODES], help="instead of the seed's choice")
    parser.add_argument("--storage", default="", choices=["", *STORAGES], help="instead of the seed's choice")
    options = parser.parse_args()
    chosen = {"episode": options.episode, "storage": options.storage}
    extra = "".join(f" --{name} {value}" for name, value in chosen.items() if value)
    seeds = range(options.first, options.first + options.count)
    began, failed, cpu_s = time.monotonic(), 0, 0.0
    judged: Counter[str] = Counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        for seed, about, wrong, counts, took_s in pool.map(partial(run_seed, **chosen), seeds, chunksize=CHUNK):
            judged.update(counts)
            cpu_s += took_s
            if wrong:
                failed += 1
                print(f"seed {seed} ({about}) failed: {wrong}")
                print(f"  replay: python scripts/freshness_seeds.py --first {seed} --count 1{extra}", flush=True)
    print(
        f"{len(seeds)} seeds, {failed} failed, {time.monotonic() - began:.0f} s, {cpu_s / len(seeds):.2f} s of CPU each"
    )
    print("judged: " + ", ".join(f"{name} {count}" for name, count in sorted(judged.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
