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

__all__ = [
    "BEHIND",
    "FULL",
    "LOG",
    "MOVED",
    "NETWORK",
    "PUBLISHER",
    "STAGES",
    "SUBSCRIBER",
    "Bottleneck",
    "Bottlenecks",
    "TopicTotals",
]

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

MOVED: Final = "moved"
FULL: Final = "full"
BEHIND: Final = "behind"

_TEXTS: Final = {
    (PUBLISHER, MOVED): "{} published or delivered in 1 s",
    (NETWORK, FULL): "a node read too slowly {} % of 1 s",
    (NETWORK, "slow_node"): "{} dropped: node reads too slowly",
    (NETWORK, "cut_off"): "{} dropped: node is cut off",
    (NETWORK, "cut_off_queue_full"): "{} dropped: queue of cut-off full",
    (NETWORK, "cut_off_too_long"): "{} dropped: cut off for too long",
    (LOG, FULL): "messages wait for log {} % of 1 s",
    (SUBSCRIBER, FULL): "window half full {} % of 1 s",
    (SUBSCRIBER, BEHIND): "{} messages are not settled",
    (SUBSCRIBER, "slow_subscriber"): "{} dropped: subscriber too slow",
    (SUBSCRIBER, "backlog"): "{} dropped: backlog is full",
}
"""Short, so that they fit beside two other columns in a terminal of 80 columns."""


class Bottleneck(msgspec.Struct, frozen=True):
    """What limited a topic in the last period, and the figure that shows it.

    Attributes:
        stage: one of `STAGES`.
        because: `moved`: messages moved, and no other stage was saturated; `full`: the stage was saturated; `behind`:
            a subscription has too many messages to settle; or the reason for which messages were dropped.
        figure: percent of the samples with `full`, else messages; with `moved`, those published and those delivered,
            one for each subscription.
    """

    stage: str
    because: str
    figure: int

    @property
    def text(self) -> str:
        """The figure in words."""
        return _TEXTS.get((self.stage, self.because), "{} " + self.because).format(self.figure)


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
        current: what limited each topic in the last period; topics without messages are left out.
    """

    def __init__(self) -> None:
        self.current: dict[str, Bottleneck] = {}
        self._samples = 0
        self._saturated: dict[tuple[str, str], int] = {}
        self._before: dict[str, TopicTotals] = {}

    def sample(self, saturated: Iterable[tuple[str, str]]) -> None:
        """Which stages are saturated now, each with its topic."""
        self._samples += 1
        for each in dict.fromkeys(saturated):
            self._saturated[each] = self._saturated.get(each, 0) + 1

    def decide(self, totals: Mapping[str, TopicTotals], behind: Mapping[str, int] | None = None) -> None:
        """A period ends.

        Args:
            totals: by topic. Topics that are not in it are left out.
            behind: by topic, so many messages a subscription has to settle; only where these are too many.
        """
        decided: dict[str, Bottleneck] = {}
        for topic, total in totals.items():
            before = self._before.get(topic, _NOTHING)
            found = self._saturated_stage(topic, total, before, 0 if behind is None else behind.get(topic, 0))
            if found is None and total.moved > before.moved:
                found = Bottleneck(PUBLISHER, MOVED, total.moved - before.moved)
            if found is not None:
                decided[topic] = found
        self.current = decided
        self._before = {topic: TopicTotals(each.moved, dict(each.dropped)) for topic, each in totals.items()}
        self._samples = 0
        self._saturated.clear()

    def _saturated_stage(self, topic: str, total: TopicTotals, before: TopicTotals, behind: int) -> Bottleneck | None:
        """The one nearest to the subscriber."""
        dropped: dict[str, Bottleneck] = {}
        for reason, count in total.dropped.items():
            stage, more = DROP_STAGES.get(reason, ""), count - before.dropped.get(reason, 0)
            if stage and more > 0 and (stage not in dropped or more > dropped[stage].figure):
                dropped[stage] = Bottleneck(stage, reason, more)
        for stage in reversed(STAGES[1:]):
            if stage in dropped:
                return dropped[stage]
            if behind and stage == SUBSCRIBER:
                return Bottleneck(stage, BEHIND, behind)
            times = self._saturated.get((topic, stage), 0)
            if 2 * times >= max(1, self._samples):
                return Bottleneck(stage, FULL, 100 * times // self._samples)
        return None
