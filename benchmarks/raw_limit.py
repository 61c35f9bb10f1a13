"""The limit of CPython: requests and responses between two processes over one loopback connection, and nothing else.

    python benchmarks/raw_limit.py [--seconds S] [--in-flight N] [--json]

Each request is a length-prefixed msgpack frame with a correlation id and a future; both sides decode and encode a typed
Struct, and write once per turn of a uvloop loop. There are no grains, keys, turns, deadlines, authentication or
metrics: what a call costs above this is ours. Absolute figures mean nothing without others of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
from typing import cast

import msgspec
import uvloop
from measuring import IN_FLIGHT, Figures, keys, latency, rate, served, show, until_input_ends

HEADER = struct.Struct("<II")
"""Bytes that follow the first field, and the correlation id."""

LENGTH_BYTES = 4
CORRELATION_MASK = 0xFFFFFFFF


class Message(msgspec.Struct):
    """The request, and the answer."""

    key: str
    n: int


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Message).decode


class Peer(asyncio.Protocol):
    """Either side: cuts what arrives into frames, and writes what has been collected in one piece."""

    def __init__(self) -> None:
        self.unfinished = b""
        self.outgoing: list[bytes] = []
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class, which is no subclass of it
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self.unfinished:
            data = self.unfinished + data
        view = memoryview(data)
        position, size = 0, len(data)
        while size - position >= HEADER.size:
            length, correlation = HEADER.unpack_from(data, position)
            end = position + LENGTH_BYTES + length
            if end > size:
                break
            self.on_frame(correlation, view[position + HEADER.size : end])
            position = end
        self.unfinished = data[position:]
        self.on_batch()

    def on_frame(self, correlation: int, body: memoryview) -> None:
        raise NotImplementedError

    def on_batch(self) -> None:
        """All complete frames of one read have been handled."""

    def collect(self, correlation: int, body: bytes) -> None:
        self.outgoing.append(HEADER.pack(len(body) + HEADER.size - LENGTH_BYTES, correlation))
        self.outgoing.append(body)

    def flush(self) -> None:
        outgoing, self.outgoing = self.outgoing, []
        self.transport.write(b"".join(outgoing))


class Answering(Peer):
    """Sends every message back."""

    def on_frame(self, correlation: int, body: memoryview) -> None:
        self.collect(correlation, encode(decode(body)))

    def on_batch(self) -> None:
        if self.outgoing:
            self.flush()


class Asking(Peer):
    """Gives a future for each message."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.waiting: dict[int, asyncio.Future[Message]] = {}
        self.correlation = 0

    def call(self, message: Message) -> asyncio.Future[Message]:
        self.correlation = correlation = (self.correlation + 1) & CORRELATION_MASK
        future: asyncio.Future[Message] = self.loop.create_future()
        self.waiting[correlation] = future
        if not self.outgoing:
            self.loop.call_soon(self.flush)
        self.collect(correlation, encode(message))
        return future

    def on_frame(self, correlation: int, body: memoryview) -> None:
        self.waiting.pop(correlation).set_result(decode(body))


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await until_input_ends()
    server.close()


async def measure(port: int, seconds: float, in_flight: int) -> Figures:
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_connection(lambda: Asking(loop), "127.0.0.1", port)
    names, call = keys(), peer.call
    count = len(names)
    figures = await latency(lambda number: call(Message(names[0], number)), seconds=seconds)
    figures["many_per_second"] = await rate(
        lambda number: call(Message(names[number % count], number)), seconds=seconds, in_flight=in_flight
    )
    transport.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="The limit of CPython for requests between two processes.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each measurement")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="requests under way at once")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve())
        return
    with served(__file__, "--serve") as port:
        show(uvloop.run(measure(int(port), options.seconds, options.in_flight)), options.json)


if __name__ == "__main__":
    main()
