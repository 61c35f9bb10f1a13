"""`ActorRef`, by which all code refers to an actor, and what watching an actor reports.

A reference outlives restarts of its actor and stays valid after its end; messages to it are then dead letters. It
belongs to one actor: an actor that is spawned later under the same name has another reference, and the two are not
equal. Paths are for people; references are for sending.

A reference leads to a `Target`, so that an extension can return references to actors that are not cells of this
process. Nothing here is safe to call from another thread than the loop's.

Watching and the envelope of a message are here, too, because they and the reference name each other: an envelope has
the reference of its sender, and `Terminated` that of the actor that ended. Only two messages are of the system
(`PoisonPill`, `Terminated`). All other interaction between cells (watching, ends of children, escalation) is a plain
method call: all cells are on one event loop, so a queue of system messages would add delay and states without adding
safety.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Any, Protocol

import msgspec

from inaho.errors import InahoError

__all__ = [
    "ActorRef",
    "AskHolder",
    "Asker",
    "Envelope",
    "OpenAsk",
    "PoisonPill",
    "StopReason",
    "Target",
    "Terminated",
    "Watcher",
]


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
    """Ends the actor when it reaches this message, so after everything queued before.

    A full mailbox never refuses a pill. Messages after the pill are dead letters.
    """


class Terminated(msgspec.Struct, frozen=True):
    """Notifies a watcher, once for each watch, that an actor has ended.

    Attributes:
        ref: the actor that was watched.
        reason: why it ended.
        exists: whether it was alive when the watch began. False when it had ended before.
    """

    ref: ActorRef
    reason: StopReason
    exists: bool


class Watcher(Protocol):
    """Is notified when an actor ends."""

    def watched_terminated(self, terminated: Terminated) -> None:
        """Called once for each watch."""
        ...


class AskHolder(Protocol):
    """The actor that has to answer an ask."""

    def release_ask(self, pending: OpenAsk) -> None:
        """The ask is over, or another actor holds it now."""
        ...

    def withdraw(self, envelope: Envelope) -> None:
        """The asker of this queued message does not wait any more: take it back."""
        ...


class OpenAsk(Protocol):
    """An ask, as the holder of the question sees it (see `ask.PendingAsk`)."""

    @property
    def over(self) -> bool:
        """Whether nobody waits for an answer."""
        ...

    @property
    def begun(self) -> bool:
        """Whether an actor has begun to work on the question."""
        ...

    @property
    def holder(self) -> AskHolder | None:
        """The actor that has it now."""
        ...

    def held_by(self, holder: AskHolder, envelope: Envelope) -> None:
        """`holder` has queued the question as `envelope`; the duty to answer moves to it."""
        ...

    def begin(self, envelope: Envelope) -> None:
        """An actor begins to work on the question."""
        ...

    def unqueue(self, envelope: Envelope) -> None:
        """`envelope` has left the mailbox."""
        ...

    def accept(self, envelope: Envelope) -> None:
        """Takes the answer."""
        ...

    def fail(self, error: InahoError) -> None:
        """Ends the ask with `error`; does nothing if it is over."""
        ...


class Envelope:
    """A message on its way: its sender, and the ask that waits for the answer, if there is one."""

    __slots__ = ("ask", "control", "message", "sender", "withdrawn")

    def __init__(
        self,
        message: Any,
        sender: ActorRef | None = None,
        ask: OpenAsk | None = None,
        *,
        control: bool = False,
    ) -> None:
        self.message = message
        self.sender = sender
        self.ask = ask
        self.control = control
        self.withdrawn = False


class Target(Protocol):
    """The target of a reference."""

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
        """Notifies `watcher` of the end; at once, if the actor has ended."""
        ...

    def remove_watcher(self, watcher: Watcher) -> None:
        """Forgets `watcher`."""
        ...


class Asker(Protocol):
    """Sends a question to an actor and waits for the answer: what a reference needs of its actor system."""

    async def ask(self, ref: ActorRef, message: Any, *, timeout_s: float | None = None) -> Any:
        """See `ActorRef.ask`."""
        ...


class ActorRef:
    """The handle of one actor. Made by `spawn`, compared by identity.

    Attributes:
        path: `inaho://system/user/parent/child`.
    """

    __slots__ = ("__weakref__", "_pending_ask", "_system", "path", "target")

    def __init__(self, path: str, target: Target, system: Asker, *, pending_ask: OpenAsk | None = None) -> None:
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
            message: any object. It is not copied, so it should be immutable.
            sender: gets the reply. Passing on the sender of an ask hands over the duty to answer it.

        Raises:
            MailboxFull: the mailbox is full and its policy is `reject_new`. An actor that has ended raises nothing:
                the message becomes a dead letter.
        """
        self.target.accept(Envelope(message, sender, None if sender is None else sender._pending_ask))

    async def ask(self, message: Any, *, timeout_s: float | None = None) -> Any:
        """Sends `message` and waits for the reply.

        If the time is up, or the asker is cancelled, before the actor has begun to handle the message, the actor never
        handles it.

        Args:
            message: as in `tell`.
            timeout_s: seconds to wait; None takes the system's `ask_timeout_s`.

        Returns:
            The value that the actor passed to `context.reply`.

        Raises:
            Timeout: no reply came in time. `maybe_executed` tells whether the actor had begun.
            ActorStopped: the actor has ended, or ended before it replied.
            ActorFailed: the actor raised while it worked on the message, or lost it in a restart.
            MailboxFull: the mailbox was full, or the message was dropped from it for a newer one.
            CallCycle: an actor asked itself and would wait for ever.
        """
        return await self._system.ask(self, message, timeout_s=timeout_s)

    def stop(self) -> None:
        """Ends the actor after its current message; queued messages are dead letters. Does nothing if it has ended."""
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
