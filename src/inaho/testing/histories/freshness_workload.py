"""The grains and callers that produce the history which `freshness_checker` checks.

A cell holds one value, and each save brings one that no other save has. It is read in every way in which a grain can be
read: by read-only and ordinary methods, timers, reminders and streams. There is one kind for each placement, and each
kind may have another `on_failure`.
"""

from __future__ import annotations

import asyncio
import itertools
import types
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from inaho.errors import InahoError
from inaho.runtime.grains.grain import Grain, method
from inaho.testing.histories.freshness_checker import UNSAVED
from inaho.testing.histories.freshness_history import Acknowledged, Observed
from inaho.testing.histories.grain_history import Journal
from inaho.types import Struct
from inaho.wire.exceptions import GrainError
from inaho.wire.stored import unpack_state

if TYPE_CHECKING:
    import random

    from inaho.core.activation.reminders import Reminder
    from inaho.runtime.cluster.cluster import Cluster

__all__ = ["BUSY_KEY", "PLACEMENTS", "ROLE", "Cell", "CellCaller", "cell_kinds", "content_of"]

ROLE: Final = "cells"

PLACEMENTS: Final[Mapping[str, dict[str, Any]]] = {
    "OwnerCell": {},
    "LocalCell": {"placement": "prefer_local"},
    "LeastCell": {"placement": "least_loaded"},
    "RoleCell": {"role": ROLE},
}
"""The kinds of cells by name, with the arguments of their classes."""


BUSY_KEY: Final = "key-0"
"""The cell of each kind that the load, ticks and reminders save. The others are saved by episodes only: a save shows
an old activation what it is, and ends it, so cells that are saved all the time hide the fault that is looked for."""


STREAMS: Final[Mapping[str, tuple[int, float]]] = {"follow": (6, 0.4), "follow_long": (30, 0.3)}
"""Number of items of a stream, and the seconds between two of them."""


LINGER_S: Final = 1.8
"""Of `Cell.linger`, seconds."""


class CellState(Struct):
    """What a cell saves; see `freshness_history` for the two."""

    value: str = ""
    before: str = ""


class BugError(GrainError):
    """The error of a turn that fails on purpose."""


class Cell(Grain[CellState]):
    """One value. Use `cell_kinds`, which makes its classes."""

    journal: ClassVar[Journal]
    chance: ClassVar[random.Random]
    tick_s: ClassVar[float]
    """Interval of the timer; 0: there is none."""
    remind_s: ClassVar[float]
    """Period of the reminder; 0: there is none."""
    tick_saves: ClassVar[float] = 0.1
    """Share of ticks and reminders of `BUSY_KEY` that save."""

    async def on_activate(self) -> None:
        """Starts the timer."""
        if self.tick_s:
            self.timer("tick_now", self.tick_s)

    async def put(self, value: str, hold_s: float = 0.0) -> None:
        """Saves a value, after `hold_s` seconds."""
        await self._put(value, hold_s)

    async def put_then_fail(self, value: str) -> None:
        """Saves a value, and fails afterwards."""
        await self._put(value)
        raise BugError("after the save")

    async def fail(self) -> None:
        """Fails in the middle of a change, which it leaves behind."""
        self.state = CellState(f"{UNSAVED}{self.chance.getrandbits(32)}", self._saved())
        raise BugError("in the middle of a change")

    async def wipe(self) -> None:
        """Clears the state."""
        await self.clear()

    async def rest(self) -> None:
        """Ends the activation, as idleness would."""
        self.deactivate()

    async def look(self) -> tuple[str, str, str]:
        """Who answers, the value, and what was saved before it."""
        return self.cluster.self.node_id, self.state.value, self.state.before

    @method(read_only=True)
    async def read(self) -> tuple[str, str, str]:
        """As `look`, beside other readers."""
        return self.cluster.self.node_id, self.state.value, self.state.before

    @method(read_only=True)
    async def linger(self) -> None:
        """A long turn, so that a move has to wait for it."""
        await asyncio.sleep(LINGER_S)

    async def follow(self, count: int, interval_s: float) -> AsyncIterator[tuple[str, str, str, float]]:
        """As `look`, repeatedly, each item with the time at which it was made."""
        for _ in range(count):
            yield self.cluster.self.node_id, self.state.value, self.state.before, self.journal.now()
            await asyncio.sleep(interval_s)

    async def remember(self) -> None:
        """Asks for reminders, if there are any."""
        if self.remind_s:
            await self.remind("reminder", self.remind_s, period_s=self.remind_s)

    async def on_reminder(self, reminder: Reminder) -> None:
        """Looks, and saves at times."""
        await self._look_inside("reminder")

    async def tick_now(self) -> None:
        """Looks, and saves at times."""
        await self._look_inside("tick")

    async def _look_inside(self, way: str) -> None:
        now, state = self.journal.now(), self.state
        node, cell = self.cluster.self.node_id, str(self.identity)
        seen = Observed(at=now, cell=cell, way=way, began=now, node=node, value=state.value, before=state.before)
        self.journal.write(seen)
        if self.key == BUSY_KEY and self.chance.random() < self.tick_saves:
            value = f"{way} {self.chance.getrandbits(32)}"
            try:
                await self._put(value)
            except InahoError:
                return  # nobody waits for it, and whether it was saved is not known
            self.journal.write(Acknowledged(at=self.journal.now(), cell=cell, value=value, since=now))

    async def _put(self, value: str, hold_s: float = 0.0) -> None:
        former = self.state
        self.state = CellState(value, self._saved())
        try:
            if hold_s:
                await asyncio.sleep(hold_s)
            await self.save()
        except BaseException:
            self.state = former
            raise

    def _saved(self) -> str:
        return self.state.before if self.state.value.startswith(UNSAVED) else self.state.value


def cell_kinds(
    journal: Journal, chance: random.Random, policies: Mapping[str, str], *, tick_s: float, remind_s: float
) -> list[type[Cell]]:
    """One class of cells for each name in `policies`, with that `on_failure`; the names are those of `PLACEMENTS`."""
    body = {"journal": journal, "chance": chance, "tick_s": tick_s, "remind_s": remind_s, "__module__": __name__}

    def make(name: str, policy: str) -> type[Cell]:
        options = {**PLACEMENTS[name], "on_failure": policy}
        return types.new_class(name, (Cell,), options, lambda namespace: namespace.update(body))

    return [make(name, policy) for name, policy in policies.items()]


def content_of(data: bytes | None) -> str:
    """The value in a stored state; empty for none."""
    return "" if data is None else msgspec.msgpack.decode(unpack_state(data), type=CellState).value


class CellCaller:
    """Calls cells, and records the answers.

    Args:
        journal: is told.
        name: makes its values unique among callers.

    Attributes:
        answered, failed: calls so far.
    """

    def __init__(self, journal: Journal, name: str) -> None:
        self.answered = 0
        self.failed = 0
        self._journal = journal
        self._name = name
        self._numbers = itertools.count()

    async def call(
        self, cluster: Cluster, kind: type[Cell], key: str, what: str, *, hold_s: float = 0.0, within_s: float = 2.0
    ) -> bool:
        """Makes one call of a method of `Cell`. Returns whether it was answered.

        Args:
            cluster: through which it goes.
            kind, key: whom it concerns.
            what: name of the method; `follow_long` is a longer `follow`.
            hold_s: of `put`.
            within_s: time-out of the call, seconds.
        """
        journal = self._journal
        cell, began = f"{kind.__name__}/{key}", journal.now()
        if what in STREAMS:
            count, interval_s = STREAMS[what]
            within_s += count * interval_s
        target = cluster.grain(kind, key, timeout=within_s)
        value = f"{self._name}-{next(self._numbers)}"
        try:
            if what in ("read", "look"):
                node, seen, before = await (target.read() if what == "read" else target.look())
                self._saw(cell, what, began, node, seen, before, cluster)
            elif what in ("put", "put_then_fail"):
                await (target.put(value, hold_s) if what == "put" else target.put_then_fail(value))
                journal.write(Acknowledged(at=journal.now(), cell=cell, value=value, since=began))
            elif what == "wipe":
                await target.wipe()
                journal.write(Acknowledged(at=journal.now(), cell=cell, value="", since=began))
            elif what in STREAMS:
                async for node, seen, before, made in target.follow(*STREAMS[what]):
                    self._saw(cell, "item", made, node, seen, before, cluster)
            else:
                await getattr(target, what)()
        except BugError:
            pass
        except InahoError:
            self.failed += 1
            return False
        self.answered += 1
        return True

    def _saw(self, cell: str, way: str, began: float, node: str, value: str, before: str, cluster: Cluster) -> None:
        now, local = self._journal.now(), cluster._node.local.node_id == node
        seen = Observed(at=now, cell=cell, way=way, began=began, node=node, value=value, before=before, local=local)
        self._journal.write(seen)
