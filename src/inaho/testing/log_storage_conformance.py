"""The conformance suite that every log storage passes, ours and users'.

Subclass it in a test module, override how its storage is made, and pytest runs all tests:

    class TestMyLogs(LogStorageConformance):
        @pytest.fixture
        def make_storage(self, tmp_path):
            return lambda: MyStorage(tmp_path / "state")

Each test keeps to logs of its own, so a back end that is slow to set up may hand out one database for all. The last
tests compare the logs with a model over random histories (Hypothesis), without faults and with them; the model is
written from the text of the contract, and not from the code that the storages share.

Needs pytest, pytest-asyncio and hypothesis: the extra `testing`.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from inaho.errors import StorageFailed
from inaho.storage import Storage
from inaho.storage.log import LogBounds, LogStorage
from inaho.testing.storage.log_arguments import LogArgumentsConformance
from inaho.testing.storage.log_fault_model import FaultyLogComparison
from inaho.testing.storage.log_loss import LogLossConformance
from inaho.testing.storage.log_model import LogComparison
from inaho.testing.storage.log_races import LogRacesConformance
from inaho.testing.storage.log_reads import all_of
from inaho.testing.storage.log_trims import LogTrimsConformance
from inaho.testing.storage.log_writes import LogWritesConformance
from inaho.types import ClusterIdentity

__all__ = ["LogStorageConformance"]

_logs = itertools.count(1)


class LogStorageConformance(
    LogWritesConformance, LogTrimsConformance, LogArgumentsConformance, LogRacesConformance, LogLossConformance
):
    """Tests of the contract in `inaho.storage.log.base.LogStorage`.

    Attributes:
        histories: random histories that are compared with the model.
        faulty_histories: the same behind a `FaultyStorage`, which loses requests and answers, repeats and delays.
        steps: operations in each.
    """

    pytestmark = pytest.mark.asyncio
    histories: ClassVar[int] = 30
    faulty_histories: ClassVar[int] = 20
    steps: ClassVar[int] = 30

    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        """Override: makes a storage that is not open, and has logs.

        Each call gives access to the same data; it may return the same object, if the data lives in it.
        """
        raise NotImplementedError("override the fixture make_storage")

    @pytest_asyncio.fixture
    async def storage(self, make_storage: Callable[[], Storage]) -> AsyncIterator[Storage]:
        """An open storage."""
        storage = make_storage()
        await storage.open()
        yield storage
        await storage.close()

    @pytest.fixture
    def logs(self, storage: Storage) -> LogStorage:
        """The logs of `storage`."""
        assert storage.log is not None
        return storage.log

    @pytest.fixture
    def log(self) -> str:
        """A name that no other test has used."""
        return f"conformance-{next(_logs)}-{uuid.uuid4().hex[:8]}/0"

    # Opening and closing.

    async def test_logs_survive_a_reopening(self, make_storage: Callable[[], Storage], log: str) -> None:
        emptied = log + ".emptied"
        async with make_storage() as first:
            assert first.log is not None
            for name in (log, emptied):
                await first.log.open_log(name, epoch=7)
                await first.log.append(name, [b"one", b"two"], offset=0, epoch=7)
                await first.log.append(name, [b"three"], offset=2, epoch=7)
            await first.log.trim(log, 1, epoch=7)
            await first.log.remove(emptied, epoch=8)
        async with make_storage() as second:
            assert second.log is not None
            bounds = await second.log.bounds(log)
            assert (bounds.first, bounds.end, bounds.epoch) == (1, 3, 7)
            assert await all_of(second.log, log, 1) == [b"two", b"three"]
            assert await second.log.bounds(emptied) == LogBounds(3, 3, 8, 0)
            await second.log.open_log(emptied, epoch=9)
            await second.log.append(emptied, [b"four"], offset=3, epoch=9)
            assert await all_of(second.log, emptied, 3) == [b"four"]

    async def test_close_waits_for_accepted_appends(self, make_storage: Callable[[], Storage], log: str) -> None:
        names = [f"{log}.{number}" for number in range(20)]
        storage = make_storage()
        await storage.open()
        logs = storage.log
        assert logs is not None
        for name in names:
            await logs.open_log(name, epoch=1)
        appends = [asyncio.ensure_future(logs.append(name, [b"x"], offset=0, epoch=1)) for name in names]
        await asyncio.sleep(0)
        await storage.close()
        await asyncio.gather(*appends)
        async with make_storage() as again:
            assert again.log is not None
            assert [(await again.log.bounds(name)).end for name in names] == [1] * len(names)

    async def test_closed_storage_refuses_logs(self, make_storage: Callable[[], Storage], log: str) -> None:
        storage = make_storage()
        logs = storage.log
        assert logs is not None
        operations: list[Callable[[], Any]] = [
            lambda: logs.open_log(log, epoch=1),
            lambda: logs.bounds(log),
            lambda: logs.append(log, [b"x"], offset=0, epoch=1),
            lambda: logs.read(log, 0, records_max=1),
            lambda: logs.trim(log, 0, epoch=1),
        ]
        for _ in range(2):
            for operation in operations:
                with pytest.raises(StorageFailed, match="not open") as caught:
                    await operation()
                assert not caught.value.maybe_executed
            async with storage:
                assert await logs.bounds(log) == LogBounds(0, 0, 0, 0)

    async def test_states_and_logs_of_one_name_are_apart(self, storage: Storage, logs: LogStorage, log: str) -> None:
        identity = ClusterIdentity(log, log)
        await storage.save(identity, b"state", expected_version=0, epoch=5)
        assert await logs.open_log(log, epoch=1) == LogBounds(0, 0, 1, 0)
        await logs.append(log, [b"record"], offset=0, epoch=1)
        stored = await storage.load(identity)
        assert stored is not None
        assert (stored.data, stored.version, stored.epoch) == (b"state", 1, 5)
        assert await all_of(logs, log) == [b"record"]

    # Random histories.

    async def test_agrees_with_the_model(self, make_storage: Callable[[], Storage]) -> None:
        class Comparison(LogComparison):
            def __init__(self) -> None:
                super().__init__(make_storage)

        await self._run_histories(Comparison, self.histories)

    async def test_agrees_with_the_model_through_faults(self, make_storage: Callable[[], Storage]) -> None:
        class Comparison(FaultyLogComparison):
            def __init__(self) -> None:
                super().__init__(make_storage)

        await self._run_histories(Comparison, self.faulty_histories)

    async def _run_histories(self, machine: type[RuleBasedStateMachine], count: int) -> None:
        slow_is_fine = [HealthCheck.too_slow, HealthCheck.data_too_large]
        options = settings(
            max_examples=count, stateful_step_count=self.steps, deadline=None, suppress_health_check=slow_is_fine
        )
        # The machine is synchronous and runs an event loop of its own, which needs a thread of its own.
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=options)
