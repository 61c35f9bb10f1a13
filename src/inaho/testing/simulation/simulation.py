"""Runs a simulation: its time, its processes, when it ends, and the report of a failure.

Nothing here knows about clusters; `testing.cluster.sim_cluster` puts nodes into it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from inaho.errors.inspection import add_note, fields_of
from inaho.testing.simulation.errors import OutOfTime, SimulationFailed
from inaho.testing.simulation.replay import replay_command, replay_note
from inaho.testing.simulation.simulated_process import SimulatedProcess, close_quietly
from inaho.testing.simulation.trace import Trace
from inaho.testing.simulation.virtual_clocks import VirtualClocks
from inaho.testing.simulation.virtual_loop import START_S, VirtualLoop

__all__ = ["Simulation"]

T = TypeVar("T")

POLL_S: Final = 0.01
UNIX_START_S: Final = 1_750_000_000.0
"""Unix time at the start of every simulation."""


class Simulation:
    """Virtual time and processes in it. Use it with `with`.

    Args:
        seed: of everything that is random.
        within_s: virtual seconds after which `run` gives up, unless told otherwise.
        real_limit_s: seconds of the wall clock after which a run gives up; None never.
        show_system: whether the report of a failure has lines about system kinds.

    Attributes:
        seed: as given.
        replay: command line that replays this run; empty takes that of the running test or program.
    """

    def __init__(self, seed: int, *, within_s: float, real_limit_s: float | None, show_system: bool = False) -> None:
        self.seed = seed
        self.replay = ""
        self._within_s = within_s
        self._loop = VirtualLoop(real_limit_s=real_limit_s)
        self._trace = Trace(lambda: self.time, show_system=show_system)
        self._processes: list[SimulatedProcess] = []
        # Coroutines that a run gave up: kept, so that no finalizer runs before the end of the simulation.
        self._abandoned: list[asyncio.Task[Any]] = []
        self._begun = False
        self._clocks = VirtualClocks(self._loop, self.unix_time, seed)

    def _begin(self) -> None:
        """What `with` does first."""

    def __enter__(self) -> Self:
        self._begun = True
        try:
            self._begin()
        except BaseException as error:
            self.annotate(error)
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failures = self._loop.failures
        self.close()
        if error is not None:
            self.annotate(error)
        elif failures:
            unseen = SimulationFailed(f"{len(failures)} failures went unseen, the first: {failures[0]}")
            self.annotate(unseen)
            raise unseen from failures[0].get("exception")

    def close(self) -> None:
        """Ends everything at once, without clean-up. `with` calls it; may be repeated."""
        if self._loop.is_closed():
            return
        for process in self._processes:
            process.kill()
        outside = asyncio.all_tasks(self._loop)
        self._loop.close()
        for process in self._processes:
            process.bury()
        for task in outside:
            close_quietly(task)

    def run(
        self, coroutine: Coroutine[Any, Any, T], *, on: SimulatedProcess | None = None, within_s: float | None = None
    ) -> T:
        """Runs a coroutine to its end while everything else goes on, and returns its result.

        Args:
            coroutine: a call of a grain, or a whole test.
            on: the process that it runs in, and with which it is paused or ends. None: outside of all.
            within_s: virtual seconds that it may take; None takes those of the simulation.

        Raises:
            OutOfTime, Deadlock, Livelock: it cannot end; the message says where it waits.
            SimulationFailed: the process that it ran in has crashed, or this is called inside of a coroutine.
            TypeError: it is no coroutine.
        """
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(_no_coroutine(coroutine))
        with self._accepted(coroutine):
            task = self._loop.create_task(coroutine) if on is None else on.loop.create_task(coroutine)
        raised: BaseException | None = None
        with self._clocks.installed(), self._loop.limit(self._within_s if within_s is None else within_s):
            try:
                self._loop.run_until_complete(task)
            except BaseException as error:
                raised = error  # raised below: such a block sets its traceback, which a class of the user's may refuse
            finally:
                if not task.done():
                    self._abandoned.append(task)
        if raised is None:
            return task.result()
        try:
            raise raised
        finally:
            del raised

    def run_for(self, seconds: float) -> None:
        """Lets `seconds` of virtual time pass."""
        self.run(asyncio.sleep(seconds), within_s=seconds + 1.0)

    def wait_until(self, condition: Callable[[], object], within_s: float = 30.0) -> float:
        """Lets time pass until `condition` is true; checks it every 10 ms.

        Returns:
            Virtual seconds that it took.

        Raises:
            OutOfTime: it was not true within `within_s`.
        """
        return self.run(self.until(condition, within_s), within_s=within_s + 1.0)

    async def until(self, condition: Callable[[], object], within_s: float = 30.0) -> float:
        """As `wait_until`, inside of a coroutine."""
        began = self.time
        while not condition():
            if self.time - began >= within_s:
                raise OutOfTime(f"after {within_s} s the condition was still false")
            await asyncio.sleep(POLL_S)
        return self.time - began

    @property
    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._loop.time() - START_S

    def unix_time(self) -> float:
        """Virtual Unix time, as in `Event.at`."""
        return UNIX_START_S + self.time

    @property
    def callbacks(self) -> int:
        """The number of callbacks that have run: the work of the simulation, whatever the machine."""
        return self._loop.callbacks

    def trace_hash(self) -> str:
        """The history so far as 16 hexadecimal digits: equal for equal histories, whatever process they ran in."""
        return self._trace.hexdigest()

    def _note(self, what: str, *details: object) -> None:
        """Records an action of the test in the history."""
        self._trace.add(what, *(str(detail) for detail in details))

    def annotate(self, error: BaseException) -> None:
        """Adds to `error`, once, the seed, the replay command and the last events."""
        command = self.replay or replay_command(self.seed)
        note = replay_note(self.seed, command, self.trace_hash(), self.time, self._trace.lines, self._trace.hidden)
        if note not in fields_of(error).get("__notes__", ()):
            add_note(error, note)

    def _check_begun(self) -> None:
        if not self._begun:
            raise SimulationFailed(
                f"the simulation has not begun: use it with `with {type(self).__name__}(...) as sim:`"
            )

    def _may_wait(self) -> bool:
        """Whether time can be made to pass here; False inside of a coroutine of this simulation.

        Raises:
            SimulationFailed: another loop runs in this thread.
        """
        if self._loop.main is not None:
            return False
        self._check_waits()
        return True

    def _check_waits(self) -> None:
        """Before anything that waits: it has begun, and no loop runs in this thread."""
        self._check_begun()
        if asyncio._get_running_loop() is not None:
            raise SimulationFailed(
                "run, run_for and all that wait cannot be called while a loop runs: make the test a plain "
                "function, or await the coroutine itself where you are in one"
            )

    @contextlib.contextmanager
    def _accepted(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[None]:
        """Checks that it can be waited for; a coroutine that is not accepted is closed."""
        try:
            self._check_waits()
            yield
        except BaseException:
            coroutine.close()
            raise


def _no_coroutine(given: Any) -> str:
    """What to do about something that `run` was given instead of a coroutine."""
    if hasattr(given, "__aiter__"):
        advice = "iterate a stream inside of a coroutine, and run that"
    elif hasattr(given, "__await__"):
        advice = "await it inside of a coroutine, and run that"
    elif callable(given):
        advice = f"call it: sim.run({getattr(given, '__name__', 'function')}(...))"
    else:
        advice = "call a method of a grain, or an async function, and run what it gives"
    return f"run takes a coroutine, not {given!r}: {advice}"
