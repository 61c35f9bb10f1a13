"""Asks: a message that waits for its answer, and when the ask fails instead.

The asker gets a temporary reference of its own, which is the sender of the message. So an answer is a `tell`. It may be
given later, or by another actor to which the message was passed on. An answer that nobody waits for any more is a dead
letter like any other.

The actor that has the message holds the ask. When this holder ends, the ask fails at once, before its deadline. It is
known whether the holder had begun, and so is `maybe_executed`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from inaho.actor.dead_letters import DeadLetterReason, DeadLetters
from inaho.actor.ref import ActorRef, Asker, AskHolder, Envelope, StopReason, Watcher
from inaho.actor.watchers import Watchers
from inaho.errors import CallCycle, InahoError, Timeout

__all__ = ["AskingSystem", "PendingAsk", "ask"]


class AskingSystem(Asker, Protocol):
    """What an ask needs of the actor system of its asker."""

    @property
    def dead_letters(self) -> DeadLetters: ...

    def temporary_path(self) -> str:
        """A path for the temporary reference of one ask."""
        ...


class PendingAsk:
    """One ask from the asker's side; the `Target` of its temporary reference.

    Attributes:
        ref: the temporary reference, which is the sender of the question.
        future: of the answer.
        begun: whether an actor has begun to handle the question.
        holder: the actor that has the question now.
    """

    __slots__ = ("_envelope", "_system", "_watchers", "asked", "begun", "future", "holder", "ref")

    def __init__(self, system: AskingSystem, asked: ActorRef, path: str) -> None:
        self.ref = ActorRef(path, self, system, pending_ask=self)
        self.asked = asked
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.begun = False
        self.holder: AskHolder | None = None
        self._envelope: Envelope | None = None
        self._system = system
        self._watchers = Watchers()

    @property
    def task(self) -> None:
        """An ask runs nowhere."""
        return

    @property
    def over(self) -> bool:
        """Whether no asker waits for an answer any more."""
        return self.future.done()

    def held_by(self, holder: AskHolder, envelope: Envelope) -> None:
        """`holder` has queued the question as `envelope`; the duty to answer moves to it."""
        if self.holder is not None and self.holder is not holder:
            self.holder.release_ask(self)
        self.holder = holder
        self._envelope = envelope

    def begin(self, envelope: Envelope) -> None:
        """An actor begins to handle the question."""
        self.begun = True
        self.unqueue(envelope)

    def unqueue(self, envelope: Envelope) -> None:
        """`envelope` has left the mailbox."""
        if self._envelope is envelope:
            self._envelope = None

    def fail(self, error: InahoError) -> None:
        """Ends the ask with `error`; does nothing if it is over."""
        if not self.future.done():
            self.future.set_exception(error)
            self._end()

    def expire(self) -> None:
        """The time is up."""
        if not self.future.done():
            waited = "before the actor began to handle the message" if self._queued else "without a reply"
            error = Timeout(f"the time was up {waited}", identity=self.asked.path, maybe_executed=self.begun)
            self.future.set_exception(error)
            self._end()

    def abandon(self) -> None:
        """The asker does not wait any more, with or without an answer. Leaves nothing behind."""
        if not self.future.done():
            self.future.cancel()
        elif not self.future.cancelled():
            self.future.exception()  # an asker that was cancelled at the same moment never reads it
        self._end()

    def accept(self, envelope: Envelope) -> None:
        """Takes the answer; a second one, or one that comes late, is a dead letter."""
        if self.future.done():
            sender = "" if envelope.sender is None else envelope.sender.path
            self._system.dead_letters.record(
                envelope.message, recipient=self.ref.path, sender=sender, reason=DeadLetterReason.LATE_REPLY
            )
        else:
            self.future.set_result(envelope.message)
            self._end()

    def request_stop(self, reason: StopReason) -> None:
        """An ask ends when it is answered or its asker gives up; others cannot stop it."""

    def add_watcher(self, watcher: Watcher) -> None:
        """Notifies `watcher` when the ask is over."""
        self._watchers.add(self.ref, watcher)

    def remove_watcher(self, watcher: Watcher) -> None:
        """Forgets `watcher`."""
        self._watchers.remove(watcher)

    @property
    def _queued(self) -> bool:
        return self._envelope is not None

    def _end(self) -> None:
        holder, envelope = self.holder, self._envelope
        self.holder = self._envelope = None
        if holder is not None:
            holder.release_ask(self)
            if envelope is not None:
                holder.withdraw(envelope)
        self._watchers.end(self.ref, StopReason.ANSWERED)


async def ask(system: AskingSystem, asked: ActorRef, message: Any, patience_s: float) -> Any:
    """See `ActorRef.ask`."""
    task = asked.target.task
    if task is not None and task is asyncio.current_task():
        raise CallCycle("an actor asked itself and would wait for its own turn", identity=asked.path)
    if patience_s <= 0:
        raise Timeout("there was no time left to ask", identity=asked.path, maybe_executed=False)
    pending = PendingAsk(system, asked, system.temporary_path())
    deadline = asyncio.get_running_loop().call_later(patience_s, pending.expire)
    try:
        asked.target.accept(Envelope(message, pending.ref, pending))
        return await pending.future
    finally:
        deadline.cancel()
        pending.abandon()
