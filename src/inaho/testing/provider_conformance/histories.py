"""Conformance of providers: random histories of a few hosts, compared with a model after each step.

The model is written from the contract: a table of entries by authority, and a record whose token is its version.
Processes of a host follow each other, and the former ones go on asking, as a process does that was paused.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import ClassVar

import msgspec
import pytest

from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.providers.base import TopologyProvider
from inaho.testing.provider_conformance.base import LIFETIME_S, ConformanceBase, MakeProvider, member
from inaho.testing.provider_conformance.records import record

__all__ = ["HistoryConformance"]

HOSTS = 3
PROCESSES = 8


class Process:
    """A process of a host with a provider of its own."""

    def __init__(self, host: int, provider: TopologyProvider) -> None:
        self.provider = provider
        self.member = member(host)
        self.registered = False


class Model:
    """What the back end must hold, and the requests that are compared with it.

    Args:
        make: makes a provider of a host.
        random: draws the history.
    """

    def __init__(self, make: MakeProvider, random: random.Random) -> None:
        self._make = make
        self._random = random
        self.processes = [Process(host, make(host)) for host in range(HOSTS)]
        self.entries: dict[str, ProviderMember] = {}
        self.record: ClusterRecord | None = None
        self.tokens = [""]
        self._generation = 0

    async def start(self, process: Process) -> None:
        """A new process at the host of that one."""
        if len(self.processes) < PROCESSES:
            host = self._random.randrange(HOSTS)
            self.processes.append(Process(host, self._make(host)))

    async def register(self, process: Process) -> None:
        """Replaces whatever is there."""
        if process.registered and self._random.random() < 0.5:
            process.member = msgspec.structs.replace(process.member, incarnation=process.member.incarnation + 1)
        await process.provider.register(process.member, LIFETIME_S)
        process.registered = True
        self.entries[process.member.authority] = process.member

    async def renew(self, process: Process) -> None:
        """Holds if the entry is its own."""
        assert await process.provider.renew(process.member, LIFETIME_S) is self._owns(process)

    async def deregister(self, process: Process) -> None:
        """Removes its own entry only."""
        await process.provider.deregister()
        if process.registered and self._owns(process):
            del self.entries[process.member.authority]

    async def write_record(self, process: Process) -> None:
        """Succeeds with the newest token only."""
        token = self.tokens[-1] if self._random.random() < 0.5 else self._random.choice(self.tokens)
        self._generation += 1
        wanted = record(self._generation, process.member.node_id)
        written = await process.provider.write_record(wanted, token)
        assert written is (token == self.tokens[-1])
        if written:
            self.record = wanted
            _, token = await process.provider.read_record()
            assert token not in self.tokens
            self.tokens.append(token)

    async def compare(self, process: Process) -> None:
        """What this process reads."""
        found = await process.provider.read()
        assert {each.authority: each for each in found.members} == self.entries
        assert len(found.members) == len(self.entries)
        if process.provider.capabilities.record:
            assert await process.provider.read_record() == (self.record, self.tokens[-1])

    def _owns(self, process: Process) -> bool:
        entry = self.entries.get(process.member.authority)
        return entry is not None and entry.node_id == process.member.node_id


class HistoryConformance(ConformanceBase):
    """Random histories.

    Attributes:
        steps: requests in each.
    """

    steps: ClassVar[int] = 100

    @pytest.mark.parametrize("seed", range(3))
    async def test_agrees_with_the_model(self, registering: TopologyProvider, make: MakeProvider, seed: int) -> None:
        await self.answer(registering.check())
        drawn = random.Random(seed)
        model = Model(make, drawn)
        requests: list[Callable[[Process], Awaitable[None]]] = [
            *(model.register, model.register, model.renew, model.renew, model.deregister, model.start),
            *([model.write_record, model.write_record] if registering.capabilities.record else []),
        ]
        for _ in range(self.steps):
            await self.answer(drawn.choice(requests)(drawn.choice(model.processes)))
            await self.answer(model.compare(drawn.choice(model.processes)))
