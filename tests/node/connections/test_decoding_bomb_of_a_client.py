"""A client sends a small frame that would become large: its call is refused, and its connection goes on."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from inaho import Grain
from inaho.config import TransportConfig
from inaho.errors import InahoError
from inaho.runtime.messages.inbox import Inbox

CONTAINERS_MAX = TransportConfig().containers_max


class Row(Struct, array_like=True):
    """Nothing in it, and a hundred bytes all the same."""

    cells: dict[str, int] = {}
    names: list[str] = []


class Taker(Grain):
    """Takes what it is given."""

    async def anything(self, value: Any) -> Any:
        return value

    async def rows(self, value: list[Row]) -> list[Row]:
        return value


async def test_the_caller_of_a_bomb_is_refused_and_others_are_not(fleet: Any) -> None:
    cluster = await fleet.member(Taker)
    client = await fleet.client()
    many: list[Any] = [[] for _ in range(CONTAINERS_MAX + 1)]
    with pytest.raises(InahoError, match="containers_max") as caught:
        await client.grain(Taker, "k").anything(many)
    assert not caught.value.maybe_executed
    assert await client.grain(Taker, "k").anything(many[: CONTAINERS_MAX // 2]) == many[: CONTAINERS_MAX // 2]
    await client.grain(Taker, "k").rows([Row() for _ in range(100)])
    [connection] = [one for one in cluster._node.acceptor.connections if one.peer.role == "client"]
    assert not connection.closed and isinstance(connection.mail, Inbox)
