"""The length of a pause that doubles."""

from __future__ import annotations

from inaho.core.back_off import back_off_s


def test_it_doubles_up_to_the_longest() -> None:
    assert [back_off_s(0.05, 2.0, failed) for failed in range(1, 9)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert back_off_s(0.05, 2.0, 10**9) == 2.0
    assert back_off_s(3.0, 2.0, 1) == 2.0
