"""Looks, ten times a second, which stages of the topics of this node are saturated; see `core.pubsub.bottlenecks`.

A subscriber at most once that is too slow is seen by what it drops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inaho.core.pubsub.bottlenecks import LOG, NETWORK, SUBSCRIBER, Bottlenecks, TopicTotals
from inaho.runtime.topic_logs.keeper import TopicLogKeeper
from inaho.runtime.topic_logs.keeper_messages import KEEPER, partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from inaho.core.pubsub.bottlenecks import Bottleneck
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.topic_logs.at_least_once import AtLeastOnce
    from inaho.runtime.topic_logs.topic_counts import TopicCounts
    from inaho.runtime.topics.at_most_once import AtMostOnce

__all__ = ["TopicLoad"]

PERIOD_S: Final = 1.0

BEHIND_MIN: Final = 1024
"""A subscription at least once that is so many messages behind limits its topic."""


class TopicLoad:
    """What limits the topics of one node that have numbers of their own.

    Args:
        counts: numbers of topics.
        at_most_once: delivery; None if this node has none.
        at_least_once: delivery.
        hosts: of the kinds of this node; that of the keepers knows how far subscribers are behind.

    Attributes:
        counts: as given.
    """

    def __init__(
        self,
        counts: TopicCounts,
        at_most_once: AtMostOnce | None,
        at_least_once: AtLeastOnce,
        hosts: Mapping[str, KindHost],
    ) -> None:
        self.counts = counts
        self._at_most_once = at_most_once
        self._at_least_once = at_least_once
        self._hosts = hosts
        self._bottlenecks = Bottlenecks()
        self._period_end = 0.0

    @property
    def bottlenecks(self) -> dict[str, Bottleneck]:
        """What limited each topic within the last second."""
        return self._bottlenecks.current

    def lags(self) -> dict[str, int]:
        """Messages in partitions that are kept on this node and that the slowest subscription has not settled."""
        found: dict[str, int] = {}
        keepers = self._hosts.get(KEEPER)
        for keeper in () if keepers is None else keepers.activations.values():
            if isinstance(keeper, TopicLogKeeper):
                topic, _ = partition_of(keeper.key)
                label = self.counts.label(topic)
                found[label] = found.get(label, 0) + keeper.lag
        return found

    def tick(self, now: float) -> None:
        """Called ten times a second."""
        topics = self.counts.topics
        if not topics:
            return
        self._bottlenecks.sample(self._saturated())
        if now >= self._period_end:
            self._period_end = now + PERIOD_S
            behind = {topic: lag for topic, lag in self.lags().items() if lag >= BEHIND_MIN}
            self._bottlenecks.decide(
                {
                    topic: TopicTotals(numbers.published + numbers.delivered, numbers.dropped)
                    for topic, numbers in topics.items()
                },
                behind,
            )

    def _saturated(self) -> Iterator[tuple[str, str]]:
        at_most_once, at_least_once = self._at_most_once, self._at_least_once
        if at_most_once is not None:
            for topic in self.counts.topics:
                if at_most_once.outlets.stalls(topic):
                    yield topic, NETWORK
        for topic in at_least_once.waiting_for_logs():
            yield topic, LOG
        for topic in at_least_once.crowded():
            yield topic, SUBSCRIBER
