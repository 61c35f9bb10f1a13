"""The root of a tree of actors: the parent of the topmost actors, which handles failures that they escalate.

It is no actor: it has no mailbox and no Task, and it cannot fail.
"""

from __future__ import annotations

import logging

from inaho.actor.children import Child, Children
from inaho.actor.event_stream import EventStream
from inaho.actor.ref import ActorRef, StopReason
from inaho.errors.inspection import describe
from inaho.events import ActorFailed

__all__ = ["Guardian"]

_logger = logging.getLogger("inaho.actor")


class Guardian:
    """Root of `inaho://system/<name>`.

    Args:
        system_name: of the actor system.
        events: takes failures that reached the root.
        name: `user` for the user's actors, `system` for those of extensions.
    """

    def __init__(self, system_name: str, name: str, events: EventStream) -> None:
        self.path = f"inaho://{system_name}/{name}"
        self.depth = 0
        self.ref: ActorRef | None = None  # it accepts no messages
        self.children = Children(self.path)
        self._events = events

    def child_terminated(self, child: Child) -> None:
        """A topmost actor has ended."""
        self.children.remove(child)

    def child_escalated(self, child: Child, error: Exception) -> None:
        """Stops the topmost actor whose subtree could not handle `error`, and logs it."""
        text = describe(error)
        _logger.error("%s is stopped: a failure was escalated to the root: %s", child.path, text, exc_info=error)
        child.request_stop(StopReason.ESCALATED)
        self._events.publish(ActorFailed(path=child.path, reason=text, directive="stop", at_root=True))
