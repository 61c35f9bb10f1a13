"""The conformance suite of log storages catches what it is for: a log with one rule broken fails it.

Each mutant names the test that must find it; the right log passes the same test. The model is tried alone, with the
mutants whose mistake one request after the other shows.
"""

# Mutants change what is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from inaho.config import StorageConfig
from inaho.storage import MemoryStorage, SqliteStorage, Storage
from inaho.storage.log.memory import MemoryLog
from inaho.storage.sqlite import log_requests
from inaho.testing.log_storage_conformance import LogStorageConformance
from inaho.testing.storage.log_fault_model import FaultyLogComparison
from support import log_mutants
from support.log_mutants import MUTANTS
from support.storages import MemoryDamage

SETTINGS: Final = settings(
    max_examples=5 * LogStorageConformance.histories, stateful_step_count=LogStorageConformance.steps, deadline=None,
    database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=False,
)  # fmt: skip


def storage_with(log: type[MemoryLog]) -> Callable[[], MemoryStorage]:
    storage = MemoryStorage(StorageConfig(data_bytes_max=1 << 20))
    storage._log = log(storage.config, storage._check_log, storage._count_commit)
    return lambda: storage


def arguments_of(test: Any) -> Iterator[dict[str, Any]]:
    """The parameters of a test, one set after the other."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    if not marks:
        yield {}
        return
    (mark,) = marks
    names = mark.args[0]
    for value in mark.args[1]:
        yield {names: value}


async def failure_of(test: str, make: Callable[[], Storage]) -> BaseException | None:
    """What a test of the suite raises for such a storage, with any of its parameters."""
    method = getattr(LogStorageConformance(), test)
    for number, arguments in enumerate(arguments_of(method)):
        async with make() as storage:
            fixtures: dict[str, Any] = {
                "make_storage": make,
                "storage": storage,
                "logs": storage.log,
                "log": f"log/{number}",
                "losing": MemoryDamage(storage) if isinstance(storage, MemoryStorage) else None,
                **arguments,
            }
            wanted = inspect.signature(method).parameters
            try:
                async with asyncio.timeout(30):
                    await method(**{name: fixtures[name] for name in wanted})
            except (Exception, pytest.fail.Exception) as failure:
                return failure
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
async def test_mutant_is_caught(mutant: Any) -> None:
    failure = await failure_of(mutant.caught_by, storage_with(mutant))
    assert failure is not None, "it passes"
    assert not isinstance(failure, TimeoutError)


@pytest.mark.parametrize("test", sorted({mutant.caught_by for mutant in MUTANTS}))
async def test_right_log_passes_the_same_test(test: str) -> None:
    assert await failure_of(test, storage_with(MemoryLog)) is None


@pytest.mark.parametrize(
    "mutant",
    [
        log_mutants.AppendsAnywhere,
        log_mutants.AppendsByAnOlderKeeper,
        log_mutants.OlderKeeperOpens,
        log_mutants.OpeningFencesNobody,
        log_mutants.RefusedAppendIsStored,
        log_mutants.EmptiedLogBeginsAnew,
        log_mutants.TrimTakesAWholeChunk,
    ],
    ids=lambda mutant: mutant.__name__,
)
def test_model_behind_faults_catches_it(mutant: type[MemoryLog]) -> None:
    class Comparison(FaultyLogComparison):
        def __init__(self) -> None:
            super().__init__(storage_with(mutant))

    with pytest.raises((Exception, pytest.fail.Exception)):
        run_state_machine_as_test(Comparison, settings=settings(SETTINGS, max_examples=150))


STATEMENTS: Final = [
    ("_MOVE_END", "end_offset = ?", "? >= 0", "test_append_elsewhere_than_at_the_end_changes_nothing"),
    ("_MOVE_END", "epoch = ?", "epoch >= ?", "test_newer_epoch_takes_over"),
    ("_OPEN", "UPDATE SET epoch = excluded.epoch", "NOTHING", "test_newer_epoch_takes_over"),
    ("_CHUNKS", "max(first_offset)", "max(first_offset) + 1", "test_reads_begin_and_end_anywhere"),
    ("_CHUNKS", "ORDER BY chunk.first_offset", "ORDER BY chunk.place DESC", "test_append_then_read"),
    ("_DELETE_CHUNKS", "AND first_offset + records <= ?2", "", "test_first_is_exact_after_a_trim"),
    ("_DELETE_CHUNKS", "log = ?1 AND", "?1 > 0 AND", "test_logs_are_told_apart"),
    ("_MOVE_FIRST", "size_bytes - ?", "size_bytes - 0 * ?", "test_trim_frees_bytes"),
    ("_MOVE_FIRST", "WHERE id = ?", "WHERE id >= ?", "test_logs_are_told_apart"),
]
"""A statement of `SqliteStorage`, what is broken in it, and the test that must fail."""


@pytest.mark.parametrize(("statement", "right", "wrong", "caught_by"), STATEMENTS)
async def test_wrong_statement_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, right: str, wrong: str, caught_by: str
) -> None:
    text = getattr(log_requests, statement)
    assert right in text
    monkeypatch.setattr(log_requests, statement, text.replace(right, wrong))
    failure = await failure_of(caught_by, lambda: SqliteStorage(tmp_path / "state.db", synchronous="normal"))
    assert failure is not None, "it passes"
    assert not isinstance(failure, TimeoutError)
