"""Compares a storage with a model, step by step, over histories that Hypothesis draws.

The model is a dictionary and two rules: a write commits if the version is the stored one and the epoch is not below the
stored one; it then adds 1 to the version. Versions and epochs are drawn close to the stored ones, because otherwise
nearly every write would be a conflict and nothing would be tested.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from inaho.errors import StateConflict
from inaho.storage import Storage, StoredState, StoredVersion
from inaho.types import ClusterIdentity

__all__ = ["StorageComparison"]

Value = TypeVar("Value")

_histories = itertools.count(1)
_keys = st.sampled_from(["a", "b", "ä/'\""])
_distances = st.sampled_from([0, 0, 0, 0, -1, 1])
_epochs = st.integers(min_value=0, max_value=4)
_data = st.binary(max_size=64)


class StorageComparison(RuleBasedStateMachine):
    """One history: each rule does the same to the storage and to the model.

    Args:
        make_storage: gives access to the same data at each call.
    """

    def __init__(self, make_storage: Callable[[], Storage]) -> None:
        super().__init__()
        self._make_storage = make_storage
        self._model: dict[str, tuple[bytes | None, int, int]] = {}
        self._kind = f"History{next(_histories)}"
        self._runner = asyncio.Runner()
        self._storage = make_storage()
        self._run(self._storage.open())

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return self._runner.run(work)

    def _identity(self, key: str) -> ClusterIdentity:
        return ClusterIdentity(self._kind, key)

    def _write(
        self, key: str, data: bytes | None, expected_version: int, epoch: int
    ) -> Coroutine[Any, Any, int | None]:
        if data is None:
            return self._storage.delete(self._identity(key), expected_version=expected_version, epoch=epoch)
        return self._storage.save(self._identity(key), data, expected_version=expected_version, epoch=epoch)

    @rule(key=_keys, data=st.none() | _data, distance=_distances, epoch=_epochs)
    def write(self, key: str, data: bytes | None, distance: int, epoch: int) -> None:
        """A save, or a delete when there is no data."""
        _, version, stored_epoch = self._model.get(key, (None, 0, 0))
        expected_version = max(0, version + distance)
        commits = expected_version == version and epoch >= stored_epoch
        work = self._write(key, data, expected_version, epoch)
        if not commits:
            with pytest.raises(StateConflict, match="epoch" if epoch < stored_epoch else "version") as caught:
                self._run(work)
            assert (caught.value.stored_version, caught.value.stored_epoch) == (version, stored_epoch)
            return
        assert self._run(work) == (None if data is None else version + 1)
        self._model[key] = (data, version + 1, epoch)

    @rule(key=_keys, writes=st.lists(st.tuples(_data, _epochs), min_size=2, max_size=5))
    def race(self, key: str, writes: list[tuple[bytes, int]]) -> None:
        """Several savers expect one version: one of those with a valid epoch wins."""
        _, version, stored_epoch = self._model.get(key, (None, 0, 0))
        able = [number for number, (_, epoch) in enumerate(writes) if epoch >= stored_epoch]

        async def run() -> list[int | BaseException | None]:
            pending = (self._write(key, data, version, epoch) for data, epoch in writes)
            return await asyncio.gather(*pending, return_exceptions=True)

        outcomes = self._run(run())
        winners = [number for number, outcome in enumerate(outcomes) if outcome == version + 1]
        assert len(winners) == min(1, len(able))
        assert all(isinstance(each, StateConflict) for number, each in enumerate(outcomes) if number not in winners)
        for winner in winners:
            assert winner in able
            data, epoch = writes[winner]
            self._model[key] = (data, version + 1, epoch)

    @rule(key=_keys)
    def load(self, key: str) -> None:
        """The last stored state, numbers included."""
        expected = StoredState(*self._model[key]) if key in self._model else None
        assert self._run(self._storage.load(self._identity(key))) == expected

    @rule(keys=st.lists(_keys, max_size=6))
    def versions(self, keys: list[str]) -> None:
        """The last stored numbers, in the order of the request."""
        stored = (self._model.get(key) for key in keys)
        expected = [None if each is None else StoredVersion(each[1], each[2]) for each in stored]
        assert self._run(self._storage.versions([self._identity(key) for key in keys])) == expected

    @rule()
    def reopen(self) -> None:
        """A restart forgets nothing."""
        self._run(self._storage.close())
        self._storage = self._make_storage()
        self._run(self._storage.open())

    def teardown(self) -> None:
        """Compares every record once more, and closes."""
        try:
            for key in sorted(self._model):
                self.load(key)
        finally:
            self._run(self._storage.close())
            self._runner.close()
