"""Publishers and readers that record what they do, for `topic_checkers`.

Each runs in a task of the process that it publishes or subscribes in, and ends with it. A message is a text that no
other message of the history has.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from inaho.errors import InahoError, SubscriptionLost
from inaho.testing.histories.grain_history import Journal
from inaho.testing.histories.topic_history import (
    Delivered,
    Handled,
    NotPublished,
    Published,
    Publishing,
    Subscribed,
    Unsubscribed,
    Unsubscribing,
)

if TYPE_CHECKING:
    from inaho.core.pubsub.message import Message
    from inaho.runtime.topics.topic import Topic

__all__ = ["TopicPublisher", "TopicReader", "delivered"]

Handler = Callable[["Message[str]"], Awaitable[bool]]
"""Handles a message; whether it is done. If not, it is given back, and comes again."""


def delivered(journal: Journal, topic: str, subscriber: str, message: Message[str]) -> Delivered:
    """The record of a message that a subscriber gets now."""
    return Delivered(
        at=journal.now(),
        topic=topic,
        subscriber=subscriber,
        message=message.value,
        key=message.key,
        publisher=message.publisher,
        sequence=message.sequence,
        partition=message.partition,
        attempt=message.attempt,
        missed=message.missed,
    )


class TopicPublisher:
    """Publishes to one topic, one message after the other.

    Args:
        journal: is told.
        topic: whose messages are texts.
        node: node id of the process that publishes.
        name: makes messages unique: no other publisher of the history has it, and it has no slash.
        client: the process is a client.

    Attributes:
        published, failed: publishes so far.
    """

    def __init__(self, journal: Journal, topic: Topic[str], node: str, name: str, *, client: bool = False) -> None:
        self.published = 0
        self.failed = 0
        self._journal = journal
        self._topic = topic
        self._node = node
        self._name = name
        self._client = client
        self._numbers = itertools.count()

    async def publish(self, key: str = "") -> InahoError | None:
        """One message; what its publish failed with, if it did. Its text ends with `/` and the key, if it has one."""
        journal, topic = self._journal, self._topic
        message = f"{self._name}-{next(self._numbers)}" + (f"/{key}" if key else "")
        journal.write(
            Publishing(
                at=journal.now(), topic=topic.name, publisher=self._node, message=message, key=key, client=self._client
            )
        )
        try:
            await topic.publish(message, key=key)
        except InahoError as error:
            self.failed += 1
            journal.write(NotPublished(at=journal.now(), message=message, code=error.code, maybe=error.maybe_executed))
            return error
        self.published += 1
        journal.write(Published(at=journal.now(), message=message))
        return None


class TopicReader:
    """Reads one topic, with one subscription after the other: one that is lost is followed by a new one.

    Args:
        journal: is told.
        topic: whose messages are texts.
        node: node id of the process that reads.
        name: makes subscribers unique: no other reader of the history has it.
        group: at least once: name of the subscription.
        handle: is called with each message; None handles at once.
        pause_s: before the next attempt to subscribe.
        window, slow: see `Topic.subscribe`. A group begins with the oldest message.
        client: the process is a client.

    Attributes:
        received: messages so far.
    """

    def __init__(
        self,
        journal: Journal,
        topic: Topic[str],
        node: str,
        name: str,
        *,
        group: str = "",
        handle: Handler | None = None,
        pause_s: float = 0.2,
        window: int | None = None,
        slow: str = "drop_oldest",
        client: bool = False,
    ) -> None:
        self.received = 0
        self._journal = journal
        self._topic = topic
        self._node = node
        self._name = name
        self._group = group
        self._handle = handle
        self._pause_s = pause_s
        self._window = window
        self._slow = slow
        self._client = client
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Reads until it is cancelled."""
        while True:
            try:
                await self._read(f"{self._name}-{next(self._numbers)}")
            except InahoError:  # the end of the subscription is recorded
                await asyncio.sleep(self._pause_s)

    async def _read(self, subscriber: str) -> None:
        journal, topic = self._journal, self._topic
        since = journal.now()
        start = "earliest" if self._group else "latest"
        async with topic.subscribe(self._group, window=self._window, slow=self._slow, start=start) as messages:
            journal.write(
                Subscribed(
                    at=journal.now(),
                    topic=topic.name,
                    subscriber=subscriber,
                    node=self._node,
                    since=since,
                    group=self._group,
                    earliest=start == "earliest",
                    client=self._client,
                )
            )
            try:
                async for message in messages:
                    await self._take(subscriber, message)
            finally:
                journal.write(Unsubscribing(at=journal.now(), subscriber=subscriber))
        journal.write(Unsubscribed(at=journal.now(), subscriber=subscriber))

    async def _take(self, subscriber: str, message: Message[str]) -> None:
        journal = self._journal
        self.received += 1
        journal.write(delivered(journal, self._topic.name, subscriber, message))
        done = self._handle is None or await self._handle(message)
        try:
            if not done:
                await message.retry(reason="not this time")
            elif self._group:
                journal.write(Handled(at=journal.now(), subscriber=subscriber, message=message.value))
                await message.ack()
        except SubscriptionLost:  # the time to acknowledge had passed: it comes again
            pass
