"""Replaces `time`, `datetime` and `random` during a simulation with virtual time and seeded randomness.

A grain that stores `time.time()` would see the machine's clock in a simulation: an hour of virtual time would be a
millisecond, and no run would be like the one before. So while the loop of a simulation runs, the functions of `time`,
`datetime.datetime.now` and `utcnow`, `os.urandom` (with it `uuid.uuid4` and `secrets`) and the functions of `random`
are those of the simulation. They check which code calls: other threads, such as a time-out of the test runner, see the
machine's clocks, and between two runs nothing is replaced. Names that a module imported with `from time import
monotonic` are replaced too.

A module that is first imported during a run is imported as if it had been imported before: everything is put back
meanwhile. So it draws nothing from the seed, and keeps nothing that belongs to one simulation only.

`time.sleep` would stop all nodes at once. In a function that `asyncio.to_thread` runs, it takes virtual time. Elsewhere
it is refused, and the error says what to do.

Why the method table of `datetime.datetime` is changed and not the name, as other tools do: a replacement class is no
`datetime` to code that reads annotations while the simulation runs, as the codec does.
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

from inaho.testing.simulation.errors import SimulationFailed

if TYPE_CHECKING:
    from inaho.testing.simulation.virtual_loop import VirtualLoop

__all__ = ["VirtualClocks"]

OURS: Final = frozenset({"inaho", "pytest", "_pytest", "pluggy", "hypothesis", "coverage", "pytest_timeout", "xdist"})
"""Packages whose names are not replaced, besides the standard library: they measure the run, not the simulated code."""

_importlib: Final[Any] = sys.modules["_frozen_importlib"]
_methods: Final[dict[str, Any]] = gc.get_referents(datetime.datetime.__dict__)[0]

_REAL: Final[Any] = SimpleNamespace(
    **vars(time),
    urandom=os.urandom,
    load=_importlib._find_and_load,
    datetime_now=_methods["now"],
    datetime_utcnow=_methods["utcnow"],
)
"""The functions of the machine, as they were before any simulation ran."""

COUNTING: Final = frozenset(
    number
    for name in ("CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME", "CLOCK_UPTIME_RAW")
    if (number := getattr(time, name, None)) is not None
)
"""The clocks of `time.clock_gettime` that are virtual, beside `CLOCK_REALTIME`."""

_running: Final = threading.Lock()
"""Held while a simulation runs: the replaced functions belong to the whole process."""

_get_running_loop: Final = asyncio._get_running_loop

NOBODY: Final = object()
"""A value that is no loop, and not None, which stands for code without a loop."""

_active: Final[Any] = SimpleNamespace(loop=NOBODY, clocks=NOBODY)
"""The loop and the clocks of the running simulation; `NOBODY` while it imports a module."""


class VirtualClocks:
    """The clocks and the randomness of one simulation.

    Args:
        loop: of the simulation.
        unix_time: virtual Unix seconds.
        seed: of the simulation.
    """

    def __init__(self, loop: VirtualLoop, unix_time: Callable[[], float], seed: int) -> None:
        self.loop = loop
        self._unix_time = unix_time
        self._bytes = random.Random(f"{seed}/urandom")
        self._chance: Any = random.Random(f"{seed}/random").getstate()
        """State of the functions of `random` while none of its code runs."""
        self._outer_chance: Any = None
        """The state for all other code, while code of the simulation runs."""
        self._names: list[tuple[dict[str, Any], str, Any, Any]] = []
        """Where the functions are known by name: namespace, name, the real one, the virtual one."""
        self._modules: dict[str, Any] = {}
        """Those whose names are known."""

    @contextmanager
    def installed(self) -> Generator[None]:
        """Within the block, code of the simulation's loop sees its clocks. Afterwards everything is as before.

        Raises:
            SimulationFailed: another simulation runs in this process, in another thread.
        """
        if not _running.acquire(blocking=False):
            raise SimulationFailed("another simulation runs in this process; run one at a time, or one per process")
        try:
            self._replace()
            try:
                yield
            finally:
                self._put_back()
        finally:
            _running.release()

    def now(self) -> float:
        """Virtual monotonic seconds, as the running code sees them."""
        return self.loop.time() + self.loop.slept_s

    def wall(self) -> float:
        """Virtual Unix seconds, as the running code sees them."""
        return self._unix_time() + self.loop.slept_s

    def sleep(self, seconds: float) -> None:
        """As `time.sleep`, in virtual time; see `VirtualLoop.sleep`."""
        self.loop.sleep(seconds)

    def urandom(self, size: int) -> bytes:
        """As `os.urandom`, from the seed."""
        return self._bytes.randbytes(size)

    # Install and remove.

    def _replace(self) -> None:
        _active.clocks, _active.loop = self, self.loop
        self._outer_chance = random.getstate()
        random.setstate(self._chance)
        self._look_for_names()
        for namespace, name, real, virtual in self._names:
            if namespace.get(name) is real:
                namespace[name] = virtual
        _set_methods(now=classmethod(_datetime_now), utcnow=classmethod(_datetime_utcnow))
        _importlib._find_and_load = self._load

    def _put_back(self) -> None:
        _importlib._find_and_load = _REAL.load
        _set_methods(now=_REAL.datetime_now, utcnow=_REAL.datetime_utcnow)
        for namespace, name, real, virtual in self._names:
            if namespace.get(name) is virtual:  # and not a replacement by a test
                namespace[name] = real
        self._chance = random.getstate()
        random.setstate(self._outer_chance)
        _active.clocks = _active.loop = NOBODY

    def _load(self, name: str, import_: Any) -> Any:
        """Python's hook to import a missing module: it is imported as outside of a simulation.

        Else the first simulation of a process, in which modules are imported, would draw other numbers than the next.
        """
        if name in sys.modules or _get_running_loop() is not self.loop:
            return _REAL.load(name, import_)
        self._put_back()
        try:
            return _REAL.load(name, import_)
        finally:
            self._modules.pop(name, None)  # a module of this name may have been imported again
            self._replace()

    def _look_for_names(self) -> None:
        """Adds what modules have that were imported since."""
        if len(self._modules) == len(sys.modules):
            return
        modules: list[tuple[str, Any]] = list(sys.modules.items())
        for module, found in modules:
            if self._modules.get(module) is found:
                continue
            self._modules[module] = found
            namespace: dict[str, Any] | None = getattr(found, "__dict__", None)
            if type(namespace) is not dict or _is_left_alone(module):
                continue
            for name, value in list(namespace.items()):
                if id(value) in _REPLACED:
                    self._names.append((namespace, name, *_REPLACED[id(value)]))


# The functions: one set for all simulations of the process, since code may keep one for longer than a simulation.


def _here(real: Any, virtual: Callable[..., Any]) -> tuple[Any, Any]:
    """The machine's function and its replacement: `virtual` for code of the running simulation.

    Args:
        real: the function.
        virtual: what it is in a simulation, given its clocks and the arguments.
    """

    def chosen(*arguments: Any, **named: Any) -> Any:
        if _get_running_loop() is _active.loop:
            return virtual(_active.clocks, *arguments, **named)
        return real(*arguments, **named)

    chosen.__name__ = chosen.__qualname__ = real.__name__
    return real, chosen


def _replacements() -> dict[int, tuple[Any, Any]]:
    """The real function and the virtual one, by the id of the real one."""
    now, wall = VirtualClocks.now, VirtualClocks.wall
    pairs: list[tuple[Any, Any]] = [
        *(_here(real, now) for real in (_REAL.monotonic, _REAL.perf_counter)),
        *(_here(real, _in_ns(now)) for real in (_REAL.monotonic_ns, _REAL.perf_counter_ns)),
        _here(_REAL.time, wall),
        _here(_REAL.time_ns, _in_ns(wall)),
        _here(_REAL.sleep, VirtualClocks.sleep),
        _here(_REAL.urandom, VirtualClocks.urandom),
        _here(_REAL.strftime, _strftime),
        _here(_REAL.asctime, _asctime),
        *(_here(real, _with_default(real)) for real in (_REAL.gmtime, _REAL.localtime, _REAL.ctime)),
    ]
    if sys.platform != "win32":
        pairs.append(_here(_REAL.clock_gettime, _clock_gettime))
        pairs.append(_here(_REAL.clock_gettime_ns, _in_ns(_clock_gettime)))
    return {id(real): (real, virtual) for real, virtual in pairs}


def _in_ns(read: Callable[..., float]) -> Callable[..., int]:
    def in_ns(clocks: VirtualClocks, *which: int) -> int:
        return round(read(clocks, *which) * 1e9)

    return in_ns


def _with_default(real: Callable[..., Any]) -> Callable[..., Any]:
    def given(clocks: VirtualClocks, seconds: float | None = None) -> Any:
        return real(clocks.wall() if seconds is None else seconds)

    return given


def _strftime(clocks: VirtualClocks, form: str, when: Any = None) -> str:
    text: str = _REAL.strftime(form, _REAL.localtime(clocks.wall()) if when is None else when)
    return text


def _asctime(clocks: VirtualClocks, when: Any = None) -> str:
    text: str = _REAL.asctime(_REAL.localtime(clocks.wall()) if when is None else when)
    return text


def _clock_gettime(clocks: VirtualClocks, number: int) -> float:
    if number == _REAL.CLOCK_REALTIME:
        return clocks.wall()
    seconds: float = clocks.now() if number in COUNTING else _REAL.clock_gettime(number)
    return seconds


def _datetime_now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
    """`datetime.now`, which reads the clock of the machine without `time`."""
    if _get_running_loop() is _active.loop:
        return cls.fromtimestamp(_active.clocks.wall(), tz)
    real: datetime.datetime = _REAL.datetime_now.__get__(None, cls)(tz)
    return real


def _datetime_utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
    if _get_running_loop() is _active.loop:
        return cls.fromtimestamp(_active.clocks.wall(), datetime.UTC).replace(tzinfo=None)
    real: datetime.datetime = _REAL.datetime_utcnow.__get__(None, cls)()
    return real


def _set_methods(**methods: Any) -> None:
    _methods.update(methods)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))  # forget earlier look-ups


def _is_left_alone(module: str) -> bool:
    package = module.partition(".")[0]
    if module in ("time", "os", "random"):
        return False
    return package != "__main__" and (package in OURS or package in sys.stdlib_module_names)


_REPLACED: Final = _replacements()
