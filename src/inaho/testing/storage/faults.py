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
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from inaho.errors import InvalidConfig, StateConflict
from inaho.storage import MemoryStorage, Storage, StoredState, StoredVersion
from inaho.storage.log import LogStorage
from inaho.storage.memory import MemorySnapshot
from inaho.testing.storage.fault_path import FaultyPath, StorageFaults
from inaho.testing.storage.faulty_log import FaultyLog
from inaho.types import ClusterIdentity

__all__ = ["FaultyStorage", "StorageFaults"]


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
        self._path = FaultyPath(faults, seed, sleep, observe)
        self._log = None if inner.log is None else FaultyLog(inner.log, self._path, self._check_usable)

    @property
    def faults(self) -> StorageFaults:
        """The probabilities; they may be replaced at any time."""
        return self._path.faults

    @faults.setter
    def faults(self, faults: StorageFaults) -> None:
        self._path.faults = faults

    @property
    def injected(self) -> Counter[str]:
        """How often each fault happened."""
        return self._path.injected

    @property
    def is_made(self) -> bool:
        """As `inner`."""
        return self.inner.is_made

    @property
    def log(self) -> LogStorage | None:
        """The logs of `inner`, with the same faults."""
        return self._log

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
        return await self._path.read(identity, lambda: self.inner.load(identity))

    async def _versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        """One operation for any number of identities; a fault is reported with the first of them."""
        return await self._path.read(identities[0], lambda: self.inner.versions(identities))

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        async def deliver() -> None:
            if data is None:
                await self.inner.delete(identity, expected_version=expected_version, epoch=epoch)
            else:
                await self.inner.save(identity, data, expected_version=expected_version, epoch=epoch)

        await self._path.write(identity, deliver, StateConflict)
        return expected_version + 1
