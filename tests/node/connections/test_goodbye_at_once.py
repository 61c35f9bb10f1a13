"""A member that says goodbye as soon as it has authenticated itself: the dialer closes, since nobody else would."""

from __future__ import annotations

import asyncio
import os

import pytest

import inaho
from inaho.config import MembershipConfig
from inaho.errors import ShuttingDown, TopologyUnavailable
from inaho.wire.codec import encode
from inaho.wire.frames import GOODBYE, Goodbye, frame
from inaho.wire.handshake import Handshake, HandshakeConfig
from support.member_processes import NAME, SECRET, settings


class Leaver:
    """Listens at `authority`; `closed` counts the connections that the dialers have closed."""

    def __init__(self) -> None:
        self.authority = ""
        self.dials = 0
        self.closed = 0
        self._serving: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.authority = "127.0.0.1:{1}".format(*self._server.sockets[0].getsockname())

    async def stop(self) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            config = HandshakeConfig(cluster=NAME, secret=SECRET, node_id="0" * 16, authority=self.authority)
            handshake = Handshake("acceptor", config, os.urandom(32))
            handshake.start()
            peer = None
            while peer is None:
                answer, peer, _ = handshake.receive(await reader.read(4096))
                if peer is not None:  # in one write, so that both are in one read of the dialer
                    answer += frame(GOODBYE, encode(Goodbye(ShuttingDown.code, "it leaves")))
                writer.write(answer)
            self.dials += 1
            await reader.read()
            self.closed += 1
        finally:
            writer.close()


async def test_the_dialer_closes() -> None:
    leaver = Leaver()
    await leaver.start()
    try:
        with pytest.raises(TopologyUnavailable):
            await inaho.connect(
                config=settings(
                    authority="", seeds=(leaver.authority,), membership=MembershipConfig(join_timeout_s=0.3)
                )
            )
        assert leaver.dials
        async with asyncio.timeout(10):
            while leaver.closed < leaver.dials:
                await asyncio.sleep(0.01)
    finally:
        await leaver.stop()
