"""What a caller does when its callee says goodbye."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Grain, Unreachable
from inaho.config import RpcConfig, TransportConfig
from inaho.errors import InahoError
from inaho.runtime.connections.outgoing import Outgoing
from inaho.wire.codec import encode
from inaho.wire.frames import GOODBYE, REPLY, Goodbye, frame
from inaho.wire.handshake import PeerInfo


class Echo(Grain, name="GoodbyeEcho"):
    async def say(self, text: str) -> str:
        return text


class Wire(asyncio.Transport):
    """A transport that remembers whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    abort = close


class Dialled:
    """A connection with one call under way."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.wire = Wire()
        self.connection = Outgoing(
            PeerInfo("10.0.0.1:7700", "aa", 1, "member", 1, 1),
            TransportConfig(),
            self.loop,
            rpc=RpcConfig(),
            flight_bytes_max=1 << 20,
            ending_callback=lambda _: None,
            closed_callback=lambda _connection, _error: None,
            topology_callback=lambda _: None,
            ends_callback=lambda _: None,
        )
        self.connection.connection_made(self.wire)
        self.method = Echo.inaho_kind.methods["say"]

    def call(self, text: str) -> tuple[asyncio.Future[Any], int]:
        future = self.loop.create_future()
        now = self.loop.time()
        return future, self.connection.call(self.method, "k", (text,), future, now + 5, now)

    def goodbye(self, code: str) -> None:
        self.connection.data_received(frame(GOODBYE, encode(Goodbye(code, "so long"))))


async def test_a_node_that_leaves_still_answers_what_it_has_got():
    dialled = Dialled()
    future, correlation = dialled.call("first")
    dialled.goodbye("shutting_down")
    assert not dialled.wire.closed
    with pytest.raises(Unreachable) as refused:  # and takes nothing new, which is certain not to run
        dialled.call("second")
    assert refused.value.maybe_executed is False
    reply = frame(REPLY, encode("first"), method=dialled.method.number, correlation=correlation)
    dialled.connection.data_received(reply)
    assert await future == "first"
    dialled.connection.expire(dialled.loop.time())
    assert dialled.wire.closed
    dialled.connection.connection_lost(None)


async def test_any_other_goodbye_is_the_end():
    dialled = Dialled()
    future, _ = dialled.call("first")
    dialled.goodbye("overloaded")
    assert dialled.wire.closed
    dialled.connection.connection_lost(None)
    with pytest.raises(InahoError, match="so long"):
        await future
