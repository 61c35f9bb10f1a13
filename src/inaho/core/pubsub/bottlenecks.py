"""Names what limits each topic on one node: its publisher, the network, the log or a subscriber.

A stage is saturated while the one before it has to wait for it, or messages are dropped because of it. That is sampled
several times in a period: a stage that is saturated in half of the samples, or for which messages were dropped, limits
the topic. When several are, the one nearest to the subscriber counts, since the others may only wait for it. If
messages move and no stage is saturated, the publisher is the limit: all else could do more.

Why not the stage with the longest delay: a batch waits somewhere also when nothing is slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

__all__ = ["LOG", "NETWORK", "PUBLISHER", "STAGES", "SUBSCRIBER", "Bottlenecks", "TopicTotals"]

PUBLISHER: Final = "publisher"
NETWORK: Final = "network"
LOG: Final = "log"
SUBSCRIBER: Final = "subscriber"

STAGES: Final = (PUBLISHER, NETWORK, LOG, SUBSCRIBER)
"""From the publisher to the subscriber."""

DROP_STAGES: Final = {
    "slow_subscriber": SUBSCRIBER,
    "backlog": SUBSCRIBER,
    "slow_node": NETWORK,
    "cut_off": NETWORK,
    "cut_off_queue_full": NETWORK,
    "cut_off_too_long": NETWORK,
}
"""The stage that each reason for a drop is about; the other reasons are about messages, not about speed."""


class TopicTotals(msgspec.Struct, frozen=True):
    """What a topic has done so far on this node.

    Attributes:
        moved: messages published and delivered.
        dropped: messages dropped, by reason.
    """

    moved: int
    dropped: Mapping[str, int]


_NOTHING: Final = TopicTotals(0, {})


class Bottlenecks:
    """The bottleneck of each topic, decided once per period.

    Attributes:
        current: the stage that limited each topic in the last period; topics without messages are left out.
    """

    def __init__(self) -> None:
        self.current: dict[str, str] = {}
        self._samples = 0
        self._saturated: dict[tuple[str, str], int] = {}
        self._before: dict[str, TopicTotals] = {}

    def sample(self, saturated: Iterable[tuple[str, str]]) -> None:
        """Which stages are saturated now, each with its topic."""
        self._samples += 1
        for each in dict.fromkeys(saturated):
            self._saturated[each] = self._saturated.get(each, 0) + 1

    def decide(self, totals: Mapping[str, TopicTotals], always: Iterable[tuple[str, str]] = ()) -> None:
        """A period ends.

        Args:
            totals: by topic. Topics that are not in it are left out.
            always: stages that were saturated in the whole period, each with its topic.
        """
        whole = set(always)
        decided: dict[str, str] = {}
        for topic, total in totals.items():
            before = self._before.get(topic, _NOTHING)
            stage = PUBLISHER if total.moved > before.moved else ""
            dropped = {
                DROP_STAGES.get(reason)
                for reason, count in total.dropped.items()
                if count > before.dropped.get(reason, 0)
            }
            for later in STAGES[1:]:
                held = later in dropped or (topic, later) in whole
                if held or 2 * self._saturated.get((topic, later), 0) >= max(1, self._samples):
                    stage = later
            if stage:
                decided[topic] = stage
        self.current = decided
        self._before = {topic: TopicTotals(each.moved, dict(each.dropped)) for topic, each in totals.items()}
        self._samples = 0
        self._saturated.clear()
