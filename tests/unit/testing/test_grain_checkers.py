"""The checkers of grain histories: each accepts what may be, and names what may not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inaho.testing.histories import grain_checkers as promises
from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_history import (
    Answered,
    Began,
    Called,
    Committed,
    Died,
    Ended,
    Failed,
    Journal,
    Paused,
    Record,
    Resumed,
    Saved,
    Viewed,
    activations_of,
    read_journals,
)


def began(at: float, node: str, epoch: int = 1) -> Began:
    return Began(at=at, node=node, key="k", epoch=epoch)


def ended(at: float, node: str, epoch: int = 1) -> Ended:
    return Ended(at=at, node=node, key="k", epoch=epoch)


def views(*changes: tuple[float, str, str]) -> list[Record]:
    return [Viewed(at=at, node=node, view=view) for at, node, view in changes]


def history(*records: Record | list[Record]) -> list[Record]:
    flat = [each for one in records for each in (one if isinstance(one, list) else [one])]
    return sorted(flat, key=lambda record: record.at)


def broken(promise: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(PromiseBroken) as caught:
        promise(*arguments, **options)
    assert caught.value.promise == promise.__name__
    return str(caught.value)


BOTH = views((0.0, "a", "v1"), (0.0, "b", "v1"))


def test_activations_one_after_the_other():
    one = history(BOTH, began(1.0, "a"), ended(2.0, "a"), began(2.0, "b", 2), ended(3.0, "b", 2))
    assert promises.one_activation(one, 1.0, orderly=True) == 0
    assert [(each.since, each.until) for each in activations_of(one)] == [(1.0, 2.0), (2.0, 3.0)]


def test_an_overlap_while_views_agree():
    found = broken(promises.one_activation, history(BOTH, began(1.0, "a"), began(5.0, "b", 2), ended(9.0, "a")), 1.0)
    assert "overlap for 4.0 s" in found


def test_an_overlap_while_views_disagree_and_a_moment_longer():
    apart = views((2.0, "b", "v2"), (6.0, "a", "v2"))
    for until, excused in ((6.5, True), (7.5, False)):
        one = history(BOTH, apart, began(1.0, "a"), began(3.0, "b", 2), ended(until, "a"))
        if excused:
            assert promises.one_activation(one, 1.0) == 1
            assert promises.one_activation(one, 1.0, orderly=True) == 1
        else:
            broken(promises.one_activation, one, 1.0)


def test_in_an_orderly_history_an_overlap_may_not_begin_where_views_agree():
    apart = views((2.0, "b", "v2"), (3.0, "a", "v2"))
    one = history(BOTH, apart, began(1.0, "a"), began(3.1, "b", 2), ended(3.2, "a"))
    assert promises.one_activation(one, 1.0) == 1
    broken(promises.one_activation, one, 1.0, orderly=True)


def test_two_activations_on_one_node_are_never_excused():
    broken(promises.one_activation, history(views((0.0, "a", "v1")), began(1.0, "a"), began(2.0, "a", 2)), 1.0)


def test_who_is_paused_agrees_with_nobody_and_who_is_dead_runs_nothing():
    paused = [Paused(at=2.0, node="a"), Resumed(at=10.0, node="a")]
    one = history(BOTH, paused, began(1.0, "a"), began(5.0, "b", 2), ended(10.5, "a"))
    assert promises.one_activation(one, 1.0) == 1
    dead = history(BOTH, began(1.0, "a"), Died(at=2.0, node="a"), began(3.0, "b", 2))
    assert promises.one_activation(dead, 1.0) == 0


def committed(*numbers: tuple[int, int]) -> list[Record]:
    return [Committed(at=0.0, key="k", version=version, epoch=epoch) for version, epoch in numbers]


def test_versions_count_and_epochs_do_not_go_back():
    promises.fenced_commits(committed((1, 5), (2, 5), (3, 9)))
    broken(promises.fenced_commits, committed((1, 5), (3, 5)))
    broken(promises.fenced_commits, committed((1, 5), (1, 6)))
    broken(promises.fenced_commits, committed((1, 5), (2, 4)))
    broken(promises.fenced_commits, committed((2, 5)))


def saved(at: float, node: str, epoch: int, element: str = "") -> Saved:
    return Saved(at=at, node=node, key="k", epoch=epoch, element=element)


def test_activations_that_saved_share_no_token():
    apart = [began(1.0, "a", 7), saved(2.0, "a", 7), began(3.0, "b", 7)]
    promises.epochs_of_their_own(apart)
    broken(promises.epochs_of_their_own, [*apart, saved(4.0, "b", 7)])


def test_what_is_stored_was_saved_under_growing_epochs():
    saves = [saved(1.0, "a", 7, "x"), saved(9.0, "b", 8, "y"), saved(10.0, "a", 7, "z")]
    assert promises.epochs_in_order(saves, {"k": ["x", "z", "y"]}) == 3
    assert promises.epochs_in_order(saves, {"k": ["x", "unsaid", "y"]}) == 2
    broken(promises.epochs_in_order, saves, {"k": ["x", "y", "z"]})


def call(number: int, at: float, method: str = "add", element: str = "") -> Called:
    return Called(at=at, call=number, key="k", method=method, element=element)


def test_nothing_is_lost_invented_or_doubled():
    calls = [
        call(1, 0.0, element="x"),
        Answered(at=1.0, call=1, count=1),
        call(2, 2.0, element="y"),
        Failed(at=3.0, call=2, code="timeout"),
    ]
    assert promises.nothing_lost(calls, {"k": ["x"]}) == 1
    assert promises.nothing_lost(calls, {"k": ["x", "y"]}) == 1
    assert "not stored" in broken(promises.nothing_lost, calls, {"k": ["y"]})
    assert "not stored" in broken(promises.nothing_lost, calls, {})
    assert "never asked" in broken(promises.nothing_lost, calls, {"k": ["x", "z"]})
    assert "more than once" in broken(promises.nothing_lost, calls, {"k": ["x", "y", "x"]})


def test_counts_grow_with_real_time():
    first = [call(1, 0.0), Answered(at=1.0, call=1, count=1)]
    beside = [call(2, 0.5), Answered(at=3.0, call=2, count=2)]
    promises.growing_counts(history(list[Record](first), list[Record](beside)))
    broken(promises.growing_counts, [*first, call(2, 2.0), Answered(at=3.0, call=2, count=1)])
    at_once = [call(1, 0.0), call(2, 0.0), Answered(at=1.0, call=1, count=1), Answered(at=1.0, call=2, count=1)]
    broken(promises.growing_counts, at_once)


def test_reads_are_fresh_once_views_have_agreed_for_long_enough():
    write = [call(1, 0.5, element="x"), Answered(at=1.0, call=1, count=1)]
    for view_at, judged in ((2.0, 1), (9.0, 0)):
        stale = [call(2, 10.0, "read"), Answered(at=11.0, call=2, elements=(), node="b")]
        one = history(
            views((0.0, "a", "v1"), (0.0, "b", "v0"), (view_at, "b", "v1")), list[Record](write), list[Record](stale)
        )
        if judged:
            assert "misses ['x']" in broken(promises.fresh_reads, one, 4.0)
        else:
            assert promises.fresh_reads(one, 4.0) == 0
    fresh = [call(2, 10.0, "read"), Answered(at=11.0, call=2, elements=("x",), node="b")]
    assert promises.fresh_reads(history(BOTH, list[Record](write), list[Record](fresh)), 4.0) == 1
    early = [call(2, 0.7, "read"), Answered(at=11.0, call=2, elements=(), node="b")]
    promises.fresh_reads(history(BOTH, list[Record](write), list[Record](early)), 0.1)


def test_a_settled_cluster():
    one = history(BOTH, began(1.0, "a"), ended(2.0, "a"), began(3.0, "b", 2))
    promises.settled(one, {"k": {"b"}})
    broken(promises.settled, one, {"k": {"a", "b"}})
    broken(promises.settled, one, {"k": {"a"}})
    broken(promises.settled, [*one, began(4.0, "a", 3)], {"k": {"b"}})


def test_journals_of_several_processes_make_one_history(tmp_path: Path):
    for name in ("one", "two"):
        journal = Journal(time.monotonic, tmp_path / f"{name}.journal")
        journal.write(began(1.0 if name == "two" else 2.0, name))
        journal.close()
        journal.close()
    with (tmp_path / "one.journal").open("ab") as file:
        file.write(b'{"type":"Ended","at":3')  # it died here
    records = read_journals(tmp_path.glob("*.journal"))
    assert [record.at for record in records] == [1.0, 2.0]
    assert os.stat(tmp_path / "one.journal").st_mode & 0o077 == 0
