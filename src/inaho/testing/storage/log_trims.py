"""The part of `LogStorageConformance` about records that are removed."""

from __future__ import annotations

import pytest

from inaho.errors import LogConflict, LogTrimmed
from inaho.storage.log import LogBounds, LogStorage
from inaho.testing.storage.log_reads import all_of

__all__ = ["LogTrimsConformance"]

RECORDS = [f"record {number}".encode() for number in range(9)]


class LogTrimsConformance:
    """Tests of `trim` and `remove`; the fixtures are those of `LogStorageConformance`."""

    pytestmark = pytest.mark.asyncio

    @pytest.mark.parametrize("upto", range(10))
    async def test_first_is_exact_after_a_trim(self, logs: LogStorage, log: str, upto: int) -> None:
        """Also within what was appended together: 2, 3 and 4 records."""
        await self._fill(logs, log)
        await logs.trim(log, upto, epoch=1)
        bounds = await logs.bounds(log)
        assert (bounds.first, bounds.end, bounds.epoch) == (upto, 9, 1)
        for offset in range(upto):
            with pytest.raises(LogTrimmed, match=f"offset {upto}"):
                await logs.read(log, offset, records_max=10)
        for offset in range(upto, 10):
            assert await all_of(logs, log, offset) == RECORDS[offset:]

    async def test_trim_frees_bytes(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=1)
        for offset in range(0, 40, 4):
            await logs.append(log, [bytes(1000)] * 4, offset=offset, epoch=1)
        sizes: list[int] = []
        for upto in range(41):
            await logs.trim(log, upto, epoch=1)
            sizes.append((await logs.bounds(log)).size_bytes)
            # What is left, with those that were appended together with the first one, and some bytes for framing.
            kept = 40 - upto // 4 * 4
            assert (40 - upto) * 1000 <= sizes[-1] <= kept * 1100
        assert sizes[-1] == 0

    async def test_trim_may_be_repeated_and_never_goes_back(self, logs: LogStorage, log: str) -> None:
        await self._fill(logs, log)
        await logs.trim(log, 4, epoch=1)
        bounds = await logs.bounds(log)
        for upto in (4, 3, 0):
            await logs.trim(log, upto, epoch=1)
            assert await logs.bounds(log) == bounds
        assert await all_of(logs, log, 4) == RECORDS[4:]

    async def test_trim_after_the_end_keeps_later_records(self, logs: LogStorage, log: str) -> None:
        await self._fill(logs, log)
        await logs.trim(log, 1 << 40, epoch=1)
        assert await logs.bounds(log) == LogBounds(9, 9, 1, 0)
        await logs.append(log, [b"later"], offset=9, epoch=1)
        assert await all_of(logs, log, 9) == [b"later"]

    async def test_emptied_log_goes_on_where_it_ended(self, logs: LogStorage, log: str) -> None:
        await self._fill(logs, log)
        await logs.trim(log, 9, epoch=1)
        assert await logs.bounds(log) == LogBounds(9, 9, 1, 0)
        assert await logs.read(log, 9, records_max=1) == []
        with pytest.raises(LogTrimmed):
            await logs.read(log, 8, records_max=1)
        for offset in (0, 8):
            with pytest.raises(LogConflict, match="ends at 9"):
                await logs.append(log, [b"again"], offset=offset, epoch=1)
        await logs.append(log, [b"next"], offset=9, epoch=1)
        assert await all_of(logs, log, 9) == [b"next"]

    async def test_removed_log_keeps_end_and_epoch(self, logs: LogStorage, log: str) -> None:
        await self._fill(logs, log)
        await logs.remove(log, epoch=4)
        assert await logs.bounds(log) == LogBounds(9, 9, 4, 0)
        with pytest.raises(LogConflict, match="epoch 4"):
            await logs.append(log, [b"zombie"], offset=9, epoch=1)
        await logs.remove(log, epoch=4)
        assert await logs.open_log(log, epoch=5) == LogBounds(9, 9, 5, 0)

    async def test_trims_and_appends_take_turns(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=1)
        for turn in range(30):
            offset = turn * 3
            await logs.append(log, [f"{offset + at}".encode() for at in range(3)], offset=offset, epoch=1)
            await logs.trim(log, max(0, offset - 4), epoch=1)
            first = max(0, offset - 4)
            assert await all_of(logs, log, first) == [f"{at}".encode() for at in range(first, offset + 3)]

    async def _fill(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=1)
        for first, end in ((0, 2), (2, 5), (5, 9)):
            await logs.append(log, RECORDS[first:end], offset=first, epoch=1)
