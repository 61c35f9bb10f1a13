"""Actors that record what they hear from other nodes, and a cut of the connection between two members."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import Any

import inaho
from inaho import Actor, ActorRef, Cluster, Props, Terminated
from inaho.actor import MailboxConfig
from inaho.errors import Overloaded

LIMIT_S = 8.0


@inaho.register_message
class Order(inaho.Struct, frozen=True):
    """A message with a type of its own."""

    sku: str
    count: int = 1


class Unregistered(inaho.Struct):
    """Cannot be sent."""

    value: int


@inaho.register_message
@dataclass
class Note:
    """Dataclasses can be sent too."""

    text: str


@inaho.register_message
class Colour(enum.Enum):
    """And enums."""

    RED = "red"


class Recorder(Actor):
    """Keeps what it is told; answers asks."""

    def __init__(self, got: list[Any]) -> None:
        self.got = got

    async def receive(self, message: Any) -> None:
        if message == "how many?":
            self.context.reply(len(self.got))
        elif message == "fail":
            raise ValueError("told to fail")
        elif message == "ignore":
            pass
        elif message == "unsendable":
            self.context.reply(Unregistered(1))
        elif message == "refuse":
            self.context.reply_error(Overloaded("not now"))
        elif message == "hang":
            await asyncio.Event().wait()
        elif message == "who?":
            assert self.context.sender is not None
            self.context.sender.tell("it is me", self.context.self_ref)
        elif message == "echo":
            self.context.reply(message)
        else:
            self.got.append(message)


class Watching(Actor):
    """Watches what it is told to and keeps what it hears."""

    def __init__(self, ends: list[Terminated]) -> None:
        self.ends = ends

    async def receive(self, message: Any) -> None:
        if isinstance(message, Terminated):
            self.ends.append(message)
        elif isinstance(message, tuple):
            self.context.unwatch(message[0])
        else:
            self.context.watch(message)


def recorder(cluster: Cluster, name: str = "recorder", capacity: int = 100_000) -> tuple[ActorRef, list[Any]]:
    got: list[Any] = []
    ref = cluster.system.spawn(Props(lambda: Recorder(got), mailbox=MailboxConfig(capacity=capacity)), name)
    return ref, got


async def cut_off(one: Cluster, other: Cluster, eventually: Any) -> None:
    """Ends the connection on which `one` sends; the next message or probe makes another."""
    connection = one._node.peers.connections.get(other.authority)
    if connection is not None:
        connection.abort("cut off by the test")
    await eventually(lambda: not one._node.associations.machine.may_send(other.authority))


async def settled(cluster: Cluster, eventually: Any) -> inaho.Struct:
    """Counts of `cluster` once nothing is under way."""
    remoting = cluster._node.remoting
    await eventually(lambda: not (remoting.counts().waiting or remoting.counts().unacknowledged))
    remoting.check()
    return remoting.counts()
