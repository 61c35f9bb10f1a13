"""The only place where the runtime reads clocks and randomness.

All other code asks the loop (`loop.time()`) or gets what it needs, so a loop with virtual time and a seed are enough to
repeat a run.
"""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["Entropy", "SeededEntropy", "SystemEntropy", "boot_time", "clock_ns", "unix_time"]

clock_ns: Final = time.perf_counter_ns
"""Nanoseconds since some moment, for durations of calls. The builtin itself, because it is read twice in every call."""


class Entropy(Protocol):
    """The source of a node's randomness."""

    random: random.Random

    def token(self, size: int) -> bytes:
        """`size` unpredictable bytes."""
        ...


class SystemEntropy:
    """Entropy of the operating system."""

    def __init__(self) -> None:
        self.random = random.Random(os.urandom(16))

    def token(self, size: int) -> bytes:
        return os.urandom(size)


class SeededEntropy:
    """Repeatable entropy, for simulation only."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def token(self, size: int) -> bytes:
        return self.random.randbytes(size)


def _boot_clock() -> Callable[[], float]:
    """The clock of this system that includes suspension, or the next best."""
    number = getattr(time, "CLOCK_BOOTTIME", None)
    if number is None:
        return time.monotonic
    try:
        time.clock_gettime(number)
    except OSError:  # a kernel or sandbox that does not offer it
        return time.monotonic
    return functools.partial(time.clock_gettime, number)


boot_time: Final = _boot_clock()
"""Seconds since some moment, for decisions: it never falls, and runs while the computer is suspended.

On Linux `loop.time()` stands still then, so a node that was suspended for an hour would take its old knowledge for
fresh. Without such a clock in the system it is the monotonic one (docs/decisions/0027-clocks.md). Read once per
batch."""


def unix_time() -> float:
    """Seconds since 1970, for events and logs."""
    return time.time()
