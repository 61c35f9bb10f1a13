"""The part of `LogStorageConformance` about storages that lose data which they had acknowledged.

A storage need not notice a loss; override the fixture `damage` for one that does (see `Storage.instances`). Without it
these tests are skipped. A topic whose log came back shorter would use offsets twice, and its subscriptions would skip
the messages there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from inaho.errors import StorageLost
from inaho.storage import Storage
from inaho.storage.log import LogBounds, LogStorage
from inaho.testing.storage.log_reads import all_of, all_raise
from inaho.testing.storage.loss import Damage
from inaho.types import ClusterIdentity

__all__ = ["LogLossConformance"]


class LogLossConformance:
    """Tests of `StorageLost`; the fixtures are those of `LogStorageConformance`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def damage(self) -> Damage | None:
        """Override: loses the data behind the storages of `make_storage`, logs too. None: it would not be noticed."""
        return None

    @pytest_asyncio.fixture
    async def losing(self, storage: Storage, damage: Damage | None) -> AsyncIterator[Damage]:
        """Skips the test if the storage notices nothing; afterwards nothing is refused any more."""
        if damage is None:
            pytest.skip("the fixture damage is not overridden: this storage does not notice that it lost data")
        yield damage
        await storage.accept()

    async def test_lost_logs_refuse_all(self, storage: Storage, logs: LogStorage, losing: Damage, log: str) -> None:
        await logs.open_log(log, epoch=1)
        await logs.append(log, [b"a", b"b"], offset=0, epoch=1)
        await losing.lose()
        await self._refuses_all(storage, logs, log, offset=2)
        await storage.accept()
        assert await logs.bounds(log) == LogBounds(0, 0, 0, 0)
        assert (await logs.open_log(log, epoch=2)).end == 0
        await logs.append(log, [b"anew"], offset=0, epoch=2)
        assert await all_of(logs, log) == [b"anew"]

    async def test_an_old_copy_of_logs_refuses_all(
        self, storage: Storage, logs: LogStorage, losing: Damage, log: str
    ) -> None:
        await logs.open_log(log, epoch=1)
        await logs.append(log, [b"a"], offset=0, epoch=1)
        copy = await losing.snapshot()
        await logs.append(log, [b"b"], offset=1, epoch=1)
        await losing.restore(copy)
        await self._refuses_all(storage, logs, log, offset=1)
        await storage.accept()
        assert await all_of(logs, log) == [b"a"]
        await logs.append(log, [b"anew"], offset=1, epoch=1)
        assert await all_of(logs, log) == [b"a", b"anew"]

    @pytest.mark.parametrize("change", ["open", "trim"])
    async def test_an_old_copy_from_before_any_change_is_noticed(
        self, logs: LogStorage, losing: Damage, log: str, change: str
    ) -> None:
        """A keeper with an older epoch, or a record that was removed, would come back."""
        await logs.open_log(log, epoch=1)
        await logs.append(log, [b"a"], offset=0, epoch=1)
        copy = await losing.snapshot()
        if change == "open":
            await logs.open_log(log, epoch=2)
        else:
            await logs.trim(log, 1, epoch=1)
        await losing.restore(copy)
        with pytest.raises(StorageLost):
            await logs.bounds(log)

    @pytest.mark.parametrize("first", ["open_log", "bounds", "append", "read", "trim"])
    async def test_whatever_comes_first_notices_lost_logs(
        self, storage: Storage, logs: LogStorage, losing: Damage, log: str, first: str
    ) -> None:
        await logs.open_log(log, epoch=1)
        await logs.append(log, [b"a"], offset=0, epoch=1)
        await losing.lose()
        work: dict[str, Callable[[], Any]] = {
            "open_log": lambda: logs.open_log(log, epoch=2),
            "bounds": lambda: logs.bounds(log),
            "append": lambda: logs.append(log, [b"lost"], offset=1, epoch=1),
            "read": lambda: logs.read(log, 0, records_max=1),
            "trim": lambda: logs.trim(log, 1, epoch=1),
        }
        told: list[str] = []
        storage.instances.watch(told.append)
        failures = logs.failures
        for _ in range(2):
            with pytest.raises(StorageLost) as caught:
                await work[first]()
            assert not caught.value.maybe_executed
        storage.instances.unwatch(told.append)
        assert len(told) == 1
        assert logs.failures == failures + 2
        await storage.accept()
        assert await logs.bounds(log) == LogBounds(0, 0, 0, 0), "what was refused changed nothing"

    async def test_many_appends_at_once_raise_no_alarm(
        self, make_storage: Callable[[], Storage], storage: Storage, logs: LogStorage, losing: Damage, log: str
    ) -> None:
        """Two objects append, read and save: their answers overtake each other."""
        names = [f"{log}.{number}" for number in range(8)]

        async def work(one: Storage, name: str, reader: Storage) -> None:
            assert one.log is not None
            assert reader.log is not None
            await one.log.open_log(name, epoch=1)
            for turn in range(10):
                await asyncio.gather(
                    one.log.append(name, [b"x"], offset=turn, epoch=1),
                    one.save(ClusterIdentity("Alarm", name), b"x", expected_version=turn, epoch=1),
                    reader.log.read(name, 0, records_max=20),
                    reader.log.bounds(name),
                )

        async with make_storage() as other:
            pairs = [(storage, other), (other, storage)]
            await asyncio.gather(*(work(pairs[at % 2][0], name, pairs[at % 2][1]) for at, name in enumerate(names)))
            assert not storage.instances.lost
            assert not other.instances.lost

    async def _refuses_all(self, storage: Storage, logs: LogStorage, log: str, *, offset: int) -> None:
        other = log + ".other"
        for name in (log, other):
            await all_raise(
                StorageLost,
                None,
                partial(logs.bounds, name),
                partial(logs.append, name, [b"lost"], offset=offset, epoch=1),
                partial(logs.read, name, 0, records_max=1),
                partial(logs.trim, name, offset, epoch=1),
                partial(logs.open_log, name, epoch=9),
            )
        with pytest.raises(StorageLost):
            await storage.load(ClusterIdentity("Lost", log))
