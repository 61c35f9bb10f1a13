"""A running node, and connections of it that end in a transport which only records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import inaho
from inaho import Grain, GrainError, method
from inaho.runtime.node.node import Node
from inaho.runtime.topic_logs.subscription import Subscription
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from inaho.wire.frames import HEADER, HEADER_BYTES, HEADER_REST


class Basket(inaho.Struct):
    items: dict[str, int] = {}  # noqa: RUF012  a Struct copies it


class FuzzedGrain(Grain):
    """One method of each sort that a call can be."""

    async def add(self, sku: str, count: int = 1) -> int:
        return len(sku) + count

    async def merge(self, basket: Basket, others: list[Basket]) -> Basket:
        return Basket({**basket.items, **{sku: count for other in others for sku, count in other.items.items()}})

    async def echo(self, value: Any) -> Any:
        return value

    async def wait(self) -> None:
        await asyncio.sleep(0)

    async def fail(self, reason: str) -> None:
        raise GrainError(reason)

    @method(read_only=True)
    async def look(self) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"apple": 1}

    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to % 1000):
            yield number


class RecordingTransport(asyncio.Transport):
    """Takes what is written and does nothing with it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self.closed:  # else it is lost, as with a socket
            self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


class Bench:
    """A loop with one member in it, driven from outside.

    Attributes:
        node: the member.
        problems: what the loop's exception handler was told; must stay empty.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self.cluster = self.loop.run_until_complete(self._join())
        self.node: Node = self.cluster._node
        self.subscription = self.loop.run_until_complete(self._subscribe())

    @staticmethod
    async def _join() -> inaho.Cluster:
        transport = MemoryTransport(MemoryNetwork())
        return await inaho.join("10.0.0.1:7700", grains=[FuzzedGrain], storage="memory", transport=transport)

    async def _subscribe(self) -> Subscription[Any]:
        """Somebody gets the messages of the topic `fuzzed`."""
        topic = await self.cluster.topic("fuzzed", Any)
        subscription = topic.subscribe()
        await subscription.start()
        return subscription

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls as a transport would: from the loop, and not from a Task."""
        done: asyncio.Future[Any] = self.loop.create_future()

        def run() -> None:
            try:
                done.set_result(function(*arguments))
            except BaseException as error:
                done.set_exception(error)

        self.loop.call_soon(run)
        return self.loop.run_until_complete(done)

    def turn(self, times: int = 4) -> None:
        """Lets what was started go on."""
        for _ in range(times):
            self.call(lambda: None)

    def serves(self) -> bool:
        """Whether a call of another caller is answered as if nothing had been."""
        grain = self.cluster.grain(FuzzedGrain, "bystander")
        return self.loop.run_until_complete(asyncio.wait_for(grain.add("apple", 2), 10)) == 7

    def close(self) -> None:
        self.loop.run_until_complete(self.cluster.leave())
        self.loop.close()


def split_frames(data: bytes) -> list[tuple[int, int, int, int, bytes]]:
    """(type, flags, method, correlation, body) of each frame; fails unless `data` is whole frames."""
    found, position = [], 0
    while position < len(data):
        length, *numbers = HEADER.unpack_from(data, position)
        end = position + 4 + length
        assert length >= HEADER_REST and end <= len(data), "a frame is cut off"
        found.append((*numbers, bytes(data[position + HEADER_BYTES : end])))
        position = end
    return found
