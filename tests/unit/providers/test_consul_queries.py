"""Blocking queries of Consul: the index of the next one, and when it may be sent."""

from __future__ import annotations

import pytest

from inaho.providers.consul_queries import PERIOD_MAX_S, QueryPace, usable_index


@pytest.mark.parametrize(("text", "index"), [("", 1), ("0", 1), ("1", 1), ("77", 77), ("-3", 1), ("seven", 1)])
def test_an_index_is_at_least_1(text: str, index: int):
    assert usable_index(text) == index


def delays(pace: QueryPace, queries: int, *, for_nothing: bool, now: float = 0.0) -> list[float]:
    """Of queries that return at once."""
    found: list[float] = []
    for _ in range(queries):
        found.append(round(pace.delay_s(now), 3))
        now += found[-1]
        pace.answered(for_nothing=for_nothing)
    return found


def test_two_changes_are_brought_at_once_and_later_ones_every_half_second():
    assert delays(QueryPace(0.0), 5, for_nothing=False) == [0.0, 0.0, 0.5, 0.5, 0.5]


def test_queries_that_return_early_for_nothing_become_rare():
    found = delays(QueryPace(0.0), 12, for_nothing=True)
    assert found[:2] == [0.0, 0.0] and found == sorted(found)
    assert found[-3:] == [PERIOD_MAX_S] * 3


def test_a_change_makes_them_frequent_again_and_quiet_fills_the_bucket():
    pace = QueryPace(0.0)
    delays(pace, 12, for_nothing=True)
    pace.answered(for_nothing=False)
    assert delays(pace, 4, for_nothing=False, now=1000.0) == [0.0, 0.0, 0.5, 0.5]
