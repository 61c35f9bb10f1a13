"""The network between simulated control planes: delay, loss, repetition, cuts, reports of connections.

Messages are passed as objects, without a codec. Each one is counted when it is sent and when its outcome is known, so a
checker can show that none was invented or forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

__all__ = ["Links", "Network", "Traffic"]


class Network(msgspec.Struct):
    """The behaviour of the network; may be changed while the simulation runs.

    Attributes:
        delay_least_s: one way.
        delay_most_s: one way; unequal delays reorder.
        loss: share of messages that are lost.
        repeat: share of messages that arrive twice.
        evidence: whether nodes are told about connections and dials. Without it a message reaches any process at its
            authority, as a datagram would.
    """

    delay_least_s: float = 0.0005
    delay_most_s: float = 0.005
    loss: float = 0.0
    repeat: float = 0.0
    evidence: bool = True


class Traffic(msgspec.Struct):
    """What happened to the messages so far.

    Attributes:
        sent: given to the network by nodes.
        repeated: copies that the network made.
        delivered: given to a node.
        lost: lost at random.
        cut: lost because of a cut.
        refused: no process is at the authority.
        misdirected: another process is there than the sender expected.
        outlived: the process to which it was sent is gone.
        encoded_bytes: size of all that was sent; 0 unless the simulation measures it.
    """

    sent: int = 0
    repeated: int = 0
    delivered: int = 0
    lost: int = 0
    cut: int = 0
    refused: int = 0
    misdirected: int = 0
    outlived: int = 0
    encoded_bytes: int = 0

    def unaccounted(self, in_flight: int) -> int:
        """Messages without a known outcome; 0 unless the network invents or forgets some."""
        came = self.sent + self.repeated
        went = self.delivered + self.lost + self.cut + self.refused + self.misdirected + self.outlived
        return came - went - in_flight


class Links:
    """Which directions are cut, and which pairs have a connection."""

    def __init__(self) -> None:
        self._cuts: dict[tuple[str, str], None] = {}
        self._peers: dict[str, dict[str, None]] = {}

    @property
    def cuts(self) -> tuple[tuple[str, str], ...]:
        """Directions that are cut, oldest first."""
        return tuple(self._cuts)

    @property
    def any_cut(self) -> bool:
        """Whether some direction is cut."""
        return bool(self._cuts)

    def is_cut(self, source: str, target: str) -> bool:
        """Whether no message passes in that direction."""
        return (source, target) in self._cuts

    def cut(self, source: str, target: str) -> None:
        """Cuts one direction of one link."""
        self._cuts[source, target] = None

    def mend(self, source: str, target: str) -> None:
        """Ends the cut of one direction of one link."""
        self._cuts.pop((source, target), None)

    def partition(self, sides: Iterable[Iterable[str]]) -> None:
        """Cuts all links between the sides."""
        groups = [list(side) for side in sides]
        for left in groups:
            for right in groups:
                if left is not right:
                    self._cuts.update(dict.fromkeys((a, b) for a in left for b in right))

    def heal(self) -> None:
        """Ends all cuts."""
        self._cuts.clear()

    def connect(self, left: str, right: str) -> bool:
        """Opens a connection where both directions work; True when there was none."""
        peers = self._peers.setdefault(left, {})
        if right in peers or (right, left) in self._cuts:
            return False
        peers[right] = None
        self._peers.setdefault(right, {})[left] = None
        return True

    def disconnect(self, authority: str) -> tuple[str, ...]:
        """Ends all connections of a process; returns the processes at the other ends."""
        peers = tuple(self._peers.pop(authority, ()))
        for peer in peers:
            self._peers[peer].pop(authority, None)
        return peers
