"""A stream of topology that ends: what is told, what stays, and what is applied when it is back (SPEC BS-2.4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest

from inaho.errors import ProviderStreamFailed, ProviderUnreachable
from inaho.events import ProviderTerminated, ProvisioningUnavailable, SnapshotApplied
from inaho.providers.base import ProviderRead
from inaho.providers.memory import MemoryProvider
from support.fleet import up
from support.provided_fleet import ProvidedFleet
from support.waiting import until


class Watched(MemoryProvider):
    """Notes when each watch began; they end while `broken`."""

    def __init__(self, fleet: ProvidedFleet) -> None:
        super().__init__("memory", fleet.topology)
        self.began: list[float] = []
        self.broken = False

    async def watch(self, position: str) -> AsyncGenerator[ProviderRead | None]:
        self.began.append(asyncio.get_running_loop().time())
        if self.broken:
            raise ProviderStreamFailed("a test has ended the watch")
        async for found in super().watch(position):
            yield found


@pytest.mark.parametrize("source", ["gossip", "provider"])
async def test_bs_2_4_a_stream_that_ends_is_told_kept_and_begun_again(
    provided: ProvidedFleet, source: str, caplog: pytest.LogCaptureFixture
):
    config = provided.config
    provided.config = config.replace(
        membership=config.membership.replace(source=source),
        provisioning=config.provisioning.replace(read_period_s=30.0, errors_max=100, timeout_s=60.0),
    )
    provider = Watched(provided)
    first = await provided.member(providers=[provider])
    second = await provided.member()
    await provided.settled(first, second)
    events = provided.events(first, ProviderTerminated, ProvisioningUnavailable, SnapshotApplied)
    last, begun = provided.snapshot(first), len(provider.began)

    provider.broken = True
    with caplog.at_level(logging.WARNING, "inaho.node"):
        provided.topology.fail(ProviderUnreachable("a test says so"))
        await until(lambda: len(events) == 1)
    [ended] = events
    assert (ended.failure, ended.seq_no, ended.hash) == ("connectivity", last.seq_no, last.hash)
    assert (
        f"of provider memory was interrupted (connectivity): a test says so; snapshot {last.seq_no} stays"
        in caplog.text
    )
    assert provided.snapshot(first) is last
    assert len(up(first)) == 2
    assert await provided.answers(first) == {first.authority, second.authority}

    provided.topology.fail(None)
    await until(lambda: len(provider.began) >= begun + 3)  # it can be read again, and its watch ends each time
    pauses = [later - began for began, later in zip(provider.began[begun:], provider.began[begun + 1 :], strict=False)]
    assert min(pauses) >= 0.8 * config.provisioning.back_off_min_s  # the jitter takes up to a fifth
    assert provided.snapshot(first) is last
    provider.broken = False
    await until(lambda: provided.topology.watches == 2)
    provided.topology.block("10.7.7.7:7700")
    await until(lambda: provided.snapshot(first).seq_no == last.seq_no + 1)
    await until(lambda: first.blocked() == ("10.7.7.7:7700",))
    assert [event.seq_no for event in events if isinstance(event, SnapshotApplied)] == [last.seq_no + 1]
