"""Which message of each publisher a grain or client got last, so that an older one that comes too late is dropped.

Messages at most once reach a grain through one member of the grain's kind, and a client through one member. When
another member takes that over, its first message may overtake the last one of its predecessor, or be one that the
predecessor has delivered. Sequences begin again with 1 when a publisher has long been silent, so a message is late only
if its time is not newer either.
"""

from __future__ import annotations

from inaho.core.bounded_map import BoundedMap

__all__ = ["LatestReceived"]


class LatestReceived:
    """The latest messages of the grains of one kind on one node, or of one subscription of a client.

    Args:
        entries_max: bound, over all grains, topics and publishers; the one that is silent longest is forgotten first.
    """

    def __init__(self, entries_max: int) -> None:
        self._latest: BoundedMap[tuple[str, str, str], tuple[int, float]] = BoundedMap(entries_max)

    def is_next(self, key: str, topic: str, publisher: str, sequence: int, published_at: float) -> bool:
        """Whether no later message was delivered; then this one is noted.

        Args:
            key: of the grain; empty for a client.
            topic, publisher, sequence, published_at: of the message.
        """
        place = (key, topic, publisher)
        last, at = self._latest.get(place, (0, 0.0))
        if sequence <= last and published_at <= at:
            return False
        self._latest.renew(place, (sequence, published_at))
        return True

    def check(self) -> None:
        """Asserts the bound."""
        self._latest.check()
