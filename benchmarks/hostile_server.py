"""A member that `hostile.py` attacks: prints its authority when it is up, leaves when its standard input ends.

python benchmarks/hostile_server.py SECRET [--seed HOST:PORT] [--patient]
"""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any

import uvloop
from inaho_server import Echo, resident_bytes
from measuring import until_input_ends

import inaho
from inaho import Actor, Grain, Props
from inaho.config import ClusterConfig, DetectionConfig
from inaho.events import AuthorityQuarantined, ConnectionRefused, Event, MemberRemoved, MemberUnreachable

WORK_S = 0.001
SAMPLE_S = 0.002
PATIENT = ClusterConfig(detection=DetectionConfig(suspicion_factor=100.0))
"""A member that does not answer has most of a minute before the others call it unreachable."""


class Bulk(Grain):
    """Answers of any size."""

    async def blob(self, size: int) -> bytes:
        return bytes(size)


class Busy(Grain):
    """Takes its time, so that calls of it pile up."""

    async def work(self) -> None:
        await asyncio.sleep(WORK_S)


class Gauge(Actor):
    """What this process says of itself, and what happened to it since it was last asked."""

    def __init__(self, cluster: inaho.Cluster) -> None:
        self.cluster = cluster
        self.events: dict[str, int] = {}
        self.pending_max = self.resident_max = 0

    async def on_start(self) -> None:
        system = self.cluster.system
        for kind in (AuthorityQuarantined, ConnectionRefused, MemberRemoved, MemberUnreachable):
            system.events.subscribe_callback(kind, self.count)
        self.sample()

    def count(self, event: Event) -> None:
        name = type(event).__name__
        self.events[name] = self.events.get(name, 0) + 1

    def sample(self) -> None:
        self.pending_max = max(self.pending_max, self.cluster._node.acceptor._gate.pending)
        self.resident_max = max(self.resident_max, resident_bytes())
        asyncio.get_running_loop().call_later(SAMPLE_S, self.sample)

    async def receive(self, message: Any) -> None:
        self.context.reply(
            {
                "process": os.getpid(),
                "resident": resident_bytes(),
                "resident_max": self.resident_max,
                "pending_max": self.pending_max,
                "members": len(self.cluster.members()),
                "quarantined": len(self.cluster.quarantine()),
                "events": self.events,
            }
        )
        self.events, self.pending_max, self.resident_max = {}, 0, 0


async def serve(secret: str, seed: str | None, config: ClusterConfig) -> None:
    seeds = None if seed is None else [seed]
    async with inaho.join(
        "127.0.0.1:0", seeds=seeds, secret=secret, storage="memory", grains=[Echo, Bulk, Busy], config=config
    ) as cluster:
        cluster.system.spawn(Props(lambda: Gauge(cluster)), "gauge")
        await asyncio.sleep(0)
        print(cluster.authority, flush=True)
        await until_input_ends()


def main() -> None:
    parser = argparse.ArgumentParser(description="The member that is attacked.")
    parser.add_argument("secret", help="of the cluster")
    parser.add_argument("--seed", help="authority of another one")
    parser.add_argument(
        "--patient", action="store_true", help="call a silent member unreachable after most of a minute"
    )
    options = parser.parse_args()
    uvloop.run(serve(options.secret, options.seed, PATIENT if options.patient else ClusterConfig()))


if __name__ == "__main__":
    main()
