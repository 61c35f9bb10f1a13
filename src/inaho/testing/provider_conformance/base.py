"""Fixtures and helpers of the conformance suite of providers."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import ClassVar, TypeVar

import pytest
import pytest_asyncio

from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderError
from inaho.providers.base import ProviderRead, TopologyProvider
from inaho.testing.provider_conformance.back_end import BackEnd

__all__ = ["LIFETIME_S", "POLL_S", "ConformanceBase", "MakeProvider", "authorities", "member"]

MakeProvider = Callable[[int], TopologyProvider]
T = TypeVar("T")

LIFETIME_S = 60.0
"""Of registrations that are not to expire within a test."""

POLL_S = 0.02

_boots = itertools.count(1)


def member(host: int = 0, **more: object) -> ProviderMember:
    """The entry of a new process on a host of that number."""
    fields: dict[str, object] = {"node_id": f"{next(_boots):016x}", "incarnation": 1, "cluster": "conformance"}
    return ProviderMember(f"10.7.0.{host + 1}:7700", **(fields | more))  # type: ignore[arg-type]


def authorities(read: ProviderRead) -> list[str]:
    """Those of the members, sorted."""
    return sorted(each.authority for each in read.members)


class ConformanceBase:
    """What all parts of the suite share.

    Attributes:
        ttl_s: the shortest life of a registration that the back end allows, for tests of expiry.
        expiry_s: a registration that has expired is gone from reads at the latest after this time.
        hint_s: a watch reports a change at the latest after this time.
        answer_s: any request is answered within this time.
        many: entries in the test of a large list.
    """

    pytestmark = pytest.mark.asyncio
    ttl_s: ClassVar[float] = 1.0
    expiry_s: ClassVar[float] = 15.0
    hint_s: ClassVar[float] = 5.0
    answer_s: ClassVar[float] = 20.0
    many: ClassVar[int] = 1000

    @pytest.fixture
    def prefix(self) -> str:
        """A name that no other test has used."""
        return f"conformance-{secrets.token_hex(6)}"

    @pytest.fixture
    def make_provider(self, prefix: str) -> MakeProvider:
        """Override: makes a provider of the prefix, each time a new one.

        The argument is the number of the host: providers with the same number belong to processes that ran one after
        another on one host. Most back ends need not know.
        """
        raise NotImplementedError("override the fixture make_provider")

    @pytest.fixture
    def back_end(self, prefix: str) -> BackEnd:
        """Override: access to the back end past the provider."""
        return BackEnd()

    @pytest_asyncio.fixture
    async def make(self, make_provider: MakeProvider) -> AsyncIterator[MakeProvider]:
        """Makes providers that are closed after the test."""
        made: list[TopologyProvider] = []

        def make(host: int) -> TopologyProvider:
            made.append(make_provider(host))
            return made[-1]

        yield make
        await asyncio.gather(*(each.close() for each in made))

    @pytest_asyncio.fixture
    async def provider(self, make: MakeProvider) -> TopologyProvider:
        """The provider of host 0."""
        return make(0)

    @pytest_asyncio.fixture
    async def other(self, make: MakeProvider) -> TopologyProvider:
        """The provider of host 1."""
        return make(1)

    @pytest_asyncio.fixture
    async def registering(self, provider: TopologyProvider) -> TopologyProvider:
        """The provider of host 0, where members register."""
        return _with(provider, "register")

    @pytest_asyncio.fixture
    async def watching(self, registering: TopologyProvider) -> TopologyProvider:
        """The provider of host 0, where members register and changes are watched."""
        return _with(registering, "watch")

    @pytest_asyncio.fixture
    async def recording(self, provider: TopologyProvider) -> TopologyProvider:
        """The provider of host 0, where a record is kept."""
        await self.answer(provider.check())  # some learn only there whether the server keeps it safely
        return _with(provider, "record")

    async def answer(self, request: Awaitable[T]) -> T:
        """The answer to a request; fails if there is none in time."""
        async with asyncio.timeout(self.answer_s):
            return await request

    async def wait_for(
        self, provider: TopologyProvider, condition: Callable[[ProviderRead], bool], limit_s: float
    ) -> ProviderRead:
        """Reads until the condition holds."""
        async with asyncio.timeout(limit_s):
            while True:
                found = await provider.read()
                if condition(found):
                    return found
                await asyncio.sleep(POLL_S)

    async def follow(
        self, provider: TopologyProvider, position: str, condition: Callable[[ProviderRead], bool], limit_s: float
    ) -> ProviderRead:
        """Watches from a position until the condition holds; nothing is read that the watch has not announced."""
        async with asyncio.timeout(limit_s):
            while True:
                async with aclosing(provider.watch(position)) as watch:
                    async for hint in watch:
                        found = await provider.read() if hint is None else hint
                        position = found.position
                        if condition(found):
                            return found
                await asyncio.sleep(0)  # a watch may end at any time; then it is begun again

    async def others_run(self, provider: TopologyProvider) -> None:
        """Returns when what was begun before has had time to reach the back end."""
        for _ in range(10):
            await self.answer(provider.check())

    async def refused(self, request: Awaitable[object]) -> ProviderError:
        """The error of a request that must fail, in time."""
        with pytest.raises(ProviderError) as caught:
            await self.answer(request)
        return caught.value


def _with(provider: TopologyProvider, capability: str) -> TopologyProvider:
    if not getattr(provider.capabilities, capability):
        pytest.skip(f"the provider lacks the capability {capability}")
    return provider
