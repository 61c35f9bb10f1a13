"""Errors of the local actor system."""

from __future__ import annotations

from inaho.errors.base import InahoError
from inaho.errors.calls import Overloaded

__all__ = ["ActorFailed", "ActorStopped", "MailboxFull", "NameInUse"]


class NameInUse(InahoError):
    """A sibling actor or an extension of that name exists; it stays as it was."""

    code = "name_in_use"
    advice = "choose another name, or wait for the other to terminate"


class MailboxFull(Overloaded):
    """The actor's bounded mailbox refused the message."""

    code = "mailbox_full"
    advice = "slow down, or raise the mailbox's capacity"


class ActorStopped(InahoError):
    """The actor has stopped, or will stop before it handles the message."""

    code = "actor_stopped"
    advice = "watch the actor to learn of its end, and ask its successor"


class ActorFailed(InahoError):
    """The actor raised while it handled the message; `__cause__` has its exception."""

    code = "actor_failed"
    advice = "see the cause"
    maybe_executed_default = True
