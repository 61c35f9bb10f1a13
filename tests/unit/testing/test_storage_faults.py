"""FaultyStorage does what it says, the same for one seed, and its model catches storages that break the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from inaho.config import StorageConfig
from inaho.errors import InvalidConfig, StateConflict, StorageFailed
from inaho.storage import MemoryStorage, Storage, StoredState
from inaho.testing import FaultyStorage, StorageFaults
from inaho.testing.storage.fault_model import FaultyComparison
from inaho.testing.storage_conformance import StorageConformance
from inaho.types import ClusterIdentity

CART = ClusterIdentity("Cart", "alice")


class TestWithoutFaults(StorageConformance):
    """With nothing to happen it is the storage inside."""

    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        inner = MemoryStorage(StorageConfig(data_bytes_max=1 << 20))
        return lambda: FaultyStorage(inner, StorageFaults())


async def save(storage: Storage, version: int = 0) -> int:
    return await storage.save(CART, b"x", expected_version=version, epoch=1)


async def test_refused_is_not_applied_and_says_so() -> None:
    async with FaultyStorage(MemoryStorage(), StorageFaults(refuse=1.0)) as storage:
        with pytest.raises(StorageFailed) as caught:
            await save(storage)
        assert not caught.value.maybe_executed
        assert await storage.inner.load(CART) is None
        assert storage.injected == {"refuse": 1}
        assert storage.failures == 1


async def test_lost_request_is_not_applied_and_unknown() -> None:
    async with FaultyStorage(MemoryStorage(), StorageFaults(lose_request=1.0)) as storage:
        with pytest.raises(StorageFailed) as caught:
            await save(storage)
        assert caught.value.maybe_executed
        assert await storage.inner.load(CART) is None


async def test_lost_answer_is_applied_and_unknown_and_its_retry_is_a_conflict() -> None:
    async with FaultyStorage(MemoryStorage(), StorageFaults(lose_answer=1.0)) as storage:
        with pytest.raises(StorageFailed) as caught:
            await save(storage)
        assert caught.value.maybe_executed
        assert await storage.inner.load(CART) == StoredState(b"x", 1, 1)
        with pytest.raises(StorageFailed):
            await storage.load(CART)
        storage.faults = StorageFaults()
        with pytest.raises(StateConflict):
            await save(storage)
        assert await storage.load(CART) == StoredState(b"x", 1, 1)


async def test_repeated_save_is_applied_once() -> None:
    async with FaultyStorage(MemoryStorage(), StorageFaults(repeat=1.0)) as storage:
        assert await save(storage) == 1
        assert await storage.load(CART) == StoredState(b"x", 1, 1)
        assert storage.injected == {"repeat": 1}
        assert storage.inner.conflicts == 1


async def test_slow_sleeps_as_it_was_told() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with FaultyStorage(MemoryStorage(), StorageFaults(slow=1.0, slow_s=3.0), sleep=sleep) as storage:
        for version in range(20):
            await save(storage, version)
    assert len(slept) == storage.injected["slow"] == 20
    assert all(0.0 < seconds <= 3.0 for seconds in slept)


async def test_one_seed_gives_one_history() -> None:
    faults = StorageFaults(refuse=0.1, lose_request=0.1, lose_answer=0.1, repeat=0.1, slow=0.2, slow_s=0.0)

    async def history(seed: int) -> list[str]:
        seen: list[str] = []
        storage = FaultyStorage(MemoryStorage(), faults, seed, observe=lambda fault, _: seen.append(fault))
        async with storage:
            for number in range(100):
                name = ClusterIdentity("Cart", str(number))
                outcome = await asyncio.gather(
                    storage.save(name, b"", expected_version=0, epoch=1), return_exceptions=True
                )
                seen.append(repr(outcome))
        return seen

    assert await history(1) == await history(1)
    assert await history(1) != await history(2)


@pytest.mark.parametrize("wrong", [{"refuse": 1.1}, {"slow": -0.1}, {"repeat": 0.6, "refuse": 0.6}, {"slow_s": -1.0}])
def test_impossible_faults_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidConfig):
        StorageFaults(**wrong)


# Storages that break the contract, and the test of the suite that must notice.


class Broken(MemoryStorage):
    """Breaks one rule."""

    rule: ClassVar[str] = ""

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        stored = self._states.get(identity)
        if self.rule == "epoch" and stored is not None:
            epoch = max(epoch, stored.epoch)
        if self.rule == "twice" and stored is not None and stored.version == expected_version + 1:
            expected_version += 1
        version = await super()._write(identity, data, expected_version=expected_version, epoch=epoch)
        if self.rule == "lost" and stored is not None and version % 3 == 0:
            self._states[identity] = stored
        if self.rule == "half":
            self._states[identity] = StoredState(stored.data if stored else b"", version, epoch)
        return version


@pytest.mark.parametrize("rule", ["epoch", "twice", "lost", "half"])
def test_the_model_catches_a_broken_storage(rule: str) -> None:
    class Wrong(Broken):
        pass

    Wrong.rule = rule
    inner = Wrong()

    class Comparison(FaultyComparison):
        def __init__(self) -> None:
            super().__init__(lambda: inner)

    options = settings(max_examples=50, stateful_step_count=20, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Comparison, settings=options)
