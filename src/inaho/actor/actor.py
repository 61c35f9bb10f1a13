"""`Actor`, the class that users write, and `ActorContext`, which each actor is given.

The context belongs to the actor's place in the tree and survives restarts; the instance does not. So the context, not
the instance, holds children, watches and the reference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from inaho.actor.cell import Cell
from inaho.actor.dead_letters import DeadLetterReason
from inaho.actor.ref import ActorRef, StopReason
from inaho.actor.system import ActorSystem, Recipe
from inaho.errors import ActorFailed, InahoError, ShuttingDown
from inaho.errors.inspection import describe

__all__ = ["Actor", "ActorContext"]


class Actor(ABC):
    """Base of actors written as classes. They handle one message at a time.

    Attributes:
        context: the actor's place in the system. Set from `on_start` on, not yet in `__init__`.
    """

    context: ActorContext

    @abstractmethod
    async def receive(self, message: Any) -> None:
        """Handles one message. Its exceptions go to the supervisor."""

    async def on_start(self) -> None:  # noqa: B027  a hook, empty unless wanted
        """Called before the first message, for every new instance. Its exceptions go to the supervisor."""

    async def on_stop(self) -> None:  # noqa: B027
        """Called after the last message and after the children have ended. Also after an `on_start` that raised."""

    async def on_restart(self, error: Exception) -> None:
        """Called for the instance that will be replaced, after its children have ended. By default calls `on_stop`.

        Args:
            error: the failure that led to the restart.
        """
        await self.on_stop()


class ActorContext:
    """An actor's view of itself and of the system. To be used by that actor only."""

    __slots__ = ("_cell", "_system")

    def __init__(self, cell: Cell, system: ActorSystem) -> None:
        self._cell = cell
        self._system = system

    @property
    def self_ref(self) -> ActorRef:
        """This actor's reference."""
        return self._cell.ref

    @property
    def sender(self) -> ActorRef | None:
        """The sender of the current message, if it was signed. Keep it in a variable to reply after `receive`."""
        return self._cell.sender

    @property
    def parent(self) -> ActorRef | None:
        """The actor that spawned this one; None for a topmost actor."""
        return self._cell.parent.ref

    @property
    def children(self) -> tuple[ActorRef, ...]:
        """The living children, oldest first."""
        return self._cell.children.refs()

    @property
    def system(self) -> ActorSystem:
        """The actor system."""
        return self._system

    def spawn(self, props: Recipe, name: str | None = None) -> ActorRef:
        """Makes a child. It ends before this actor does, and when this actor restarts.

        Args:
            props: its recipe, see `Props`.
            name: overrides `props.name`; None makes one up.

        Raises:
            NameInUse: a living child has that name.
            ShuttingDown: this actor is ending.
            Overloaded: the system has `actors_max` actors.
        """
        if self._cell.stopping is not None:
            raise ShuttingDown("an actor that is ending makes no children", identity=self._cell.path)
        return self._system.spawn_child(self._cell, props, name)

    def watch(self, ref: ActorRef) -> None:
        """Requests one `Terminated` when `ref` ends; at once, if it has ended. Watching twice is watching once."""
        self._cell.watch(ref)

    def unwatch(self, ref: ActorRef) -> None:
        """No `Terminated` for `ref` will arrive, even if one is queued."""
        self._cell.unwatch(ref)

    def stop(self, ref: ActorRef | None = None) -> None:
        """Ends `ref`, or this actor, after its current message."""
        (self._cell.ref if ref is None else ref).target.request_stop(StopReason.STOPPED)

    def reply(self, message: Any) -> None:
        """Answers the current message. Without a sender the answer is a dead letter."""
        sender = self._cell.sender
        if sender is None:
            self._system.dead_letters.record(
                message, recipient="", sender=self._cell.path, reason=DeadLetterReason.NO_SENDER
            )
        else:
            sender.tell(message, self._cell.ref)

    def reply_error(self, error: Exception) -> None:
        """Answers the current ask with a failure, which `ask` raises. To a sender that told, `error` is the message.

        Args:
            error: raised unchanged if it is an `InahoError`, else as the cause of `ActorFailed`.
        """
        envelope = self._cell.current
        pending = None if envelope is None else envelope.ask
        if pending is None or pending.over:
            self.reply(error)
            return
        if not isinstance(error, InahoError):
            error, cause = ActorFailed(describe(error), identity=self._cell.path), error
            error.__cause__ = cause
        pending.fail(error)

    def become(self, behaviour: Callable[[Any], Awaitable[None]] | None) -> None:
        """Handles the next messages with `behaviour` instead of `receive`; None goes back. A restart goes back too."""
        self._cell.behaviour = behaviour
