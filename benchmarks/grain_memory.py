"""What an idle activation weighs, and how long calls wait while 100,000 of them are unloaded or given away.

    python benchmarks/grain_memory.py [--count N] [--json]

One member, in a process of its own per row. `bytes_*` is what `tracemalloc` counts per activation beyond that of a node
that has none, keys included; `rss_*` what the operating system counts. `stall_*_ms` is the longest that a call of
another grain, made every millisecond, took while all `--count` activations ended: after their idle time, or, in
`stall_move_ms`, because a second member had joined that took half of them; `busy_*_ms` is
the processor time of that call's wait, which other work on the machine does not lengthen. Targets: 800 bytes with a
small state, 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import Figures, show

import inaho
from inaho import ActivationConfig, ClusterConfig, Grain, Struct

COUNT = 100_000
IDLE_S = 30.0
IN_FLIGHT = 256
TARGET_BYTES = 800.0
TARGET_STALL_MS = 50.0
LIMIT_S = 300.0


class SmallState(Struct):
    visits: int = 0
    name: str = ""


class Plain(Grain):
    async def touch(self) -> int:
        return 1


class Stateful(Grain[SmallState]):
    async def touch(self) -> int:
        self.state.visits += 1
        return self.state.visits


class Farewell(Grain[SmallState]):
    async def touch(self) -> int:
        self.state.visits += 1
        return self.state.visits

    async def on_deactivate(self, reason: str) -> None:
        self.state.name = reason


class Saving(Farewell):
    async def on_deactivate(self, reason: str) -> None:
        await self.save()


class Bystander(Grain, idle_ttl_s=0):
    async def touch(self) -> int:
        return 1


KINDS: dict[str, type[Any]] = {"plain": Plain, "state": Stateful, "on_deactivate": Farewell}
UNLOADED: dict[str, type[Any]] = {**KINDS, "save": Saving}  # the last one to SQLite


def rss_bytes() -> int:
    fields = Path("/proc/self/statm").read_text("ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


async def touch_all(cluster: inaho.Cluster, kind: type[Any], count: int) -> None:
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await cluster.grain(kind, f"customer-{number}").touch()

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def activations(cluster: inaho.Cluster) -> int:
    return cluster._node.activations.count


async def stall(cluster: inaho.Cluster, what: str, until: Callable[[], bool]) -> Figures:
    """The longest call of the bystander until `until`: by the clock, and the most processor time that one took."""
    bystander = cluster.grain(Bystander, "one")
    await bystander.touch()
    worst_s = busy_s = 0.0
    deadline = time.perf_counter() + LIMIT_S
    while not until():
        began, ran = time.perf_counter(), time.process_time()
        if began > deadline:
            raise RuntimeError(f"{activations(cluster)} activations are left after {LIMIT_S} s")
        await asyncio.sleep(0.001)
        await bystander.touch()
        worst_s = max(worst_s, time.perf_counter() - began)
        busy_s = max(busy_s, time.process_time() - ran)
    return {f"stall_{what}_ms": worst_s * 1e3, f"busy_{what}_ms": busy_s * 1e3}


def settings(idle_s: float, seeds: tuple[str, ...] = ()) -> ClusterConfig:
    return ClusterConfig(authority="127.0.0.1:0", seeds=seeds, activation=ActivationConfig(idle_ttl_s=idle_s))


async def weigh(name: str, count: int, traced: bool) -> Figures:
    kind = KINDS[name]
    async with inaho.join(config=settings(0.0), grains=[kind, Bystander], storage="memory") as cluster:
        await touch_all(cluster, kind, 1000)
        gc.collect()
        if traced:
            tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0] if traced else rss_bytes()
        had = activations(cluster)
        await touch_all(cluster, kind, count)
        await asyncio.sleep(0.5)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0] if traced else rss_bytes()
        made = activations(cluster) - had
        tracemalloc.stop()
    return {f"{'bytes' if traced else 'rss'}_{name}": (after - before) / made}


async def passivate(name: str, count: int) -> Figures:
    kind = UNLOADED[name]
    with tempfile.TemporaryDirectory() as folder:
        where: dict[str, Any] = {"data_dir": folder} if kind is Saving else {"storage": "memory"}
        async with inaho.join(config=settings(IDLE_S), grains=[kind, Bystander], **where) as cluster:
            await touch_all(cluster, kind, count)
            had = activations(cluster)
            found = await stall(cluster, f"idle_{name}", lambda: activations(cluster) <= 1)
    return found | {f"unloaded_{name}": float(had)}


async def move(count: int) -> Figures:
    async with inaho.join(config=settings(0.0), grains=[Stateful, Bystander], storage="memory") as cluster:
        await touch_all(cluster, Stateful, count)
        had = activations(cluster)
        other = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--row", f"second {cluster.authority}", stdin=subprocess.PIPE
        )
        ended = 0

        def moved() -> bool:
            nonlocal ended
            left = activations(cluster)
            ended, before = had - left, ended
            return ended > had * 0.4 and before == ended

        bystander_here = cluster.grain(Bystander, "one")
        await bystander_here.touch()
        found = await stall(cluster, "move", moved)
        other.kill()
        await other.wait()
    return found | {"moved_share": ended / had}


async def second(seed: str) -> Figures:
    """The member that joins: hosts `Stateful` only, so that the bystander stays."""
    async with inaho.join(config=settings(0.0, (seed,)), grains=[Stateful], storage="memory"):
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    return {}


async def row(words: list[str], count: int) -> Figures:
    match words:
        case ["weigh", name, how]:
            return await weigh(name, count, how == "traced")
        case ["passivate", name]:
            return await passivate(name, count)
        case ["second", seed]:
            return await second(seed)
        case _:
            return await move(count)


def measured(words: str, count: int) -> Figures:
    """One row, in a process of its own: allocators keep what they had."""
    command = [sys.executable, __file__, "--row", words, "--count", str(count)]
    found: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of idle activations, and what their end costs others.")
    parser.add_argument("--count", type=int, default=COUNT, help="activations, 1,000 or more")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    if options.row is not None:
        print(json.dumps(asyncio.run(row(options.row.split(), options.count))))
        return
    figures: Figures = {}
    for name in KINDS:
        figures |= measured(f"weigh {name} traced", options.count)
        figures |= measured(f"weigh {name} rss", options.count)
    for name in UNLOADED:
        figures |= measured(f"passivate {name}", options.count)
    figures |= measured("move", options.count)
    figures |= {"target_bytes_state": TARGET_BYTES, "target_stall_ms": TARGET_STALL_MS}
    show(figures, options.json)


if __name__ == "__main__":
    main()
