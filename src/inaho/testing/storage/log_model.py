"""Compares logs with a model, step by step, over histories that Hypothesis draws.

The model of a log is a list of records, the number of those that were removed, and an epoch. Offsets and epochs are
drawn close to the present ones, because otherwise nearly every append would be a conflict and nothing would be tested.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from inaho.errors import InvalidArguments, LogConflict, LogTrimmed
from inaho.storage import Storage
from inaho.storage.log import LogStorage
from inaho.testing.storage.log_reads import consecutive

__all__ = ["LogComparison", "ModelLog"]

Value = TypeVar("Value")

_names = st.sampled_from(["a", "a", "ä'\""])
_distances = st.sampled_from([0, 0, 0, 0, 0, -2, -1, 1])
_rises = st.sampled_from([0, 0, 0, 0, 0, -1, 1])
_records = st.lists(st.binary(max_size=24), min_size=1, max_size=6)


class ModelLog:
    """What a log is by the text of the contract.

    Attributes:
        records: all that were ever appended; the place in the list is the offset.
        first: the records before it were removed.
        epoch: the newest that opened the log; 0 for none.
    """

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.first = 0
        self.epoch = 0


class LogComparison(RuleBasedStateMachine):
    """One history: each rule does the same to the storage and to the model.

    Args:
        make_storage: gives access to the same data at each call.
    """

    def __init__(self, make_storage: Callable[[], Storage]) -> None:
        super().__init__()
        self._make_storage = make_storage
        self._model: dict[str, ModelLog] = {}
        self._prefix = f"history-{uuid.uuid4().hex}/"
        self._runner = asyncio.Runner()
        self._storages = [make_storage(), make_storage()]
        for storage in self._storages:
            self._run(storage.open())
        self._turn = 0

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return self._runner.run(work)

    def _log(self, name: str) -> ModelLog:
        return self._model.setdefault(name, ModelLog())

    @property
    def _logs(self) -> LogStorage:
        """Of the two storage objects by turns."""
        self._turn += 1
        logs = self._storages[self._turn % 2].log
        assert logs is not None
        return logs

    @initialize(batches=st.lists(_records, min_size=1, max_size=3))
    def begin(self, batches: list[list[bytes]]) -> None:
        """Keepers of both logs, and a few records: otherwise a history would try little else."""
        for name in ("a", "ä'\""):
            self.open(name, 1)
            for records in batches:
                self.append(name, records, 0, 0)

    @rule(name=_names, rise=st.sampled_from([1, 1, 0, -1]))
    def open(self, name: str, rise: int) -> None:
        """A keeper takes the log over, or is too late."""
        log = self._log(name)
        epoch = max(1, log.epoch + rise)
        work = self._logs.open_log(self._prefix + name, epoch=epoch)
        if epoch < log.epoch:
            with pytest.raises(LogConflict) as caught:
                self._run(work)
            assert (caught.value.end, caught.value.epoch) == (len(log.records), log.epoch)
            return
        bounds = self._run(work)
        log.epoch = epoch
        assert (bounds.first, bounds.end, bounds.epoch) == (log.first, len(log.records), epoch)

    @rule(name=_names, records=_records)
    def append_twice(self, name: str, records: list[bytes]) -> None:
        """The second delivery of an append is in conflict with the first."""
        self.append(name, records, 0, 0)
        self.append(name, records, -len(records), 0)

    @rule(name=_names, records=_records, distance=_distances, rise=_rises)
    def append(self, name: str, records: list[bytes], distance: int, rise: int) -> None:
        """Commits at the end of the log, with its epoch."""
        log = self._log(name)
        epoch, offset = max(1, log.epoch + rise), max(0, len(log.records) + distance)
        work = self._logs.append(self._prefix + name, records, offset=offset, epoch=epoch)
        if epoch == log.epoch and offset == len(log.records):
            self._run(work)
            log.records += records
        else:
            with pytest.raises(LogConflict) as caught:
                self._run(work)
            assert (caught.value.end, caught.value.epoch) == (len(log.records), log.epoch)
        self.bounds(name)

    @rule(name=_names, appends=st.lists(st.tuples(_records, _distances, _rises), min_size=2, max_size=5))
    def race(self, name: str, appends: list[tuple[list[bytes], int, int]]) -> None:
        """Several appends at once: one of those at the end, with the epoch, wins; then others may follow it."""
        log = self._log(name)
        places = [(max(0, len(log.records) + way), max(1, log.epoch + rise)) for _, way, rise in appends]
        logs = self._logs

        async def run() -> list[BaseException | None]:
            work = (
                logs.append(self._prefix + name, records, offset=offset, epoch=epoch)
                for (records, _, _), (offset, epoch) in zip(appends, places, strict=True)
            )
            return await asyncio.gather(*work, return_exceptions=True)

        outcomes = self._run(run())
        assert all(outcome is None or isinstance(outcome, LogConflict) for outcome in outcomes)
        winners = [at for at, outcome in enumerate(outcomes) if outcome is None]
        able = [at for at, place in enumerate(places) if place == (len(log.records), log.epoch)]
        assert bool(winners) == bool(able)
        for at in sorted(winners, key=lambda at: places[at]):
            assert places[at] == (len(log.records), log.epoch)
            log.records += appends[at][0]

    @rule(name=_names, way=st.integers(-2, 8), rise=_rises)
    def trim(self, name: str, way: int, rise: int) -> None:
        """Removes up to an offset near the first record."""
        log = self._log(name)
        epoch, upto = max(1, log.epoch + rise), max(0, log.first + way)
        work = self._logs.trim(self._prefix + name, upto, epoch=epoch)
        if epoch != log.epoch:
            with pytest.raises(LogConflict):
                self._run(work)
        else:
            self._run(work)
            log.first = max(log.first, min(upto, len(log.records)))
        self._check_beginning(name)

    @rule(name=_names)
    def remove(self, name: str) -> None:
        """Empties the log, by a keeper with its epoch."""
        log = self._log(name)
        if log.epoch:
            self._run(self._logs.remove(self._prefix + name, epoch=log.epoch))
            log.first = len(log.records)
        self._check_beginning(name)

    @rule(
        name=_names,
        way=st.integers(-2, 12),
        records_max=st.integers(1, 12),
        bytes_max=st.sampled_from([1, 2, 10, 30, 100, 1 << 20]),
    )
    def read(self, name: str, way: int, records_max: int, bytes_max: int) -> None:
        """What was appended, from an offset near the first record."""
        log = self._log(name)
        offset = max(0, log.first + way)
        work = self._logs.read(self._prefix + name, offset, records_max=records_max, bytes_max=bytes_max)
        if offset < log.first or offset > len(log.records):
            with pytest.raises(LogTrimmed if offset < log.first else InvalidArguments):
                self._run(work)
            return
        expected: list[bytes] = []
        for record in log.records[offset : offset + records_max]:
            expected.append(record)
            if sum(map(len, expected)) >= bytes_max:
                break
        assert consecutive(self._run(work), offset) == expected

    @rule(name=_names)
    def bounds(self, name: str) -> None:
        """First, end and epoch are exact; the bytes are at least those of the records that are left."""
        log = self._log(name)
        bounds = self._run(self._logs.bounds(self._prefix + name))
        assert (bounds.first, bounds.end, bounds.epoch) == (log.first, len(log.records), log.epoch)
        assert bounds.size_bytes >= sum(map(len, log.records[log.first :]))
        if bounds.first == bounds.end:
            assert bounds.size_bytes == 0

    def _check_beginning(self, name: str) -> None:
        """The first record is read, and the one before it is not."""
        first = self._log(name).first
        self.bounds(name)
        for way in (0, -1)[: 1 + bool(first)]:
            self.read(name, way, 3, 1 << 20)

    @rule()
    def reopen(self) -> None:
        """A restart forgets nothing."""
        for at in range(2):
            self._run(self._storages[at].close())
            self._storages[at] = self._make_storage()
            self._run(self._storages[at].open())

    def teardown(self) -> None:
        """Compares every log once more, and closes."""
        try:
            for name in sorted(self._model):
                self.bounds(name)
                log = self._model[name]
                for offset in range(log.first, len(log.records)):
                    found = self._run(self._logs.read(self._prefix + name, offset, records_max=1))
                    assert consecutive(found, offset) == [log.records[offset]]
        finally:
            for storage in self._storages:
                self._run(storage.close())
            self._runner.close()
