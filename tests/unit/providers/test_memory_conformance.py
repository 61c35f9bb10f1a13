"""The memory back end passes the conformance suite."""

from __future__ import annotations

import pytest

from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.testing.provider_conformance import BackEnd, ProviderConformance


class Memory(BackEnd):
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


class TestMemoryProvider(ProviderConformance):
    ttl_s = 0.2

    @pytest.fixture
    def back_end(self) -> Memory:
        return Memory()

    @pytest.fixture
    def make_provider(self, back_end: Memory):
        return lambda host: MemoryProvider(f"memory-{host}", back_end.topology)
