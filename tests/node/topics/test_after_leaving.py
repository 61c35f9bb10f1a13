"""On a node that has left, topics of either delivery and durable sends raise `ShuttingDown`, at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inaho.actor import Actor, Props
from inaho.errors import InahoError, ShuttingDown
from support.durable_sends import Cart
from support.durable_topics import Order, make


async def start(subscription: Any) -> None:
    async with subscription:
        raise AssertionError("the subscription has begun")


async def outcome(call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        async with asyncio.timeout(1.0):
            return await call()
    except (InahoError, TimeoutError) as error:
        return error


@pytest.mark.parametrize("end", ["leave", "close"])
@pytest.mark.parametrize("place", ["member", "client"])
async def test_a_node_that_has_left_takes_nothing_more_for_topics(fleet: Any, place: str, end: str):
    _, member = await fleet.members(2, Cart)
    cluster = member if place == "member" else await fleet.client()
    logged = await make(cluster)
    direct = await cluster.topic("direct", Order, allow_no_subscribers=True)
    cart = cluster.grain(Cart, "a")
    actor = cluster.system.spawn(Props(Actor))
    early = [logged.subscribe("early"), direct.subscribe(), logged.replay()]
    for topic in (logged, direct):
        await topic.publish(Order("a", 1))
    await getattr(cluster, end)()
    order = Order("a", 2)
    refused: dict[str, Callable[[], Awaitable[Any]]] = {
        "publish at least once": lambda: logged.publish(order),
        "publish at most once": lambda: direct.publish(order),
        "subscribe at least once": lambda: start(logged.subscribe("late")),
        "subscribe at most once": lambda: start(direct.subscribe()),
        "a handler": lambda: start(logged.subscribe("late", handler=direct.publish)),
        "replay": lambda: start(logged.replay()),
        "deliver_to": lambda: direct.deliver_to(actor),
        "send": lambda: cluster.send(cart.add, "apple", durable=True),
        "find": lambda: cluster.topic("direct"),
        "create": lambda: cluster.topic("new", Order),
        "delete": lambda: cluster.delete_topic("direct"),
        **{f"begin {each!r}": lambda each=each: start(each) for each in early},
    }
    for what, call in refused.items():
        assert isinstance(await outcome(call), ShuttingDown), what
    assert [each.name for each in await fleet.clusters[0].topics()] == ["direct", "orders"]
