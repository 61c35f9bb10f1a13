"""Events of messages between actors on different nodes (SPEC CL-3)."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = ["MessageInDoubt", "MessageRefused", "ResolutionOutOfOrder"]


class MessageRefused(Event, frozen=True, kw_only=True):
    """A message was not accepted for sending, or was dropped unsent because its authority was quarantined."""

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


class ResolutionOutOfOrder(Event, frozen=True, kw_only=True):
    """A membership older than the newest one arrived, by which Pids would have been resolved (SPEC CL-2.5).

    Attributes:
        authority: of the member that sent it, to a client; a member makes its own, and this is its own authority.
        version: of the membership that arrived.
        newest: of the newest one before it.
        ignored: True: Pids are resolved by the newest one as before. False: the cluster has begun again, or this node
            has joined again, and versions are counted again, so Pids are resolved by the one that arrived.
    """

    authority: str
    version: int
    newest: int
    ignored: bool
