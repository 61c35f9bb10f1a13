"""The part of `LogStorageConformance` about keepers, readers and requests that overlap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from inaho.errors import LogConflict, LogTrimmed
from inaho.storage import Storage
from inaho.storage.log import LogStorage
from inaho.testing.storage.log_reads import all_of, consecutive
from inaho.types import ClusterIdentity

__all__ = ["LogRacesConformance"]


class LogRacesConformance:
    """Tests of what overlaps; the fixtures are those of `LogStorageConformance`."""

    pytestmark = pytest.mark.asyncio

    async def test_one_append_wins_each_offset(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=1)
        expected: list[bytes] = []
        for turn in range(5):
            batches = [[f"{turn}/{number}/{at}".encode() for at in range(1 + number % 3)] for number in range(16)]
            appends = [logs.append(log, batch, offset=len(expected), epoch=1) for batch in batches]
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
            winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
            assert len(winners) == 1
            assert sum(isinstance(outcome, LogConflict) for outcome in outcomes) == 15
            expected += batches[winners[0]]
            assert await all_of(logs, log) == expected

    async def test_appends_on_their_way_leave_no_gap(self, logs: LogStorage, log: str) -> None:
        """A keeper need not wait: each append that is acknowledged proves those before it."""
        await logs.open_log(log, epoch=1)
        appends = [logs.append(log, [f"{at}".encode()], offset=at, epoch=1) for at in range(40)]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        end = (await logs.bounds(log)).end
        for at, outcome in enumerate(outcomes):
            assert outcome is None if at < end else isinstance(outcome, LogConflict)
        assert await all_of(logs, log) == [f"{at}".encode() for at in range(end)]

    async def test_keepers_that_overlap_lose_and_double_nothing(
        self, make_storage: Callable[[], Storage], logs: LogStorage, log: str
    ) -> None:
        """Five keepers, each with rising epochs, on two storage objects, take the log from one another."""
        acknowledged: dict[int, bytes] = {}
        epochs = iter(range(1, 1000))

        async def keep(name: int, mine: LogStorage) -> None:
            written = 0
            while written < 12:
                epoch = next(epochs)
                try:
                    end = (await mine.open_log(log, epoch=epoch)).end
                    for _ in range(4):
                        batch = [f"{epoch:04}/{name}/{written}".encode(), f"{epoch:04}/{name}/{written}+".encode()]
                        await mine.append(log, batch, offset=end, epoch=epoch)
                        for offset, record in enumerate(batch, end):
                            assert offset not in acknowledged, f"offset {offset} was acknowledged twice"
                            acknowledged[offset] = record
                        end += 2
                        written += 1
                except LogConflict:
                    await asyncio.sleep(0.0005 * name)  # otherwise they only take it from one another

        async with make_storage() as other:
            assert other.log is not None
            await asyncio.gather(*(keep(name, (logs, other.log)[name % 2]) for name in range(5)))
            found = await all_of(logs, log)
            assert found == await all_of(other.log, log)
        assert dict(enumerate(found)) == acknowledged, "without a cancellation or an error all are acknowledged"
        writers = [record[:4] for record in found]
        assert writers == sorted(writers), "an older keeper wrote after a newer one"

    async def test_second_object_sees_and_fences_the_first(
        self, make_storage: Callable[[], Storage], logs: LogStorage, log: str
    ) -> None:
        async with make_storage() as other:
            assert other.log is not None
            await logs.open_log(log, epoch=1)
            await logs.append(log, [b"a", b"b"], offset=0, epoch=1)
            assert await all_of(other.log, log) == [b"a", b"b"]
            assert (await other.log.open_log(log, epoch=2)).end == 2
            with pytest.raises(LogConflict):
                await logs.append(log, [b"zombie"], offset=2, epoch=1)
            await other.log.append(log, [b"c"], offset=2, epoch=2)
            await other.log.trim(log, 1, epoch=2)
            assert await all_of(logs, log, 1) == [b"b", b"c"]
            assert await logs.bounds(log) == await other.log.bounds(log)

    async def test_cancelled_append_happens_wholly_or_not_at_all(self, logs: LogStorage, log: str) -> None:
        expected: list[bytes] = []
        for step in range(24):
            batch = [f"{step}/{at}".encode() * 20 for at in range(3)]
            epoch = step + 1
            end = (await logs.open_log(log, epoch=epoch)).end
            append = asyncio.ensure_future(logs.append(log, batch, offset=end, epoch=epoch))
            for _ in range(step % 5):
                await asyncio.sleep(0)
            append.cancel()
            await asyncio.wait([append])
            found = (await logs.open_log(log, epoch=epoch)).end
            assert found == end + 3 or (found == end and append.cancelled())
            if found > end:
                expected += batch
            # After the log was opened, the cancelled append changes nothing any more.
            await logs.append(log, [b"next"], offset=found, epoch=epoch)
            expected.append(b"next")
            assert await all_of(logs, log) == expected

    async def test_cancelled_trim_removes_no_later_record(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=1)
        first = 0
        for step in range(12):
            end = step * 4
            await logs.append(log, [f"{end + at}".encode() for at in range(4)], offset=end, epoch=1)
            trim = asyncio.ensure_future(logs.trim(log, end + 2, epoch=1))
            for _ in range(step % 4):
                await asyncio.sleep(0)
            trim.cancel()
            await asyncio.wait([trim])
            bounds = await logs.open_log(log, epoch=1)
            assert bounds.first == end + 2 or (bounds.first == first and trim.cancelled())
            first = bounds.first
            assert await all_of(logs, log, first) == [f"{at}".encode() for at in range(first, end + 4)]

    async def test_reads_see_every_acknowledged_append(
        self, make_storage: Callable[[], Storage], logs: LogStorage, log: str
    ) -> None:
        await logs.open_log(log, epoch=1)
        acknowledged = 0
        done = asyncio.Event()

        async def write() -> None:
            nonlocal acknowledged
            for turn in range(60):
                count = 1 + turn % 5
                batch = [f"{acknowledged + at}".encode() for at in range(count)]
                await logs.append(log, batch, offset=acknowledged, epoch=1)
                acknowledged += count
                await asyncio.sleep(0)
            done.set()

        async def follow(reader: LogStorage) -> int:
            position = 0
            while True:
                ended, before = done.is_set(), acknowledged
                assert (await reader.bounds(log)).end >= before
                found = consecutive(await reader.read(log, position, records_max=1000), position)
                assert found == [f"{position + at}".encode() for at in range(len(found))]
                position += len(found)
                assert position >= before
                if ended:
                    return position
                await asyncio.sleep(0)

        async with make_storage() as other:
            assert other.log is not None
            _, *ends = await asyncio.gather(write(), follow(logs), follow(logs), follow(other.log))
        assert ends == [acknowledged] * 3

    async def test_reads_during_trims_have_no_gap(self, logs: LogStorage, log: str) -> None:
        """A read gets consecutive records or `LogTrimmed`, and never "no more" before the end."""
        await logs.open_log(log, epoch=1)
        end = trimmed = 0
        done = asyncio.Event()

        async def write() -> None:
            nonlocal end, trimmed
            for _ in range(40):
                await logs.append(log, [f"{end + at}".encode() for at in range(3)], offset=end, epoch=1)
                end += 3
                await logs.trim(log, end - 2, epoch=1)
                trimmed = end - 2
                await asyncio.sleep(0)
            done.set()

        async def read() -> None:
            position = 0
            while not done.is_set():
                known_end, known_first = end, trimmed
                try:
                    found = consecutive(await logs.read(log, position, records_max=10), position)
                except LogTrimmed:
                    position = (await logs.bounds(log)).first
                    assert position >= known_first
                    continue
                assert position >= known_first
                assert found or position >= known_end
                assert found == [f"{position + at}".encode() for at in range(len(found))]
                position += len(found)
                await asyncio.sleep(0)

        await asyncio.gather(write(), read(), read())

    async def test_appends_beside_saves(self, storage: Storage, logs: LogStorage, log: str) -> None:
        """They share what commits; neither is lost, mixed up or counted as the other."""

        async def append(name: str) -> None:
            await logs.open_log(name, epoch=1)
            for offset in range(0, 40, 2):
                await logs.append(name, [b"a%d" % offset, b"b%d" % offset], offset=offset, epoch=1)

        async def save(identity: ClusterIdentity) -> None:
            for version in range(20):
                await storage.save(identity, b"%d" % version, expected_version=version, epoch=1)

        names = [f"{log}.{number}" for number in range(5)]
        identities = [ClusterIdentity("Beside", name) for name in names]
        saves, appends = storage.saves, logs.appends
        await asyncio.gather(*(append(name) for name in names), *(save(each) for each in identities))
        assert (storage.saves - saves, logs.appends - appends) == (100, 100)
        for name, identity in zip(names, identities, strict=True):
            assert await all_of(logs, name) == [b"%c%d" % (letter, at) for at in range(0, 40, 2) for letter in b"ab"]
            stored = await storage.load(identity)
            assert stored is not None
            assert (stored.data, stored.version) == (b"19", 20)
