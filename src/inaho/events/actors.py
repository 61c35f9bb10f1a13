"""Events of the local actor system."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = ["ActorFailed", "DeadLetter"]


class ActorFailed(Event, frozen=True, kw_only=True):
    """A local actor raised, and its supervisor decided.

    `directive` is `resume`, `restart`, `stop`, `escalate`, or `ignore` for a hook that failed while the actor was
    ending.
    `at_root`: the failure was escalated past the topmost actor, which is stopped.
    """

    path: str
    reason: str
    directive: str
    at_root: bool = False


class DeadLetter(Event, frozen=True, kw_only=True):
    """A message that reached no actor."""

    recipient: str
    sender: str
    message: object
    reason: str
