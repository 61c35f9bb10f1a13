"""A line of calls whose connection ends before its first call is sent: it goes on with another connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from inaho import Grain
from inaho.runtime.connections.outgoing import Outgoing


class Echo(Grain):
    async def echo(self, number: int) -> int:
        return number


def at_once(end: Callable[[], None]) -> None:
    end()


def after_the_first_call_is_released(end: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(end)  # it comes before the call, which is woken later in the same step


@pytest.mark.parametrize("when", [at_once, after_the_first_call_is_released])
async def test_the_connection_ends_before_the_first_call(fleet: Any, monkeypatch: Any, when: Callable[..., None]):
    await fleet.member(Echo)
    client = await fleet.client()
    assert await client.grain(Echo, "a").echo(1) == 1
    context = client.context
    ended: list[Outgoing] = []
    reach = context.resolver.reach

    async def reach_one_that_ends(*arguments: Any, **named: Any) -> Outgoing | None:
        connection: Outgoing | None = await reach(*arguments, **named)
        if connection is not None and not ended:
            ended.append(connection)
            when(connection.close)
        return connection

    monkeypatch.setattr(context.resolver, "reach", reach_one_that_ends)
    context.order.hold(client.runtime.hosts["Echo"], "a")
    assert await asyncio.gather(*(client.grain(Echo, "a").echo(number) for number in range(5))) == [0, 1, 2, 3, 4]
    assert len(ended) == 1
    assert context.retries <= 1
