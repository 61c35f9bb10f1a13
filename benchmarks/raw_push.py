"""The limit of CPython for messages in one direction: length-prefixed msgpack frames from one process to another.

    python benchmarks/raw_push.py [--seconds S] [--json]

The publisher encodes typed Structs and writes a hundred frames at a time; the subscriber decodes each. There are no
topics, sequences, keys, windows or metrics: what a topic costs above this is ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import time
from typing import cast

import uvloop
from measuring import Figures, show, until_input_ends
from topics_measuring import BODY, Arrivals, Sample, decode, encode, publish_last, publish_slowly, say, subscriber

LENGTH = struct.Struct("<I")
TOGETHER = 100
"""Frames in one write."""


class Receiving(asyncio.Protocol):
    """Cuts what arrives into frames and decodes them."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self.unfinished = b""

    def data_received(self, data: bytes) -> None:
        if self.unfinished:
            data = self.unfinished + data
        arrivals = self.arrivals
        view = memoryview(data)
        position, size = 0, len(data)
        while size - position >= LENGTH.size:
            (length,) = LENGTH.unpack_from(data, position)
            end = position + LENGTH.size + length
            if end > size:
                break
            value = decode(view[position + LENGTH.size : end])
            position = end
            if value.at > 0 and arrivals.count:
                arrivals.count += 1
            else:
                arrivals.take(value)
        self.unfinished = data[position:]


class Sending(asyncio.Protocol):
    """Knows whether the transport has room."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()


async def subscribe() -> None:
    arrivals = Arrivals()
    server = await asyncio.get_running_loop().create_server(lambda: Receiving(arrivals), "127.0.0.1", 0)
    say(str(server.sockets[0].getsockname()[1]))
    await arrivals.done.wait()
    say(json.dumps(arrivals.figures()))
    await until_input_ends()
    server.close()


def framed(value: Sample) -> bytes:
    body = encode(value)
    return LENGTH.pack(len(body)) + body


async def measure(seconds: float) -> Figures:
    async with subscriber(__file__, "--subscribe") as peer:
        loop = asyncio.get_running_loop()
        made, sending = await loop.create_connection(Sending, "127.0.0.1", int(peer.ready))
        transport = cast("asyncio.Transport", made)  # uvloop's own class, which is no subclass of it

        async def publish(value: Sample) -> None:
            transport.write(framed(value))

        await publish_slowly(publish)
        clock, sent = time.monotonic, 0
        until = clock() + seconds
        while clock() < until:
            transport.write(b"".join([framed(Sample(clock(), BODY)) for _ in range(TOGETHER)]))
            sent += TOGETHER
            await sending.room.wait()
            await asyncio.sleep(0)
        figures = await publish_last(publish, peer)
        transport.close()
    if figures["received"] != sent:
        raise RuntimeError(f"{figures['received']} of {sent} messages arrived")
    return {name: figures[name] for name in ("per_second", "p50_us", "p99_us")}


def main() -> None:
    parser = argparse.ArgumentParser(description="The limit of CPython for messages in one direction.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of the second phase")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--subscribe", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subscribe:
        uvloop.run(subscribe())
        return
    show(uvloop.run(measure(options.seconds)), options.json)


if __name__ == "__main__":
    main()
