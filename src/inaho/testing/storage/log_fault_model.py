"""Compares logs behind faults with what may be stored, over histories that Hypothesis draws.

Several keepers write to a few logs, each with the epoch and the end that it knows. After an operation with an unknown
outcome the model holds all logs that are possible; an answer narrows them. It requires that an acknowledged append is
stored and stays, that a refused one is not stored, that one with an unknown outcome is stored wholly or not at all,
that an outdated keeper writes nothing, and that ends and epochs never go back.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from inaho.errors import LogConflict, LogTrimmed, StorageFailed
from inaho.storage import Storage
from inaho.storage.log import LogBounds, LogStorage
from inaho.testing.storage.faults import FaultyStorage, StorageFaults
from inaho.testing.storage.log_reads import consecutive

__all__ = ["FaultyLogComparison"]

Value = TypeVar("Value")

_keepers = st.integers(0, 2)
_names = st.sampled_from(["a", "b"])
_records = st.lists(st.binary(max_size=8), min_size=1, max_size=3)
_QUIET = StorageFaults()
_TROUBLE = StorageFaults(refuse=0.05, lose_request=0.1, lose_answer=0.2, repeat=0.2, slow=0.3, slow_s=0.001)


class _State(msgspec.Struct, frozen=True):
    """One possible content of a log."""

    records: tuple[bytes, ...] = ()
    first: int = 0
    epoch: int = 0

    def opened(self, epoch: int) -> _State | None:
        return msgspec.structs.replace(self, epoch=epoch) if epoch >= self.epoch else None

    def appended(self, records: list[bytes], offset: int, epoch: int) -> _State | None:
        if epoch != self.epoch or offset != len(self.records):
            return None
        return msgspec.structs.replace(self, records=(*self.records, *records))

    def trimmed(self, upto: int, epoch: int) -> _State | None:
        if epoch != self.epoch:
            return None
        return msgspec.structs.replace(self, first=max(self.first, min(upto, len(self.records))))


class _Keeper(msgspec.Struct):
    """What one keeper of a log believes."""

    epoch: int = 1
    end: int = 0


class FaultyLogComparison(RuleBasedStateMachine):
    """One history: keepers that meet faults, and a model of the answers that they got.

    Args:
        make_storage: gives access to the same data at each call.
    """

    def __init__(self, make_storage: Callable[[], Storage]) -> None:
        super().__init__()
        self._possible: dict[str, list[_State]] = {}
        self._keepers: dict[tuple[str, int], _Keeper] = {}
        self._prefix = f"faulty-{uuid.uuid4().hex}/"
        self._runner = asyncio.Runner()
        self._storage = FaultyStorage(make_storage(), _TROUBLE)
        self._run(self._storage.open())

    @initialize(seed=st.integers(min_value=0, max_value=1 << 16))
    def seed(self, seed: int) -> None:
        """The faults are part of the history."""
        self._run(self._storage.close())
        self._storage = FaultyStorage(self._storage.inner, _TROUBLE, seed)
        self._run(self._storage.open())

    @rule(name=_names, keeper=_keepers, rise=st.sampled_from([0, 1, 2]))
    def open(self, name: str, keeper: int, rise: int) -> None:
        """A keeper opens the log, with its epoch or a newer one."""
        me = self._keeper(name, keeper)
        me.epoch = max(me.epoch, max(each.epoch for each in self._states(name)) if rise else 0) + max(0, rise - 1)
        outcome = self._try(self._logs.open_log(self._prefix + name, epoch=me.epoch))
        self._told(name, outcome, lambda state: state.opened(me.epoch))
        if isinstance(outcome, LogBounds):
            me.end = outcome.end
            self._narrow(name, lambda state: _agrees(state, outcome))

    @rule(name=_names, keeper=_keepers, records=_records)
    def append(self, name: str, keeper: int, records: list[bytes]) -> None:
        """A keeper appends at the end that it knows; after a failure it does not know the end."""
        me = self._keeper(name, keeper)
        work = self._logs.append(self._prefix + name, records, offset=me.end, epoch=me.epoch)
        outcome = self._try(work)
        self._told(name, outcome, lambda state: state.appended(records, me.end, me.epoch))
        if outcome is None:
            me.end += len(records)
        self.bounds(name)

    @rule(name=_names, keeper=_keepers, batches=st.lists(_records, max_size=3), way=st.integers(-1, 4))
    def keep(self, name: str, keeper: int, batches: list[list[bytes]], way: int) -> None:
        """A keeper works as it should: it takes the log over, appends, perhaps removes records, and reads."""
        self.open(name, keeper, 2)
        for records in batches:
            self.append(name, keeper, records)
        if way >= 0:
            self.trim(name, keeper, way)
        self.read(name, way + 1)

    @rule(name=_names, keeper=_keepers, records=_records)
    def append_again(self, name: str, keeper: int, records: list[bytes]) -> None:
        """The same append until it is answered: done once, or in conflict with its own first delivery."""
        me = self._keeper(name, keeper)
        end = me.end
        for _ in range(4):
            outcome = self._try(self._logs.append(self._prefix + name, records, offset=end, epoch=me.epoch))
            self._told(name, outcome, lambda state: state.appended(records, end, me.epoch))
            if not isinstance(outcome, StorageFailed):
                me.end = end + len(records) if outcome is None else me.end
                return

    @rule(name=_names, keeper=_keepers, way=st.integers(0, 4))
    def trim(self, name: str, keeper: int, way: int) -> None:
        """A keeper removes records."""
        me = self._keeper(name, keeper)
        upto = max(0, me.end - way)
        outcome = self._try(self._logs.trim(self._prefix + name, upto, epoch=me.epoch))
        self._told(name, outcome, lambda state: state.trimmed(upto, me.epoch))
        self.bounds(name)

    @rule(name=_names, way=st.integers(0, 6))
    def read(self, name: str, way: int) -> None:
        """The records of one of the possible logs; those that have others are impossible from then on."""
        offset = max(0, min(len(state.records) for state in self._states(name)) - way)
        outcome = self._try(self._logs.read(self._prefix + name, offset, records_max=1000))
        if isinstance(outcome, LogTrimmed):
            self._narrow(name, lambda state: offset < state.first)
        elif isinstance(outcome, list):
            found = tuple(consecutive(outcome, offset))
            self._narrow(name, lambda state: offset >= state.first and state.records[offset:] == found)

    @rule(name=_names)
    def bounds(self, name: str) -> None:
        """The bounds of one of the possible logs."""
        outcome = self._try(self._logs.bounds(self._prefix + name))
        if isinstance(outcome, LogBounds):
            self._narrow(name, lambda state: _agrees(state, outcome))

    def teardown(self) -> None:
        """Without faults, every log is as acknowledged."""
        self._storage.faults = _QUIET
        try:
            for name in sorted(self._possible):
                self.bounds(name)
                self._compare_all(name)
        finally:
            self._run(self._storage.close())
            self._runner.close()

    def _compare_all(self, name: str) -> None:
        first = self._run(self._logs.bounds(self._prefix + name)).first
        found = consecutive(self._run(self._logs.read(self._prefix + name, first, records_max=1000)), first)
        self._narrow(name, lambda state: [*state.records[state.first :]] == found)

    @property
    def _logs(self) -> LogStorage:
        logs = self._storage.log
        assert logs is not None
        return logs

    def _told(self, name: str, outcome: object, change: Callable[[_State], _State | None]) -> None:
        """Narrows or widens the possible logs by the answer that a keeper got."""
        states = self._states(name)
        changed = [after for state in states if (after := change(state)) is not None]
        if isinstance(outcome, LogConflict):
            left = [state for state in states if change(state) is None]
            assert left, f"{name}: refused, though {states} allowed it"
            self._possible[name] = left
        elif isinstance(outcome, StorageFailed):
            if outcome.maybe_executed:
                self._possible[name] = list(dict.fromkeys([*states, *changed]))
        else:
            assert changed, f"{name}: acknowledged against {states}"
            self._possible[name] = list(dict.fromkeys(changed))

    def _narrow(self, name: str, agrees: Callable[[_State], bool]) -> None:
        states = self._states(name)
        left = [state for state in states if agrees(state)]
        assert left, f"{name}: the answer agrees with none of {states}"
        self._possible[name] = left

    def _states(self, name: str) -> list[_State]:
        return self._possible.setdefault(name, [_State()])

    def _keeper(self, name: str, keeper: int) -> _Keeper:
        return self._keepers.setdefault((name, keeper), _Keeper())

    def _try(self, work: Coroutine[Any, Any, Value]) -> Value | LogConflict | LogTrimmed | StorageFailed:
        try:
            return self._run(work)
        except (LogConflict, LogTrimmed, StorageFailed) as error:
            return error

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return self._runner.run(work)


def _agrees(state: _State, bounds: LogBounds) -> bool:
    return (state.first, len(state.records), state.epoch) == (bounds.first, bounds.end, bounds.epoch)
