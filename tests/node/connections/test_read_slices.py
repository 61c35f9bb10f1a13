"""A long read is handled in slices: its sender waits for the others, who do not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inaho import Cluster, Grain
from inaho.errors import Overloaded, ProtocolViolation
from inaho.runtime.connections.connection import SLICE_BYTES
from inaho.wire.codec import decoder, encode
from inaho.wire.exceptions import decode_failure
from inaho.wire.frames import CALL, DEFINE, ERROR, GOODBYE, HEADER, HEADER_BYTES, REPLY, Definition, Goodbye, frame
from inaho.wire.handshake import PeerInfo

CALLS = 3000
DEPTH = 8


class Sorter(Grain):
    """Answers at once, or when it is let."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def length(self, text: str) -> int:
        return len(text)

    async def wait(self, text: str) -> int:
        await self.gate.wait()
        return len(text)


class Peer(asyncio.Transport):
    """A caller that is driven by hand: what it was answered, and whether it is read from."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self.answers: list[tuple[int, int, bytes]] = []
        self.reading = True
        self.unread = 0
        self.pauses = 0
        self.gone = False
        node = cluster._node
        self.connection = node.acceptor.open(PeerInfo("", "c" * 16, 1, "client", 1, 1), node.local.config.transport)
        self.connection.connection_made(self)
        for number, method in enumerate(("length", "wait")):
            definition = Definition("Sorter", method, "", 1, 8000, False)
            self.connection.data_received(frame(DEFINE, encode(definition), method=number))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        position = 0
        while position < len(data):
            length, kind, _, _, correlation = HEADER.unpack_from(data, position)
            end = position + 4 + length
            self.answers.append((kind, correlation, bytes(data[position + HEADER_BYTES : end])))
            position = end

    def pause_reading(self) -> None:
        self.pauses += self.reading
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.gone = True

    abort = close

    async def give(self, data: bytes) -> None:
        """As a transport does: from the loop, and not from a Task."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def read() -> None:
            self.connection.data_received(data)
            done.set_result(None)

        asyncio.get_running_loop().call_soon(read)
        await asyncio.wait_for(done, 5)

    def order(self) -> list[int]:
        return [correlation for _, correlation, _ in self.answers]


def call(correlation: int, text: str = "", *, method: int = 0, key: str = "k") -> bytes:
    return frame(CALL, encode((key, text)), method=method, correlation=correlation)


@pytest.fixture
async def peers(fleet: Any) -> AsyncIterator[tuple[Peer, Peer]]:
    cluster = await fleet.member(Sorter, activation={"queue_depth": DEPTH})
    found = (Peer(cluster), Peer(cluster))
    yield found
    for peer in found:
        peer.connection.connection_lost(None)
    for grain in cluster._node.hosts["Sorter"].activations.values():
        grain.gate.set()


async def test_others_are_answered_between_the_slices(peers: tuple[Peer, Peer], eventually: Any):
    flood, other = peers
    await flood.give(b"".join(call(number) for number in range(CALLS)))
    assert 0 < len(flood.answers) < CALLS // 2
    assert not flood.reading
    await other.give(call(1))
    assert other.order() == [1] and other.reading
    assert len(flood.answers) < CALLS
    await eventually(lambda: flood.reading)
    assert flood.order() == list(range(CALLS))
    assert flood.pauses == 1


async def test_what_fits_in_a_slice_pauses_nothing(peers: tuple[Peer, Peer]):
    peer, _ = peers
    data = b"".join(call(number) for number in range(50))
    assert len(data) < SLICE_BYTES
    await peer.give(data)
    assert peer.order() == list(range(50))
    assert not peer.pauses


async def test_what_comes_in_spite_of_the_pause_keeps_its_place(peers: tuple[Peer, Peer], eventually: Any):
    peer, _ = peers
    data = b"".join(call(number) for number in range(CALLS))
    for start in range(0, len(data), len(data) // 3):
        await peer.give(data[start : start + len(data) // 3])
    await eventually(lambda: len(peer.answers) == CALLS and peer.reading)
    assert peer.order() == list(range(CALLS))


async def test_a_frame_that_is_longer_than_a_slice_is_handled_when_it_is_whole(
    peers: tuple[Peer, Peer], eventually: Any
):
    peer, _ = peers
    large = call(2, "x" * 100_000)
    data = call(1) + large + call(3)
    await peer.give(data[:50_000])
    assert peer.order() == [1] and peer.reading, "a part of a frame is waited for"
    await peer.give(data[50_000:])
    await eventually(lambda: peer.order() == [1, 2, 3])
    await eventually(lambda: peer.reading)


@pytest.mark.parametrize("unread", [False, True], ids=["behind a slice", "behind what the peer does not read"])
async def test_a_bad_length_further_on_is_refused_and_not_waited_for(
    peers: tuple[Peer, Peer], eventually: Any, unread: bool
):
    peer, _ = peers
    if unread:
        peer.connection.pause_writing()
    bad = HEADER.pack(0xFFFFFFFF, CALL, 0, 0, 9)
    await peer.give(b"".join(call(number) for number in range(CALLS if not unread else 0)) + bad)
    if unread:
        peer.connection.resume_writing()
    await eventually(lambda: peer.gone)
    kind, _, body = peer.answers[-1]
    assert kind == GOODBYE and decoder(Goodbye)(body).code == ProtocolViolation.code
    assert not peer.connection._rest


async def test_who_neither_reads_nor_stops_is_paused_for_both_reasons(peers: tuple[Peer, Peer], eventually: Any):
    peer, _ = peers
    await peer.give(b"".join(call(number) for number in range(CALLS)))
    peer.connection.pause_writing()
    for _ in range(10):
        await asyncio.sleep(0)
    answered = len(peer.answers)
    assert answered < CALLS and not peer.reading
    peer.connection.resume_writing()
    assert not peer.reading, "its frames of before come first"
    await eventually(lambda: peer.reading)
    assert peer.order() == list(range(CALLS))


async def test_what_is_left_is_not_handled_when_the_connection_ends(peers: tuple[Peer, Peer]):
    peer, _ = peers
    await peer.give(b"".join(call(number) for number in range(CALLS)))
    peer.connection.close()
    answered = len(peer.answers)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(peer.answers) == answered
    assert peer.gone


async def test_every_refusal_of_a_flood_says_what_the_first_did(peers: tuple[Peer, Peer], eventually: Any):
    flood, other = peers
    await flood.give(b"".join(call(number, method=1) for number in range(CALLS)))
    await eventually(lambda: len(flood.answers) == CALLS - 1 - DEPTH)
    assert {kind for kind, *_ in flood.answers} == {ERROR}
    [body] = {body for *_, body in flood.answers}
    error = decode_failure(body)
    assert isinstance(error, Overloaded)
    assert error.identity == "Sorter/k" and not error.maybe_executed
    assert "activation.queue_depth" in error.reason
    await other.give(call(1, method=1, key="j") + b"".join(call(2 + n, method=1, key="j") for n in range(DEPTH + 1)))
    [(_, correlation, body)] = other.answers
    assert correlation == DEPTH + 2
    assert decode_failure(body).identity == "Sorter/j"  # type: ignore[attr-defined]
    assert flood.connection._runner.refused == CALLS - DEPTH


async def test_a_queue_that_has_room_again_takes_calls(peers: tuple[Peer, Peer], eventually: Any):
    peer, _ = peers
    await peer.give(b"".join(call(number, method=1) for number in range(1 + DEPTH + 1)))
    assert peer.order() == [1 + DEPTH]
    [grain] = peer.connection._hosts["Sorter"].activations.values()
    grain.gate.set()
    await eventually(lambda: len(peer.answers) == 2 + DEPTH)
    await peer.give(call(99, method=1))
    await eventually(lambda: peer.answers[-1][:2] == (REPLY, 99))
