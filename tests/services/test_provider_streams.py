"""Streams of two nodes through a fault of the server, for each back end: they find each other and a third again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from inaho.config import ProvisioningConfig
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.stream import ProviderStream
from support.gate import Gate
from support.provider_back_ends.base import CLUSTER, ServedBackEnd
from support.provider_back_ends.servers import FAULTS, fault
from support.provider_streams import Observer

pytestmark = pytest.mark.integration

CONFIG = ProvisioningConfig(
    read_period_s=0.5,
    read_pause_s=0.02,
    timeout_s=2.0,
    silence_s=2.0,
    back_off_min_s=0.1,
    back_off_max_s=0.3,
    request_timeout_s=0.5,
    ttl_s=3.0,
)
LIMIT_S = 20.0


class Node:
    """A node of that number."""

    def __init__(self, back_end: ServedBackEnd, number: int, port: int) -> None:
        self.member = ProviderMember(f"10.7.0.{number + 1}:7700", f"{number:016x}", 1, ("Cart",), cluster=CLUSTER)
        self.present = True
        self.observer = Observer()
        self.provider = back_end.provider(number, timeout_s=CONFIG.request_timeout_s, port=port)
        self.stream = ProviderStream(self.provider, CONFIG, self.observer, lambda: 0.5, self._entry)

    async def leaves(self) -> None:
        """As a member that leaves the cluster."""
        self.present = False
        await self.stream.deregister()

    def _entry(self) -> ProviderMember | None:
        return self.member if self.present else None

    async def lists(self, *nodes: Node, limit_s: float = LIMIT_S) -> None:
        """Returns when its newest read has these nodes and no others."""
        expected = {node.member.authority for node in nodes}
        await self.observer.until(lambda: self.observer.members == expected, limit_s)


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[Node]:
    task = asyncio.ensure_future(node.stream.run())
    try:
        yield node
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])
        await node.provider.close()


@pytest.mark.parametrize("name", FAULTS)
async def test_streams_go_on_after_a_fault(served_back_end: ServedBackEnd, gate: Gate, name: str) -> None:
    one, two, three = (Node(served_back_end, number, gate.port) for number in range(3))
    async with running(one), running(two):
        await one.lists(one, two)
        await two.lists(one, two)
        for node in (one, two):
            node.observer.failures.clear()
        async with fault(name, served_back_end, gate):
            for node in (one, two):
                await node.observer.until(lambda node=node: len(node.observer.failures) >= 3, LIMIT_S)  # type: ignore[misc]
        allowed = {ProviderUnreachable, ProviderStreamFailed} | ({ProviderInvalid} if name == "garbage" else set())
        assert {type(error) for _, error in one.observer.failures} <= allowed
        for node in (one, two):
            node.observer.reads.clear()
        async with running(three):
            for node in (one, two, three):
                await node.lists(one, two, three)
            await three.leaves()
            for node in (one, two):
                await node.lists(one, two)
    assert one.observer.others == two.observer.others == []


async def test_a_registration_that_ran_out_is_written_again(served_back_end: ServedBackEnd, gate: Gate) -> None:
    one, two = (Node(served_back_end, number, gate.port) for number in range(2))

    async def registered() -> bool:
        return one.member in (await two.provider.read()).members

    async with running(one):
        await one.lists(one)
        for _ in range(2):
            await served_back_end.forget(one.member.authority)
            async with asyncio.timeout(LIMIT_S):
                while not await registered():
                    await asyncio.sleep(0.02)
        await one.lists(one)
    await two.provider.close()
