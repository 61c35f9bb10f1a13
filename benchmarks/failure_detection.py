"""How soon the others agree that a real member is gone, with default settings.

    python benchmarks/failure_detection.py [--repeat N] [--how kill|stop] [--json]

Five members in processes of their own on loopback. One is killed (`kill -9`: its connections are reset and its port
refuses, which is evidence) or stopped (`SIGSTOP`: silence on open connections, as in a partition). What is measured is
the time from the signal until the topology of the last of the others has it as unreachable or removed, from when on its
grains are placed elsewhere. Each loss has a cluster of its own: probes of a member that was lost before stretch the
time-outs of the others for a while (local health), and would be measured too. Members take turns, the founder as well,
and the signal comes at a random moment of the probe interval. Members stamp what they tell with the machine's monotonic
clock, which is one for all processes, so that the way of the news to this program is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from measuring import Figures, percentile, show, until_input_ends

import inaho
from inaho import ClusterConfig, DetectionConfig
from inaho.events import TopologyChanged
from inaho.types import Member, MemberStatus

MEMBERS = 5
TARGETS_MS = {"kill": 1500.0, "stop": 5000.0}
"""What the 99th percentile must not exceed."""

REST_S = 1.0
"""From a complete cluster to the signal, at least."""

LIMIT_S = 30.0
SOURCE = Path(__file__).resolve().parent.parent / "src"


class Idle(inaho.Grain):
    """A kind to host: nobody calls it."""

    async def nothing(self) -> None:
        """Does nothing."""


def tell(**what: Any) -> None:
    """One line for the parent."""
    print(json.dumps(what), flush=True)


async def follow(cluster: inaho.Cluster) -> None:
    """Tells of members that come up and go, with the time at which this one's topology had it."""
    up: set[str] = set()

    def look(members: Iterable[Member]) -> None:
        now = {member.node_id for member in members if member.status is MemberStatus.UP}
        for kind, node_ids in (("up", now - up), ("gone", up - now)):
            for node_id in node_ids:
                tell(event=kind, node_id=node_id, at=time.monotonic())
        up.clear()
        up.update(now)

    look(cluster.members())
    async for event in cluster.events(TopologyChanged):
        look(event.snapshot.members)


async def member(seed: str) -> None:
    """Runs a member until standard input ends."""
    config = ClusterConfig(authority="127.0.0.1:0", seeds=(seed,) if seed else ())
    async with inaho.join(config=config, grains=[Idle], storage="memory") as cluster:
        tell(event="ready", authority=cluster.authority, node_id=cluster.self.node_id)
        following = asyncio.ensure_future(follow(cluster))
        await until_input_ends()
        following.cancel()


class MemberProcess:
    """A member's process and what it has told.

    Attributes:
        up: node ids that it holds for up.
        gone: when it first held a node id for up no more, on the monotonic clock.
    """

    def __init__(self, seed: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--member", seed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        self.up: set[str] = set()
        self.gone: dict[str, float] = {}
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline() or "{}")
        if not ready:
            raise RuntimeError("a member ended before it was ready")
        self.authority: str = ready["authority"]
        self.node_id: str = ready["node_id"]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            if told["event"] == "up":
                self.up.add(told["node_id"])
            else:
                self.up.discard(told["node_id"])
                self.gone.setdefault(told["node_id"], told["at"])

    def end(self) -> None:
        """Kills it, whatever state it is in."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def until(condition: Callable[[], bool], what: str) -> None:
    """Polls until it is so."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {LIMIT_S} s: {what}")
        time.sleep(0.005)


def complete(members: Sequence[MemberProcess]) -> None:
    """Waits until all see all."""
    everybody = {one.node_id for one in members}
    until(lambda: all(one.up >= everybody - {one.node_id} for one in members), "all members see each other")


def lose_one(members: Sequence[MemberProcess], lost: MemberProcess, how: str) -> list[float]:
    """Milliseconds from the signal until each of the others knew, sorted."""
    others = [one for one in members if one is not lost]
    time.sleep(REST_S + random.uniform(0.0, DetectionConfig().probe_interval_s))
    sent_at = time.monotonic()
    lost.process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)
    until(lambda: all(lost.node_id in one.gone for one in others), "the others know")
    mistaken = [one for one in others if one.gone.keys() - {lost.node_id}]
    if mistaken:
        raise RuntimeError(f"{len(mistaken)} members held a living one for gone")
    return sorted((one.gone[lost.node_id] - sent_at) * 1e3 for one in others)


def measure(repeat: int, how: str) -> Figures:
    """The figures of `repeat` losses, each in a cluster of its own."""
    first_ms: list[float] = []
    all_ms: list[float] = []
    for number in range(repeat):
        members: list[MemberProcess] = []
        try:
            while len(members) < MEMBERS:
                members.append(MemberProcess(members[0].authority if members else ""))
            complete(members)
            taken = lose_one(members, members[number % MEMBERS], how)
        finally:
            for one in members:
                one.end()
        first_ms.append(taken[0])
        all_ms.append(taken[-1])
    first_ms.sort()
    all_ms.sort()
    return {
        "losses": float(repeat),
        "first_knows_p50_ms": percentile(first_ms, 0.5),
        "all_agree_p50_ms": percentile(all_ms, 0.5),
        "all_agree_p99_ms": percentile(all_ms, 0.99),
        "all_agree_max_ms": all_ms[-1],
        "target_p99_ms": TARGETS_MS[how],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time until four members agree that the fifth is gone.")
    parser.add_argument("--repeat", type=int, default=20, help="members to lose, one after another, 1 or more")
    parser.add_argument("--how", choices=sorted(TARGETS_MS), default="kill", help="SIGKILL, or SIGSTOP for silence")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--member", metavar="SEED", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.member is not None:
        asyncio.run(member(options.member))
        return
    if options.repeat < 1:
        parser.error("--repeat must be 1 or more")
    figures = measure(options.repeat, options.how)
    show(figures, options.json)
    if not options.json:
        reached = figures["all_agree_p99_ms"] <= figures["target_p99_ms"]
        print(f"p99 {'reached' if reached else 'MISSED'}: all four others, default settings, {options.how}")


if __name__ == "__main__":
    main()
