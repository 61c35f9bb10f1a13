"""The part of `LogStorageConformance` about arguments out of range, and values at the edge of it."""

from __future__ import annotations

from typing import Any

import pytest

from inaho.errors import InvalidArguments, StateTooLarge
from inaho.storage.log import LogBounds, LogStorage
from inaho.storage.log.base import APPEND_RECORDS_MAX, OFFSET_MAX
from inaho.testing.storage.log_reads import all_of, all_raise, consecutive

__all__ = ["LogArgumentsConformance"]


class LogArgumentsConformance:
    """Tests of bounds; the fixtures are those of `LogStorageConformance`."""

    pytestmark = pytest.mark.asyncio

    @pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "é" * 501])
    async def test_impossible_names_are_refused(self, logs: LogStorage, name: str) -> None:
        await all_raise(
            InvalidArguments,
            "name of",
            lambda: logs.open_log(name, epoch=1),
            lambda: logs.bounds(name),
            lambda: logs.append(name, [b"x"], offset=0, epoch=1),
            lambda: logs.read(name, 0, records_max=1),
            lambda: logs.trim(name, 0, epoch=1),
            lambda: logs.remove(name, epoch=1),
        )

    @pytest.mark.parametrize("epoch", [-1, 0, 1 << 63])
    async def test_impossible_epochs_are_refused(self, logs: LogStorage, log: str, epoch: int) -> None:
        await all_raise(
            InvalidArguments,
            "epoch",
            lambda: logs.open_log(log, epoch=epoch),
            lambda: logs.append(log, [b"x"], offset=0, epoch=epoch),
            lambda: logs.trim(log, 0, epoch=epoch),
        )
        assert await logs.bounds(log) == LogBounds(0, 0, 0, 0)

    async def test_impossible_numbers_are_refused(self, logs: LogStorage, log: str) -> None:
        await all_raise(
            InvalidArguments,
            None,
            lambda: logs.append(log, [b"x"], offset=-1, epoch=1),
            lambda: logs.append(log, [b"x"], offset=OFFSET_MAX, epoch=1),
            lambda: logs.trim(log, -1, epoch=1),
            lambda: logs.trim(log, OFFSET_MAX + 1, epoch=1),
            lambda: logs.read(log, -1, records_max=1),
            lambda: logs.read(log, OFFSET_MAX + 1, records_max=1),
            lambda: logs.read(log, 0, records_max=0),
            lambda: logs.read(log, 0, records_max=1, bytes_max=0),
        )
        assert await logs.bounds(log) == LogBounds(0, 0, 0, 0)

    async def test_read_after_the_end_is_refused(self, logs: LogStorage, log: str) -> None:
        """Its reader would wait for a record, and never get those in between."""
        await logs.open_log(log, epoch=1)
        await logs.append(log, [b"a", b"b"], offset=0, epoch=1)
        assert await logs.read(log, 2, records_max=1) == []
        with pytest.raises(InvalidArguments, match="after its end 2"):
            await logs.read(log, 3, records_max=1)

    @pytest.mark.parametrize("record", [None, "text", bytearray(b"may change"), memoryview(b"may change")])
    async def test_records_are_bytes(self, logs: LogStorage, log: str, record: Any) -> None:
        await logs.open_log(log, epoch=1)
        with pytest.raises(InvalidArguments, match="must be bytes"):
            await logs.append(log, [b"fine", record], offset=0, epoch=1)
        assert (await logs.bounds(log)).end == 0

    async def test_append_has_some_records_and_not_too_many(self, logs: LogStorage, log: str) -> None:
        await logs.open_log(log, epoch=1)
        for count in (0, APPEND_RECORDS_MAX + 1):
            with pytest.raises(InvalidArguments, match=f"not {count}"):
                await logs.append(log, [b""] * count, offset=0, epoch=1)
        await logs.append(log, [b""] * APPEND_RECORDS_MAX, offset=0, epoch=1)
        await logs.append(log, [b"next"], offset=APPEND_RECORDS_MAX, epoch=1)
        found = await logs.read(log, APPEND_RECORDS_MAX - 1, records_max=5)
        assert consecutive(found, APPEND_RECORDS_MAX - 1) == [b"", b"next"]

    async def test_largest_append_and_one_byte_more(self, logs: LogStorage, log: str) -> None:
        most = logs.config.data_bytes_max
        await logs.open_log(log, epoch=1)
        with pytest.raises(StateTooLarge, match=f"{most + 1} bytes") as caught:
            await logs.append(log, [bytes(most), b"x"], offset=0, epoch=1)
        assert not caught.value.maybe_executed
        assert (await logs.bounds(log)).end == 0
        halves = [bytes(most // 2), b"\xff" * (most - most // 2)]
        await logs.append(log, halves, offset=0, epoch=1)
        await logs.append(log, [bytes(most)], offset=2, epoch=1)
        assert await all_of(logs, log) == [*halves, bytes(most)]
