"""A member whose actors are told things by `delivery.py`, and that breaks connections when asked to."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import uvloop
from inaho_server import Echo
from measuring import until_input_ends

import inaho
from inaho import Actor, Props
from inaho.actor import MailboxConfig

RECORDERS = 4


class Recorder(Actor):
    """Writes down what each sender's messages looked like when they arrived."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}
        self.seen: dict[int, bytearray] = {}
        self.received = self.inversions = self.duplicates = 0

    async def receive(self, message: Any) -> None:
        if message.__class__ is list:
            self.record(message[0], message[1])
        elif message == "report":
            seen = {str(sender): bytes(bits) for sender, bits in self.seen.items()}
            counts = [self.received, self.inversions, self.duplicates]
            self.context.reply({"counts": counts, "seen": seen})

    def record(self, sender: int, number: int) -> None:
        self.received += 1
        bits = self.seen.setdefault(sender, bytearray())
        index, mask = number >> 3, 1 << (number & 7)
        if index >= len(bits):
            bits.extend(bytes(index + 1 - len(bits)))
        if bits[index] & mask:
            self.duplicates += 1
        elif number < self.last.get(sender, -1):
            self.inversions += 1
        bits[index] |= mask
        self.last[sender] = number


class Counter(Actor):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.count = 0

    async def receive(self, message: Any) -> None:
        if message == "count":
            self.context.reply(self.count)
        else:
            self.count += 1


class Saboteur(Actor):
    """Breaks the connections of its node from the inside, as a network would."""

    def __init__(self, cluster: inaho.Cluster) -> None:
        self.cluster = cluster

    async def receive(self, message: Any) -> None:
        for connection in list(self.cluster._node.acceptor.connections):
            connection.abort("broken by the benchmark")


async def serve(secret: str) -> None:
    large = MailboxConfig(capacity=1 << 24)
    async with inaho.join("127.0.0.1:0", secret=secret, storage="memory", grains=[Echo]) as cluster:
        for number in range(RECORDERS):
            cluster.system.spawn(Props(Recorder, mailbox=large), f"recorder-{number}")
        cluster.system.spawn(Props(Counter, mailbox=large), "counter")
        cluster.system.spawn(Props(lambda: Saboteur(cluster)), "saboteur")
        await asyncio.sleep(0)
        print(cluster.authority, flush=True)
        await until_input_ends()


def main() -> None:
    parser = argparse.ArgumentParser(description="The receiving member of the delivery benchmark.")
    parser.add_argument("secret", help="of the cluster")
    uvloop.run(serve(parser.parse_args().secret))


if __name__ == "__main__":
    main()
