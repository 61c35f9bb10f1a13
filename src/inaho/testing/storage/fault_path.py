"""The way to a storage on which requests are refused, lost, repeated or late: for states and logs alike."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from inaho.errors import InahoError, InvalidConfig, StorageFailed
from inaho.types import ClusterIdentity

__all__ = ["FaultyPath", "StorageFaults"]

T = TypeVar("T")


class StorageFaults(msgspec.Struct, frozen=True, kw_only=True):
    """Probabilities, 0 to 1, of faults of an operation. An operation has at most one of the first four.

    Attributes:
        refuse: it fails before it is applied, and its error says so (`maybe_executed` is false).
        lose_request: it is not applied; its caller cannot know.
        lose_answer: it is applied; its caller cannot know. Of a load, or a read of versions, it is the same as
            `lose_request`.
        repeat: a write is delivered a second time after it has been applied; the answer is that to the first.
        slow: it takes up to `slow_s` longer, before or after it is applied.
        slow_s: seconds.
    """

    refuse: float = 0.0
    lose_request: float = 0.0
    lose_answer: float = 0.0
    repeat: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.1

    def __post_init__(self) -> None:
        chances = (self.refuse, self.lose_request, self.lose_answer, self.repeat, self.slow)
        if not all(0.0 <= chance <= 1.0 for chance in chances) or sum(chances[:4]) > 1.0:
            raise InvalidConfig(f"{self!r}: each is a probability, and the first four together are at most 1")
        if self.slow_s < 0.0:
            raise InvalidConfig(f"slow_s must not be below 0, but is {self.slow_s}")


class FaultyPath:
    """Carries operations, and draws their faults.

    Args:
        faults: their probabilities; may be replaced at any time.
        seed: of the faults: the same operations in the same order have the same faults.
        sleep: waits for slow operations.
        observe: called for each fault, with its name in `StorageFaults` and the identity.

    Attributes:
        faults: as given.
        injected: how often each fault happened.
    """

    def __init__(
        self,
        faults: StorageFaults,
        seed: int,
        sleep: Callable[[float], Awaitable[None]],
        observe: Callable[[str, ClusterIdentity], None] | None,
    ) -> None:
        self.faults = faults
        self.injected: Counter[str] = Counter()
        self._random = random.Random(f"{seed}/storage")
        self._sleep = sleep
        self._observe = observe

    async def read(self, identity: ClusterIdentity, operation: Callable[[], Awaitable[T]]) -> T:
        """An operation that changes nothing."""
        fault, before_s, after_s = self._draw(identity, writes=False)
        await self._delay(before_s)
        _fail_before(fault, identity)
        found = await operation()
        await self._delay(after_s)
        if fault == "lose_answer":
            raise _lost(identity)
        return found

    async def write(
        self,
        identity: ClusterIdentity,
        operation: Callable[[], Awaitable[T]],
        refusal: type[InahoError],
        *,
        once: bool = True,
    ) -> T:
        """An operation that changes something.

        Args:
            identity: of the record.
            operation: is called again for a request that is delivered twice.
            refusal: what the storage raises when it refuses the operation.
            once: whether it must refuse one that is delivered twice; an `AssertionError` says that it did not.
        """
        fault, before_s, after_s = self._draw(identity, writes=True)
        await self._delay(before_s)
        _fail_before(fault, identity)
        try:
            outcome = await operation()
        except refusal:
            if fault == "lose_answer":
                raise _lost(identity) from None
            raise
        if fault == "repeat":
            try:
                await operation()
            except refusal:
                pass  # expected: the first delivery has changed the record
            else:
                if once:
                    raise AssertionError(f"the storage applied one write of {identity} twice")
        await self._delay(after_s)
        if fault == "lose_answer":
            raise _lost(identity)
        return outcome

    def _draw(self, identity: ClusterIdentity, *, writes: bool) -> tuple[str, float, float]:
        """Draws the fault of the next operation, or "", and the delays before and after it is applied.

        Always the same number of draws, so that one probability does not shift the history of the others.
        """
        faults = self.faults
        chance, slow, share, place = (self._random.random() for _ in range(4))
        fault = ""
        for name in ("refuse", "lose_request", "lose_answer", "repeat"):
            probability: float = getattr(faults, name)
            if chance < probability:
                fault = name
                break
            chance -= probability
        if fault == "repeat" and not writes:
            fault = ""
        delay_s = faults.slow_s * share if slow < faults.slow else 0.0
        for name in (fault, "slow" if delay_s else ""):
            if name:
                self.injected[name] += 1
                if self._observe is not None:
                    self._observe(name, identity)
        return (fault, delay_s, 0.0) if place < 0.5 else (fault, 0.0, delay_s)

    async def _delay(self, seconds: float) -> None:
        if seconds:
            await self._sleep(seconds)


def _fail_before(fault: str, identity: ClusterIdentity) -> None:
    if fault == "refuse":
        raise StorageFailed("the simulated storage refused", identity=str(identity), maybe_executed=False)
    if fault == "lose_request":
        raise _lost(identity)


def _lost(identity: ClusterIdentity) -> StorageFailed:
    """One text for a lost request and a lost answer: the caller cannot tell them apart."""
    return StorageFailed("the simulated storage did not answer", identity=str(identity), maybe_executed=True)
