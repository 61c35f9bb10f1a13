"""The handle by which everybody else knows an actor.

A reference outlives restarts of its actor and stays valid, though useless, after the end: what is told then goes to
the dead letters. It belongs to one life of a name: an actor spawned later under the same name has another reference,
and the two are not equal. Paths are for people; references are for sending.

What a reference leads to is a `Target`, so that an extension can hand out references to actors that are not cells of
this process. Nothing here is safe to call from another thread than the loop's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from inaho.actor import messages
from inaho.actor.mailbox import Envelope
from inaho.actor.messages import StopReason, Terminated

if TYPE_CHECKING:
    from inaho.actor.ask import PendingAsk
    from inaho.actor.system import ActorSystem

__all__ = ["ActorRef", "Target", "Watcher"]


class Watcher(Protocol):
    """Who is told when an actor ends."""

    def watched_terminated(self, terminated: Terminated) -> None:
        """Called once for each watch."""
        ...


class Target(Protocol):
    """What a reference leads to."""

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task in which the actor runs, if it is a local one."""
        ...

    def accept(self, envelope: Envelope) -> None:
        """Takes a message or sends it to the dead letters. Raises `MailboxFull` when the mailbox refuses it."""
        ...

    def request_stop(self, reason: StopReason) -> None:
        """Ends the actor after its current message."""
        ...

    def add_watcher(self, watcher: Watcher) -> None:
        """Tells `watcher` of the end; at once, if that has come already."""
        ...

    def remove_watcher(self, watcher: Watcher) -> None:
        """Forgets `watcher`."""
        ...


class ActorRef:
    """Handle of one actor. Made by `spawn`, compared by identity.

    Attributes:
        path: `inaho://system/user/parent/child`.
    """

    __slots__ = ("__weakref__", "_pending_ask", "_system", "path", "target")

    def __init__(
        self, path: str, target: Target, system: ActorSystem, *, pending_ask: PendingAsk | None = None
    ) -> None:
        self.path = path
        self.target = target
        self._system = system
        self._pending_ask = pending_ask

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def tell(self, message: Any, sender: ActorRef | None = None) -> None:
        """Sends `message` and returns at once. Messages from one sender arrive in the order told.

        Args:
            message: anything. It is not copied; let it be immutable.
            sender: whom a reply should go to. Passing on the sender of an ask hands over the duty to answer it.

        Raises:
            MailboxFull: the mailbox is full and its policy is `reject_new`. An actor that has ended raises nothing:
                the message becomes a dead letter.
        """
        self.target.accept(Envelope(message, sender, None if sender is None else sender._pending_ask))

    async def ask(self, message: Any, *, timeout_s: float | None = None) -> Any:
        """Sends `message` and waits for the reply.

        When the time is up, or the asker is cancelled, before the actor has begun to work on the message, the actor
        never will.

        Args:
            message: as in `tell`.
            timeout_s: seconds to wait; None takes the system's `ask_timeout_s`.

        Returns:
            What the actor passed to `context.reply`.

        Raises:
            Timeout: no reply came in time. `maybe_executed` tells whether the actor had begun.
            ActorStopped: the actor has ended, or ended before it replied.
            ActorFailed: the actor raised while it worked on the message, or lost it in a restart.
            MailboxFull: the mailbox was full, or the message was dropped from it for a newer one.
            CallCycle: an actor asked itself and would wait for ever.
        """
        return await self._system.ask(self, message, timeout_s=timeout_s)

    def stop(self) -> None:
        """Ends the actor after its current message; what is queued goes to the dead letters. Nothing, if it ended."""
        self.target.request_stop(StopReason.STOPPED)

    async def wait_terminated(self) -> Terminated:
        """Waits for the end of the actor, for code that is no actor and cannot `watch`."""
        waiting = _FutureWatcher(asyncio.get_running_loop().create_future())
        self.target.add_watcher(waiting)
        try:
            return await waiting.future
        finally:
            self.target.remove_watcher(waiting)

    def __repr__(self) -> str:
        return f"ActorRef({self.path})"


class _FutureWatcher:
    def __init__(self, future: asyncio.Future[Terminated]) -> None:
        self.future = future

    def watched_terminated(self, terminated: Terminated) -> None:
        if not self.future.done():
            self.future.set_result(terminated)


messages.ActorRef = ActorRef  # type: ignore[attr-defined]  # whoever asks for the signature of `Terminated` needs it
