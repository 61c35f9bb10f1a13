"""Access of the conformance suite to a memory topology."""

from __future__ import annotations

from inaho.providers.memory import MemoryTopology
from inaho.testing.provider_conformance import BackEnd


class MemoryBackEnd(BackEnd):
    """See the module."""

    def __init__(self) -> None:
        self.topology = MemoryTopology()

    async def write_member(self, authority: str, text: str) -> None:
        self.topology.write_member(authority, text)

    async def remove_member(self, authority: str) -> None:
        self.topology.expire(authority)

    async def block(self, authority: str) -> None:
        self.topology.block(authority)

    async def unblock(self, authority: str) -> None:
        self.topology.unblock(authority)

    async def lose_history(self) -> None:
        self.topology.rewind()
