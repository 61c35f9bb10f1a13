"""MemoryStorage keeps the contract, and gives one history for one order of calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from inaho.config import StorageConfig
from inaho.errors import StorageLost
from inaho.storage import MemoryStorage, Storage, StoredState
from inaho.testing.storage.faults import FaultyStorage, StorageFaults
from inaho.testing.storage.loss import Damage
from inaho.testing.storage_conformance import StorageConformance
from inaho.types import ClusterIdentity
from support.storages import MemoryDamage

CART = ClusterIdentity("Cart", "alice")


class TestMemoryStorage(StorageConformance):
    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        storage = MemoryStorage(StorageConfig(data_bytes_max=1 << 20))
        return lambda: storage

    @pytest.fixture
    def damage(self, storage: Storage) -> Damage:
        assert isinstance(storage, MemoryStorage)
        return MemoryDamage(storage)


class TestFaultyStorage(StorageConformance):
    """Without faults it is what is in it."""

    histories = 2
    faulty_histories = 2

    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        storage = FaultyStorage(MemoryStorage(StorageConfig(data_bytes_max=1 << 20)), StorageFaults())
        return lambda: storage

    @pytest.fixture
    def damage(self, storage: Storage) -> Damage:
        assert isinstance(storage, FaultyStorage)
        return MemoryDamage(storage)


@pytest.mark.parametrize("what", ["clear", "replace"])
async def test_data_that_others_took_away_is_noticed(what: str) -> None:
    async with MemoryStorage() as storage:
        await storage.save(CART, b"x", expected_version=0, epoch=1)
        if what == "clear":
            storage._states.clear()
        else:
            storage._states = {}
        with pytest.raises(StorageLost, match="has no instance now"):
            await storage.load(CART)


class PlainStorage(Storage):
    """A user's own storage, which knows nothing but to load and to write."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner.config)
        self.inner = inner

    async def _open(self) -> None:
        await self.inner.open()

    async def _close(self) -> None:
        await self.inner.close()

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        return await self.inner.load(identity)

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        if data is None:
            await self.inner.delete(identity, expected_version=expected_version, epoch=epoch)
            return expected_version + 1
        return await self.inner.save(identity, data, expected_version=expected_version, epoch=epoch)


class TestPlainStorage(StorageConformance):
    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        storage = MemoryStorage(StorageConfig(data_bytes_max=1 << 20))
        return lambda: PlainStorage(storage)


async def test_operations_finish_without_yielding_in_the_order_of_the_calls() -> None:
    async with MemoryStorage() as storage:
        order: list[str] = []
        first = asyncio.ensure_future(storage.save(CART, b"first", expected_version=0, epoch=1))
        second = asyncio.ensure_future(storage.save(CART, b"second", expected_version=1, epoch=1))
        first.add_done_callback(lambda _: order.append("first"))
        second.add_done_callback(lambda _: order.append("second"))
        await asyncio.wait([first, second])
        assert (first.result(), second.result()) == (1, 2)
        assert order == ["first", "second"]


async def test_two_objects_share_nothing() -> None:
    async with MemoryStorage() as one, MemoryStorage() as other:
        await one.save(CART, b"x", expected_version=0, epoch=1)
        assert await other.load(CART) is None


def test_repr_tells_how_much_there_is() -> None:
    assert repr(MemoryStorage()) == "MemoryStorage(0 records)"
