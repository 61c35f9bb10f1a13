"""A peer that does not read its answers: how far a batch goes, and that all of it is answered in the end."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import Cluster, Grain, InahoError, method
from inaho.runtime.connections.incoming import Incoming
from inaho.wire.codec import encode
from inaho.wire.exceptions import decode_failure
from inaho.wire.frames import CALL, DEFINE, ERROR, HEADER, REPLY, Definition, frame
from inaho.wire.handshake import PeerInfo

CALLS = 3000
HIGH = 64 << 10


class Teller(Grain):
    """Answers of any size, errors, and one answer that waits."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def blob(self, size: int) -> bytes:
        return bytes(size)

    async def fail(self, size: int) -> None:
        raise ValueError("x" * size)

    async def wait(self, size: int) -> int:
        await self.gate.wait()
        return size


class Slow(Grain):
    """Runs until it is let, and then answers much."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    @method(read_only=True)
    async def blob(self, size: int) -> bytes:
        await self.gate.wait()
        return bytes(size)


class LateTransport(asyncio.Transport):
    """Takes everything, and asks for a pause only when the loop turns, as some loops do."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Incoming
        self.kinds: list[int] = []
        self.errors: list[InahoError] = []
        self.buffered = self.buffered_max = 0
        self.reads = False
        self._high = self._paused = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self.buffered:
            asyncio.get_running_loop().call_soon(self._turn)
        self.buffered += len(data)
        self.buffered_max = max(self.buffered_max, self.buffered)
        position = 0
        while position < len(data):
            length, kind, *_ = HEADER.unpack_from(data, position)
            self.kinds.append(kind)
            if kind == ERROR and isinstance(
                error := decode_failure(data[position + 12 : position + 4 + length]), InahoError
            ):
                self.errors.append(error)
            position += 4 + length

    def _turn(self) -> None:
        if self.reads:
            self.buffered = 0
        elif self.buffered > self._high and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def read_on(self) -> None:
        self.reads, self.buffered = True, 0
        if self._paused:
            self._paused = False
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def accepted(cluster: Cluster, *, write_bytes_max: int = 8 << 20) -> tuple[Incoming, LateTransport]:
    node = cluster._node
    config = node.local.config.transport.replace(
        write_high_bytes=HIGH, write_low_bytes=HIGH // 4, write_bytes_max=write_bytes_max
    )
    connection = node.acceptor.open(PeerInfo("", "c" * 16, 1, "client", 1, 1), config)
    transport = LateTransport()
    transport.protocol = connection
    connection.connection_made(transport)
    for number, name in enumerate(("blob", "fail", "wait")):
        connection.data_received(frame(DEFINE, encode(Definition("Teller", name, "", 1, 8000, False)), method=number))
    return connection, transport


async def give(connection: Incoming, data: bytes) -> None:
    """As a transport does: from the loop, and not from a Task."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def read() -> None:
        connection.data_received(data)
        done.set_result(None)

    asyncio.get_running_loop().call_soon(read)
    await asyncio.wait_for(done, 5)


def call(number: int, number_of_method: int, size: int) -> bytes:
    return frame(CALL, encode((f"k{number & 3}", size)), method=number_of_method, correlation=number)


async def check_batch(cluster: Cluster, eventually: Any, method: int, size: int, kind: int, answer_max: int) -> None:
    connection, transport = accepted(cluster)
    await give(connection, b"".join(call(number, method, size) for number in range(CALLS)))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(transport.kinds) < CALLS
    assert transport.buffered_max <= HIGH + 17 * answer_max
    transport.read_on()
    await eventually(lambda: len(transport.kinds) == CALLS)
    assert set(transport.kinds) == {kind}
    connection.connection_lost(None)


async def test_a_batch_of_small_answers_stops_at_the_bound(fleet: Any, eventually: Any):
    await check_batch(await fleet.member(Teller), eventually, 0, 1000, REPLY, 1100)


async def test_a_large_answer_is_noticed_at_once(fleet: Any, eventually: Any):
    cluster = await fleet.member(Teller)
    connection, transport = accepted(cluster)
    await give(connection, b"".join(call(number, 0, 60_000) for number in range(100)))
    assert transport.buffered_max <= HIGH + 61_000
    transport.read_on()
    await eventually(lambda: len(transport.kinds) == 100)
    connection.connection_lost(None)


async def test_failures_are_answers_too(fleet: Any, eventually: Any):
    await check_batch(await fleet.member(Teller), eventually, 1, 1000, ERROR, 20_000)


async def test_who_reads_is_not_stopped_for_long(fleet: Any, eventually: Any):
    connection, transport = accepted(await fleet.member(Teller))
    transport.read_on()
    await give(connection, b"".join(call(number, 0, 1000) for number in range(CALLS)))
    await eventually(lambda: len(transport.kinds) == CALLS)
    assert not connection.paused
    connection.connection_lost(None)


async def test_an_answer_does_not_wait_for_the_rest_of_a_frame(fleet: Any, eventually: Any):
    cluster = await fleet.member(Teller)
    connection, transport = accepted(cluster)
    transport.read_on()
    await give(connection, call(4, 2, 7))
    large = frame(CALL, encode(("k1", 1, b"x" * 50_000)), method=0, correlation=5)
    await give(connection, large[:20_000])
    await give(connection, large[20_000:40_000])
    [grain] = cluster._node.hosts["Teller"].activations.values()
    grain.gate.set()
    await eventually(lambda: transport.kinds == [REPLY])
    connection.connection_lost(None)


async def test_calls_that_ran_already_do_not_pile_up_their_answers(fleet: Any, eventually: Any):
    cluster = await fleet.member(Slow)
    connection, transport = accepted(cluster, write_bytes_max=HIGH * 4)
    connection.data_received(frame(DEFINE, encode(Definition("Slow", "blob", "", 1, 8000, False)), method=9))
    await give(connection, b"".join(call(number, 9, 30_000) for number in range(200)))
    grains = cluster._node.hosts["Slow"].activations.values()
    for _ in range(200):
        for grain in grains:
            grain.gate.set()
        await asyncio.sleep(0)
    await eventually(lambda: not connection.running)
    assert HIGH < transport.buffered_max <= HIGH * 4 + 17 * 31_000
    transport.read_on()
    await eventually(lambda: len(transport.kinds) == 200)
    assert set(transport.kinds) == {REPLY, ERROR}
    [reason] = {error.code for error in transport.errors}
    assert reason == "overloaded" and all(error.maybe_executed for error in transport.errors)
    connection.connection_lost(None)


async def test_small_answers_always_come(fleet: Any, eventually: Any):
    cluster = await fleet.member(Slow)
    connection, transport = accepted(cluster, write_bytes_max=HIGH)
    connection.data_received(frame(DEFINE, encode(Definition("Slow", "blob", "", 1, 8000, False)), method=9))
    await give(connection, b"".join(call(number, 9, 900) for number in range(300)))
    grains = cluster._node.hosts["Slow"].activations.values()
    for _ in range(300):
        for grain in grains:
            grain.gate.set()
        await asyncio.sleep(0)
    transport.read_on()
    await eventually(lambda: len(transport.kinds) == 300)
    assert set(transport.kinds) == {REPLY}
    connection.connection_lost(None)
