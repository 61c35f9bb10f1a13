"""Events of messages between actors on different nodes (SPEC CL-3)."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = ["MessageInDoubt", "MessageRefused"]


class MessageRefused(Event, frozen=True, kw_only=True):
    """A message was not accepted for sending, or was given up unsent because its authority was quarantined."""

    recipient: str
    sender: str
    authority: str
    code: str
    reason: str


class MessageInDoubt(Event, frozen=True, kw_only=True):
    """A message was sent and its connection broke before the peer acknowledged it. It is not sent again."""

    recipient: str
    sender: str
    authority: str
    message: object
