"""Topics at least once in tests: what is published, and who has handled it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from inaho import Cluster, Message, Struct, Topic

__all__ = ["Handled", "Order", "logs", "make", "publish"]


class Order(Struct, frozen=True):
    """A message: the number of an order within its key."""

    key: str
    number: int


async def make(cluster: Cluster, name: str = "orders", **settings: Any) -> Topic[Order]:
    """The topic at least once, made if there is none."""
    return await cluster.topic(name, Order, delivery="at_least_once", **settings)


async def publish(topic: Topic[Order], keys: Iterable[str], count: int, first: int = 0) -> None:
    """Publishes `count` messages of each key; of one key one after another."""

    async def one(key: str) -> None:
        for number in range(first, first + count):
            await topic.publish(Order(key, number), key=key)

    await asyncio.gather(*(one(key) for key in keys))


class Handled:
    """The messages that consumers have handled, in their order."""

    def __init__(self) -> None:
        self.messages: list[Message[Order]] = []

    def add(self, message: Message[Order]) -> None:
        self.messages.append(message)

    def numbers(self, key: str) -> list[int]:
        """Of the messages of one key, each when it was first handled."""
        return list(dict.fromkeys(each.value.number for each in self.messages if each.key == key))

    def attempts(self, key: str, number: int) -> list[int]:
        """Of one message."""
        return [each.attempt for each in self.messages if each.value == Order(key, number)]

    def check(self, keys: Iterable[str], count: int) -> None:
        """Asserts that all messages were handled, in the order of each key."""
        for key in keys:
            assert self.numbers(key) == list(range(count)), f"{key}: {self.numbers(key)}"


def logs(cluster: Cluster) -> Any:
    """Delivery at least once on that node."""
    return cluster.runtime.topics.at_least_once
