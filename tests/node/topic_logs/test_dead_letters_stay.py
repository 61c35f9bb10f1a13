"""Dead letters stay in their topic until a subscription has taken them, also when no subscription exists."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import inaho
from inaho.storage import SqliteStorage

WAIT_S = 30.0


async def save_and_trim(topic: inaho.Topic[Any]) -> None:
    """A subscription that comes and goes makes the keeper save, and a trim follows a save."""
    async with topic.subscribe("visitor"):
        pass
    assert await topic.delete_subscription("visitor")


async def test_dead_letters_without_a_subscription_are_kept(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"delivery": "at_least_once", "partitions": 1, "dedup_s": 0.0}
    async with (
        asyncio.timeout(WAIT_S),
        inaho.join("127.0.0.1:0", grains=[], storage=SqliteStorage(tmp_path / "state.db")) as cluster,
    ):
        orders = await cluster.topic("orders", int, attempts_max=1, **settings)
        letters = await cluster.topic(orders.definition.dead_letters, **settings)
        others = await cluster.topic("others", int, **settings)
        async with orders.subscribe("work", start="earliest") as messages:
            await orders.publish(5)
            await (await anext(messages)).retry(0.01, "no rice")
            while (await letters.partition(0)).end == 0:
                await asyncio.sleep(0.02)
        await save_and_trim(letters)
        await others.publish(1)
        await save_and_trim(others)
        while (await others.partition(0)).first == 0:  # what nobody needs is removed
            await asyncio.sleep(0.02)
        assert ((await letters.partition(0)).first, (await letters.partition(0)).end) == (0, 1)
        async with letters.subscribe("reader", start="earliest") as again:
            message = await anext(again)
            assert message.value["value"] == 5
            await message.ack()
            while (await letters.partition(0)).first == 0:  # it was handled, so it is needed no more
                await asyncio.sleep(0.02)
