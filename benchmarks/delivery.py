"""Messages between actors of two processes: rate, and what is left of order and accounts when connections break.

    python benchmarks/delivery.py [--messages N] [--senders S] [--reconnections R] [--only NAME …] [--json]

`rate`: ordered, authenticated `tell` by Pid to one actor, against calls of grains in the same process, 64 in flight.
`interrupted`: some senders tell numbers to four actors while the connection is broken again and again, in turn by this
side and by the other. Afterwards the receivers' notes are compared with the sender's accounts: `inversions`,
`duplicates` and `unexplained` (neither received nor in doubt nor a dead letter) must be 0, and `law_error` too, which
is what the accounts do not add up by.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop
from delivery_server import RECORDERS, Echo
from measuring import Figures, keys, rate, served, show

import inaho
from inaho import ActorRef, Cluster
from inaho.config import ClusterConfig, DeliveryConfig
from inaho.errors import InahoError
from inaho.events import AuthorityConnected, DeadLetter, MessageInDoubt

SERVER = Path(__file__).parent / "delivery_server.py"
BATCH = 16
"""Messages that a sender tells before it looks whether there is room."""


class Options(argparse.Namespace):
    """What the command line says."""

    seconds: float
    messages: int
    senders: int
    reconnections: int
    only: list[str]
    json: bool


async def measure_rate(cluster: Cluster, authority: str, options: Options) -> Figures:
    """Messages per second, counted from the first to the acknowledged last; and grain calls for comparison."""
    counter = cluster.actor(f"inaho://inaho@{authority}/user/counter")
    count, taken, told = 20_000, 0.0, 0
    while taken < options.seconds / 2:
        count *= 2
        start = time.perf_counter()
        for number in range(count):
            counter.tell(number)
            if number % BATCH == 0:
                await cluster.room(counter)
        told += count
        if await counter.ask("count", timeout_s=60.0) != told:
            raise RuntimeError("messages were lost on an unbroken connection")
        taken = time.perf_counter() - start
    names = keys()
    grains = [cluster.grain(Echo, name) for name in names]
    calls = await rate(
        lambda number: grains[number % len(names)].echo(names[number % len(names)], number), seconds=options.seconds
    )
    return {"tells_per_second": count / taken, "calls_per_second": calls, "tells_per_call": count / taken / calls}


class Interrupter:
    """Breaks the connection each time that so many messages have been told, in turn from this side and the other."""

    def __init__(self, cluster: Cluster, authority: str, every: int, times: int) -> None:
        self.cluster = cluster
        self.authority = authority
        self.every = every
        self.left = times
        self.told = 0
        self.next = every
        self.saboteur = cluster.actor(f"inaho://inaho@{authority}/user/saboteur")

    def count(self) -> None:
        self.told += 1
        if self.told < self.next or not self.left:
            return
        connection = self.cluster._node.peers.connections.get(self.authority)
        if connection is None:
            return  # it is broken already; the next message will do
        self.next += self.every
        self.left -= 1
        if self.left % 2:
            self.saboteur.tell("now")
        else:
            connection.abort("broken by the benchmark")


async def measure_interrupted(cluster: Cluster, authority: str, options: Options) -> Figures:
    """See the head of this file."""
    receivers = [cluster.actor(f"inaho://inaho@{authority}/user/recorder-{number}") for number in range(RECORDERS)]
    fates: dict[str, set[tuple[int, int]]] = {"doubt": set(), "dead": set()}
    reconnected: list[AuthorityConnected] = []
    ends = [
        cluster.system.events.subscribe_callback(MessageInDoubt, lambda event: _note(fates["doubt"], event.message)),
        cluster.system.events.subscribe_callback(DeadLetter, lambda event: _note(fates["dead"], event.message)),
        cluster.system.events.subscribe_callback(AuthorityConnected, reconnected.append),
    ]
    every = options.senders * options.messages // (options.reconnections + 1)
    interrupter = Interrupter(cluster, authority, every, options.reconnections)
    before = cluster.delivery_counts()

    async def send(sender: int) -> None:
        receiver = receivers[sender % RECORDERS]
        for number in range(options.messages):
            receiver.tell([sender, number])
            interrupter.count()
            if number % BATCH == 0:
                await cluster.room(receiver)
                await asyncio.sleep(0)

    start = time.perf_counter()
    await asyncio.gather(*(send(sender) for sender in range(options.senders)))
    await _until_idle(cluster)
    taken = time.perf_counter() - start
    cluster._node.remoting.check()
    counts = cluster.delivery_counts()
    for end in ends:
        end()
    reports = [await _report(receiver) for receiver in receivers]
    got = _received(reports, options.messages)
    ours = {(sender, number) for sender in range(options.senders) for number in range(options.messages)}
    accounted = counts.delivered + counts.dead_lettered + counts.in_doubt + counts.waiting + counts.unacknowledged
    return {
        "messages": len(ours),
        "interrupted_tells_per_second": len(ours) / taken,
        "interruptions": options.reconnections - interrupter.left,
        "reconnections": sum(event.reconnected for event in reconnected),
        "accepted": counts.accepted - before.accepted,
        "delivered": counts.delivered - before.delivered,
        "in_doubt": counts.in_doubt - before.in_doubt,
        "dead_lettered": counts.dead_lettered - before.dead_lettered,
        "received": sum(report["counts"][0] for report in reports),
        "inversions": sum(report["counts"][1] for report in reports),
        "duplicates": sum(report["counts"][2] for report in reports),
        "unexplained": len(ours - got - fates["doubt"] - fates["dead"]),
        "dead_but_received": len(fates["dead"] & got),
        "law_error": abs(counts.accepted - accounted),
    }


def _note(notes: set[tuple[int, int]], message: Any) -> None:
    if message.__class__ is list:
        notes.add((message[0], message[1]))


def _received(reports: list[dict[str, Any]], messages: int) -> set[tuple[int, int]]:
    return {
        (int(sender), number)
        for report in reports
        for sender, bits in report["seen"].items()
        for number in range(messages)
        if number >> 3 < len(bits) and bits[number >> 3] & 1 << (number & 7)
    }


async def _until_idle(cluster: Cluster) -> None:
    """Returns when nothing waits and everything is acknowledged or in doubt."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + 60.0
    while (counts := cluster.delivery_counts()).waiting or counts.unacknowledged:
        if loop.time() > limit:
            raise RuntimeError(f"messages are stuck: {counts}")
        await asyncio.sleep(0.001)


async def _report(receiver: ActorRef) -> dict[str, Any]:
    """What a receiver has written down; asked again when the connection is just being made."""
    for _ in range(100):
        try:
            report: dict[str, Any] = await receiver.ask("report", timeout_s=30.0)
            return report
        except InahoError as error:
            refused = error
            await asyncio.sleep(0.02)
    raise refused


MEASUREMENTS: dict[str, Callable[[Cluster, str, Options], Awaitable[Figures]]] = {
    "rate": measure_rate,
    "interrupted": measure_interrupted,
}


async def measure(authority: str, secret: str, options: Options) -> Figures:
    """Runs the chosen measurements from a member in this process."""
    figures: Figures = {}
    config = ClusterConfig(secret=secret, delivery=DeliveryConfig(failures_max=1000))
    async with inaho.join("127.0.0.1:0", seeds=[authority], config=config, storage="memory") as cluster:
        for name in options.only or MEASUREMENTS:
            figures.update(await MEASUREMENTS[name](cluster, authority, options))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Messages between actors of two processes.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each measurement of a rate")
    parser.add_argument("--messages", type=int, default=100_000, help="per sender")
    parser.add_argument("--senders", type=int, default=8, help="tasks that send")
    parser.add_argument("--reconnections", type=int, default=50, help="times that the connection is broken")
    parser.add_argument("--only", nargs="+", choices=tuple(MEASUREMENTS), default=[], help="measure these")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args(namespace=Options())
    secret = secrets.token_hex(16)
    with served(str(SERVER), secret) as authority:
        show(uvloop.run(measure(authority, secret, options)), options.json)


if __name__ == "__main__":
    main()
