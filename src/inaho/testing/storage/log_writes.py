"""The part of `LogStorageConformance` about opening, appending and reading, by one keeper after the other."""

from __future__ import annotations

import pytest

from inaho.errors import InvalidArguments, LogConflict
from inaho.storage.log import LogBounds, LogRecord, LogStorage
from inaho.testing.storage.log_reads import all_of, all_raise, consecutive

__all__ = ["LogWritesConformance"]

EPOCH_MAX = (1 << 63) - 1
ODD_ENDS = ("/1", "/10", "%_*?[a-z]", "'; DROP TABLE logs; --", '"quoted"', " spaces ", "line\nbreak", "稲穂", "E", "e")


class LogWritesConformance:
    """Tests of conditional appends; the fixtures are those of `LogStorageConformance`."""

    pytestmark = pytest.mark.asyncio

    async def test_log_that_nobody_opened_is_empty(self, logs: LogStorage, log: str) -> None:
        assert await logs.bounds(log) == LogBounds(0, 0, 0, 0)
        assert await logs.read(log, 0, records_max=10) == []
        with pytest.raises(InvalidArguments):
            await logs.read(log, 1, records_max=10)
        conflicts = await all_raise(
            LogConflict,
            None,
            lambda: logs.append(log, [b"x"], offset=0, epoch=1),
            lambda: logs.trim(log, 0, epoch=1),
        )
        assert [(conflict.end, conflict.epoch) for conflict in conflicts] == [(0, 0)] * 2
        assert await logs.bounds(log) == LogBounds(0, 0, 0, 0)

    async def test_append_then_read(self, logs: LogStorage, log: str) -> None:
        assert await logs.open_log(log, epoch=3) == LogBounds(0, 0, 3, 0)
        await logs.append(log, [b"one", b"", bytes(range(256))], offset=0, epoch=3)
        await logs.append(log, (b"four",), offset=3, epoch=3)
        records = [b"one", b"", bytes(range(256)), b"four"]
        assert await logs.read(log, 0, records_max=10) == [LogRecord(at, data) for at, data in enumerate(records)]
        bounds = await logs.bounds(log)
        assert (bounds.first, bounds.end, bounds.epoch) == (0, 4, 3)
        assert bounds.size_bytes >= sum(map(len, records))
        assert await logs.read(log, 4, records_max=10) == []
        assert await logs.open_log(log, epoch=3) == bounds

    @pytest.mark.parametrize("offset", [0, 2, 4, 1 << 40])
    async def test_append_elsewhere_than_at_the_end_changes_nothing(
        self, logs: LogStorage, log: str, offset: int
    ) -> None:
        await logs.open_log(log, epoch=1)
        await logs.append(log, [b"a", b"b", b"c"], offset=0, epoch=1)
        before = await logs.bounds(log)
        with pytest.raises(LogConflict, match=f"offset {offset}, and the log ends at 3") as caught:
            await logs.append(log, [b"lost", b"lost"], offset=offset, epoch=1)
        assert (caught.value.end, caught.value.epoch, caught.value.maybe_executed) == (3, 1, False)
        assert await logs.bounds(log) == before
        assert await all_of(logs, log) == [b"a", b"b", b"c"]

    async def test_append_that_is_repeated_commits_once(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=1)
        await logs.append(log, [b"a", b"b"], offset=0, epoch=1)
        with pytest.raises(LogConflict):
            await logs.append(log, [b"a", b"b"], offset=0, epoch=1)
        assert await all_of(logs, log) == [b"a", b"b"]

    async def test_newer_epoch_takes_over(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=5)
        await logs.append(log, [b"old"], offset=0, epoch=5)
        bounds = await logs.open_log(log, epoch=9)
        assert (bounds.first, bounds.end, bounds.epoch) == (0, 1, 9)
        conflicts = await all_raise(
            LogConflict,
            "epoch 9",
            lambda: logs.append(log, [b"zombie"], offset=1, epoch=5),
            lambda: logs.trim(log, 1, epoch=5),
            lambda: logs.open_log(log, epoch=8),
            lambda: logs.remove(log, epoch=8),
        )
        assert [(conflict.end, conflict.epoch) for conflict in conflicts] == [(1, 9)] * 4
        await logs.append(log, [b"new"], offset=1, epoch=9)
        assert await all_of(logs, log) == [b"old", b"new"]

    async def test_epoch_that_has_not_opened_the_log_is_refused(self, logs: LogStorage, log: str) -> None:
        """Its keeper does not know where the log ends, and the keeper that does would not be refused."""
        await logs.open_log(log, epoch=5)
        await logs.append(log, [b"a"], offset=0, epoch=5)
        await all_raise(
            LogConflict,
            "epoch 5",
            lambda: logs.append(log, [b"b"], offset=1, epoch=6),
            lambda: logs.trim(log, 1, epoch=6),
        )
        await logs.append(log, [b"b"], offset=1, epoch=5)
        assert await all_of(logs, log) == [b"a", b"b"]

    async def test_epochs_are_whole_numbers_of_63_bits(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=EPOCH_MAX - 1)
        await logs.append(log, [b"a"], offset=0, epoch=EPOCH_MAX - 1)
        assert (await logs.open_log(log, epoch=EPOCH_MAX)).epoch == EPOCH_MAX
        with pytest.raises(LogConflict):  # floating point would not tell them apart
            await logs.append(log, [b"b"], offset=1, epoch=EPOCH_MAX - 1)
        await logs.append(log, [b"b"], offset=1, epoch=EPOCH_MAX)

    async def test_reads_begin_and_end_anywhere(self, logs: LogStorage, log: str) -> None:
        """Also within what was appended together."""
        records = [f"{number}".encode() for number in range(24)]
        await logs.open_log(log, epoch=1)
        offset = 0
        for size in (1, 5, 1, 10, 7):
            await logs.append(log, records[offset : offset + size], offset=offset, epoch=1)
            offset += size
        for offset in range(25):
            for records_max in (1, 3, 24):
                found = consecutive(await logs.read(log, offset, records_max=records_max), offset)
                assert found == records[offset : offset + records_max]

    async def test_read_ends_when_it_has_bytes_max(self, logs: LogStorage, log: str) -> None:
        records = [bytes([number]) * 100 for number in range(10)]
        await logs.open_log(log, epoch=1)
        await logs.append(log, records[:4], offset=0, epoch=1)
        await logs.append(log, records[4:], offset=4, epoch=1)
        for bytes_max, count in ((1, 1), (99, 1), (100, 1), (101, 2), (500, 5), (501, 6), (1 << 20, 10)):
            found = consecutive(await logs.read(log, 0, records_max=100, bytes_max=bytes_max), 0)
            assert found == records[:count]

    async def test_logs_are_told_apart(self, logs: LogStorage, log: str) -> None:
        odd = (
            "/1",
            "/10",
            "%_*?[a-z]",
            "'; DROP TABLE logs; --",
            '"quoted"',
            " spaces ",
            "line\nbreak",
            "稲穂",
            "E",
            "e",
        )
        names = [log, *(log + each for each in odd), log + "x" * (1000 - len(log))]
        for number, name in enumerate(names):
            await logs.open_log(name, epoch=number + 1)
            await logs.append(name, [str(number).encode()] * (number + 1), offset=0, epoch=number + 1)
        for number in (0, len(names) - 1):
            await logs.remove(names[number], epoch=number + 1)
        for number, name in enumerate(names[1:-1], 1):
            assert (await logs.bounds(name)).epoch == number + 1
            assert await all_of(logs, name) == [str(number).encode()] * (number + 1)

    async def test_long_log_is_read_in_portions(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=1)
        for offset in range(0, 3000, 30):
            await logs.append(log, [str(offset + at).encode() for at in range(30)], offset=offset, epoch=1)
        assert await all_of(logs, log, records_max=700) == [str(at).encode() for at in range(3000)]
        assert await all_of(logs, log, 2995) == [str(at).encode() for at in range(2995, 3000)]

    async def test_counts_what_the_logs_did(self, logs: LogStorage, log: str) -> None:
        before = (logs.appends, logs.records, logs.reads, logs.conflicts, logs.failures)
        await logs.open_log(log, epoch=1)
        await logs.append(log, [b"a", b"b", b"c"], offset=0, epoch=1)
        await logs.append(log, [b"d"], offset=3, epoch=1)
        await logs.read(log, 0, records_max=1)
        with pytest.raises(LogConflict):
            await logs.append(log, [b"lost"], offset=3, epoch=1)
        after = (logs.appends, logs.records, logs.reads, logs.conflicts, logs.failures)
        assert [b - a for a, b in zip(before, after, strict=True)] == [2, 4, 1, 1, 0]
