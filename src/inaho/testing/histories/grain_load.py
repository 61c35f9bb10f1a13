"""Calls many registers at once from a client and records when they answer, for restarts under load.

Each key has a caller of its own, which calls again soon after each answer: one call in `ADD_EVERY` adds an element and
is part of the history, the others ask where the register is. The longest time without an answer of a key is its gap.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final, Self

import msgspec

from inaho.errors import InahoError
from inaho.runtime.cluster.cluster import Cluster
from inaho.testing.histories.grain_history import Journal
from inaho.testing.histories.grain_workload import Caller, Register
from inaho.types import MemberStatus

__all__ = ["CallFailure", "GrainLoad", "incarnations_up", "until_up"]

ADD_EVERY: Final = 4
CALLS_PER_KEY: Final = 1_000_000


def incarnations_up(client: Cluster) -> dict[str, int]:
    """Incarnations of the members that are up, by node id, as the client sees them now."""
    return {member.node_id: member.incarnation for member in client.members() if member.status is MemberStatus.UP}


async def until_up(client: Cluster, node_ids: Iterable[str], within_s: float = 30.0) -> None:
    """Returns when the client sees exactly these nodes up. Raises `AssertionError` when that takes longer."""
    expected = set(node_ids)
    deadline = time.monotonic() + within_s
    while (seen := incarnations_up(client).keys()) != expected:
        if time.monotonic() > deadline:
            raise AssertionError(f"the client sees {sorted(seen)} up, not {sorted(expected)}")
        await asyncio.sleep(0.005)


class CallFailure(msgspec.Struct, frozen=True):
    """A call that failed, with its monotonic time."""

    at: float
    key: str
    code: str
    maybe_executed: bool
    reason: str


class GrainLoad:
    """The load; it runs within `async with`.

    Args:
        client: through which it calls.
        journal: of additions.
        keys: of the registers.
        pause_s: from an answer to the next call of the key.
        first: number of the first call in the history; loads of one history need ranges of their own.

    Attributes:
        answered: monotonic times of all answers, by key.
        at: node id that answered last, by key.
        failures: calls that failed.
    """

    def __init__(
        self, client: Cluster, journal: Journal, keys: Iterable[str], *, pause_s: float = 0.02, first: int = 0
    ) -> None:
        self.answered: dict[str, list[float]] = {key: [] for key in keys}
        self.at: dict[str, str] = {}
        self.failures: list[CallFailure] = []
        self._client = client
        self._journal = journal
        self._pause_s = pause_s
        self._first = first
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for number, key in enumerate(self.answered):
            caller = Caller(self._journal, f"{key}.{self._first}", self._first + number * CALLS_PER_KEY)
            self._tasks.append(asyncio.create_task(self._call(caller, key)))
        await self.all_answered()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self, caller: Caller, key: str) -> None:
        register = self._client.grain(Register, key)
        number = 0
        while True:
            number += 1
            error: InahoError | None = None
            if number % ADD_EVERY == 0:
                error = await caller.call(self._client, Register, key, "add")
            else:
                try:
                    self.at[key] = await register.where()
                except InahoError as failure:
                    error = failure
            now = time.monotonic()
            if error is None:
                self.answered[key].append(now)
            else:
                self.failures.append(CallFailure(now, key, error.code, error.maybe_executed, error.reason))
            await asyncio.sleep(self._pause_s)

    async def all_answered(self, within_s: float = 30.0) -> None:
        """Returns when each key has been answered twice from now on. Raises when a caller has ended, or time is up."""
        before = {key: len(times) for key, times in self.answered.items()}
        deadline = time.monotonic() + within_s
        while any(len(times) < before[key] + 2 for key, times in self.answered.items()):
            for task in self._tasks:
                if task.done():
                    task.result()
            if time.monotonic() > deadline:
                silent = [key for key, times in self.answered.items() if len(times) < before[key] + 2]
                raise AssertionError(f"no answers of {silent} within {within_s} s; last failures {self.failures[-5:]}")
            await asyncio.sleep(0.02)

    def gap_s(self, key: str, since: float, until: float) -> float:
        """The longest time without an answer of that key that began before `until` and ended after `since`."""
        times = self.answered[key]
        return max(
            (after - before for before, after in pairwise(times) if after > since and before < until),
            default=0.0,
        )

    def first_answer_s(self, key: str, since: float) -> float:
        """Seconds from `since` to the first answer after it; infinite when there was none."""
        return next((at - since for at in self.answered[key] if at > since), float("inf"))

    async def read_all(self) -> dict[str, list[str]]:
        """The elements of every key, as answered now."""
        found: dict[str, Any] = {}
        for key in self.answered:
            _, found[key] = await self._client.grain(Register, key).read()
        return found
