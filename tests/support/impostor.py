"""A member that knows the secret and answers calls with whatever a test wants."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType

import msgspec

from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.types import Member, MemberStatus, TopologySnapshot
from inaho.wire.frames import CALL, HEADER, TOPOLOGY, TopologyPush, frame
from inaho.wire.handshake import Handshake, HandshakeConfig
from support.member_processes import NAME, SECRET

QUESTION = PlacementActor.inaho_kind.methods["through"].number

encode = msgspec.msgpack.encode


class Impostor:
    """Listens, authenticates, claims to be the only member, and answers each call with `answer`.

    Args:
        answer: a frame; method number and call id are filled in, see `answer_to`.
        then_close: end the connection after the answer.
    """

    def __init__(self, answer: bytes, *, then_close: bool = False) -> None:
        self.node_id = os.urandom(8).hex()
        self.authority = ""
        self.calls = 0
        self._answer = answer
        self._then_close = then_close
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Impostor:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.authority = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    def answer_to(self, correlation: int, number: int) -> bytes:
        """The answer with the call's id and method number in the header of its first frame."""
        length, kind, flags, method, _ = HEADER.unpack_from(self._answer)
        return HEADER.pack(length, kind, flags, method or number, correlation) + self._answer[HEADER.size :]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        config = HandshakeConfig(cluster=NAME, secret=SECRET, node_id=self.node_id, authority=self.authority)
        handshake = Handshake("acceptor", config, os.urandom(32))
        handshake.start()
        peer = None
        while peer is None:
            answer, peer, _ = handshake.receive(await reader.read(4096))
            writer.write(answer)
        kinds = ("Gauge", "Probe", "Tally")
        member = Member(self.authority, self.node_id, 1, MemberStatus.UP, kinds)
        writer.write(frame(TOPOLOGY, encode(TopologyPush(TopologySnapshot(1, 1, (member,))))))
        while True:
            try:
                head = await reader.readexactly(HEADER.size)
                length, kind, _, number, correlation = HEADER.unpack(head)
                await reader.readexactly(length + 4 - HEADER.size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if kind == CALL:
                self.calls += number != QUESTION  # whether frames before have arrived is no call of the test
                writer.write(self.answer_to(correlation, number))
                if self._then_close:
                    writer.close()
                    return
