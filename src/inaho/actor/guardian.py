"""The root of a tree of actors: parent of the topmost, and the last to hear of a failure.

No actor: it has no mailbox and no task, and it cannot fail.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from inaho.actor.cell import Cell, spawn_child
from inaho.actor.children import Children
from inaho.actor.messages import StopReason
from inaho.errors.inspection import describe
from inaho.events import ActorFailed

if TYPE_CHECKING:
    from inaho.actor.props import Props
    from inaho.actor.ref import ActorRef
    from inaho.actor.system import ActorSystem

__all__ = ["Guardian"]

_logger = logging.getLogger("inaho.actor")


class Guardian:
    """Root of `inaho://system/<name>`.

    Args:
        system: the actor system.
        name: `user` for the user's actors, `system` for those of extensions.
    """

    def __init__(self, system: ActorSystem, name: str) -> None:
        self.path = f"inaho://{system.name}/{name}"
        self.depth = 0
        self.ref: ActorRef | None = None  # it takes no messages
        self.children = Children(self.path)
        self._system = system

    def spawn(self, props: Props, name: str | None) -> ActorRef:
        """Makes a topmost actor."""
        return spawn_child(self._system, self, props, name)

    def child_terminated(self, child: Cell) -> None:
        """A topmost actor has ended."""
        self.children.remove(child)

    def child_escalated(self, child: Cell, error: Exception) -> None:
        """Stops the topmost actor whose subtree could not deal with `error`, and says so loudly."""
        text = describe(error)
        _logger.error("%s is stopped: a failure was escalated to the root: %s", child.path, text, exc_info=error)
        child.request_stop(StopReason.ESCALATED)
        self._system.events.publish(ActorFailed(path=child.path, reason=text, directive="stop", at_root=True))
