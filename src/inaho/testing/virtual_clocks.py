"""Virtual time and seeded chance for code that does not ask the loop: `time.time()`, `datetime.now()`, `uuid4()`.

A grain that stamps what it saves with `time.time()` would see the machine's clock in a simulation: an hour of virtual
time would be a millisecond, and no run would be like the one before. So while the loop of a simulation runs, the
functions of `time`, `datetime.datetime.now` and `utcnow`, `os.urandom` (with it `uuid.uuid4` and `secrets`) and the
functions of `random` are those of the simulation. They look at whose code runs: other threads, such as a time-out of
the test runner, see the machine's, and between two runs nothing is replaced. Names that a module got by
`from time import monotonic` are replaced too.

`time.sleep` would stop all nodes at once. In a function that `asyncio.to_thread` runs it takes virtual time. Elsewhere
it is refused, with what to do.

Why the method table of `datetime.datetime` is changed and not the name, as other tools do: a class in its place is no
`datetime` to whoever reads annotations while the simulation runs, as the codec does.
"""

from __future__ import annotations

import asyncio
import ctypes
import datetime
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from inaho.testing.simulation_errors import SimulationFailed

if TYPE_CHECKING:
    from inaho.testing.virtual_loop import VirtualLoop

__all__ = ["VirtualClocks"]

OURS: Final = frozenset({"inaho", "pytest", "_pytest", "pluggy", "hypothesis", "coverage", "pytest_timeout", "xdist"})
"""Packages whose own names are left alone, beside the standard library: they time the run, and not what runs in it."""

_REAL: Final[Any] = SimpleNamespace(**vars(time), urandom=os.urandom)
"""The functions of the machine, as they were before any simulation ran."""

_running: Final = threading.Lock()
"""Held while a simulation runs: the replaced functions belong to the whole process."""

_get_running_loop: Final = asyncio._get_running_loop


class VirtualClocks:
    """The clocks and the chance of one simulation.

    Args:
        loop: of the simulation.
        unix_time: virtual Unix seconds.
        seed: of the simulation.
    """

    def __init__(self, loop: VirtualLoop, unix_time: Callable[[], float], seed: int) -> None:
        self._loop = loop
        self._unix_time = unix_time
        self._bytes = random.Random(f"{seed}/urandom")
        self._chance: Any = random.Random(f"{seed}/random").getstate()
        """State of the functions of `random` between two runs."""
        self._replaced = self._replacements()
        self._names: list[tuple[dict[str, Any], str, Any, Any]] = []
        self._modules = 0

    @contextmanager
    def installed(self) -> Generator[None]:
        """In the block code of the simulation's loop sees its clocks. Everything is as it was after it.

        Raises:
            SimulationFailed: another simulation runs in this process, in another thread.
        """
        if not _running.acquire(blocking=False):
            raise SimulationFailed("another simulation runs in this process; run one at a time, or one per process")
        chance = random.getstate()
        done: list[tuple[dict[str, Any], str, Any]] = []
        try:
            random.setstate(self._chance)
            for namespace, name, real, virtual in self._bindings():
                if namespace.get(name) is real:
                    namespace[name] = virtual
                    done.append((namespace, name, real))
            with self._datetimes():
                yield
        finally:
            for namespace, name, real in done:
                namespace[name] = real
            self._chance = random.getstate()
            random.setstate(chance)
            _running.release()

    def _bindings(self) -> list[tuple[dict[str, Any], str, Any, Any]]:
        """Where the functions are known by name: namespace, name, the real one, the virtual one."""
        if self._modules != len(sys.modules):
            self._modules = len(sys.modules)
            self._names = [
                (namespace, name, *self._replaced[id(value)])
                for module, namespace in _namespaces()
                for name, value in list(namespace.items())
                if id(value) in self._replaced and (module in ("time", "os", "random") or not _is_left_alone(module))
            ]
        return self._names

    def _now(self) -> float:
        """Virtual monotonic seconds, as the running code sees them."""
        return self._loop.time() + self._loop.slept_s

    def _wall(self) -> float:
        return self._unix_time() + self._loop.slept_s

    # The functions.

    def _replacements(self) -> dict[int, tuple[Any, Any]]:
        """The real function and the virtual one, by the id of the real one."""
        here, now, wall = self._here, self._now, self._wall
        pairs: list[tuple[Any, Any]] = [
            *((real, here(real, now)) for real in (_REAL.monotonic, _REAL.perf_counter)),
            *((real, here(real, lambda: _ns(now()))) for real in (_REAL.monotonic_ns, _REAL.perf_counter_ns)),
            (_REAL.time, here(_REAL.time, wall)),
            (_REAL.time_ns, here(_REAL.time_ns, lambda: _ns(wall()))),
            (_REAL.sleep, here(_REAL.sleep, self._loop.sleep)),
            (_REAL.urandom, here(_REAL.urandom, self._bytes.randbytes)),
        ]
        for given in (_REAL.gmtime, _REAL.localtime, _REAL.ctime):
            pairs.append((given, here(given, _with_default(given, wall))))
        localtime, strftime, asctime = _REAL.localtime, _REAL.strftime, _REAL.asctime

        def formatted(form: str, when: Any = None) -> str:
            text: str = strftime(form, localtime(wall()) if when is None else when)
            return text

        pairs.append((strftime, here(strftime, formatted)))

        def plain(when: Any = None) -> str:
            text: str = asctime(localtime(wall()) if when is None else when)
            return text

        pairs.append((asctime, here(asctime, plain)))
        if sys.platform != "win32":
            read = _REAL.clock_gettime

            def clock(number: int) -> float:
                if number == _REAL.CLOCK_REALTIME:
                    return wall()
                counts = (_REAL.CLOCK_MONOTONIC, getattr(_REAL, "CLOCK_BOOTTIME", None))
                return now() if number in counts else read(number)

            pairs.append((read, here(read, clock)))

            def clock_ns(number: int) -> int:
                return _ns(clock(number))

            pairs.append((_REAL.clock_gettime_ns, here(_REAL.clock_gettime_ns, clock_ns)))
        return {id(real): (real, virtual) for real, virtual in pairs}

    def _here(self, real: Any, virtual: Callable[..., Any]) -> Callable[..., Any]:
        """`virtual` for code of this simulation, `real` for all other."""
        loop = self._loop

        def chosen(*arguments: Any, **named: Any) -> Any:
            function = virtual if _get_running_loop() is loop else real
            return function(*arguments, **named)

        chosen.__name__ = chosen.__qualname__ = real.__name__
        return chosen

    @contextmanager
    def _datetimes(self) -> Generator[None]:
        """`datetime.now` and `utcnow`, which read the clock of the machine without `time`."""
        loop, wall = self._loop, self._wall
        table: dict[str, Any] = gc.get_referents(datetime.datetime.__dict__)[0]
        real_now, real_utcnow = table["now"], table["utcnow"]

        def now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
            if _get_running_loop() is not loop:
                answer: datetime.datetime = real_now.__get__(None, cls)(tz)
                return answer
            return cls.fromtimestamp(wall(), tz)

        def utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
            if _get_running_loop() is not loop:
                answer: datetime.datetime = real_utcnow.__get__(None, cls)()
                return answer
            return cls.fromtimestamp(wall(), datetime.UTC).replace(tzinfo=None)

        try:
            _set_methods(table, now=classmethod(now), utcnow=classmethod(utcnow))
            yield
        finally:
            _set_methods(table, now=real_now, utcnow=real_utcnow)


def _set_methods(table: dict[str, Any], **methods: Any) -> None:
    table.update(methods)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))  # forget what was looked up before


def _with_default(real: Callable[..., Any], wall: Callable[[], float]) -> Callable[..., Any]:
    def given(seconds: float | None = None) -> Any:
        return real(wall() if seconds is None else seconds)

    return given


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _namespaces() -> list[tuple[str, dict[str, Any]]]:
    """Every module that was imported, with its names."""
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    return [(name, module.__dict__) for name, module in modules if type(getattr(module, "__dict__", None)) is dict]


def _is_left_alone(module: str) -> bool:
    package = module.partition(".")[0]
    return package != "__main__" and (package in OURS or package in sys.stdlib_module_names)
