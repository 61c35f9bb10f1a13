"""The stream of a provider that a program has made with mistakes: each is a failure, and the stream goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from inaho.config import ProvisioningConfig
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderStreamFailed
from inaho.providers.base import ProviderRead
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.providers.stream import ProviderStream
from inaho.testing.simulation.virtual_loop import VirtualLoop
from support.provider_streams import Observer

ME = ProviderMember("10.0.0.1:7700", "a", cluster="shop")
LIMIT_S = 60.0


class Strange(MemoryProvider):
    """Has the mistake, until it is taken away."""

    mistake: tuple[str, Any] | None = None

    def __getattribute__(self, name: str) -> Any:
        mistake = super().__getattribute__("mistake")
        return mistake[1] if mistake is not None and mistake[0] == name else super().__getattribute__(name)


def raises_at_once(*_: object) -> None:
    raise ValueError("a mistake")


def takes_nothing() -> None: ...


async def raises_cancelled(*_: object) -> None:
    raise asyncio.CancelledError


async def yields_text(_: str) -> AsyncGenerator[str]:
    yield "something"


async def cancels_itself(_: str) -> AsyncGenerator[None]:
    raise asyncio.CancelledError
    yield


async def always_yields(_: str) -> AsyncGenerator[None]:
    while True:
        yield None


def reads(found: object) -> Any:
    async def read() -> object:
        return found

    return read


@pytest.mark.parametrize(
    "mistake",
    [
        ("read", raises_at_once),
        ("read", raises_cancelled),
        ("read", reads(None)),
        ("read", reads(ProviderRead(("10.0.0.2:1",)))),  # type: ignore[arg-type]
        ("read", reads(ProviderRead((), (5,)))),  # type: ignore[arg-type]
        ("register", raises_at_once),
        ("register", takes_nothing),
        ("register", raises_cancelled),
        ("renew", takes_nothing),
        ("watch", raises_at_once),
        ("watch", reads(None)),
        ("watch", yields_text),
        ("watch", cancels_itself),
    ],
)
def test_a_mistake_of_a_provider_is_a_failure_and_does_not_end_its_stream(mistake: tuple[str, Any]) -> None:
    async def scenario() -> None:
        topology, observer = MemoryTopology(), Observer()
        provider = Strange("own", topology)
        stream = ProviderStream(provider, ProvisioningConfig(), observer, lambda: 0.0, lambda: ME)
        provider.mistake = mistake
        task = asyncio.ensure_future(stream.run())
        await observer.until(lambda: observer.failures, LIMIT_S)
        assert all(isinstance(error, ProviderStreamFailed) for _, error in observer.failures)
        provider.mistake = None
        observer.reads.clear()
        await observer.until(lambda: observer.members == {ME.authority}, LIMIT_S)
        assert not task.done()
        watches = topology.watches
        await observer.until(lambda: topology.watches or watches, LIMIT_S)
        task.cancel()
        await asyncio.wait([task])

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


def test_a_watch_that_never_waits_lets_others_run() -> None:
    async def scenario() -> None:
        observer = Observer()
        provider = Strange("own", MemoryTopology())
        provider.mistake = "watch", always_yields
        stream = ProviderStream(provider, ProvisioningConfig(), observer, lambda: 0.0, lambda: ME)
        task = asyncio.ensure_future(stream.run())
        while len(observer.signs) < 10:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(asyncio.wait_for(scenario(), LIMIT_S))
