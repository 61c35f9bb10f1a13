"""Runs one actor inside the system: its mailbox, its place in the tree, its asks and watches, its end.

A reference leads to a cell. The cell outlives the instances of its actor; `run_loop` runs them. All methods here are
synchronous and run on the event loop, so each is one atomic step: nothing can happen between closing a mailbox and
sending its rest to the dead letters.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Protocol

from inaho.actor.children import Child, Children, Parent
from inaho.actor.dead_letters import DeadLetterReason, DeadLetters
from inaho.actor.mailbox import Mailbox, MailboxConfig
from inaho.actor.ref import ActorRef, Asker, Envelope, OpenAsk, PoisonPill, StopReason, Terminated, Watcher
from inaho.actor.watchers import Watchers
from inaho.errors import ActorFailed, ActorStopped, InahoError, MailboxFull
from inaho.errors.inspection import describe

__all__ = ["Cell", "CellSystem"]

_logger = logging.getLogger("inaho.actor")


class CellSystem(Asker, Protocol):
    """What a cell needs of its actor system."""

    @property
    def dead_letters(self) -> DeadLetters: ...

    def task_context(self) -> Context:
        """The context in which a new actor runs."""
        ...

    def remove_cell(self, cell: Cell) -> None:
        """Forgets an actor that has ended."""
        ...


class Cell:
    """One actor. Made by `ActorSystem.spawn_child`.

    Args:
        system: the actor system, as far as a cell needs it.
        parent: the cell or guardian above.
        name: among its siblings.
        mailbox: bound and policy of its mailbox.

    Attributes:
        path: see `ActorRef.path`.
        depth: 1 for a topmost actor, 2 for its children.
        ref: the reference that leads here.
        parent: the cell or guardian above.
        children: the cells below.
        mailbox: messages that wait.
        current: the message being handled.
        behaviour: handles messages instead of `receive` (see `ActorContext.become`); None: `receive` does.
        watching: actors whose `Terminated` has not arrived yet.
        escalations: children that failed and wait for a decision about this actor.
        suspended: whether this actor waits for a decision about its parent.
        stopping: the reason for which it ends; None while it does not.
    """

    def __init__(self, system: CellSystem, parent: Parent, name: str, mailbox: MailboxConfig) -> None:
        self.path = f"{parent.path}/{name}"
        self.depth = parent.depth + 1
        self.parent = parent
        self.ref = ActorRef(self.path, self, system)
        self.children = Children(self.path)
        self.mailbox = Mailbox(mailbox, self.path)
        self.current: Envelope | None = None
        self.behaviour: Callable[[Any], Awaitable[None]] | None = None
        self.watching: dict[ActorRef, None] = {}
        self.escalations: deque[tuple[Child, Exception]] = deque()
        self.suspended = False
        self.stopping: StopReason | None = None
        self._system = system
        self._asks: dict[OpenAsk, None] = {}
        self._watchers = Watchers()
        self._terminated = False
        self._waker: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    # The target of a reference.

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that runs the actor."""
        return self._task

    @property
    def sender(self) -> ActorRef | None:
        """The sender of the message being handled."""
        return None if self.current is None else self.current.sender

    def accept(self, envelope: Envelope) -> None:
        """Queues a message; see `ActorRef.tell`."""
        if not self.mailbox.accepting:
            if envelope.ask is not None:
                envelope.ask.held_by(self, envelope)  # also when another actor passes it on: that one has handled it
            self._bury(envelope, DeadLetterReason.STOPPED, self._stopped_error)
            return
        if type(envelope.message) is PoisonPill:
            envelope.control = True
            self.mailbox.put_control(envelope, last=True)
        else:
            dropped = self.mailbox.put(envelope)
            if dropped is not None:
                self._bury(dropped, DeadLetterReason.MAILBOX_FULL, self._dropped_error)
        if envelope.ask is not None and not envelope.ask.over:
            envelope.ask.held_by(self, envelope)
            self._asks[envelope.ask] = None
        self.wake()

    def request_stop(self, reason: StopReason) -> None:
        """Ends the actor after its current message. Waiting messages will not be handled, so they are reported now."""
        if self.stopping is None:
            self.stopping = reason
            for envelope in self.mailbox.close():
                self._bury(envelope, DeadLetterReason.STOPPED, self._stopped_error)
            self.wake()

    def add_watcher(self, watcher: Watcher) -> None:
        """Notifies `watcher` of the end."""
        self._watchers.add(self.ref, watcher)

    def remove_watcher(self, watcher: Watcher) -> None:
        """Forgets `watcher`."""
        self._watchers.remove(watcher)

    # The holder of asks.

    def release_ask(self, pending: OpenAsk) -> None:
        """The ask is over or has moved on."""
        self._asks.pop(pending, None)

    def withdraw(self, envelope: Envelope) -> None:
        """Takes back a question whose asker does not wait any more."""
        if not envelope.control:
            self.mailbox.withdraw(envelope)
            self._record(envelope, DeadLetterReason.ASK_OVER)

    def skip(self, envelope: Envelope, pending: OpenAsk) -> None:
        """Drops a question just taken, whose asker was cancelled in this loop iteration and has not withdrawn it."""
        pending.unqueue(envelope)
        self._record(envelope, DeadLetterReason.ASK_OVER)

    def fail_begun_asks(self, error: Exception) -> None:
        """Ends the asks that the instance, about to be dropped, had begun and not answered."""
        for pending in [pending for pending in self._asks if pending.begun]:
            self.fail_ask(pending, error)

    def fail_ask(self, pending: OpenAsk, error: Exception) -> None:
        """Ends an ask that this cell holds because the actor raised `error`."""
        if pending.holder is self:
            failure = ActorFailed(describe(error), identity=self.path)
            failure.__cause__ = error
            pending.fail(failure)

    # As the parent of other cells.

    def child_terminated(self, child: Child) -> None:
        """A child has ended."""
        self.children.remove(child)
        self.wake()

    def child_escalated(self, child: Child, error: Exception) -> None:
        """A child's failure becomes this actor's own, between two messages."""
        self.escalations.append((child, error))
        self.wake()

    def resume(self) -> None:
        """The parent has decided to continue, and so does this actor."""
        self.suspended = False
        self.wake()

    # As the watcher of others.

    def watch(self, ref: ActorRef) -> None:
        """See `ActorContext.watch`."""
        if ref not in self.watching:
            self.watching[ref] = None
            ref.target.add_watcher(self)

    def unwatch(self, ref: ActorRef) -> None:
        """See `ActorContext.unwatch`. A queued `Terminated` is skipped at its turn."""
        if ref in self.watching:
            del self.watching[ref]
            ref.target.remove_watcher(self)

    def watched_terminated(self, terminated: Terminated) -> None:
        """Queues the `Terminated` behind earlier messages of the ended actor."""
        self.mailbox.put_control(Envelope(terminated, terminated.ref, control=True))
        self.wake()

    # The life of the cell.

    def start(self, run: Callable[[], Awaitable[None]]) -> None:
        """Starts the task of the actor, which is `run`; when it has ended, so has the cell."""
        self._task = asyncio.get_running_loop().create_task(
            self._run(run), name=self.path, context=self._system.task_context()
        )
        # A task that is cancelled before its first step never enters `_run`, so the end must not depend on it.
        self._task.add_done_callback(self._finished)

    def kill(self) -> None:
        """Cancels the actor while it runs; its `on_stop` does not run."""
        self.request_stop(StopReason.KILLED)
        if not self._terminated and self._task is not None:
            self.stopping = StopReason.KILLED
            self._task.cancel()

    def abandon(self) -> None:
        """Ends the cell although its Task still runs, because user code catches every cancellation."""
        self._terminate()

    def wake(self) -> None:
        """Lets the Task check again what there is to do."""
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def wait_for_wake(self) -> None:
        """Waits for the next `wake`. The caller has just found nothing to do."""
        self._waker = asyncio.get_running_loop().create_future()
        try:
            await self._waker
        finally:
            self._waker = None

    def check(self) -> None:
        """Asserts the invariants."""
        self.mailbox.check()
        assert all(pending.holder is self for pending in self._asks)
        if self._terminated:
            assert not self.mailbox.accepting and not self._asks and not self.watching

    async def _run(self, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        finally:
            self._terminate()

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _logger.critical("%s ended by an error of the actor system", self.path, exc_info=task.exception())
        self._terminate()

    def _terminate(self) -> None:
        if self._terminated:
            return
        self._terminated = True
        self.request_stop(StopReason.KILLED)
        for pending in list(self._asks):
            pending.fail(self._stopped_error(pending))
        self.escalations.clear()
        self.children.request_stop(StopReason.PARENT)  # there are some only if this actor was killed
        for ref in self.watching:
            ref.target.remove_watcher(self)
        self.watching.clear()
        self.behaviour = None  # a reference to an ended actor keeps none of its parts alive
        # The name is free before watchers are notified, so that a watcher can spawn a successor.
        self._system.remove_cell(self)
        self.parent.child_terminated(self)
        self._watchers.end(self.ref, self.stopping or StopReason.KILLED)

    def _bury(self, envelope: Envelope, reason: DeadLetterReason, error: Callable[[OpenAsk], InahoError]) -> None:
        pending = envelope.ask
        if pending is not None:
            pending.unqueue(envelope)
            if pending.holder in (None, self):
                pending.fail(error(pending))
        self._record(envelope, reason)

    def _record(self, envelope: Envelope, reason: DeadLetterReason) -> None:
        if not envelope.control:
            sender = "" if envelope.sender is None else envelope.sender.path
            self._system.dead_letters.record(envelope.message, recipient=self.path, sender=sender, reason=reason)

    def _stopped_error(self, pending: OpenAsk) -> InahoError:
        return ActorStopped(f"the actor ended ({self.stopping})", identity=self.path, maybe_executed=pending.begun)

    def _dropped_error(self, pending: OpenAsk) -> InahoError:
        return MailboxFull("dropped for a newer message", identity=self.path, maybe_executed=pending.begun)
