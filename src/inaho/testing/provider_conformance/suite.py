"""The whole conformance suite of providers: its parts, and what concerns all methods."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from inaho.errors import ProviderError
from inaho.providers.base import TopologyProvider
from inaho.testing.provider_conformance.base import LIFETIME_S, ConformanceBase, MakeProvider, member
from inaho.testing.provider_conformance.histories import HistoryConformance
from inaho.testing.provider_conformance.records import RecordConformance, record
from inaho.testing.provider_conformance.registrations import RegistrationConformance
from inaho.testing.provider_conformance.watches import WatchConformance

__all__ = ["LifeConformance", "ProviderConformance"]

Request = Callable[[], Awaitable[object]]


def requests_of(provider: TopologyProvider) -> dict[str, list[Request]]:
    """The requests that belong to each capability; `` has those of every provider.

    Methods that the provider does not have are left out: those of capabilities that it lacks need not be there.
    """

    async def watch() -> object:
        async with aclosing(provider.watch("")) as watch:
            return await anext(watch)

    async def deregister() -> None:
        await provider.deregister()

    async def read_record() -> object:
        return await provider.read_record()

    me = member()
    requests: dict[str, dict[str, Request]] = {
        "": {"check": provider.check, "read": provider.read},
        "watch": {"watch": watch},
        "register": {
            "register": lambda: provider.register(me, LIFETIME_S),
            "renew": lambda: provider.renew(me, LIFETIME_S),
            "deregister": deregister,
        },
        "record": {
            "read_record": read_record,
            "write_record": lambda: provider.write_record(record(), ""),
        },
    }
    return {
        capability: [request for method, request in each.items() if hasattr(provider, method)]
        for capability, each in requests.items()
    }


class LifeConformance(ConformanceBase):
    """Capabilities, use at the same time, cancellation and `close`."""

    async def test_capabilities_say_what_it_can(self, provider: TopologyProvider) -> None:
        assert provider.capabilities.read_period_s >= 0.0
        for capability, requests in requests_of(provider).items():
            if capability and not getattr(provider.capabilities, capability):
                for request in requests:
                    await self.refused(request())
        await self.answer(provider.check())
        found = await self.answer(provider.read())
        if not provider.capabilities.details:
            assert not any(each.node_id or each.cluster or each.kinds for each in found.members)

    async def test_all_methods_at_once(self, provider: TopologyProvider) -> None:
        requests = [
            request
            for capability, each in requests_of(provider).items()
            if capability != "watch" and getattr(provider.capabilities, capability, True)
            for request in each
        ]
        await self.answer(asyncio.gather(*(request() for _ in range(10) for request in requests)))
        await self.answer(provider.read())

    async def test_a_cancelled_request_is_no_obstacle(self, provider: TopologyProvider) -> None:
        for capability, requests in requests_of(provider).items():
            if not getattr(provider.capabilities, capability, True):
                continue
            for request in requests:
                for turns in (0, 1, 2, 3, 5, 8, 20):
                    running = asyncio.ensure_future(request())
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    running.cancel()
                    await asyncio.wait([running], timeout=self.answer_s)
                    assert running.done()
                await self.answer(provider.read())
        if provider.capabilities.register:
            await self.answer(provider.register(me := member(), LIFETIME_S))
            assert (await self.answer(provider.read())).members == (me,)

    async def test_requests_on_their_way_end_when_it_is_closed(self, provider: TopologyProvider) -> None:
        running = [asyncio.ensure_future(provider.read()) for _ in range(10)]
        await asyncio.sleep(0)
        await self.answer(provider.close())
        outcomes = await self.answer(asyncio.gather(*running, return_exceptions=True))
        assert [
            each for each in outcomes if isinstance(each, BaseException) and not isinstance(each, ProviderError)
        ] == []

    async def test_a_closed_provider_refuses(self, provider: TopologyProvider) -> None:
        await self.answer(provider.read())
        for _ in range(2):
            await self.answer(provider.close())
        for requests in requests_of(provider).values():
            for request in requests:
                await self.refused(request())

    async def test_a_provider_that_was_not_used_can_be_closed(self, make: MakeProvider) -> None:
        await self.answer(make(0).close())


class ProviderConformance(
    RegistrationConformance, WatchConformance, RecordConformance, HistoryConformance, LifeConformance
):
    """Tests of the contract in `inaho.providers.base.TopologyProvider`; see the package and `ConformanceBase`."""
