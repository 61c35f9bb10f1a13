"""The handle of a timer that a grain gets."""

from __future__ import annotations

from abc import ABC, abstractmethod

__all__ = ["Timer"]


class Timer(ABC):
    """A timer of one activation; made by `Grain.timer`.

    Attributes:
        name: of the callback, for logs.
        interval_s: seconds from the end of a tick to the next; None: one tick only.
        ticks: that have begun.
        failures: ticks that raised, or were interrupted at their deadline.
        skipped: ticks that did not run because the activation's queue was full, or they waited there until their
            deadline.
    """

    __slots__ = ("failures", "interval_s", "name", "skipped", "ticks")

    def __init__(self, name: str, interval_s: float | None) -> None:
        self.name = name
        self.interval_s = interval_s
        self.ticks: int = 0
        self.failures: int = 0
        self.skipped: int = 0

    @property
    @abstractmethod
    def active(self) -> bool:
        """Whether it may tick again. One that ticks once is active until that tick has ended."""

    @abstractmethod
    def cancel(self) -> None:
        """Stops the ticks. A running tick continues to its end; a waiting one never begins. May be repeated."""
