"""A member in a process of its own, `python network_node.py SETTINGS`.

`SETTINGS` is a JSON document: `config` (a `ClusterConfig`) and `storage` (as for `join`). Every event that a test may
ask for is one JSON line on standard output, `ready` the first of them. The end of standard input or SIGTERM makes the
node leave; whoever started it cannot leave it behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
import uvloop

import inaho
from inaho import Grain, method
from inaho.config import ClusterConfig
from inaho.errors import InahoError
from inaho.events import ConnectionClosed, ConnectionRefused, Event, MemberEvent


class TallyState(inaho.Struct):
    """What a tally saves."""

    value: int = 0


class Tally(Grain[TallyState]):
    """A number that survives its node."""

    async def add(self, amount: int = 1) -> int:
        self.state.value += amount
        await self.save()
        return self.state.value

    @method(read_only=True)
    async def value(self) -> int:
        return self.state.value

    @method(read_only=True)
    async def where(self) -> str:
        return self.cluster.authority


class Probe(Grain):
    """Calls that attacks are made of, and that bystanders make meanwhile."""

    @method(read_only=True)
    async def echo(self, value: int) -> int:
        return value

    async def blob(self, size: int) -> bytes:
        return bytes(size)

    async def take(self, data: bytes) -> int:
        return len(data)

    async def fail(self, size: int) -> None:
        raise ValueError("x" * size)

    async def hold(self, seconds: float) -> str:
        """Suspends; not idempotent, so whoever loses its answer is told that it may have run."""
        await asyncio.sleep(seconds)
        return self.cluster.authority

    @method(read_only=True)
    async def hold_safely(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return self.cluster.authority

    async def hold_until(self, path: str) -> str:
        """As `hold`, until there is such a file."""
        while not os.path.exists(path):  # noqa: ASYNC240  it takes a moment
            await asyncio.sleep(0.05)
        return self.cluster.authority

    @method(read_only=True)
    async def hold_safely_until(self, path: str) -> str:
        return await self.hold_until(path)

    async def endless(self) -> AsyncIterator[int]:
        number = 0
        while True:
            yield number
            number += 1


class Gauge(Grain):
    """What a member says of itself."""

    @method(read_only=True)
    async def streams(self) -> int:
        """Streams that run in this process."""
        return sum(task.get_name() == "inaho-stream-Probe" for task in asyncio.all_tasks())

    @method(read_only=True)
    async def connections(self) -> int:
        """Accepted connections that are open or closing."""
        return len(self.cluster._node.acceptor.connections)


class Settings(msgspec.Struct):
    """What the test wants."""

    config: ClusterConfig
    storage: str = "memory"


def say(kind: str, **details: Any) -> None:
    """One line for the test."""
    line = msgspec.json.encode({"event": kind, **details})
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


async def tell(cluster: inaho.Cluster) -> None:
    """Writes down what happens here."""
    async for event in cluster.events(ConnectionClosed, ConnectionRefused, MemberEvent, capacity=65_536):
        say_event(event)


def say_event(event: Event) -> None:
    details: dict[str, Any] = msgspec.to_builtins(event)
    say(type(event).__name__, **details)


async def run(
    settings: Settings, *grains: type[Grain[Any]], beside: Callable[[inaho.Cluster], Coroutine[Any, Any, None]] = tell
) -> int:
    """Runs the member; `beside` runs as long as it does."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, lambda: os.read(0, 4096) or stop.set())
    loop.set_exception_handler(lambda _, context: say("Unhandled", text=repr(context)))
    try:
        kinds = [Tally, Probe, Gauge, *grains]
        cluster = await inaho.join(config=settings.config, grains=kinds, storage=settings.storage)
    except InahoError as error:
        say("failed", code=error.code, reason=error.reason, authority=error.authority)
        return 3
    running = [loop.create_task(each(cluster)) for each in dict.fromkeys((tell, beside))]
    await asyncio.sleep(0)
    say("ready", authority=cluster.authority, node_id=cluster.self.node_id)
    await stop.wait()
    loop.remove_reader(0)
    await cluster.leave()
    await cluster.close()
    for task in running:
        task.cancel()
    say("left")
    return 0


if __name__ == "__main__":
    uvloop.install()
    sys.exit(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Settings))))
