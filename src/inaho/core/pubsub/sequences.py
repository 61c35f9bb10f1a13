"""Finds what is missing: the messages of one topic that have not arrived, per publisher.

Each publisher (a process) counts its messages of a topic. All frames of one publisher come in order, since they come on
one connection at a time, so a jump of the count is a loss, and an earlier number is a repetition. An idle publisher
tells its last number, so the loss of the last messages is seen, too.

Why the publisher says with its first frame what was lost before (`missed`): only it knows from which message on this
node was subscribed.
"""

from __future__ import annotations

from inaho.core.bounded_map import BoundedMap

__all__ = ["Sequences"]


class _Publisher:
    """One process that publishes to the topic."""

    __slots__ = ("generation", "next")

    def __init__(self, generation: int, next_: int) -> None:
        self.generation = generation
        """Of its count: it begins anew when the process has forgotten the topic."""
        self.next = next_
        """The sequence number of its next message."""


class Sequences:
    """The publishers of one topic.

    Args:
        publishers_max: publishers that are remembered; the oldest is forgotten first.
        gets_all: whether this node gets every message while it is subscribed; false for the channel of a group, whose
            messages may go to another node for a while.

    Attributes:
        missed: messages that have not arrived, so far.
        repeated: messages that have arrived before, so far.
    """

    __slots__ = ("_gets_all", "_publishers", "missed", "repeated")

    def __init__(self, publishers_max: int, *, gets_all: bool = True) -> None:
        self._gets_all = gets_all
        self.missed = 0
        self.repeated = 0
        self._publishers: BoundedMap[str, _Publisher] = BoundedMap(publishers_max)

    def __len__(self) -> int:
        return len(self._publishers)

    def arrived(
        self, node_id: str, generation: int, first: int, count: int, begins: int, missed: int
    ) -> tuple[int, int]:
        """Messages have arrived, or only the number of the next one.

        Args:
            node_id: of the publisher.
            generation: of its count.
            first: sequence number of the first message, or of the next one that will be published.
            count: messages; 0 for none.
            begins: not 0 if the publisher sends to this node for the first time, or again after a pause.
            missed: with `begins`: messages that this node should have got before `first`.

        Returns:
            How many of the messages are repetitions: the first ones. And how many messages are missing before `first`.
        """
        publisher = self._publishers.get(node_id)
        if publisher is not None and publisher.next == first and publisher.generation == generation:
            publisher.next = first + count
            return 0, 0
        if publisher is None or publisher.generation != generation:
            self._publishers.renew(node_id, _Publisher(generation, first + count))
            lost = missed if begins else 0
            self.missed += lost
            return 0, lost
        expected = publisher.next
        if first > expected:
            publisher.next = first + count
            lost = min(missed, first - expected) if begins and not self._gets_all else first - expected
            self.missed += lost
            return 0, lost
        repeated = min(count, expected - first)
        publisher.next = max(expected, first + count)
        self.repeated += repeated
        return repeated, 0

    def last(self, node_id: str) -> int:
        """The sequence number of the last message of a publisher that has arrived or is known to be lost; 0: none."""
        publisher = self._publishers.get(node_id)
        return 0 if publisher is None else publisher.next - 1

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._publishers

    def forget(self, node_id: str) -> None:
        """The publisher has ended."""
        self._publishers.pop(node_id, None)

    def check(self) -> None:
        """Asserts the invariants."""
        self._publishers.check()
        assert all(publisher.next >= 1 for publisher in self._publishers.values())
        assert self.missed >= 0 and self.repeated >= 0
