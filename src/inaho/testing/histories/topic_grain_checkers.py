"""Checks that a loss of messages at most once for grains is told.

A grain has no place where a loss could be told to it: the member that passes messages on is another one than that of
the grain, and both change. So this judges the whole cluster; `topic_checkers` has what holds for each subscriber.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_history import Record
from inaho.testing.histories.topic_index import IndexedHistory, Publish

__all__ = ["grain_losses_told"]


def grain_losses_told(
    history: Iterable[Record], within_s: float, *, methods: Iterable[str], until: float | None = None
) -> Counter[str]:
    """At most once: if a message does not reach its grain, some node tells of a loss, or died.

    Any gap or unknown tail of the publisher, and any drop in the topic, near the time of the publish explains it, and
    so does the death of a node. That is weak during a storm of faults, and exact without.

    Args:
        history: the messages to be judged were published `within_s` before its end.
        within_s: seconds, as for `losses_told`.
        methods: subscriptions of grains that are effective in the whole history.
        until: when the history ends, seconds; with its last record unless given.

    Returns:
        How many messages were `delivered`, `told`, or `too late` to be judged.
    """
    indexed = IndexedHistory(history)
    end_at = indexed.last_at if until is None else until
    judged: Counter[str] = Counter()
    for method in methods:
        listeners = [each for each in indexed.at_most_once() if each.record.method == method]
        seen = {delivery.message for each in listeners for _, delivery in each.deliveries}
        topics = {each.record.topic for each in listeners}
        for message, publish in indexed.publishes.items():
            if publish.record.topic not in topics or not publish.acknowledged:
                continue
            if message in seen:
                judged["delivered"] += 1
            elif publish.ended_at + within_s > end_at:
                judged["too late"] += 1
            elif _explained(indexed, publish, within_s):
                judged["told"] += 1
            else:
                raise PromiseBroken("grain_losses_told", f"{method} has not got {publish.record}, and nobody tells why")
    return judged


def _explained(indexed: IndexedHistory, publish: Publish, within_s: float) -> bool:
    topic, publisher = publish.record.topic, publish.record.publisher
    times = [drop.at for drop in indexed.drops if drop.topic == topic]
    whose = ("", publisher)
    times += [
        gap.at for gap in indexed.gaps if gap.topic == topic and (gap.publisher in whose or publish.record.client)
    ]
    times += [
        tail.at
        for tail in indexed.tails
        if tail.topic in ("", topic) and (tail.publisher in whose or publish.record.client)
    ]
    times += [death.at for death in indexed.deaths]
    return any(publish.record.at - within_s <= at <= publish.ended_at + within_s for at in times)
