"""Counts, publishes and keeps messages that reached no actor.

Messages to an ended actor are lost, which is normal, but they must not be lost silently. So every path on which a
message ends before an actor has handled it leads here, and the counts add up: told = delivered + dead letters.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inaho.actor.event_stream import EventStream
from inaho.errors import InvalidConfig
from inaho.events import DeadLetter

__all__ = ["DeadLetterReason", "DeadLetters"]

_OTHER = "other"


class DeadLetterReason(enum.StrEnum):
    """Why a message of the local actor system reached no actor."""

    STOPPED = "stopped"  # the recipient has ended, or ends before it handles the message
    MAILBOX_FULL = "mailbox_full"  # dropped as the oldest to make room for a newer one
    ASK_OVER = "ask_over"  # the asker gave up (timeout or cancellation) before the message was worked on
    LATE_REPLY = "late_reply"  # the answer to an ask that is over, or a second answer
    NO_SENDER = "no_sender"  # a reply to a message without a sender


class DeadLetters:
    """The dead letters of one actor system.

    Args:
        events: where each is published as an `inaho.events.DeadLetter`.
        recent_max: how many of the latest are kept; they keep their messages alive.
        reasons_max: distinct reasons counted; further ones count as `other`.

    Attributes:
        total: dead letters so far.
    """

    def __init__(self, events: EventStream, *, recent_max: int = 100, reasons_max: int = 64) -> None:
        if recent_max < 1 or reasons_max < 1:
            raise InvalidConfig("the bounds of the dead letters must be above 0")
        self.total = 0
        self._events = events
        self._reasons_max = reasons_max
        self._counts: dict[str, int] = {}
        self._recent: deque[DeadLetter] = deque(maxlen=recent_max)

    @property
    def counts(self) -> Mapping[str, int]:
        """Dead letters by reason: a live, read-only view."""
        return MappingProxyType(self._counts)

    @property
    def recent(self) -> tuple[DeadLetter, ...]:
        """The latest, oldest first."""
        return tuple(self._recent)

    def record(self, message: Any, *, recipient: str, sender: str = "", reason: str) -> None:
        """Counts, keeps and publishes one dead letter.

        Args:
            message: that was not delivered.
            recipient: path of the actor to which it was sent.
            sender: path of its sender; empty when unsigned.
            reason: a `DeadLetterReason`, or an extension's own word.
        """
        label = str(reason)
        if label not in self._counts and len(self._counts) >= self._reasons_max:
            label = _OTHER
        self._counts[label] = self._counts.get(label, 0) + 1
        self.total += 1
        letter = self._events.stamp(DeadLetter(recipient=recipient, sender=sender, message=message, reason=str(reason)))
        self._recent.append(letter)
        self._events.publish(letter)
