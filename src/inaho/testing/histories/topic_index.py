"""A history of topics by publishes and subscribers, for `topic_checkers`.

The order of records is kept as indexes in the history: two records of one time are in the order in which they were
written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_history import Died, Record
from inaho.testing.histories.topic_history import (
    DeadLettered,
    Delivered,
    DropTold,
    GapTold,
    Handled,
    Leaving,
    NotPublished,
    Published,
    Publishing,
    Subscribed,
    TailLost,
    Unsubscribed,
    Unsubscribing,
)

__all__ = ["NEVER", "IndexedHistory", "Publish", "Subscriber", "deliveries_of"]

NEVER: Final = 1 << 62
"""Index of a record that the history does not have."""


class Publish(msgspec.Struct):
    """One publish; `began` and `ended` are indexes in the history, `number` counts those of its publisher and topic."""

    record: Publishing
    number: int
    began: int
    ended: int = NEVER
    ended_at: float = float("inf")
    acknowledged: bool = False
    refused: bool = False


class Subscriber(msgspec.Struct):
    """One subscription of a process; indexes in the history."""

    record: Subscribed
    began: int
    ending: int = NEVER
    ending_at: float = float("inf")
    ended: int = NEVER
    deliveries: list[tuple[int, Delivered]] = []

    @property
    def group(self) -> tuple[str, str]:
        """Topic and name of the group."""
        return self.record.topic, self.record.group


class IndexedHistory:
    """A history, by publishes and subscribers."""

    def __init__(self, history: Iterable[Record]) -> None:
        self.publishes: dict[str, Publish] = {}
        self.subscribers: dict[str, Subscriber] = {}
        self.handled: list[tuple[int, Handled]] = []
        self.dead: set[tuple[str, str, int, int]] = set()
        self.gaps: list[GapTold] = []
        self.drops: list[DropTold] = []
        self.tails: list[TailLost] = []
        self.deaths: list[Died] = []
        """Without those that have left."""
        self.leaving: set[str] = set()
        self.last_at = 0.0
        numbers: Counter[tuple[str, str]] = Counter()
        for index, record in enumerate(history):
            self.last_at = record.at
            if isinstance(record, Publishing):
                numbers[record.publisher, record.topic] += 1
                number = numbers[record.publisher, record.topic]
                if record.message in self.publishes:
                    raise ValueError(f"{record} has the text of another message")
                self.publishes[record.message] = Publish(record, number, index)
            elif isinstance(record, Published | NotPublished):
                self._answered(index, record)
            elif isinstance(record, Subscribed):
                self.subscribers[record.subscriber] = Subscriber(record, index)
            elif isinstance(record, Delivered):
                self._subscriber(record, record.subscriber).deliveries.append((index, record))
            elif isinstance(record, Unsubscribing | Unsubscribed):
                self._ends(index, record, self._subscriber(record, record.subscriber))
            elif isinstance(record, Died | Leaving):
                if isinstance(record, Leaving):
                    self.leaving.add(record.node)
                elif record.node not in self.leaving:
                    self.deaths.append(record)
                for subscriber in self.subscribers.values():
                    if subscriber.record.node == record.node:
                        self._ends(index, record, subscriber)
            elif isinstance(record, Handled):
                self.handled.append((index, record))
            elif isinstance(record, DeadLettered):
                self.dead.add((record.topic, record.group, record.partition, record.offset))
            elif isinstance(record, GapTold):
                self.gaps.append(record)
            elif isinstance(record, DropTold):
                self.drops.append(record)
            elif isinstance(record, TailLost):
                self.tails.append(record)

    def _answered(self, index: int, record: Published | NotPublished) -> None:
        publish = self.publishes[record.message]
        publish.ended, publish.ended_at = index, record.at
        publish.acknowledged = isinstance(record, Published)
        publish.refused = isinstance(record, NotPublished) and not record.maybe

    def _subscriber(self, record: Record, name: str) -> Subscriber:
        if name not in self.subscribers:
            raise PromiseBroken("only_to_subscribers", f"{record}: nobody of that name has subscribed")
        return self.subscribers[name]

    def _ends(self, index: int, record: Record, subscriber: Subscriber) -> None:
        if subscriber.ending == NEVER:
            subscriber.ending, subscriber.ending_at = index, record.at
        if not isinstance(record, Unsubscribing | Leaving):
            subscriber.ended = min(subscriber.ended, index)

    def shares_node(self, subscriber: Subscriber) -> bool:
        """Whether messages at most once were on their way to its node already when it began: for others, or clients."""
        own = subscriber.record
        return not own.group and (
            own.client
            or any(
                each.began < subscriber.began < each.ended
                and (each.record.node, each.record.topic, each.record.group) == (own.node, own.topic, "")
                for each in self.subscribers.values()
            )
        )

    def at_most_once(self) -> list[Subscriber]:
        """Subscribers without a group."""
        return [subscriber for subscriber in self.subscribers.values() if not subscriber.record.group]

    def groups(self) -> dict[tuple[str, str], list[Subscriber]]:
        """Subscribers of each group, in their order."""
        found: dict[tuple[str, str], list[Subscriber]] = defaultdict(list)
        for subscriber in self.subscribers.values():
            if subscriber.record.group:
                found[subscriber.group].append(subscriber)
        return found

    def first_handled(self) -> dict[tuple[str, str, str], int]:
        """When a message was handled first, by topic, group and message."""
        found: dict[tuple[str, str, str], int] = {}
        for index, record in self.handled:
            subscriber = self._subscriber(record, record.subscriber)
            found.setdefault((*subscriber.group, record.message), index)
        return found


def deliveries_of(members: Iterable[Subscriber]) -> list[tuple[int, Delivered]]:
    """All deliveries to these subscribers, in the order of the history."""
    return sorted((each for member in members for each in member.deliveries), key=lambda each: each[0])
