"""The part of `StorageConformance` about `Storage.versions`.

It also holds for storages that use the method of the base class, which loads one record after the other.
"""

from __future__ import annotations

import asyncio

import pytest

from inaho.errors import InvalidArguments
from inaho.storage import Storage, StoredVersion
from inaho.types import ClusterIdentity

__all__ = ["VersionsConformance"]


class VersionsConformance:
    """Tests of `Storage.versions`; the fixtures are those of `StorageConformance`."""

    pytestmark = pytest.mark.asyncio

    async def test_versions_in_the_order_asked(self, storage: Storage, identity: ClusterIdentity) -> None:
        saved, gone, absent = (ClusterIdentity(identity.kind, key) for key in ("saved", "gone", "absent"))
        await storage.save(saved, b"one", expected_version=0, epoch=5)
        await storage.save(saved, b"two", expected_version=1, epoch=6)
        await storage.delete(gone, expected_version=0, epoch=7)
        asked = [absent, gone, saved, gone, absent, saved]
        numbers = {saved: StoredVersion(2, 6), gone: StoredVersion(1, 7), absent: None}
        assert await storage.versions(asked) == [numbers[each] for each in asked]
        assert await storage.versions(tuple(asked[:1])) == [None]
        assert await storage.versions([]) == []

    async def test_versions_of_many(self, storage: Storage, identity: ClusterIdentity) -> None:
        """More than one read takes, half of them written."""
        count = storage.config.versions_max * 2 + 7
        names = [ClusterIdentity(identity.kind, str(number)) for number in range(count)]
        written = names[::2]
        await asyncio.gather(*(storage.save(name, b"x", expected_version=0, epoch=3) for name in written))
        expected = [StoredVersion(1, 3) if number % 2 == 0 else None for number in range(count)]
        assert await storage.versions(names) == expected

    async def test_versions_refuse_impossible_identities(self, storage: Storage, identity: ClusterIdentity) -> None:
        with pytest.raises(InvalidArguments):
            await storage.versions([identity, ClusterIdentity("K", "a\0b")])

    async def test_versions_see_every_acknowledged_write(self, storage: Storage, identity: ClusterIdentity) -> None:
        names = [ClusterIdentity(identity.kind, str(number)) for number in range(10)]
        newest = dict.fromkeys(names, 0)
        done = asyncio.Event()

        async def write(name: ClusterIdentity) -> None:
            for version in range(20):
                newest[name] = await storage.save(name, b"x", expected_version=version, epoch=1)

        async def read() -> None:
            while not done.is_set():
                before = list(newest.values())
                for version, found in zip(before, await storage.versions(names), strict=True):
                    assert version <= (0 if found is None else found.version)
                await asyncio.sleep(0)

        reader = asyncio.ensure_future(read())
        await asyncio.gather(*(write(name) for name in names))
        done.set()
        await reader

    async def test_versions_wait_for_a_cancelled_save(self, storage: Storage, identity: ClusterIdentity) -> None:
        version = 0
        for step in range(12):
            write = asyncio.ensure_future(storage.save(identity, b"x", expected_version=version, epoch=1))
            for _ in range(step % 4):
                await asyncio.sleep(0)
            write.cancel()
            await asyncio.wait([write])
            (found,) = await storage.versions([identity])
            told = 0 if found is None else found.version
            assert told == version + 1 or (told == version and write.cancelled())
            # Nothing of the cancelled save comes after what was told.
            version = await storage.save(identity, b"next", expected_version=told, epoch=1)
