"""What limits a topic, gathered from the members for an operator.

The stage nearest to the subscribers counts, as on one member: the stages before it may only wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from inaho.core.pubsub.bottlenecks import STAGES, Bottleneck
from inaho.runtime.operators.explain import Silent
from inaho.types import Struct

__all__ = ["MemberBottleneck", "TopicBottlenecks", "gather_bottlenecks"]


class MemberBottleneck(Struct, frozen=True):
    """What limits a topic, as one member sees it.

    Attributes:
        authority: of the member.
        stage, because, figure: see `Bottleneck`.
        text: the figure in words.
    """

    authority: str
    stage: str
    because: str
    figure: int
    text: str


class TopicBottlenecks(Struct, frozen=True):
    """What limits a topic, as the members see it (`inaho topics show`).

    Attributes:
        found: one for each member on which the topic had messages within the last second; the first one limits the
            topic.
        silent: members that did not answer.
    """

    found: tuple[MemberBottleneck, ...]
    silent: tuple[Silent, ...]


def gather_bottlenecks(answers: Iterable[tuple[str, Bottleneck | None]], silent: Iterable[Silent]) -> TopicBottlenecks:
    """From the answer of each member, by authority, and the members that gave none."""
    found = [
        MemberBottleneck(authority, told.stage, told.because, told.figure, told.text)
        for authority, told in answers
        if told is not None
    ]
    found.sort(key=lambda each: -STAGES.index(each.stage))
    return TopicBottlenecks(tuple(found), tuple(silent))
