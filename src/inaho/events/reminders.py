"""Events of reminders."""

from __future__ import annotations

from inaho.events.base import IdentityEvent

__all__ = ["ReminderFailed", "ReminderMissed"]


class ReminderFailed(IdentityEvent, frozen=True, kw_only=True):
    """A reminder could not be delivered; `given_up`: this occurrence is not tried again."""

    name: str
    attempt: int
    reason: str
    given_up: bool = False


class ReminderMissed(IdentityEvent, frozen=True, kw_only=True):
    """`count` occurrences of a reminder had passed and are not delivered, by its `catch_up` policy."""

    name: str
    count: int
