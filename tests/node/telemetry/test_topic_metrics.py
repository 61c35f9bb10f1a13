"""Metrics of topics: what was published, delivered and dropped, how long it took, and what is the limit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho.config import PubSubConfig
from inaho.core.pubsub.bottlenecks import STAGES
from support.metrics import Figures, Wallet, shown


def of(figures: Figures, topic: str) -> dict[tuple[str, ...], float]:
    """The values of one topic, by the other labels."""
    return {labels[1:]: value for labels, value in figures.items() if labels[0] == topic}


async def test_messages_are_counted_where_they_are_published_and_where_they_come(fleet: Any, eventually: Any):
    here, there = await fleet.members(2)
    prices = await here.topic("prices", int, delivery="at_most_once")
    async with (await there.topic("prices", int)).subscribe() as one, (await there.topic("prices", int)).subscribe():
        for price in range(5):
            await prices.publish(price)
        for price in range(5):
            assert (await anext(one)).value == price
        mine, theirs = shown(here), shown(there)
        assert of(mine["inaho.topic.published"], "prices") == {(): 5}
        assert of(mine["inaho.topic.received"], "prices") == {(): 0}
        assert of(theirs["inaho.topic.published"], "prices") == {(): 0}
        assert of(theirs["inaho.topic.received"], "prices") == {(): 5}
        assert of(theirs["inaho.topic.delivered"], "prices") == {(): 10}
        assert of(theirs["inaho.topic.missed"], "prices") == {(): 0}
        latency = of(theirs["inaho.topic.latency.quantile"], "prices")
        assert set(latency) == {("0.5",), ("0.99",)}
        assert 0 <= latency["0.5",] <= latency["0.99",] < 60
        publishes = asyncio.ensure_future(publish_until_stopped(prices))
        await eventually(lambda: of(shown(here)["inaho.topic.bottleneck"], "prices").get(("publisher",)) == 1)
        assert set(of(shown(here)["inaho.topic.bottleneck"], "prices")) == {(stage,) for stage in STAGES}
        publishes.cancel()
        await eventually(lambda: of(shown(here)["inaho.topic.bottleneck"], "prices") == {})


async def publish_until_stopped(topic: Any) -> None:
    while True:
        await topic.publish(1)
        await asyncio.sleep(0.01)


async def test_a_subscriber_that_is_too_slow_is_counted_and_named(fleet: Any, eventually: Any):
    cluster = await fleet.member()
    topic = await cluster.topic("slow", int, delivery="at_most_once")
    async with topic.subscribe(window=2):
        publishes = asyncio.ensure_future(publish_until_stopped(topic))
        await eventually(lambda: of(shown(cluster)["inaho.topic.bottleneck"], "slow").get(("subscriber",)) == 1)
        publishes.cancel()
        await asyncio.wait([publishes])
        figures = shown(cluster)
        published = of(figures["inaho.topic.published"], "slow")[()]
        assert of(figures["inaho.topic.dropped"], "slow") == {("slow_subscriber",): published - 2}
        assert of(figures["inaho.topic.bottleneck"], "slow")["publisher",] == 0


async def test_redeliveries_dead_letters_and_lag_of_a_topic_at_least_once(fleet: Any, eventually: Any):
    here, there = await fleet.members(2)
    orders = await here.topic(
        "orders", int, delivery="at_least_once", partitions=1, attempts_max=2, retry_base_s=0.01, retry_max_s=0.01
    )

    def total(name: str) -> float:
        return sum(of(shown(cluster)[f"inaho.topic.{name}"], "orders").get((), 0) for cluster in (here, there))

    async with (await there.topic("orders", int)).subscribe(name="billing") as messages:
        for order in range(3):
            await orders.publish(order)
        assert of(shown(here)["inaho.topic.published"], "orders") == {(): 3}
        await eventually(lambda: total("lag") == 3)
        for _ in range(4):
            message = await anext(messages)
            if message.value == 0:
                await message.retry(reason="not now")
            else:
                await message.ack()
        await eventually(lambda: total("lag") == 0)
        await eventually(lambda: total("dead_lettered") == 1)
        figures = shown(there)
        assert of(figures["inaho.topic.delivered"], "orders") == {(): 4}
        assert of(figures["inaho.topic.redelivered"], "orders") == {(): 1}
        assert set(of(figures["inaho.topic.latency.quantile"], "orders")) == {("0.5",), ("0.99",)}


@pytest.mark.parametrize(
    ("topics", "labels"),
    [
        (("first", "second", "third", "fourth"), ("first", "second", "other", "other")),
        (("other", "second", "third", "fourth"), ("other", "second", "third", "other")),
    ],
)
async def test_further_topics_are_counted_together(fleet: Any, topics: tuple[str, ...], labels: tuple[str, ...]):
    cluster = await fleet.member(pubsub=PubSubConfig(labels_max=2))
    for topic in topics:
        handle = await cluster.topic(topic, int, delivery="at_most_once", allow_no_subscribers=True)
        await handle.publish(1)
        await asyncio.sleep(0)  # the batch leaves
    published = shown(cluster)["inaho.topic.published"]
    assert published == {(label,): labels.count(label) for label in labels}


async def test_logs_of_the_storage_are_counted(fleet: Any):
    cluster = await fleet.member(Wallet)
    await cluster.grain(Wallet, "opens the storage").put(1)
    log = fleet.storage.log
    await log.open_log("a/0", epoch=1)
    await log.append("a/0", [b"x", b"y"], offset=0, epoch=1)
    await log.read("a/0", 0, records_max=1)
    figures = shown(cluster)
    assert figures["inaho.storage.log.appends"] == {(): log.appends}
    assert figures["inaho.storage.log.records"] == {(): log.records}
    assert log.records > log.appends > 0
    assert figures["inaho.storage.log.reads"] == {(): log.reads}
    assert log.reads > 0


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
async def test_each_metric_of_topics_has_values_on_two_nodes_over_tcp(fleet: Any, eventually: Any, delivery: str):
    fleet.over = "tcp"
    here, there = await fleet.members(2)
    logged = {"partitions": 1, "attempts_max": 2, "retry_base_s": 0.01} if delivery == "at_least_once" else {}
    topic = await here.topic("both", int, delivery=delivery, **logged)
    seen: set[str] = set()

    def all_seen() -> bool:
        for cluster in (here, there):
            figures = {name: each for name, each in shown(cluster).items() if name.startswith("inaho.topic.")}
            seen.update(name for name, each in figures.items() if of(each, "both"))
        return seen >= wanted

    everywhere = {"published", "received", "delivered", "redelivered", "missed", "latency.quantile", "bottleneck"}
    own = {"lag", "dead_lettered"} if logged else {"dropped"}
    wanted = {f"inaho.topic.{name}" for name in everywhere | own}
    window = {} if logged else {"window": 1}
    async with (await there.topic("both", int)).subscribe(name="reader", **window) as messages:
        publishes = asyncio.ensure_future(publish_until_stopped(topic))
        for _ in range(2 if logged else 0):
            await (await anext(messages)).retry(reason="not now")
        await eventually(all_seen)
        publishes.cancel()
        await asyncio.wait([publishes])
