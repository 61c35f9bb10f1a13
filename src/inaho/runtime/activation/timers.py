"""Runs the timers of an activation: calls that an activation makes to itself at intervals, until it ends.

A tick is a turn like any other: it waits behind earlier calls, later calls wait behind it, it has a context and a
deadline, and its exceptions go to the failure policy of the kind. It has no caller, so a failure is logged and
published as an event.

Ticks never accumulate: the interval to the next tick begins at the end of the last one, whether that tick ran, failed,
or was skipped because the activation's queue was full. A waiting timer is one entry in the loop's heap: no Task, no
future, no turn.

Why not `asyncio.create_task` with a loop that sleeps, as users would write: its body interleaves with turns, it has no
context, it continues when the activation has ended, and it costs a Task while it waits.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any

from inaho.errors import InahoError, InvalidArguments, Overloaded
from inaho.errors.inspection import describe, is_a
from inaho.events import TimerFailed
from inaho.runtime.grains.activation import Turn
from inaho.runtime.grains.activation_turns import running_turns, waiting_turns
from inaho.runtime.grains.method_options import OPTIONS
from inaho.runtime.grains.timer import Timer
from inaho.runtime.turns.hooks import UnlistedMethod
from inaho.runtime.turns.steps import SIGNALS

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost
    from inaho.runtime.grains.activation import Activation

__all__ = ["ActivationTimer", "ActivationTimers"]


class TickMethod(UnlistedMethod):
    """A tick, as the method of a turn. It is read-only where the callback has `@method(read_only=True)`."""

    __slots__ = ()

    @staticmethod
    async def function(grain: Activation, timer: ActivationTimer) -> None:
        """Runs the callback, and reports its exception while that has its traceback."""
        timer._begin()
        try:
            result = timer._callback(*timer._arguments)
            if inspect.isawaitable(result):
                await result
        except BaseException as error:
            timer._report(error)
            raise


class ActivationTimer(Timer):
    """A timer of one activation."""

    __slots__ = (
        "_arguments",
        "_callback",
        "_handle",
        "_keep_alive",
        "_method",
        "_running",
        "_table",
        "_timeout_s",
        "_turn",
    )

    def __init__(
        self,
        table: TimerTable,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        *,
        name: str,
        interval_s: float | None,
        timeout_s: float,
        keep_alive: bool,
    ) -> None:
        super().__init__(name, interval_s)
        self._table = table
        self._callback = callback
        self._arguments = arguments
        self._timeout_s = timeout_s
        self._keep_alive = keep_alive
        options = getattr(callback, OPTIONS, None)
        read_only = options is not None and options.read_only
        self._method: Any = TickMethod(table.grain._inaho_host.name, name, read_only=read_only)
        self._handle: asyncio.TimerHandle | None = None
        """Of the next tick, or of the deadline of the tick that waits or runs."""
        self._turn: Turn | None = None
        self._running = False

    @property
    def active(self) -> bool:
        return self in self._table.timers

    def cancel(self) -> None:
        if not self.active:
            return
        self._table.forget(self)
        if self._running:
            return
        self._disarm()
        if self._turn is not None:
            turn, self._turn = self._turn, None
            self._table.runner.abandon(turn, "timer cancelled")

    def arm(self, delay_s: float) -> None:
        """Schedules the next tick in `delay_s` seconds."""
        loop = self._table.loop
        self._handle = loop.call_at(loop.time() + delay_s, self._tick)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        """Runs the tick, or puts it into the queue of the activation."""
        table = self._table
        grain, runner, loop = table.grain, table.runner, table.loop
        if grain._inaho_host.local.closing:
            table.forget(self)
            return
        grain._inaho_host.local.pauses.check()
        if not self.active:  # the activation has ended, because of the pause
            return
        now = loop.time()
        turn = Turn(self._method, grain, (self,), None, 0, now + self._timeout_s)
        turn.future = loop.create_future()
        turn.future.add_done_callback(self._ended)
        self._turn = turn
        self._handle = loop.call_at(turn.deadline, self._expire, turn)
        if grain._inaho_turn is None:
            grain._inaho_turn = turn
        else:
            try:
                if not runner.enqueue(turn):
                    return
            except InahoError as error:
                turn.future.set_exception(error)
                return
        runner.run(turn)

    def _begin(self) -> None:
        self.ticks += 1
        self._running = True

    def _expire(self, turn: Turn) -> None:
        """The tick's deadline has passed, in the queue or while it ran."""
        self._handle = None
        if turn is not self._turn:
            return
        self._table.runner.abandon(turn, "deadline")
        if not self._running and turn.future is not None and not turn.future.done():
            turn.future.set_result(None)

    def _ended(self, future: asyncio.Future[Any]) -> None:
        """The tick has ended, with any outcome: the interval to the next one begins."""
        if not future.cancelled():
            future.exception()  # it has been reported, or the tick did not run
        if self._turn is None or self._turn.future is not future:
            return  # it was taken out of the queue
        self._turn = None
        self._disarm()
        table = self._table
        if self._running:
            self._running = False
        else:
            self.skipped += 1
        if self.active and self.interval_s is not None and not table.host.local.closing:
            self.arm(self.interval_s)
        else:
            table.forget(self)

    def _report(self, error: BaseException) -> None:
        """Reports the failure of a tick to the log and as an event, since a tick has no caller."""
        turn, table = self._turn, self._table
        if is_a(error, SIGNALS) or turn is None:
            return
        grain = table.grain
        host = table.host
        cancelled = is_a(error, asyncio.CancelledError)
        if cancelled and not turn.cancelled and host.is_stopping:
            return
        self.failures += 1
        late = cancelled and turn.cancelled
        reason = f"interrupted after {self._timeout_s:g} s" if late else describe(error)
        host.local.log.warning("timer %s of %s failed: %s", self.name, grain.identity, reason, exc_info=error)
        host.local.publish(TimerFailed(identity=grain.identity, timer=self.name, reason=reason))

    def __repr__(self) -> str:
        state = "active" if self.active else "over"
        return f"<Timer {self.name} of {self._table.grain.identity}: {state}, {self.ticks} ticks>"


class TimerTable:
    """The timers of one activation. An activation without timers has no table.

    Args:
        grain: the activation.
        host: its kind.
        ending: whether the activation is ending, so that its timers do not tick.

    Attributes:
        timers: those that may tick again, in the order in which they were made.
    """

    __slots__ = ("ending", "grain", "host", "runner", "timers")

    def __init__(self, grain: Activation, host: ActivationHost, *, ending: bool) -> None:
        self.grain = grain
        self.ending = ending
        self.timers: dict[ActivationTimer, None] = {}
        self.host = host
        self.runner = host.around.runner

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The node's loop."""
        return self.runner.loop

    def add(self, timer: ActivationTimer, first_s: float) -> None:
        """Starts a timer. The timer never ticks if the activation is ending.

        Raises:
            Overloaded: there are `activation.timers_max` already.
        """
        if self.ending:
            return
        if len(self.timers) >= self.host.local.config.activation.timers_max:
            raise Overloaded(
                f"the activation has {len(self.timers)} timers (activation.timers_max)",
                identity=str(self.grain.identity),
            )
        self.timers[timer] = None
        timer.arm(first_s)

    def forget(self, timer: ActivationTimer) -> None:
        """Removes a timer that will not tick again."""
        self.timers.pop(timer, None)

    def end(self) -> None:
        """The activation ends: cancels its timers. Running ticks continue to their end."""
        self.ending = True
        for timer in list(self.timers):
            timer.cancel()

    def used_at(self, now: float) -> float:
        """When a caller last used the activation, for passivation. Ticks do not count as use."""
        grain = self.grain
        if any(timer._keep_alive for timer in self.timers):
            return now
        others = any(turn.method.is_use for turn in (*running_turns(grain), *waiting_turns(grain)))
        return now if others else grain._inaho_touched


class ActivationTimers:
    """The timers of all activations of one kind on one node."""

    def __init__(self, host: ActivationHost) -> None:
        self._host = host
        self._tables: dict[str | int, TimerTable] = {}
        """By key; by `id` for the further activations of a stateless kind."""

    def __contains__(self, key: str) -> bool:
        return key in self._tables

    def __len__(self) -> int:
        return len(self._tables)

    def used_at(self, key: str, now: float) -> float:
        """When a caller last used the activation of `key`, which has timers."""
        return self._tables[key].used_at(now)

    def end(self, grain: Activation) -> None:
        """Ends the timers of an activation."""
        for slot in (grain._inaho_key, id(grain)):
            table = self._tables.get(slot)
            if table is not None and table.grain is grain:
                del self._tables[slot]
                table.end()

    def start(
        self,
        grain: Activation,
        callback: Callable[..., object] | str,
        interval_s: float | None,
        arguments: tuple[Any, ...],
        *,
        first_s: float | None,
        keep_alive: bool,
        timeout_s: float | None,
    ) -> Timer:
        """See `Grain.timer`."""
        name, function = _resolved(grain, callback)
        first = interval_s if first_s is None else first_s
        if first is None:
            raise InvalidArguments("a timer without interval_s ticks once and needs first_s", identity=name)
        _check_seconds("interval_s", interval_s, zero=False)
        _check_seconds("first_s", first_s, zero=True)
        _check_seconds("timeout_s", timeout_s, zero=False)
        table = self._table(grain)
        timer = ActivationTimer(
            table,
            function,
            arguments,
            name=name,
            interval_s=interval_s,
            timeout_s=self._host.local.timeout_s if timeout_s is None else timeout_s,
            keep_alive=keep_alive,
        )
        table.add(timer, first)
        if not table.ending:
            self._tables[self._slot(grain)] = table
        return timer

    def _table(self, grain: Activation) -> TimerTable:
        current = self._host.lives(grain)
        if not current and grain._inaho_lease.holding:
            raise RuntimeError(f"{grain.identity}: start timers in on_activate or later, not in the constructor")
        table = self._tables.get(self._slot(grain))
        if current and table is not None:
            return table
        ending = not current or bool(self._host.lifecycle.reason_of(grain))
        return TimerTable(grain, self._host, ending=ending)

    def _slot(self, grain: Activation) -> str | int:
        key = grain._inaho_key
        return key if self._host.activations.get(key) is grain else id(grain)


def _resolved(grain: Activation, callback: Callable[..., object] | str) -> tuple[str, Callable[..., object]]:
    """Name and function of a callback."""
    if isinstance(callback, str):
        name, found = callback, getattr(grain, callback, None)
    else:
        name, found = getattr(callback, "__name__", type(callback).__name__), callback
    if not callable(found):
        raise InvalidArguments(
            f"a timer needs a callback or the name of a method, not {name!r}", identity=str(grain.identity)
        )
    return name, found


def _check_seconds(what: str, value: float | None, *, zero: bool) -> None:
    if value is not None and not (isfinite(value) and (value > 0 or (zero and value == 0))):
        raise InvalidArguments(f"{what} of a timer must be {'0 or more' if zero else 'above 0'} seconds, not {value}")
