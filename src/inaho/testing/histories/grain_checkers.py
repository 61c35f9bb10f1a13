"""Checks a history against the guarantees of grains; each check returns, or raises `PromiseBroken`.

They are written from the promises alone (DESIGN section 3, "Leases and fencing") and know nothing about leases,
hand-off or retries: a mistake there must not also excuse itself here.

    one_activation        two activations of one identity overlap only while the views of their nodes disagree
    fenced_commits        versions are 1, 2, 3 ... and the epoch never goes back
    epochs_of_their_own   no two activations that saved had the same fencing token
    epochs_in_order       what is stored was saved under epochs that never go back
    nothing_lost          what was acknowledged is stored, what is stored was asked for, and is there once
    growing_counts        a call that began after another was answered finds more than that one
    fresh_reads           once views agree again, reads see every acknowledged save
    settled               in a settled cluster every identity answers from one node, where its one activation is
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from inaho.testing.histories.grain_history import (
    Activation,
    Answered,
    Called,
    Committed,
    Died,
    Paused,
    Record,
    Resumed,
    Saved,
    Viewed,
    activations_of,
)

__all__ = [
    "Agreement",
    "PromiseBroken",
    "Views",
    "epochs_in_order",
    "epochs_of_their_own",
    "fenced_commits",
    "fresh_reads",
    "growing_counts",
    "nothing_lost",
    "one_activation",
    "settled",
]


INFINITE: Final = float("inf")


class PromiseBroken(AssertionError):  # noqa: N818  what a person says
    """A history breaks a promise; `promise` is the name of the function that found it."""

    def __init__(self, promise: str, reason: str) -> None:
        super().__init__(f"{promise}: {reason}")
        self.promise = promise


class Views:
    """The view of each node, and whether it was running, at any time of a history."""

    def __init__(self, history: Iterable[Record]) -> None:
        self._times: dict[str, list[float]] = {}
        self._states: dict[str, list[tuple[str, bool]]] = {}
        self.ends: dict[str, float] = {}
        for record in history:
            if isinstance(record, Viewed):
                self._note(record.node, record.at, view=record.view)
            elif isinstance(record, Paused | Resumed):
                self._note(record.node, record.at, paused=isinstance(record, Paused))
            elif isinstance(record, Died):
                self.ends.setdefault(record.node, record.at)

    def _note(self, node: str, at: float, *, view: str | None = None, paused: bool | None = None) -> None:
        states = self._states.setdefault(node, [])
        before = states[-1] if states else ("", False)
        states.append((before[0] if view is None else view, before[1] if paused is None else paused))
        self._times.setdefault(node, []).append(at)

    def changes(self, nodes: Collection[str]) -> list[float]:
        """When anything changed on one of these nodes, sorted."""
        times = {time for node in nodes for time in self._times.get(node, ())}
        return sorted(times | {self.ends[node] for node in nodes if node in self.ends})

    def agree(self, at: float, nodes: Collection[str]) -> bool:
        """Whether, from `at` until the next change, those of these nodes that live see the same and none is paused."""
        seen: set[str] = set()
        for node in nodes:
            index = bisect_right(self._times.get(node, []), at) - 1
            if index < 0 or self.ends.get(node, at + 1.0) <= at:
                continue
            view, paused = self._states[node][index]
            if paused:
                return False
            seen.add(view)
        return len(seen) <= 1

    def agreement(self, nodes: Collection[str] | None = None) -> Agreement:
        """When these nodes agreed; None: all of them."""
        return Agreement(self, sorted(self._times) if nodes is None else nodes)


class Agreement:
    """When some nodes agreed, from change to change."""

    def __init__(self, views: Views, nodes: Collection[str]) -> None:
        self.times = views.changes(nodes)
        self._since: list[float] = []
        since = INFINITE
        for time in self.times:
            if not views.agree(time, nodes):
                since = INFINITE
            elif since == INFINITE:
                since = time
            self._since.append(since)

    def since(self, at: float) -> float:
        """Since when they have agreed without a break, as of `at`; infinite when they do not."""
        index = bisect_right(self.times, at) - 1
        return self._since[index] if index >= 0 else INFINITE


def one_activation(history: Sequence[Record], settle_s: float, *, orderly: bool = False) -> int:
    """Two activations of one identity overlap only while the views of their nodes disagree, or have agreed for less
    than `settle_s`: the time that it takes to end what should not go on, running turns included.

    Args:
        history: of which only identities, nodes and views count.
        settle_s: above 0.
        orderly: nobody died, was cut off or paused. Then an overlap must have begun while the views disagreed: where
            they agree, the new owner waits for the old one, however long that takes.

    Returns:
        How many overlaps were excused.
    """
    views = Views(history)
    by_key: dict[str, list[Activation]] = {}
    excused = 0
    for activation in activations_of(history):
        earlier = by_key.setdefault(activation.key, [])
        for other in earlier:
            until = min(activation.until, other.until)
            if until <= activation.since:
                continue
            if other.node == activation.node or not _excused(views, activation, other, until, settle_s, orderly):
                overlap_s = until - activation.since
                raise PromiseBroken("one_activation", f"{other} and {activation} overlap for {overlap_s} s")
            excused += 1
        earlier.append(activation)
    return excused


def _excused(views: Views, one: Activation, other: Activation, until: float, settle_s: float, orderly: bool) -> bool:
    agreement = views.agreement((one.node, other.node))
    if orderly and agreement.since(one.since) != INFINITE:
        return False
    times = [one.since, *(time for time in agreement.times if one.since < time < until), until]
    return all(end - agreement.since(begin) <= settle_s for begin, end in pairwise(times))


def fenced_commits(history: Iterable[Record]) -> None:
    """What a storage commits of one identity: versions 1, 2, 3 ..., and epochs that never go back."""
    last: dict[str, Committed] = {}
    for record in history:
        if not isinstance(record, Committed):
            continue
        before = last.get(record.key)
        if record.version != (1 if before is None else before.version + 1):
            raise PromiseBroken("fenced_commits", f"{record} follows {before}")
        if before is not None and record.epoch < before.epoch:
            raise PromiseBroken("fenced_commits", f"{record} goes back behind {before}")
        last[record.key] = record


def epochs_of_their_own(history: Iterable[Record]) -> None:
    """No two activations that saved, of one identity, did so with the same fencing token.

    Activations that saved nothing left no trace by which their successors could know their tokens.
    """
    records = list(history)
    savers = {(record.node, record.key, record.epoch): record.at for record in records if isinstance(record, Saved)}
    owners: dict[tuple[str, int], Activation] = {}
    for activation in activations_of(records):
        saved_at = savers.get((activation.node, activation.key, activation.epoch))
        if saved_at is None or not activation.since <= saved_at <= activation.until:
            continue
        before = owners.setdefault((activation.key, activation.epoch), activation)
        if before is not activation:
            raise PromiseBroken("epochs_of_their_own", f"{before} and {activation} saved alike")


def nothing_lost(history: Iterable[Record], stored: Mapping[str, Sequence[str]]) -> int:
    """Acknowledged elements are stored; stored ones were asked for, and are there once.

    Args:
        history: calls and answers.
        stored: elements by key, as found in the storage in the end, in their order.

    Returns:
        How many acknowledged elements there are.
    """
    calls: dict[int, Called] = {}
    asked: dict[str, set[str]] = {}
    acknowledged: dict[str, set[str]] = {}
    for record in history:
        if isinstance(record, Called) and record.element:
            calls[record.call] = record
            asked.setdefault(record.key, set()).add(record.element)
        elif isinstance(record, Answered) and record.call in calls:
            call = calls[record.call]
            acknowledged.setdefault(call.key, set()).add(call.element)
    for key in sorted(asked.keys() | stored.keys()):
        there = stored.get(key, ())
        if lost := sorted(acknowledged.get(key, set()) - set(there)):
            raise PromiseBroken("nothing_lost", f"{key}: acknowledged and not stored: {lost}")
        if strange := sorted(set(there) - asked.get(key, set())):
            raise PromiseBroken("nothing_lost", f"{key}: stored and never asked for: {strange}")
        if len(there) != len(set(there)):
            twice = sorted({element for element in there if list(there).count(element) > 1})
            raise PromiseBroken("nothing_lost", f"{key}: stored more than once: {twice}")
    return sum(map(len, acknowledged.values()))


def epochs_in_order(history: Iterable[Record], stored: Mapping[str, Sequence[str]]) -> int:
    """The elements of each key were saved under epochs that never go back: no zombie saved after its successor.

    The order is that of the stored elements, since the times of what was written down after a pause say nothing.

    Args:
        history: saves.
        stored: see `nothing_lost`.

    Returns:
        How many saves were so judged.
    """
    epochs = {(record.key, record.element): record for record in history if isinstance(record, Saved)}
    judged = 0
    for key, elements in stored.items():
        saves = [epochs[key, element] for element in elements if (key, element) in epochs]
        for before, after in pairwise(saves):
            if after.epoch < before.epoch:
                raise PromiseBroken("epochs_in_order", f"{after} is stored behind {before}")
        judged += len(saves)
    return judged


def growing_counts(history: Iterable[Record]) -> None:
    """The counts that `add` answers: no two are equal, and one that began after another's answer is greater."""
    calls: dict[int, tuple[Called, int]] = {}
    greatest: dict[str, int] = {}
    given: dict[tuple[str, int], Called] = {}
    for record in history:
        if isinstance(record, Called) and record.method == "add":
            calls[record.call] = (record, greatest.get(record.key, 0))
        elif isinstance(record, Answered) and record.call in calls:
            call, before = calls.pop(record.call)
            if record.count <= before:
                raise PromiseBroken("growing_counts", f"{call} was answered {record.count} after {before} was answered")
            other = given.setdefault((call.key, record.count), call)
            if other is not call:
                raise PromiseBroken("growing_counts", f"{call} and {other} were both answered {record.count}")
            greatest[call.key] = max(greatest.get(call.key, 0), record.count)


def fresh_reads(history: Sequence[Record], settle_s: float) -> int:
    """Reads that begin when all views have agreed for `settle_s` see what was acknowledged before they began.

    Returns:
        How many reads were so judged.
    """
    agreement = Views(history).agreement()
    acknowledged: dict[str, set[str]] = {}
    calls: dict[int, tuple[Called, frozenset[str]]] = {}
    judged = 0
    for record in history:
        if isinstance(record, Called):
            before = frozenset(acknowledged.get(record.key, ())) if record.method == "read" else frozenset[str]()
            calls[record.call] = (record, before)
        elif isinstance(record, Answered) and record.call in calls:
            call, before = calls.pop(record.call)
            if call.element:
                acknowledged.setdefault(call.key, set()).add(call.element)
            elif call.method == "read" and call.at - agreement.since(call.at) >= settle_s:
                judged += 1
                if missing := sorted(before - set(record.elements)):
                    raise PromiseBroken("fresh_reads", f"{call}, answered by {record.node}, misses {missing}")
    return judged


def settled(history: Iterable[Record], where: Mapping[str, Collection[str]]) -> None:
    """Every identity answered from one node, and is active there and nowhere else.

    Args:
        history: up to now, of a cluster that has settled.
        where: by key, the nodes that answered, asked from everywhere, each with its one word.
    """
    active: dict[str, list[str]] = {}
    for activation in activations_of(history):
        if activation.until == float("inf"):
            active.setdefault(activation.key, []).append(activation.node)
    for key, nodes in where.items():
        if len(set(nodes)) != 1:
            raise PromiseBroken("settled", f"{key} answers from {sorted(set(nodes))}")
        if active.get(key) != [next(iter(nodes))]:
            raise PromiseBroken("settled", f"{key} answers from {set(nodes)} and is active on {active.get(key, [])}")
