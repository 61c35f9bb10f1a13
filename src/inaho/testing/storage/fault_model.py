"""Compares a storage behind faults with what may be stored, over histories that Hypothesis draws.

After a write with an unknown outcome the model holds two states, the old and the new one, until a load decides. It
requires that an acknowledged write is stored, that a refused one is not, that one with an unknown outcome is stored
wholly or not at all, and that versions and epochs never go back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from inaho.errors import StateConflict, StorageFailed
from inaho.storage import Storage, StoredState
from inaho.testing.storage.faults import FaultyStorage, StorageFaults
from inaho.types import ClusterIdentity

__all__ = ["FaultyComparison"]

Value = TypeVar("Value")

_histories = itertools.count(1)
_NOTHING = StoredState(None, 0, 0)
_keys = st.sampled_from(["a", "b"])
_distances = st.sampled_from([0, 0, 0, 0, -1, 1])
_epochs = st.sampled_from([0, 1, -1])
_data = st.binary(max_size=16)
_QUIET = StorageFaults()
_TROUBLE = StorageFaults(refuse=0.1, lose_request=0.15, lose_answer=0.25, repeat=0.2, slow=0.3, slow_s=0.001)


class FaultyComparison(RuleBasedStateMachine):
    """One history: writers and readers that meet faults, and a model of the answers that they got.

    Args:
        make_storage: gives access to the same data at each call.
    """

    def __init__(self, make_storage: Callable[[], Storage]) -> None:
        super().__init__()
        self._possible: dict[str, list[StoredState]] = {}
        self._kind = f"Faulty{next(_histories)}"
        self._runner = asyncio.Runner()
        self._storage = FaultyStorage(make_storage(), _TROUBLE)
        self._run(self._storage.open())

    @initialize(seed=st.integers(min_value=0, max_value=1 << 16))
    def seed(self, seed: int) -> None:
        """The faults are part of the history."""
        self._run(self._storage.close())
        self._storage = FaultyStorage(self._storage.inner, _TROUBLE, seed)
        self._run(self._storage.open())

    @rule(key=_keys, data=st.none() | _data, distance=_distances, rise=_epochs)
    def write(self, key: str, data: bytes | None, distance: int, rise: int) -> None:
        """A save, or a delete, by a writer that knows one of the possible states."""
        known = self._states(key)[-1]
        expected, epoch = max(0, known.version + distance), max(0, known.epoch + rise)
        self._told(key, self._run(self._try(key, data, expected, epoch)), data, expected, epoch)

    @rule(key=_keys, data=_data)
    def take_over(self, key: str, data: bytes) -> None:
        """A successor saves, and the previous writer tries once more."""
        known = self._states(key)[-1]
        for version, epoch in ((known.version, known.epoch + 1), (known.version + 1, known.epoch)):
            self._told(key, self._run(self._try(key, data, version, epoch)), data, version, epoch)

    @rule(key=_keys, data=_data)
    def write_again(self, key: str, data: bytes) -> None:
        """The same save until it is answered: done once, or in conflict with its own first delivery."""
        known = self._states(key)[-1]
        for _ in range(4):
            outcome = self._run(self._try(key, data, known.version, known.epoch))
            self._told(key, outcome, data, known.version, known.epoch)
            if not isinstance(outcome, StorageFailed):
                return

    @rule(key=_keys, writes=st.lists(_data, min_size=2, max_size=4))
    def race(self, key: str, writes: list[bytes]) -> None:
        """Several savers expect one version; at most one gets a success."""
        known = self._states(key)[-1]

        async def run() -> list[int | StateConflict | StorageFailed]:
            return await asyncio.gather(*(self._try(key, data, known.version, known.epoch) for data in writes))

        outcomes = self._run(run())
        winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, int)]
        assert len(winners) <= 1
        for number, outcome in enumerate(outcomes):
            if number not in winners and not isinstance(outcome, StateConflict):
                self._told(key, outcome, writes[number], known.version, known.epoch)
        for number in winners:
            self._told(key, outcomes[number], writes[number], known.version, known.epoch)

    @rule(key=_keys)
    def load(self, key: str) -> None:
        """One of the possible states; from then on it is the only one."""
        try:
            stored = self._run(self._storage.load(self._identity(key)))
        except StorageFailed:
            return
        self._settle(key, stored)

    @rule(keys=st.lists(_keys, min_size=1, max_size=4))
    def versions(self, keys: list[str]) -> None:
        """The numbers of possible states; the remaining ones are the present state."""
        try:
            found = self._run(self._storage.versions([self._identity(key) for key in keys]))
        except StorageFailed:
            return
        for key, numbers in zip(keys, found, strict=True):
            told = (0, 0) if numbers is None else (numbers.version, numbers.epoch)
            states = self._states(key)
            left = [each for each in states if (each.version, each.epoch) == told]
            assert left, f"{key}: {numbers} is there, and not one of {states}"
            self._possible[key] = left

    def teardown(self) -> None:
        """Without faults, every record is as acknowledged."""
        self._storage.faults = _QUIET
        try:
            for key in sorted(self._possible):
                self._settle(key, self._run(self._storage.load(self._identity(key))))
        finally:
            self._run(self._storage.close())
            self._runner.close()

    def _told(
        self, key: str, outcome: int | StateConflict | StorageFailed, data: bytes | None, expected: int, epoch: int
    ) -> None:
        """Narrows or widens the possible states by the answer that a writer got."""
        states = self._states(key)
        bases = [each for each in states if each.version == expected and epoch >= each.epoch]
        written = StoredState(data, expected + 1, epoch)
        if isinstance(outcome, int):
            assert outcome == expected + 1
            assert bases, f"{key}: acknowledged against {states}"
            self._possible[key] = [written]
        elif isinstance(outcome, StateConflict):
            left = [each for each in states if each not in bases]
            assert left, f"{key}: refused, though {states} allowed it"
            self._possible[key] = left
        elif outcome.maybe_executed and bases and written not in states:
            self._possible[key] = [*states, written]

    def _settle(self, key: str, stored: StoredState | None) -> None:
        found, states = stored or _NOTHING, self._states(key)
        assert found in states, f"{key}: {found} is there, and not one of {states}"
        self._possible[key] = [found]

    def _states(self, key: str) -> list[StoredState]:
        """The possible states, oldest first; each follows from the one before it or competes with it."""
        return self._possible.setdefault(key, [_NOTHING])

    async def _try(
        self, key: str, data: bytes | None, expected: int, epoch: int
    ) -> int | StateConflict | StorageFailed:
        identity = self._identity(key)
        try:
            if data is not None:
                return await self._storage.save(identity, data, expected_version=expected, epoch=epoch)
            await self._storage.delete(identity, expected_version=expected, epoch=epoch)
        except (StateConflict, StorageFailed) as error:
            return error
        return expected + 1

    def _identity(self, key: str) -> ClusterIdentity:
        return ClusterIdentity(self._kind, key)

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return self._runner.run(work)
