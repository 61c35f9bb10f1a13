"""Two ends of a connection of the network in memory, which write down every callback."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from support.waiting import until

A, B = "a:1", "b:1"


async def settle(turns: int = 20) -> None:
    """Lets everything happen that needs no time to pass."""
    for _ in range(turns):
        await asyncio.sleep(0)


class End(asyncio.Protocol):
    """Writes down every callback."""

    def __init__(self, *, stay_open: bool = False) -> None:
        self.log: list[Any] = []
        self.data = b""
        self.transport: Any = None
        self._stay_open = stay_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.log.append("made")

    def data_received(self, data: bytes) -> None:
        assert data
        self.data += data

    def eof_received(self) -> bool:
        self.log.append("end")
        return self._stay_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(type(exc).__name__ if exc else "lost")

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")


async def joined(network: MemoryNetwork, *, stay_open: bool = False) -> tuple[End, End]:
    """A connection from A to B: the protocols of both ends."""
    accepted: list[End] = []

    def accept() -> End:
        accepted.append(End(stay_open=stay_open))
        return accepted[-1]

    await MemoryTransport(network).listen(B, accept)
    near = End(stay_open=stay_open)
    await MemoryTransport(network, A).dial(B, lambda: near)
    await until(lambda: near.log and accepted[0].log)
    return near, accepted[0]
