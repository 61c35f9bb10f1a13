"""The deliveries that a consumer holds, by partition: the tables of `ConsumerWindow`."""

from __future__ import annotations

import enum
from collections import deque
from typing import Final, Generic, Protocol, TypeVar

import msgspec

__all__ = ["OUT", "OVER", "SETTLED", "WAITING", "Delivered", "DeliveryState", "Held", "HeldPartition", "Settled"]


class Delivered(Protocol):
    """One delivery, as far as the window reads it."""

    @property
    def offset(self) -> int:
        """In the partition."""
        ...

    @property
    def attempt(self) -> int:
        """From 1."""
        ...

    @property
    def key(self) -> str:
        """Empty for none."""
        ...


D = TypeVar("D", bound=Delivered)


class DeliveryState(enum.IntEnum):
    """Where a delivery is."""

    WAITING = 0
    """In the window."""

    OUT = 1
    """Handed out, and not answered."""

    SETTLED = 2
    """Acknowledged or given back, by the program."""

    OVER = 3
    """No longer the consumer's; it is delivered again."""


WAITING: Final = DeliveryState.WAITING
OUT: Final = DeliveryState.OUT
SETTLED: Final = DeliveryState.SETTLED
OVER: Final = DeliveryState.OVER


class Held(msgspec.Struct, Generic[D], eq=False):
    """One delivery in the window.

    Attributes:
        delivery: as it came.
        partition: from which it came.
        arrived_at: loop seconds.
        expires_at: loop seconds at which the time to acknowledge ends.
        state: where it is.
        worked_on: a loop body or a handler works on it, so its time is prolonged.
    """

    delivery: D
    partition: int
    arrived_at: float
    expires_at: float
    state: DeliveryState = WAITING
    worked_on: bool = False


class Settled(msgspec.Struct):
    """What the keeper of one partition is to be told; the lists are those of its `Settlement`.

    Attributes:
        number: counts those of the partition, from 1.
        heard: the consumer has read what is over. The keeper must know that it lives, also if it has no answers.
    """

    number: int = 1
    acked: list[tuple[int, int]] = []
    retried: list[tuple[int, int, float | None, str]] = []
    extended: list[tuple[int, int, float]] = []
    released: list[tuple[int, int]] = []
    heard: bool = False

    def __bool__(self) -> bool:
        return bool(self.acked or self.retried or self.extended or self.released or self.heard)


class HeldPartition(Generic[D]):
    """What a consumer holds of one partition.

    Args:
        number: of the partition.
    """

    __slots__ = (
        "back",
        "held",
        "lines",
        "number",
        "opening",
        "queued",
        "ready",
        "settled",
        "unconfirmed",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.held: dict[int, Held[D]] = {}
        """By offset: waiting or out."""
        self.lines: dict[str, list[Held[D]]] = {}
        """By key: first the one that is ready or out, then those that wait for it."""
        self.ready: deque[Held[D]] = deque()
        """To be handed out, oldest first; may have entries that are not waiting any more."""
        self.queued = False
        """It is in the round of partitions with something to hand out."""
        self.settled = Settled()
        self.back: dict[str, tuple[int, int]] = {}
        """By key: the first offset that has gone back, and the number of the last settlement that tells so."""
        self.opening: list[Settled] | None = None
        """What was told since the request for a stream, until the stream is open; None while no stream opens."""
        self.unconfirmed: dict[int, int] = {}
        """Attempts of the acknowledged, by offset, until the keeper has confirmed them."""
