"""An asyncio event loop in which time is a number: when nothing is ready it jumps to the next timer.

Ten seconds of waiting cost no more than the callbacks in them, and nothing outside the process decides what comes next,
so one seed gives one history. Callbacks run in the order in which they were scheduled; timers of the same instant too.
Tasks and futures hash by a running number instead of their address, so a set of them (in `asyncio.TaskGroup`, in
`asyncio.wait`) has the same order in every process.

Callbacks belong to processes (`simulated_process`), which can be paused and killed: a callback of a paused process is
held back, one of a dead process is dropped. A context variable, which Tasks inherit, names the process.

There is no I/O: the loop's methods for sockets, pipes and subprocesses are refused. Calls that block, such as those of
`socket` itself, do not use the loop. `run_in_executor`, and with it `asyncio.to_thread`, calls the function at once, in
this thread: deterministic, and no virtual time passes except what the function sleeps.

Why a loop of our own and not a selector that pretends readiness: a selector cannot tell whose callback is ready, and
the stock loop orders timers of one instant by the state of its heap.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import heapq
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from time import monotonic as real_monotonic
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple

from inaho.errors import Unreachable
from inaho.testing.simulation.errors import Deadlock, Livelock, OutOfTime, describe_wait
from inaho.testing.simulation.numbered import NumberedFuture, NumberedTask, OwnedHandle, OwnedTimerHandle
from inaho.testing.simulation.simulated_process import DEAD, OWNER, RUNNING, ProcessHost

__all__ = ["VirtualLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_S: Final = 1000.0
"""Start of the clock: far from 0, which code may use for "never"."""

COLLECT_EVERY: Final = 250_000
"""Callbacks between collections of garbage: at a fixed point, since finalizers are part of the history."""

FAILURES_MAX: Final = 100
REFUSED: Final = (
    "add_reader",
    "add_signal_handler",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
)
"""Methods that would do real I/O."""
CANCELLED_MIN: Final = 1000


class VirtualLoop(ProcessHost):
    """The loop.

    Args:
        callbacks_max: bound of the callbacks at one instant; with more, time would never pass again.
        real_limit_s: of one `run_until_complete`, in seconds of the wall clock; None waits for ever. Looked at between
            rounds of callbacks: one that does not return is not interrupted.

    Attributes:
        callbacks: run so far.
        slept_s: by how much the clock is ahead for the function of a thread that runs now, because it has slept.
        failures: failures that the exception handler got, oldest first; the first `FAILURES_MAX`.
    """

    def __init__(self, *, callbacks_max: int = 1_000_000, real_limit_s: float | None = None) -> None:
        super().__init__()
        self.set_debug(False)
        self.callbacks = 0
        self.slept_s = 0.0
        self.failures: list[dict[str, Any]] = []
        self._now = START_S
        self._queue: deque[OwnedHandle | OwnedTimerHandle] = deque()
        self._timers: list[tuple[float, int, OwnedTimerHandle]] = []
        self._timers_cancelled = 0
        self._numbers = 0
        self._callbacks_max = callbacks_max
        self._callbacks_at_jump = 0
        self._next_collection = COLLECT_EVERY
        self._real_limit_s = real_limit_s
        self._real_end = 0.0
        self._limit: float = float("inf")
        self._main: asyncio.Future[Any] | None = None
        self._fatal: BaseException | None = None
        self._thread = threading.get_ident()
        self._in_executor = False
        self.set_exception_handler(_remember)

    # Time.

    def time(self) -> float:
        """Virtual seconds; starts at `START_S`."""
        return self._now

    @contextmanager
    def limit(self, within_s: float) -> Generator[None]:
        """What runs in the block raises `OutOfTime` when the clock would pass `within_s` from now."""
        before = self._limit
        self._limit = min(before, self._now + within_s)
        try:
            yield
        finally:
            self._limit = before

    def run_until_complete(self, future: Any) -> Any:
        """As usual. Garbage is collected at fixed points while it runs, and not when an allocation happens to.

        Raises:
            Deadlock: it waits for something that cannot happen.
            Livelock: `callbacks_max` callbacks ran and time stood still.
            OutOfTime: it did not end within the virtual `limit` or the real `real_limit_s`.
        """
        collecting = gc.isenabled()
        gc.disable()
        self._callbacks_at_jump = self.callbacks
        self._real_end = real_monotonic() + (float("inf") if self._real_limit_s is None else self._real_limit_s)
        self._main = main = asyncio.ensure_future(future, loop=self)
        try:
            return super().run_until_complete(main)
        finally:
            self._main = None
            if not main.done():
                main._log_destroy_pending = False
            if collecting:
                gc.enable()

    def abort(self, error: BaseException) -> None:
        """Makes the running `run_until_complete` raise `error` now."""
        self._fatal = error

    @property
    def main(self) -> asyncio.Future[Any] | None:
        """The future for which `run_until_complete` waits."""
        return self._main

    # Scheduling.

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self._check_closed()
        if context is None:
            context = contextvars.copy_context()
        handle = OwnedHandle(callback, args, self, context)
        handle.owner = context.get(OWNER)
        self._queue.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_closed()
        if context is None:
            context = contextvars.copy_context()
        timer = OwnedTimerHandle(when, callback, args, self, context)
        timer.owner = context.get(OWNER)
        heapq.heappush(self._timers, (when, self._number(), timer))
        return timer

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`. Refused from another thread, since a seed cannot decide when that thread runs."""
        if threading.get_ident() != self._thread:
            raise RuntimeError("a simulation runs in one thread; another thread must not schedule on its loop")
        return self.call_soon(callback, *args, context=context)

    def requeue(self, handles: list[Any]) -> None:
        self._queue.extend(handles)

    def create_future(self) -> asyncio.Future[Any]:
        return NumberedFuture(number=self._number(), loop=self)

    def create_task(  # type: ignore[override]  # the signature differs between versions of Python
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        if self.is_closed():
            coro.close()  # it never runs
        self._check_closed()
        owner = OWNER.get()
        if context is None:
            context = contextvars.copy_context()
        elif (own := context.get(OWNER)) is not None:
            owner = own
        elif owner is not None:
            context.run(OWNER.set, owner)
        if owner is not None and owner.state is DEAD:  # the clean-up of its last coroutines would never run
            coro.close()
            raise Unreachable(f"{owner.name} is dead, and starts no Task")
        task: NumberedTask[T] = NumberedTask(
            coro, number=self._number(), loop=self, name=name, context=context, **options
        )
        if owner is not None:
            owner.tasks.add(task)
        return task

    def step_first(self, task: asyncio.Task[Any]) -> None:
        """Runs the first step of a new task now, and not in the next loop iteration.

        For code that must have something at once, and itself runs in a task, which is set aside meanwhile.
        """
        handle = self._queue.pop()
        assert not task.done(), "the task has run already"
        current = asyncio.current_task(self)
        if current is not None:
            asyncio.tasks._leave_task(self, current)
        try:
            handle._run()
        finally:
            if current is not None:
                asyncio.tasks._enter_task(self, current)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Calls `func` now, in this thread; if it has slept, its result comes as much later."""
        future = self.create_future()
        outer, self._in_executor = (self._in_executor, self.slept_s), True
        try:
            settle = functools.partial(_settle, future, result=func(*args))
        except Exception as error:
            settle = functools.partial(_settle, future, error=error)
        finally:
            slept_s = self.slept_s - outer[1]
            self._in_executor, self.slept_s = outer
        if slept_s > 0:
            self.call_later(slept_s, settle)
        else:
            settle()
        return future

    def sleep(self, seconds: float) -> None:
        """`time.sleep` of code that runs here.

        Raises:
            RuntimeError: it is not called in a function of a thread, so all nodes would stand still.
        """
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        if seconds and not self._in_executor:
            raise RuntimeError(
                f"time.sleep({seconds}) in a simulation would stop all nodes, and stops the event loop in production: "
                "use `await asyncio.sleep(...)`, or call the function that sleeps with `asyncio.to_thread`"
            )
        self.slept_s += seconds

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timers_cancelled += 1
        if self._timers_cancelled > CANCELLED_MIN and self._timers_cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._timers_cancelled = 0

    # Running.

    def _run_once(self) -> None:
        """One round: due timers, then everything that was ready when the round began."""
        if not self._queue and not self._stopping:  # type: ignore[attr-defined]
            self._jump()
        self._take_due()
        queue = self._queue
        ready = len(queue)
        for _ in range(ready):
            handle = queue.popleft()
            if handle.cancelled():
                continue
            owner = handle.owner
            if owner is not None and owner.state is not RUNNING:
                if owner.state is not DEAD:
                    owner.held.append(handle)
                continue
            handle._run()
        self.callbacks += ready
        self._watch()

    def _jump(self) -> None:
        """Moves the clock to the next timer."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise Deadlock(f"nothing is ready and no timer is set, yet {describe_wait(self._main)}")
        when = self._timers[0][0]
        if when > self._limit:
            self._now = max(self._now, self._limit)
            raise OutOfTime(f"the time is up, and {describe_wait(self._main)}")
        if when > self._now:
            self._now = when
            self._callbacks_at_jump = self.callbacks
            if self.callbacks >= self._next_collection:
                self._next_collection = self.callbacks + COLLECT_EVERY
                gc.collect()

    def _take_due(self) -> None:
        timers, now = self._timers, self._now
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled():
                self._queue.append(timer)

    def _watch(self) -> None:
        if self._fatal is not None:
            error, self._fatal = self._fatal, None
            raise error
        if self.callbacks - self._callbacks_at_jump > self._callbacks_max:
            raise Livelock(
                f"{self._callbacks_max} callbacks ran at one instant and time does not pass; "
                f"{describe_wait(self._main)}; ready is {list(self._queue)[:3]!r}"
            )
        if self._real_limit_s is not None and real_monotonic() > self._real_end:
            raise OutOfTime(f"{self._real_limit_s} s of real time are over, and {describe_wait(self._main)}")

    def close(self) -> None:
        """Drops everything that is ready or due."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        self._queue.clear()
        self._timers.clear()
        super().close()

    def _check_closed(self) -> None:
        if self._closed:  # type: ignore[attr-defined]
            raise RuntimeError("the simulation has been closed")


def _settle(future: asyncio.Future[Any], *, result: Any = None, error: Exception | None = None) -> None:
    """Sets the outcome of a function of a thread, unless its caller was cancelled meanwhile."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise RuntimeError(f"{name} is real I/O; a simulation has none, its nodes are on a network of their own")

    return refuse


for _name in REFUSED:
    setattr(VirtualLoop, _name, _refusing(_name))


def _remember(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The exception handler: keeps a failure without a caller; it fails the simulation at its end."""
    assert isinstance(loop, VirtualLoop)
    if not loop.is_closed() and len(loop.failures) < FAILURES_MAX:
        loop.failures.append(context)
