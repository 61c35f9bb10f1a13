"""What a storage object remembers of the logs that it has opened."""

from __future__ import annotations

import pytest

from inaho.storage.log.openings import Openings


def test_numbers_rise_and_the_last_success_counts():
    openings = Openings()
    first, second = openings.next(), openings.next()
    assert 0 < first < second
    assert openings.of("a/0") == 0
    openings.opened("a/0", first)
    openings.opened("a/0", second)
    assert openings.of("a/0") == second
    assert openings.of("b/0") == 0


def test_objects_differ():
    assert Openings().opener != Openings().opener


def test_what_is_remembered_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inaho.storage.log.openings.OPENINGS_MAX", 3)
    openings = Openings()
    for log in "abcad":
        openings.opened(log, openings.next())
    assert [openings.of(log) for log in "abcd"] == [4, 0, 3, 5]
