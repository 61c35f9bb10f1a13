"""Messages that the actor system itself sends or understands.

Two only. Everything else that happens between cells (watching, children ending, escalation) is a plain method call:
all cells live on one event loop, so a queue of system messages would add delay and states without adding safety.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from inaho.actor.ref import ActorRef

__all__ = ["PoisonPill", "StopReason", "Terminated"]


class StopReason(enum.StrEnum):
    """Why an actor ended."""

    STOPPED = "stopped"  # somebody called stop
    POISON_PILL = "poison_pill"
    FAILED = "failed"  # its supervisor said Stop
    RESTART_LIMIT = "restart_limit"  # it failed more often than Restart allows
    ESCALATED = "escalated"  # a failure in its subtree reached the root
    PARENT = "parent"  # its parent stopped or was restarted
    SHUTDOWN = "shutdown"  # the actor system stopped
    NODE_REMOVED = "node_removed"  # it lived on another node, which is no member any more
    KILLED = "killed"  # it did not stop in time and was cancelled
    ANSWERED = "answered"  # of the temporary reference of an ask: the ask is over


class PoisonPill(msgspec.Struct, frozen=True):
    """Ends the actor when it comes to this message, so after everything queued before.

    A pill is never refused by a full mailbox. What is told after the pill goes to the dead letters.
    """


class Terminated(msgspec.Struct, frozen=True):
    """Tells a watcher, once for each watch, that an actor has ended.

    Attributes:
        ref: the actor that was watched.
        reason: why it ended.
        exists: whether it was alive when the watch began. False when it had ended before.
    """

    ref: ActorRef
    reason: StopReason
    exists: bool
