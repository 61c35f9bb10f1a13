"""Counts the messages of one node, by topic, and reports drops as events.

A count is a plain number that code on the fast path adds to once per batch. Drops are gathered per topic, reason and
place, and told with the next tick of the node, so that a flood of drops is not a flood of events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from inaho.core.rpc.throttle import OTHER
from inaho.events import Event, MessagesDropped

__all__ = ["DropReports", "TopicCounts", "TopicNumbers"]

LATENCIES_MAX: Final = 256


class TopicNumbers:
    """The numbers of one topic on this node, or of several together.

    Attributes:
        published: messages published by this node; at least once, those that are stored.
        published_bytes: their encoded bytes.
        batches: batches published by this node.
        received: messages that have arrived here, from this node or others.
        delivered: messages given to subscriptions here, each subscription counted.
        redelivered: of these, those that are not the first delivery, at least once.
        dropped: messages that were dropped, by reason; once for each node or subscription that did not get them.
        gaps: gaps in what has arrived.
        missed: messages in those gaps.
        latencies_s: the latest samples of the time from `publish` to the arrival, one per batch; at least once it
            includes the log. The clocks of two machines may differ.
    """

    __slots__ = (
        "batches",
        "delivered",
        "dropped",
        "gaps",
        "latencies_s",
        "missed",
        "published",
        "published_bytes",
        "received",
        "redelivered",
    )

    def __init__(self) -> None:
        self.published = 0
        self.published_bytes = 0
        self.batches = 0
        self.received = 0
        self.delivered = 0
        self.redelivered = 0
        self.dropped: dict[str, int] = {}
        self.gaps = 0
        self.missed = 0
        self.latencies_s: deque[float] = deque(maxlen=LATENCIES_MAX)


class TopicCounts:
    """The numbers of all topics of one node.

    Args:
        topics_max: topics that have numbers of their own (`pubsub.labels_max`).

    Attributes:
        topics: numbers by topic.
        others: of all further topics together.
    """

    def __init__(self, topics_max: int) -> None:
        self.topics: dict[str, TopicNumbers] = {}
        self.others = TopicNumbers()
        self._topics_max = topics_max

    def of(self, topic: str) -> TopicNumbers:
        """The numbers of a topic."""
        numbers = self.topics.get(topic)
        if numbers is None:
            if len(self.topics) >= self._topics_max or topic == OTHER:
                return self.others
            numbers = self.topics[topic] = TopicNumbers()
        return numbers

    def label(self, topic: str) -> str:
        """Under which name the topic is counted."""
        return OTHER if self.of(topic) is self.others else topic


class DropReports:
    """Gathers drops until the next tick, then publishes them as events.

    Args:
        counts: where they are counted.
        publish: publishes an event.
    """

    def __init__(self, counts: TopicCounts, publish: Callable[[Event], None]) -> None:
        self._counts = counts
        self._publish = publish
        self._dropped: dict[tuple[str, str, str, str], int] = {}

    def dropped(self, topic: str, reason: str, count: int, authority: str, subscription: str = "") -> None:
        """Messages were dropped; the arguments are those of `MessagesDropped`."""
        numbers = self._counts.of(topic).dropped
        numbers[reason] = numbers.get(reason, 0) + count
        key = (topic, reason, authority, subscription)
        self._dropped[key] = self._dropped.get(key, 0) + count

    def tell(self) -> None:
        """Publishes what was gathered."""
        if not self._dropped:
            return
        gathered, self._dropped = self._dropped, {}
        for (topic, reason, authority, subscription), count in gathered.items():
            self._publish(
                MessagesDropped(topic=topic, reason=reason, count=count, authority=authority, subscription=subscription)
            )
