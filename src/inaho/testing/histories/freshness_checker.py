"""Checks a history against the freshness rule: no answer is older than the rule allows.

The rule has three parts. Which of them holds for a call depends on what the simulator did and on what nodes published,
never on what a node believes about its own freshness:

    calm       no node doubts a member: no state older than any save acknowledged before the call began
    doubted    the node that answered found a member unreachable at least one read ago and has not seen it again, or it
               was paused: no older than any save of that member acknowledged `freshness_s` and one read earlier
    disturbed  everything else, such as a fault that this node has not noticed yet: the same, and the longest time that
               a node takes to notice (`detection_s`) earlier

If it is unclear which part holds, the checker takes the weaker one, so it never reports a false failure:

- A disturbance begins with a fault, or when a node finds a member unreachable. It lasts until no fault is active, no
  node finds a member unreachable, all living nodes place by the same view, and `settle_s` have passed since. A graceful
  leave, a join and a delay are no faults. A crash is one until that node is back.
- Where a storage operation failed within the time that an answer may be old, that time grows by one more try for each
  failure: nobody can prove what cannot be read. A storage that stays away excuses everything.
- An answer counts as the newest version that had its content. One with content that is not stored counts as the save
  that it goes back to (`Observed.before`).

Why content and not the version that the activation believes to have: a wrong belief is what this looks for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Final

import msgspec

from inaho.testing.histories.freshness_history import (
    EVERYBODY,
    Acknowledged,
    Doubted,
    Fault,
    Observed,
    StorageFault,
    Stored,
)
from inaho.testing.histories.grain_checkers import Agreement, PromiseBroken, Views
from inaho.testing.histories.grain_history import Died, Record

__all__ = ["Bounds", "Contents", "Disturbances", "current_answers", "fresh_answers"]

INFINITE: Final = float("inf")

UNSAVED: Final = "unsaved "
"""Prefix of values that a failing turn leaves behind; they are never saved."""

EXTENSIONS_MAX: Final = 1000
"""Storage failures within the age of one answer; with more of them it is not judged."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How old an answer may be, all in seconds.

    Attributes:
        freshness_s: `activation.freshness_s`.
        read_s: the longest read of the storage.
        detection_s: see `core.detection.bound`.
        settle_s: from the end of all faults and of disagreement until the strict rule holds again.
    """

    freshness_s: float
    read_s: float
    detection_s: float
    settle_s: float


class Contents:
    """Which versions had which content, by cell; acknowledged saves, with the time of the acknowledgement."""

    def __init__(self, history: Sequence[Record]) -> None:
        self._commits: dict[tuple[str, str], tuple[list[float], list[int]]] = {}
        self._acknowledged: dict[str, dict[str, tuple[list[float], list[int]]]] = {}
        savers = {(each.cell, each.version): each.saver for each in history if isinstance(each, Stored)}
        for record in history:
            if isinstance(record, Stored):
                times, versions = self._commits.setdefault((record.cell, record.value), ([], []))
                times.append(record.at)
                versions.append(record.version)
            elif isinstance(record, Acknowledged):
                version = self._first(record.cell, record.value, record.since)
                by_saver = self._acknowledged.setdefault(record.cell, {})
                times, newest = by_saver.setdefault(savers.get((record.cell, version), ""), ([], []))
                times.append(record.at)
                newest.append(max(version, newest[-1] if newest else 0))

    def _first(self, cell: str, value: str, since: float) -> int:
        """The version that a save brought: the first one with that content since its call began; 0 for none."""
        times, versions = self._commits.get((cell, value), ([], []))
        index = bisect_left(times, since)
        return versions[index] if index < len(versions) else 0

    def newest(self, cell: str, value: str, at: float) -> int | None:
        """The newest version until `at` that had this content; None if none had. Never saved is version 0."""
        times, versions = self._commits.get((cell, value), ([], []))
        index = bisect_right(times, at)
        if index:
            return versions[index - 1]
        return None if value else 0

    def required(self, cell: str, before: float, savers: Container[str] | None = None) -> int:
        """The newest version that was acknowledged earlier than `before`; 0 if none was.

        Args:
            cell: kind and key.
            before: seconds.
            savers: authorities whose saves count; None for all.
        """
        found = 0
        for saver, (times, newest) in self._acknowledged.get(cell, {}).items():
            index = bisect_left(times, before)
            if index and (savers is None or saver in savers or EVERYBODY in savers):
                found = max(found, newest[index - 1])
        return found


class Disturbances:
    """When the cluster was disturbed, and which nodes doubted a member.

    Args:
        history: in the order of its times.
        settle_s: see `Bounds`.
    """

    def __init__(self, history: Sequence[Record], settle_s: float) -> None:
        self._doubts: dict[str, dict[str, list[tuple[float, bool]]]] = {}
        self._begins: list[float] = []
        self._ends: list[float] = []
        agreement = Views(history).agreement()
        active: set[tuple[str, str]] = set()
        for record in history:
            if isinstance(record, Fault):
                self._switch(active, ("", record.what), record.active, record.at)
            elif isinstance(record, Doubted):
                self._switch(active, (record.node, record.member), record.active, record.at)
                by_member = self._doubts.setdefault(record.node, {})
                by_member.setdefault(record.member, []).append((record.at, record.active))
            elif isinstance(record, Died):
                for pair in [pair for pair in active if pair[0] == record.node]:
                    self._switch(active, pair, False, record.at)
        if active:
            self._ends.append(INFINITE)
        self._ends = [_settled(end, agreement) + settle_s for end in self._ends]

    def _switch(self, active: set[tuple[str, str]], what: tuple[str, str], begins: bool, at: float) -> None:
        before = bool(active)
        if begins:
            active.add(what)
        else:
            active.discard(what)
        if active and not before:
            self._begins.append(at)
        elif before and not active:
            self._ends.append(at)

    def disturbed(self, at: float) -> bool:
        """Whether the strict rule is suspended at that time."""
        index = bisect_right(self._begins, at)
        return any(at <= end for end in self._ends[:index])

    def doubted(self, node: str, since: float, until: float) -> list[str]:
        """The members that this node doubted all the time from `since` to `until`."""
        found: list[str] = []
        for member, changes in self._doubts.get(node, {}).items():
            index = bisect_right(changes, (until, True))
            at, active = changes[index - 1]
            if index and active and at <= since:
                found.append(member)
        return found


def _settled(end: float, agreement: Agreement) -> float:
    """The first moment from `end` on at which all nodes agree; infinite if there is none."""
    later = agreement.times[bisect_right(agreement.times, end) :]
    return next((at for at in (end, *later) if agreement.since(at) != INFINITE), INFINITE)


def fresh_answers(history: Sequence[Record], bounds: Bounds) -> Counter[str]:
    """Every answer, tick, reminder and stream item is as new as the rule of the module says.

    Args:
        history: in the order of its times.
        bounds: see `Bounds`.

    Returns:
        How many were judged by each part of the rule, and by each way (`calm`, `calm tick`, …). Those for which
        something newer than nothing was required: others cannot fail.

    Raises:
        PromiseBroken: one is older, or has content that nobody saved.
    """
    contents = Contents(history)
    disturbances = Disturbances(history, bounds.settle_s)
    failures = sorted(record.at for record in history if isinstance(record, StorageFault))
    judged: Counter[str] = Counter()
    for record in history:
        if not isinstance(record, Observed):
            continue
        found = contents.newest(record.cell, record.value, record.at)
        if found is None:
            found = contents.newest(record.cell, record.before, record.at)
        if found is None:
            raise PromiseBroken("fresh_answers", f"{record} has content that nobody saved")
        for part, before, savers in _rules_for(record, bounds, disturbances, failures):
            required = contents.required(record.cell, before, savers)
            if found < required:
                age_s = record.began - before
                raise PromiseBroken(
                    "fresh_answers",
                    f"{record} is version {found}; version {required} was acknowledged {age_s:.3f} s before or earlier "
                    f"({part})",
                )
            if required:
                judged[part] += 1
                judged[f"{part} {record.way}"] += 1
                if record.local:
                    judged[f"{part} local"] += 1
    return judged


def _rules_for(
    record: Observed, bounds: Bounds, disturbances: Disturbances, failures: Sequence[float]
) -> list[tuple[str, float, list[str] | None]]:
    """The parts of the rule for an answer, each with the time before which acknowledged saves must be in it, and whose.

    None in place of savers: everybody's.
    """
    began = record.began
    if not disturbances.disturbed(began):
        return [("calm", began, None)]
    age_s = bounds.freshness_s + bounds.read_s
    doubted = _extended(record, age_s, bounds, failures)
    # The first read begins with the doubt. What was acknowledged before that, it finds, unless it fails.
    first_read = began - bounds.read_s if doubted == began - age_s else doubted
    savers = disturbances.doubted(record.node, first_read, began)
    return [
        ("doubted", doubted, savers),
        ("disturbed", _extended(record, age_s + bounds.detection_s, bounds, failures), None),
    ]


def _extended(record: Observed, age_s: float, bounds: Bounds, failures: Sequence[float]) -> float:
    """`age_s` before the answer began, and one more try earlier for each storage failure since."""
    until = bisect_right(failures, record.at)
    again_s = bounds.freshness_s + bounds.read_s
    before, count = record.began - age_s, 0
    for _ in range(EXTENSIONS_MAX):
        found = until - bisect_left(failures, before)
        if found <= count:
            return before
        count = found
        before = record.began - age_s - count * again_s
    return -INFINITE


def current_answers(answers: Mapping[str, Sequence[Observed]], stored: Mapping[str, str]) -> int:
    """No answer stays old: in a settled cluster without writes, all answers are the stored content.

    Args:
        answers: by cell, as seen from every node and in every way that there is.
        stored: content by cell, from the storage; empty for tombstones and cells that were never saved.

    Returns:
        How many answers there were.

    Raises:
        PromiseBroken: one is not what is stored, or a cell has no answer.
    """
    for cell, value in stored.items():
        seen = answers.get(cell, ())
        if not seen:
            raise PromiseBroken("current_answers", f"{cell} was never answered")
        for each in seen:
            if (each.before if each.value.startswith(UNSAVED) else each.value) != value:
                raise PromiseBroken("current_answers", f"{each}, and {value!r} is stored")
    return sum(map(len, answers.values()))
