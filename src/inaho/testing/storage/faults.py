"""`FaultyStorage`: fails as storages on a network do; a seed draws the faults, another storage has the data.

    storage = FaultyStorage(MemoryStorage(), StorageFaults(lose_answer=0.05, repeat=0.05), seed=7)

A request on its way can be refused, lost, lose its answer, arrive twice, or be late. None of these may lose an
acknowledged save, and a grain that reads `maybe_executed` knows what to do. The case that programs most often forget is
the lost answer: the save is stored, and its caller gets an error.

Why around a storage and not inside of each: the faults are those of the network, so every back end is tested with the
same ones, yours included.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from inaho.errors import InvalidConfig, StateConflict, StorageFailed
from inaho.storage import MemoryStorage, Storage, StoredState, StoredVersion
from inaho.storage.memory import MemorySnapshot
from inaho.types import ClusterIdentity

__all__ = ["FaultyStorage", "StorageFaults"]


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


class FaultyStorage(Storage):
    """`inner` with faults on the way to it.

    Args:
        inner: holds the data.
        faults: their probabilities.
        seed: of the faults: the same operations in the same order have the same faults.
        sleep: waits for slow operations; on a virtual loop `asyncio.sleep` takes no real time.
        observe: called for each fault, with its name in `StorageFaults` and the identity.

    Attributes:
        inner: as given.
        faults: may be replaced at any time.
        injected: how often each fault happened.
    """

    def __init__(
        self,
        inner: Storage,
        faults: StorageFaults,
        seed: int = 0,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        observe: Callable[[str, ClusterIdentity], None] | None = None,
    ) -> None:
        super().__init__(inner.config)
        self.instances = inner.instances  # the data, and so the marks, belong to `inner`
        self.inner = inner
        self.faults = faults
        self.injected: Counter[str] = Counter()
        self._random = random.Random(f"{seed}/storage")
        self._sleep = sleep
        self._observe = observe

    def snapshot(self) -> MemorySnapshot:
        """See `MemoryStorage.snapshot`. Raises `InvalidConfig` where the data is in another kind of storage."""
        return self._memory().snapshot()

    def restore(self, snapshot: MemorySnapshot) -> None:
        """See `MemoryStorage.restore`."""
        self._memory().restore(snapshot)

    def lose(self) -> None:
        """See `MemoryStorage.lose`."""
        self._memory().lose()

    def _memory(self) -> MemoryStorage:
        inner: Storage = self.inner
        while isinstance(inner, FaultyStorage):
            inner = inner.inner
        if not isinstance(inner, MemoryStorage):
            raise InvalidConfig(f"{inner!r} cannot lose its data by order: use a MemoryStorage")
        return inner

    def __repr__(self) -> str:
        return f"FaultyStorage({self.inner!r}, {self.faults!r})"

    async def _open(self) -> None:
        await self.inner.open()

    async def _close(self) -> None:
        await self.inner.close()

    async def _accept(self) -> None:
        await self.inner.accept()

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        fault, before_s, after_s = self._draw(identity, writes=False)
        await self._delay(before_s)
        self._fail_before(fault, identity)
        stored = await self.inner.load(identity)
        await self._delay(after_s)
        if fault == "lose_answer":
            raise _lost(identity)
        return stored

    async def _versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        """One operation for any number of identities; a fault is reported with the first of them."""
        first = identities[0]
        fault, before_s, after_s = self._draw(first, writes=False)
        await self._delay(before_s)
        self._fail_before(fault, first)
        found = await self.inner.versions(identities)
        await self._delay(after_s)
        if fault == "lose_answer":
            raise _lost(first)
        return found

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        async def deliver() -> None:
            if data is None:
                await self.inner.delete(identity, expected_version=expected_version, epoch=epoch)
            else:
                await self.inner.save(identity, data, expected_version=expected_version, epoch=epoch)

        fault, before_s, after_s = self._draw(identity, writes=True)
        await self._delay(before_s)
        self._fail_before(fault, identity)
        try:
            await deliver()
        except StateConflict:
            if fault == "lose_answer":
                raise _lost(identity) from None
            raise
        if fault == "repeat":
            try:
                await deliver()
            except StateConflict:
                pass  # expected: the first delivery has changed the version
            else:
                raise AssertionError(f"{self.inner!r} applied one save of {identity} twice")
        await self._delay(after_s)
        if fault == "lose_answer":
            raise _lost(identity)
        return expected_version + 1

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

    def _fail_before(self, fault: str, identity: ClusterIdentity) -> None:
        if fault == "refuse":
            raise StorageFailed("the simulated storage refused", identity=str(identity), maybe_executed=False)
        if fault == "lose_request":
            raise _lost(identity)


def _lost(identity: ClusterIdentity) -> StorageFailed:
    """One text for a lost request and a lost answer: the caller cannot tell them apart."""
    return StorageFailed("the simulated storage did not answer", identity=str(identity), maybe_executed=True)
