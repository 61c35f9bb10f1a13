"""The conformance suite that every storage passes, ours and users'.

Subclass it in a test module, override how a storage is made, and pytest runs all tests:

    class TestMyStorage(StorageConformance):
        @pytest.fixture
        def make_storage(self, tmp_path):
            return lambda: MyStorage(tmp_path / "state")

Each test keeps to identities of its own kind, so a back end that is slow to set up may hand out one database for
all. The last tests compare the storage with a model over random histories (Hypothesis), without faults and with them;
the model is written from the text of the contract, and not from the code that the storages share.

Needs pytest, pytest-asyncio and hypothesis: the extra `testing`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from inaho.errors import InvalidArguments, StateConflict, StateTooLarge, StorageFailed
from inaho.storage import Storage, StoredState
from inaho.testing.storage.fault_model import FaultyComparison
from inaho.testing.storage.loss import LossConformance
from inaho.testing.storage.model import StorageComparison
from inaho.testing.storage.versions import VersionsConformance
from inaho.types import ClusterIdentity

__all__ = ["StorageConformance"]

ODD_KEYS = (
    "'; DROP TABLE grain_states; --",
    '"quoted"',
    "back\\slash/and/slash",
    "%_*?[a-z]",
    "line\nbreak\ttab",
    " leading and trailing ",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "e\N{COMBINING ACUTE ACCENT}",
    "稲穂",
    "\N{EAR OF RICE}" * 3,
    "case",
    "CASE",
    "0",
    "00",
    "x" * 2000,
)

_kinds = itertools.count(1)


class StorageConformance(VersionsConformance, LossConformance):
    """Tests of the contract in `inaho.storage.base.Storage`.

    Attributes:
        histories: random histories that are compared with the model.
        faulty_histories: the same behind a `FaultyStorage`, which loses requests and answers, repeats and delays.
        steps: operations in each.
    """

    pytestmark = pytest.mark.asyncio
    histories: ClassVar[int] = 30
    faulty_histories: ClassVar[int] = 20
    steps: ClassVar[int] = 20

    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        """Override: makes a storage that is not open.

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
    def identity(self) -> ClusterIdentity:
        """A name that no other test has used."""
        return ClusterIdentity(f"Kind{next(_kinds)}.", "key")  # the dot: a test appends digits

    # One record.

    async def test_absent_loads_as_none(self, storage: Storage, identity: ClusterIdentity) -> None:
        assert await storage.load(identity) is None

    async def test_create_then_update(self, storage: Storage, identity: ClusterIdentity) -> None:
        assert await storage.save(identity, b"one", expected_version=0, epoch=5) == 1
        assert await storage.load(identity) == StoredState(b"one", 1, 5)
        assert await storage.save(identity, b"two", expected_version=1, epoch=5) == 2
        assert await storage.load(identity) == StoredState(b"two", 2, 5)

    @pytest.mark.parametrize("expected_version", [0, 1, 3, 1 << 40])
    async def test_wrong_version_changes_nothing(
        self, storage: Storage, identity: ClusterIdentity, expected_version: int
    ) -> None:
        await storage.save(identity, b"one", expected_version=0, epoch=1)
        await storage.save(identity, b"two", expected_version=1, epoch=1)
        with pytest.raises(StateConflict, match="version") as caught:
            await storage.save(identity, b"lost", expected_version=expected_version, epoch=1)
        assert f"version {expected_version}," in caught.value.reason
        assert "version 2 " in caught.value.reason
        assert caught.value.identity == str(identity)
        assert not caught.value.maybe_executed
        assert (caught.value.stored_version, caught.value.stored_epoch) == (2, 1)
        assert await storage.load(identity) == StoredState(b"two", 2, 1)

    async def test_update_of_absent_is_refused(self, storage: Storage, identity: ClusterIdentity) -> None:
        with pytest.raises(StateConflict, match="expected version 7, version 0 is stored"):
            await storage.save(identity, b"lost", expected_version=7, epoch=1)
        assert await storage.load(identity) is None

    @pytest.mark.parametrize("expected_version", [0, 1])
    async def test_stale_epoch_changes_nothing(
        self, storage: Storage, identity: ClusterIdentity, expected_version: int
    ) -> None:
        await storage.save(identity, b"new", expected_version=0, epoch=9)
        with pytest.raises(StateConflict, match="epoch 8, epoch 9 is stored"):
            await storage.save(identity, b"zombie", expected_version=expected_version, epoch=8)
        with pytest.raises(StateConflict, match="epoch 8, epoch 9 is stored"):
            await storage.delete(identity, expected_version=expected_version, epoch=8)
        assert await storage.load(identity) == StoredState(b"new", 1, 9)

    async def test_higher_epoch_takes_over(self, storage: Storage, identity: ClusterIdentity) -> None:
        await storage.save(identity, b"old", expected_version=0, epoch=3)
        assert await storage.save(identity, b"new", expected_version=1, epoch=4) == 2
        with pytest.raises(StateConflict, match="epoch"):
            await storage.save(identity, b"zombie", expected_version=2, epoch=3)
        assert await storage.load(identity) == StoredState(b"new", 2, 4)

    async def test_epochs_are_whole_numbers_of_63_bits(self, storage: Storage, identity: ClusterIdentity) -> None:
        greatest = (1 << 63) - 1
        await storage.save(identity, b"", expected_version=0, epoch=greatest - 1)
        await storage.save(identity, b"", expected_version=1, epoch=greatest)
        assert await storage.load(identity) == StoredState(b"", 2, greatest)
        with pytest.raises(StateConflict, match="epoch"):  # floating point would not tell them apart
            await storage.save(identity, b"", expected_version=2, epoch=greatest - 1)

    # Delete.

    async def test_delete_leaves_a_tombstone(self, storage: Storage, identity: ClusterIdentity) -> None:
        await storage.save(identity, b"one", expected_version=0, epoch=2)
        await storage.delete(identity, expected_version=1, epoch=3)
        assert await storage.load(identity) == StoredState(None, 2, 3)

    async def test_zombie_cannot_resurrect(self, storage: Storage, identity: ClusterIdentity) -> None:
        await storage.save(identity, b"one", expected_version=0, epoch=2)
        await storage.delete(identity, expected_version=1, epoch=3)
        for expected_version in (0, 1, 2):
            with pytest.raises(StateConflict):
                await storage.save(identity, b"zombie", expected_version=expected_version, epoch=2)
        with pytest.raises(StateConflict):
            await storage.save(identity, b"new", expected_version=0, epoch=3)
        assert await storage.load(identity) == StoredState(None, 2, 3)

    async def test_version_goes_on_after_a_delete(self, storage: Storage, identity: ClusterIdentity) -> None:
        await storage.save(identity, b"one", expected_version=0, epoch=2)
        await storage.delete(identity, expected_version=1, epoch=2)
        assert await storage.save(identity, b"again", expected_version=2, epoch=2) == 3
        assert await storage.load(identity) == StoredState(b"again", 3, 2)

    async def test_delete_of_absent_and_deleted(self, storage: Storage, identity: ClusterIdentity) -> None:
        await storage.delete(identity, expected_version=0, epoch=2)
        await storage.delete(identity, expected_version=1, epoch=2)
        with pytest.raises(StateConflict, match="version"):
            await storage.delete(identity, expected_version=1, epoch=2)
        assert await storage.load(identity) == StoredState(None, 2, 2)

    # Values, keys, arguments.

    @pytest.mark.parametrize("size", [0, 1, 4095, 1_000_003])
    async def test_values_come_back_whole(self, storage: Storage, identity: ClusterIdentity, size: int) -> None:
        data = (bytes(range(256)) * (size // 256 + 1))[:size]
        await storage.save(identity, data, expected_version=0, epoch=0)
        assert await storage.load(identity) == StoredState(data, 1, 0)

    async def test_largest_value_and_one_byte_more(self, storage: Storage, identity: ClusterIdentity) -> None:
        most = storage.config.data_bytes_max
        with pytest.raises(StateTooLarge, match=f"{most + 1} bytes") as caught:
            await storage.save(identity, bytes(most + 1), expected_version=0, epoch=1)
        assert not caught.value.maybe_executed
        await storage.save(identity, bytes(most), expected_version=0, epoch=1)
        stored = await storage.load(identity)
        assert stored is not None
        assert stored.data == bytes(most)

    async def test_odd_keys_are_told_apart(self, storage: Storage, identity: ClusterIdentity) -> None:
        names = [ClusterIdentity(identity.kind, key) for key in ODD_KEYS]
        names += [ClusterIdentity(identity.kind + key, "key") for key in ODD_KEYS]
        for number, name in enumerate(names):
            await storage.save(name, str(number).encode(), expected_version=0, epoch=1)
        for number, name in enumerate(names):
            assert await storage.load(name) == StoredState(str(number).encode(), 1, 1)

    async def test_many_keys(self, storage: Storage, identity: ClusterIdentity) -> None:
        names = [ClusterIdentity(identity.kind, str(number)) for number in range(2000)]
        await asyncio.gather(*(storage.save(name, name.key.encode(), expected_version=0, epoch=1) for name in names))
        states = await asyncio.gather(*(storage.load(name) for name in names))
        assert states == [StoredState(name.key.encode(), 1, 1) for name in names]

    @pytest.mark.parametrize(("kind", "key"), [("", "k"), ("K", ""), ("K", "a\0b"), ("K", "\ud800"), ("K", "é" * 5000)])
    async def test_impossible_identities_are_refused(self, storage: Storage, kind: str, key: str) -> None:
        name = ClusterIdentity(kind, key)
        with pytest.raises(InvalidArguments):
            await storage.load(name)
        with pytest.raises(InvalidArguments):
            await storage.save(name, b"", expected_version=0, epoch=1)
        with pytest.raises(InvalidArguments):
            await storage.delete(name, expected_version=0, epoch=1)

    @pytest.mark.parametrize(("version", "epoch"), [(-1, 1), (0, -1), (1 << 63, 1), ((1 << 63) - 1, 1), (0, 1 << 63)])
    async def test_impossible_numbers_are_refused(
        self, storage: Storage, identity: ClusterIdentity, version: int, epoch: int
    ) -> None:
        with pytest.raises(InvalidArguments):
            await storage.save(identity, b"", expected_version=version, epoch=epoch)
        assert await storage.load(identity) is None

    @pytest.mark.parametrize("data", [None, "text", bytearray(b"may change"), memoryview(b"may change")])
    async def test_data_is_bytes(self, storage: Storage, identity: ClusterIdentity, data: Any) -> None:
        with pytest.raises(InvalidArguments, match="must be bytes"):
            await storage.save(identity, data, expected_version=0, epoch=1)
        assert await storage.load(identity) is None

    # Concurrency.

    async def test_one_saver_wins_each_version(self, storage: Storage, identity: ClusterIdentity) -> None:
        for version in range(5):
            writes = [
                storage.save(identity, f"{version}/{number}".encode(), expected_version=version, epoch=1)
                for number in range(20)
            ]
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            winners = [number for number, outcome in enumerate(outcomes) if outcome == version + 1]
            assert len(winners) == 1
            assert sum(isinstance(outcome, StateConflict) for outcome in outcomes) == 19
            expected = StoredState(f"{version}/{winners[0]}".encode(), version + 1, 1)
            assert await storage.load(identity) == expected

    async def test_counter_loses_no_increment(self, storage: Storage, identity: ClusterIdentity) -> None:
        async def increment() -> None:
            while True:
                stored = await storage.load(identity)
                value, version = (0, 0) if stored is None else (int(stored.data or b"0"), stored.version)
                try:
                    await storage.save(identity, str(value + 1).encode(), expected_version=version, epoch=1)
                except StateConflict:
                    continue
                return

        await asyncio.gather(*(increment() for _ in range(25)))
        assert await storage.load(identity) == StoredState(b"25", 25, 1)

    async def test_cancelled_save_happens_wholly_or_not_at_all(
        self, storage: Storage, identity: ClusterIdentity
    ) -> None:
        version = 0
        for step in range(20):
            data = f"{step}".encode() * 100
            write = asyncio.ensure_future(storage.save(identity, data, expected_version=version, epoch=1))
            for _ in range(step % 4):
                await asyncio.sleep(0)
            write.cancel()
            await asyncio.wait([write])
            stored = await storage.load(identity)
            found = (0, None) if stored is None else (stored.version, stored.data)
            if not write.cancelled() or found[0] != version:
                assert found == (version + 1, data)
            # After the load, the cancelled save changes nothing any more.
            version = await storage.save(identity, b"next", expected_version=found[0], epoch=1)
            assert await storage.load(identity) == StoredState(b"next", version, 1)

    # Opening and closing.

    async def test_data_survives_a_reopening(
        self, make_storage: Callable[[], Storage], identity: ClusterIdentity
    ) -> None:
        gone = ClusterIdentity(identity.kind, "gone")
        async with make_storage() as first:
            await first.save(identity, b"kept", expected_version=0, epoch=7)
            await first.delete(gone, expected_version=0, epoch=8)
        async with make_storage() as second:
            assert await second.load(identity) == StoredState(b"kept", 1, 7)
            assert await second.load(gone) == StoredState(None, 1, 8)
            with pytest.raises(StateConflict, match="epoch"):
                await second.save(identity, b"zombie", expected_version=1, epoch=6)

    async def test_close_waits_for_what_was_accepted(
        self, make_storage: Callable[[], Storage], identity: ClusterIdentity
    ) -> None:
        names = [ClusterIdentity(identity.kind, str(number)) for number in range(50)]
        storage = make_storage()
        await storage.open()
        writes = [asyncio.ensure_future(storage.save(name, b"x", expected_version=0, epoch=1)) for name in names]
        await asyncio.sleep(0)
        await storage.close()
        assert await asyncio.gather(*writes) == [1] * len(names)
        async with make_storage() as again:
            assert [await again.load(name) for name in names] == [StoredState(b"x", 1, 1)] * len(names)

    async def test_closed_storage_refuses(self, make_storage: Callable[[], Storage], identity: ClusterIdentity) -> None:
        storage = make_storage()
        operations: list[Callable[[], Any]] = [
            lambda: storage.load(identity),
            lambda: storage.save(identity, b"", expected_version=0, epoch=1),
            lambda: storage.delete(identity, expected_version=0, epoch=1),
        ]
        for _ in range(2):
            for operation in operations:
                with pytest.raises(StorageFailed, match="not open") as caught:
                    await operation()
                assert not caught.value.maybe_executed
            await storage.open()
            assert await storage.load(identity) is None
            await storage.close()
            await storage.close()  # once too often does nothing

    async def test_last_user_closes(self, make_storage: Callable[[], Storage], identity: ClusterIdentity) -> None:
        storage = make_storage()
        await asyncio.gather(storage.open(), storage.open())
        await storage.close()
        assert await storage.save(identity, b"still open", expected_version=0, epoch=1) == 1
        await storage.close()
        with pytest.raises(StorageFailed, match="not open"):
            await storage.load(identity)

    async def test_counts_what_it_did(self, storage: Storage, identity: ClusterIdentity) -> None:
        before = (storage.saves, storage.loads, storage.conflicts, storage.failures)
        await storage.save(identity, b"", expected_version=0, epoch=1)
        await storage.delete(identity, expected_version=1, epoch=1)
        await storage.load(identity)
        with pytest.raises(StateConflict):
            await storage.save(identity, b"", expected_version=1, epoch=1)
        after = (storage.saves, storage.loads, storage.conflicts, storage.failures)
        assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1, 1, 0]

    # Random histories.

    async def test_agrees_with_the_model(self, make_storage: Callable[[], Storage]) -> None:
        class Comparison(StorageComparison):
            def __init__(self) -> None:
                super().__init__(make_storage)

        await self._run_histories(Comparison, self.histories)

    async def test_agrees_with_the_model_through_faults(self, make_storage: Callable[[], Storage]) -> None:
        class Comparison(FaultyComparison):
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
