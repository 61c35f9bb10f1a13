"""Alerts: figures are those of the window, and a threshold raises once and clears once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.config import AlertsConfig
from inaho.errors import InvalidConfig
from inaho.events import AlertCleared, AlertRaised
from inaho.observe.alerts import Alerts, KindTotals, bucket_bound_s, quantile_s

FAST, SLOW = 5, 22
"""Buckets: below 33 us, and 2.1 s to 4.3 s."""


def totals(fast: int = 0, slow: int = 0, failures: int = 0, exceptions: int = 0) -> dict[str, KindTotals]:
    """Running totals of one kind."""
    latency = [0] * 40
    latency[FAST], latency[SLOW] = fast, slow
    return {"Cart": KindTotals(tuple(latency), failures, exceptions)}


def test_slow_calls_raise_an_alert_once_and_it_is_over_when_they_have_left_the_window():
    alerts = Alerts(AlertsConfig())
    assert alerts.observe(0.0, totals(fast=1000)) == []
    [raised] = alerts.observe(1.0, totals(fast=1000, slow=100))
    assert isinstance(raised, AlertRaised)
    assert (raised.kind, raised.measure, raised.threshold, raised.window_s) == ("Cart", "latency_p99_s", 1.0, 60.0)
    assert 2.1 < raised.figure < 4.3
    assert alerts.active == (("Cart", "latency_p99_s"),)
    assert alerts.observe(2.0, totals(fast=1100, slow=100)) == []
    assert alerts.observe(50.0, totals(fast=1200, slow=100)) == []
    [cleared] = alerts.observe(70.0, totals(fast=1300, slow=100))
    assert isinstance(cleared, AlertCleared)
    assert cleared.figure < 1.0
    assert alerts.active == ()


def test_failures_raise_an_alert_above_the_share_and_clear_well_below_it():
    alerts = Alerts(AlertsConfig(failure_ratio=0.1, clear_ratio=0.5))
    assert alerts.observe(0.0, totals(fast=90, failures=10)) == []  # at the threshold, not above
    [raised] = alerts.observe(1.0, totals(fast=90, failures=20))
    assert (raised.measure, raised.threshold) == ("failure_ratio", 0.1)
    assert raised.figure == pytest.approx(20 / 110)
    assert alerts.observe(2.0, totals(fast=220, failures=20)) == []  # below the threshold, and not yet by half
    [cleared] = alerts.observe(3.0, totals(fast=400, failures=20))
    assert isinstance(cleared, AlertCleared)


def test_expected_exceptions_are_calls_and_no_failures_unless_they_are_to_count():
    assert Alerts(AlertsConfig()).observe(0.0, totals(exceptions=1000)) == []
    assert Alerts(AlertsConfig(failure_ratio=0.1)).observe(0.0, totals(fast=50, failures=10, exceptions=40)) == []
    [raised] = Alerts(AlertsConfig(count_registered=True)).observe(0.0, totals(fast=50, failures=10, exceptions=40))
    assert raised.figure == pytest.approx(0.5)


def test_few_calls_raise_nothing():
    alerts = Alerts(AlertsConfig(calls_min=20))
    assert alerts.observe(0.0, totals(slow=10, failures=9)) == []
    assert len(alerts.observe(1.0, totals(slow=10, failures=10))) == 1  # the share is known, the percentile is not


def test_an_alert_is_over_when_the_calls_are():
    alerts = Alerts(AlertsConfig())
    assert len(alerts.observe(0.0, totals(slow=100))) == 1
    [cleared] = alerts.observe(120.0, totals(slow=100))
    assert isinstance(cleared, AlertCleared)
    assert cleared.figure == 0.0


def test_turned_off_it_keeps_windows_and_raises_nothing():
    alerts = Alerts(AlertsConfig(enabled=False))
    assert alerts.observe(0.0, totals(slow=100, failures=100)) == []
    assert sum(alerts.recent("Cart").latency) == 100


def test_kinds_that_are_taken_as_one_add_up():
    first, second = totals(fast=1, failures=2)["Cart"], totals(fast=3, slow=4, exceptions=5)["Cart"]
    both = first + second
    assert (both.latency[FAST], both.latency[SLOW], both.failures, both.exceptions) == (4, 4, 2, 5)
    assert (KindTotals() + first) == first


def test_quantiles_are_within_their_bucket():
    assert quantile_s((0,) * 40, 0.5) is None
    assert bucket_bound_s(0) == pytest.approx(1.024e-6)
    latency = totals(fast=99, slow=1)["Cart"].latency
    median_s, high_s = quantile_s(latency, 0.5), quantile_s(latency, 0.999)
    assert median_s is not None
    assert high_s is not None
    assert bucket_bound_s(FAST - 1) < median_s <= bucket_bound_s(FAST)
    assert bucket_bound_s(SLOW - 1) < high_s <= bucket_bound_s(SLOW)


@pytest.mark.parametrize("setting", ["failure_ratio", "clear_ratio"])
def test_a_share_above_the_whole_is_refused(setting: str):
    with pytest.raises(InvalidConfig, match=setting):
        AlertsConfig(**{setting: 1.5})


steps = st.lists(
    st.tuples(st.floats(0, 40), st.sampled_from("AB"), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)),
    max_size=60,
)


@given(steps, st.integers(1, 6))
def test_events_alternate_and_the_window_is_what_was_counted_in_it(
    given_steps: list[tuple[float, str, int, int, int]], slots: int
):
    config = AlertsConfig(window_s=30.0, window_slots=slots)
    alerts = Alerts(config)
    now = 0.0
    running = {"A": KindTotals((0,) * 40), "B": KindTotals((0,) * 40)}
    history: list[tuple[int, dict[str, int]]] = []
    up: set[tuple[str, str]] = set()
    for pause_s, kind, fast, slow, failures in given_steps:
        now += pause_s
        running[kind] = running[kind] + totals(fast, slow, failures)["Cart"]
        for event in alerts.observe(now, running):
            key = (event.kind, event.measure)
            assert isinstance(event, AlertCleared if key in up else AlertRaised)
            up ^= {key}
        alerts.check()
        assert alerts.active == tuple(sorted(up))
        slot = int(now // (config.window_s / slots))
        before = [counts for looked_in, counts in history if looked_in < slot - slots]
        for name, known in running.items():
            assert sum(alerts.recent(name).latency) == sum(known.latency) - (before[-1][name] if before else 0)
        history.append((slot, {name: sum(known.latency) for name, known in running.items()}))
