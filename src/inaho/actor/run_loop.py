"""The run loop of one actor: creates instances, handles messages one at a time, applies the decision on a failure.

The loop is a plain coroutine in one Task per actor. A failure is a value that the loop passes from its place to the
supervisor, not an exception that unwinds the loop. So resume, restart and escalate are ordinary branches, and a restart
that fails is one more round of the same loop.

Cancellation has two meanings that must be distinguished. If somebody cancels the Task, the actor ends. If user code
lets a `CancelledError` out of something that it awaited, that is a failure like any other. `Task.cancelling()`
distinguishes them. Before Python 3.13 there is a third case: an `asyncio.TaskGroup` cancels its own Task when a child
fails, and may never take that back. On these versions, user code that has returned, or raised something else, counts as
killed only if the cell says so.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from inaho.actor.cell import Cell
from inaho.actor.children import Child
from inaho.actor.event_stream import EventStream
from inaho.actor.ref import Envelope, PoisonPill, StopReason, Terminated
from inaho.actor.supervision import (
    Directive,
    Escalate,
    RandomSource,
    Restart,
    RestartLedger,
    Resume,
    Stop,
    Supervisor,
    decide,
)
from inaho.errors import ActorFailed
from inaho.errors.inspection import describe, is_a
from inaho.events import ActorFailed as ActorFailedEvent

__all__ = ["LEAVES_CANCELLATIONS", "BoundBehaviour", "Instance", "Maker", "Receive", "RunLoop"]

_logger = logging.getLogger("inaho.actor")

LEAVES_CANCELLATIONS: Final = sys.version_info < (3, 13)
"""Whether a handled `TaskGroup` may leave its Task with a cancellation that no code has requested."""


Receive: TypeAlias = Callable[[Any], Awaitable[None]]
"""Works on one message."""


class Instance(Protocol):
    """An instance of an actor that is written as a class (see `Actor`)."""

    async def receive(self, message: Any) -> None: ...

    async def on_start(self) -> None: ...

    async def on_stop(self) -> None: ...

    async def on_restart(self, error: Exception) -> None: ...


class BoundBehaviour(NamedTuple):
    """An actor without instances: one function, bound to its context."""

    receive: Receive


Maker: TypeAlias = Callable[[], Instance | BoundBehaviour]
"""Makes a new instance. It is code of the user's and may raise anything."""


class _Failure(NamedTuple):
    """An error for the supervisor to decide about, and the child that escalated it, if one did."""

    error: Exception
    origin: Child | None = None


class RunLoop:
    """Runs the instances of one cell, one after the other.

    Args:
        cell: of the actor.
        make: called for the first instance, and for a new one at each restart.
        supervisor: decides about their failures.
        batch_max: see `MailboxConfig`.
        random: spreads restarts.
        events: where failures are published.
    """

    __slots__ = (
        "_backing_off",
        "_batch_max",
        "_cell",
        "_events",
        "_instance",
        "_ledger",
        "_make",
        "_random",
        "_receive",
        "_supervisor",
    )

    def __init__(
        self,
        cell: Cell,
        make: Maker,
        supervisor: Supervisor,
        batch_max: int,
        random: RandomSource,
        events: EventStream,
    ) -> None:
        self._cell = cell
        self._make = make
        self._supervisor = supervisor
        self._batch_max = batch_max
        self._random = random
        self._events = events
        self._instance: Instance | None = None
        self._receive: Receive | None = None  # None until an instance has started
        self._ledger = RestartLedger()
        self._backing_off = False

    async def run(self) -> None:
        """From the first instance to the end of the last."""
        cell = self._cell
        failure = None if self._ending() else await self._create()
        worked = 0
        while not self._ending():
            if failure is not None:
                failure = await self._supervise(failure)
            elif cell.escalations:
                child, error = cell.escalations.popleft()
                failure = _Failure(error, child)
            elif (envelope := cell.mailbox.take()) is not None:
                failure = await self._work(envelope)
                worked += 1
                if worked >= self._batch_max:
                    worked = 0
                    await asyncio.sleep(0)
            else:
                worked = 0
                await cell.wait_for_wake()
        await self._stop_children(StopReason.PARENT, until=lambda: not len(cell.children))
        instance, self._instance = self._instance, None
        if instance is not None:
            await self._hook("on_stop", instance.on_stop)

    async def _create(self) -> _Failure | None:
        self._receive = self._cell.behaviour = None
        try:
            made = self._make()
            if isinstance(made, BoundBehaviour):
                self._receive = made.receive
                return None
            self._instance = made
            await made.on_start()
        except BaseException as error:
            return _Failure(self._failure_of(error))
        self._raise_if_killed(None)
        self._receive = made.receive
        return None

    async def _work(self, envelope: Envelope) -> _Failure | None:
        cell, message, pending = self._cell, envelope.message, envelope.ask
        if pending is not None:
            if pending.over and not pending.begun and not envelope.control:
                cell.skip(envelope, pending)
                return None
            pending.begin(envelope)
        if envelope.control:
            if isinstance(message, PoisonPill):
                cell.request_stop(StopReason.POISON_PILL)
                return None
            if isinstance(message, Terminated):
                if message.ref not in cell.watching:
                    return None  # unwatched meanwhile
                del cell.watching[message.ref]
        receive = cell.behaviour or self._receive
        assert receive is not None  # an actor that has not started is never given a message
        cell.current = envelope
        try:
            await receive(message)
        except BaseException as error:
            failure = _Failure(self._failure_of(error))
        else:
            self._raise_if_killed(None)
            return None
        finally:
            cell.current = None
        if pending is not None:
            cell.fail_ask(pending, failure.error)
        return failure

    async def _supervise(self, failure: _Failure) -> _Failure | None:
        directive = self._decide(failure.error)
        if isinstance(directive, Resume) and self._receive is None:
            directive = Stop()  # there is no instance to continue with
        pause_s: float | None = None
        if isinstance(directive, Restart):
            now = asyncio.get_running_loop().time()
            pause_s = self._ledger.admit(now, directive, self._random)
            if pause_s is None:
                self._report(
                    failure.error, "stop", f", after {directive.max_restarts} restarts in {directive.within_s:g} s"
                )
                self._cell.request_stop(StopReason.RESTART_LIMIT)
                return None
        self._report(failure.error, type(directive).__name__.lower())
        match directive:
            case Resume():
                self._resume(failure)
            case Stop():
                self._cell.request_stop(StopReason.FAILED)
            case Escalate():
                await self._escalate(failure)
            case Restart():
                return await self._restart(failure, pause_s or 0.0)
        return None

    def _decide(self, error: Exception) -> Directive:
        try:
            return decide(self._supervisor, error)
        except Exception:
            # A supervisor that cannot decide has failed itself; its parent's supervisor decides.
            _logger.exception("the supervisor of %s failed; the failure is escalated", self._cell.path)
            return Escalate()

    def _resume(self, failure: _Failure) -> None:
        if failure.origin is not None:
            failure.origin.resume()

    async def _escalate(self, failure: _Failure) -> None:
        cell = self._cell
        cell.suspended = True
        cell.parent.child_escalated(cell, failure.error)
        await self._until(lambda: not cell.suspended or self._ending())
        if not self._ending():
            if self._receive is None:
                cell.request_stop(StopReason.FAILED)
            else:
                self._resume(failure)

    async def _restart(self, failure: _Failure, pause_s: float) -> _Failure | None:
        cell = self._cell
        cell.fail_begun_asks(failure.error)
        await self._stop_children(StopReason.PARENT, until=lambda: not len(cell.children) or self._ending())
        cell.escalations.clear()  # of children that have ended
        if self._ending():
            return None
        instance, self._instance = self._instance, None
        self._receive = None
        if instance is not None:
            await self._hook("on_restart", partial(instance.on_restart, failure.error))
        await self._back_off(pause_s)
        return None if self._ending() else await self._create()

    async def _back_off(self, pause_s: float) -> None:
        self._backing_off = True
        timer = asyncio.get_running_loop().call_later(pause_s, self._end_back_off)
        try:
            await self._until(lambda: not self._backing_off or self._ending())
        finally:
            timer.cancel()

    def _end_back_off(self) -> None:
        self._backing_off = False
        self._cell.wake()

    async def _stop_children(self, reason: StopReason, *, until: Callable[[], bool]) -> None:
        self._cell.children.request_stop(reason)
        await self._until(until)

    def _ending(self) -> bool:
        return self._cell.stopping is not None

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            await self._cell.wait_for_wake()

    async def _hook(self, name: str, hook: Callable[[], Awaitable[None]]) -> None:
        """Runs a hook; its failure changes nothing, because the instance is dropped in any case."""
        try:
            await hook()
        except BaseException as error:
            failure = self._failure_of(error)
        else:
            self._raise_if_killed(None)
            return
        _logger.error("%s of %s failed", name, self._cell.path, exc_info=failure)
        self._events.publish(
            ActorFailedEvent(path=self._cell.path, reason=f"{name}: {describe(failure)}", directive="ignore")
        )

    def _failure_of(self, error: BaseException) -> Exception:
        """The failure for `error`. Raises `error` again if it is none: the process ends, or this Task does."""
        if is_a(error, (KeyboardInterrupt, SystemExit)) or not self._runs():
            raise error
        self._raise_if_killed(error)
        if is_a(error, Exception):
            return error
        failure = ActorFailed(f"{type(error).__name__} came out of the actor's own code", identity=self._cell.path)
        failure.__cause__ = error
        return failure

    def _runs(self) -> bool:
        """Whether the actor's task runs, and is not being closed from outside (`GeneratorExit`)."""
        try:
            return asyncio.current_task() is self._cell.task
        except RuntimeError:  # the loop is closed
            return False

    def _raise_if_killed(self, error: BaseException | None) -> None:
        """Ends the task if it was cancelled, even where the user's code has caught that or raised something else."""
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            return
        killed = self._cell.stopping is StopReason.KILLED or isinstance(error, asyncio.CancelledError)
        if LEAVES_CANCELLATIONS and not killed:
            while task.uncancel():
                pass
            return
        raise asyncio.CancelledError from error

    def _report(self, error: Exception, directive: str, why: str = "") -> None:
        path, text = self._cell.path, describe(error)
        level = logging.WARNING if directive in ("resume", "restart") else logging.ERROR
        _logger.log(level, "%s failed: %s (%s%s)", path, text, directive, why, exc_info=error)
        self._events.publish(ActorFailedEvent(path=path, reason=f"{text}{why}", directive=directive))
