"""What has become of activations on this node: the last starts and ends, for explanations.

A ring of short tuples, because it is written at every activation and read when a person asks.
"""

from __future__ import annotations

from collections import deque

from inaho.types import Epoch, Struct

__all__ = ["ActivationHistory", "HistoryEntry"]


class HistoryEntry(Struct, frozen=True, array_like=True):
    """One thing that happened to an identity on one node.

    Attributes:
        at: Unix seconds of that node.
        what: `started`, `ended`, `failed`, `took_over`, `refused`, `timed_out`, `revoked` or `placed`.
        reason: one sentence or word; empty where `what` says all.
        epoch: of the activation.
        authority: of the node that tells it.
    """

    at: float
    what: str
    reason: str
    epoch: Epoch
    authority: str = ""


class ActivationHistory:
    """The last things that happened, in their order.

    Args:
        size: most entries, of all identities together; `activation.history_max`.
    """

    def __init__(self, size: int) -> None:
        self._entries: deque[tuple[float, str, str, str, str, Epoch]] = deque(maxlen=size)

    def note(self, at: float, kind: str, key: str, what: str, reason: str, epoch: Epoch) -> None:
        """Remembers an entry; the oldest is forgotten for it. `at`: monotonic seconds."""
        self._entries.append((at, kind, key, what, reason, epoch))

    def of(self, kind: str, key: str, *, offset_s: float, authority: str) -> list[HistoryEntry]:
        """What is remembered of one identity, oldest first.

        Args:
            kind, key: the identity.
            offset_s: Unix time less monotonic time.
            authority: of this node.
        """
        return [
            HistoryEntry(at + offset_s, what, reason, epoch, authority)
            for at, its_kind, its_key, what, reason, epoch in self._entries
            if its_key == key and its_kind == kind
        ]

    def __len__(self) -> int:
        return len(self._entries)
