"""The part of `StorageConformance` about storages that lose data which they had acknowledged.

A storage need not notice a loss; override the fixture `damage` for one that does (see `Storage.instances`). Without it
these tests are skipped, and a loss shows only in the versions of single records.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pytest
import pytest_asyncio

from inaho.errors import StorageLost
from inaho.storage import Storage
from inaho.types import ClusterIdentity

__all__ = ["Damage", "LossConformance"]


class Damage(Protocol):
    """Makes the data behind the storages of a test lost, without their help."""

    async def lose(self) -> None:
        """Removes everything."""

    async def snapshot(self) -> Any:
        """The present content, in a form of your own."""

    async def restore(self, snapshot: Any) -> None:
        """Puts that back in place of the present content."""


class LossConformance:
    """Tests of `StorageLost` and `Storage.accept`; the fixtures are those of `StorageConformance`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def damage(self) -> Damage | None:
        """Override: loses the data behind the storages of `make_storage`. None: the storage would not notice."""
        return None

    @pytest_asyncio.fixture
    async def losing(self, storage: Storage, damage: Damage | None) -> AsyncIterator[Damage]:
        """Skips the test if the storage notices nothing; afterwards nothing is refused any more."""
        if damage is None:
            pytest.skip("the fixture damage is not overridden: this storage does not notice that it lost data")
        yield damage
        await storage.accept()

    async def test_a_storage_that_came_back_empty_refuses_all(
        self, storage: Storage, losing: Damage, identity: ClusterIdentity
    ) -> None:
        await storage.save(identity, b"one", expected_version=0, epoch=1)
        await losing.lose()
        await self._refuses_all(storage, identity, version=1)
        await storage.accept()
        assert await storage.load(identity) is None
        assert await storage.save(identity, b"anew", expected_version=0, epoch=1) == 1

    async def test_an_old_copy_refuses_all(self, storage: Storage, losing: Damage, identity: ClusterIdentity) -> None:
        await storage.save(identity, b"one", expected_version=0, epoch=1)
        copy = await losing.snapshot()
        await storage.save(identity, b"two", expected_version=1, epoch=1)
        await losing.restore(copy)
        await self._refuses_all(storage, identity, version=1)
        await storage.accept()
        stored = await storage.load(identity)
        assert stored is not None
        assert (stored.data, stored.version) == (b"one", 1)
        assert await storage.save(identity, b"anew", expected_version=1, epoch=1) == 2

    @pytest.mark.parametrize("first", ["load", "save", "delete", "versions"])
    async def test_whatever_comes_first_notices_it(
        self, storage: Storage, losing: Damage, identity: ClusterIdentity, first: str
    ) -> None:
        await storage.save(identity, b"one", expected_version=0, epoch=1)
        await losing.lose()
        work: dict[str, Callable[[], Any]] = {
            "load": lambda: storage.load(identity),
            "save": lambda: storage.save(identity, b"lost", expected_version=0, epoch=1),
            "delete": lambda: storage.delete(identity, expected_version=0, epoch=1),
            "versions": lambda: storage.versions([identity]),
        }
        told: list[str] = []
        storage.instances.watch(told.append)
        for _ in range(2):
            with pytest.raises(StorageLost) as caught:
                await work[first]()
            assert not caught.value.maybe_executed
            assert caught.value.identity == ("" if first == "versions" else str(identity))
        storage.instances.unwatch(told.append)
        assert len(told) == 1
        await storage.accept()
        assert await storage.load(identity) is None  # the refused write changed nothing

    async def test_opening_again_accepts_no_loss_that_was_found(
        self, storage: Storage, losing: Damage, identity: ClusterIdentity
    ) -> None:
        await storage.save(identity, b"one", expected_version=0, epoch=1)
        await losing.lose()
        with pytest.raises(StorageLost):
            await storage.load(identity)
        await storage.close()
        await storage.open()
        with pytest.raises(StorageLost):
            await storage.load(identity)

    async def test_many_at_once_raise_no_alarm(
        self, make_storage: Callable[[], Storage], storage: Storage, losing: Damage, identity: ClusterIdentity
    ) -> None:
        """Two objects save, load and read versions of the same records: their answers overtake each other."""
        names = [ClusterIdentity(identity.kind, str(number)) for number in range(12)]

        async def work(one: Storage, name: ClusterIdentity, reader: Storage) -> None:
            for version in range(12):
                await asyncio.gather(
                    one.save(name, b"x", expected_version=version, epoch=1), reader.load(name), one.versions(names)
                )

        async with make_storage() as other:
            pairs = [(storage, other), (other, storage)]
            await asyncio.gather(*(work(pairs[at % 2][0], name, pairs[at % 2][1]) for at, name in enumerate(names)))
            assert not storage.instances.lost
            assert not other.instances.lost

    async def _refuses_all(self, storage: Storage, identity: ClusterIdentity, *, version: int) -> None:
        other = ClusterIdentity(identity.kind, "other")
        for name in (identity, other):
            with pytest.raises(StorageLost):
                await storage.load(name)
            with pytest.raises(StorageLost):
                await storage.save(name, b"lost", expected_version=version, epoch=1)
            with pytest.raises(StorageLost):
                await storage.delete(name, expected_version=version, epoch=1)
            with pytest.raises(StorageLost):
                await storage.versions([name])
