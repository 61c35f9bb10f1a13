"""Strategies as data: deciding, counting restarts, pauses."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.actor import Escalate, Restart, Resume, Stop
from inaho.actor.supervision import RestartLedger, decide
from inaho.errors import InvalidConfig


class Dice:
    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize("strategy", [Restart(), Resume(), Stop(), Escalate()])
def test_a_strategy_decides_itself(strategy: Restart | Resume | Stop | Escalate) -> None:
    assert decide(strategy, ValueError()) is strategy


def test_a_decider_is_asked_with_the_error() -> None:
    def decider(error: Exception) -> Resume | Stop:
        return Resume() if isinstance(error, ValueError) else Stop()

    assert decide(decider, ValueError()) == Resume()
    assert decide(decider, KeyError()) == Stop()


def test_a_decider_that_returns_no_directive_is_an_error() -> None:
    with pytest.raises(InvalidConfig, match="must return"):
        decide(lambda _: "restart", ValueError())  # type: ignore[arg-type,return-value]


def test_pauses_double_up_to_the_ceiling() -> None:
    ledger, limit = RestartLedger(), Restart(6, 60.0, 0.1, 1.0, 0.0)
    pauses = [ledger.admit(0.0, limit, Dice(0.5)) for _ in range(7)]
    assert pauses == [pytest.approx(0.1), 0.2, 0.4, 0.8, 1.0, 1.0, None]


def test_jitter_only_shortens() -> None:
    limit = Restart(1, 60.0, 1.0, 1.0, 0.2)
    assert RestartLedger().admit(0.0, limit, Dice(0.0)) == 1.0
    assert RestartLedger().admit(0.0, limit, Dice(0.5)) == pytest.approx(0.9)


def test_the_window_slides() -> None:
    ledger, limit = RestartLedger(), Restart(2, 10.0, 1.0, 8.0, 0.0)
    assert ledger.admit(0.0, limit, Dice(0)) == 1.0
    assert ledger.admit(6.0, limit, Dice(0)) == 2.0
    assert ledger.admit(9.9, limit, Dice(0)) is None
    assert ledger.admit(10.0, limit, Dice(0)) == 2.0  # the first has left the window


def test_no_restart_allowed_means_none() -> None:
    assert RestartLedger().admit(0.0, Restart(max_restarts=0), Dice(0)) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"max_restarts": -1},
        {"within_s": 0},
        {"back_off_s": 2.0, "back_off_max_s": 1.0},
        {"back_off_s": -1},
        {"jitter": 2},
    ],
)
def test_impossible_strategies_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidConfig):
        Restart(**bad)  # type: ignore[arg-type]


@given(
    gaps=st.lists(st.floats(0, 5), max_size=60),
    limit=st.builds(
        Restart,
        st.integers(0, 5),
        st.floats(0.1, 10),
        st.floats(0, 1),
        st.floats(1, 10),
        st.floats(0, 1),
    ),
    seed=st.integers(),
)
def test_never_more_restarts_in_any_window_than_allowed(gaps: list[float], limit: Restart, seed: int) -> None:
    ledger, chance, now = RestartLedger(), random.Random(seed), 0.0
    admitted: list[float] = []
    for gap in gaps:
        now += gap
        pause_s = ledger.admit(now, limit, chance)
        if pause_s is not None:
            assert 0 <= pause_s <= limit.back_off_max_s
            admitted.append(now)
        # The window is open at its old end, with the same subtraction as in the ledger so that rounding agrees.
        assert sum(now - then < limit.within_s for then in admitted) <= limit.max_restarts
