"""Decides when the calls of a kind are too slow or fail too often (SPEC CL-6.5, CL-10.2).

A pure machine: about once a second it gets the time and the running totals of each kind, and returns the alerts that
begin or end. The call path only counts; this module interprets the counts.

Totals only grow, so the calls of the last minute are the present totals minus those of a minute ago. The window keeps
one copy of the totals per slot and no single call, and moves slot by slot. Latencies are counted in buckets that double
in width, so a percentile is exact to its bucket and interpolated within it, as in `histogram_quantile` of Prometheus.

Why not average rates with exponential decay: they need one number less, but forget a bad minute only gradually, so it
is unclear to which calls a value refers. Why an alert ends below its threshold and not at it: a value that stays at the
threshold would begin and end the alert every second.
"""

# ruff: noqa: S101  the assertions of `check` are the point of it
from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from operator import add, sub
from typing import Final

import msgspec

from inaho.config import AlertsConfig
from inaho.events import AlertCleared, AlertEvent, AlertRaised

__all__ = ["BUCKET_UNIT_S", "Alerts", "KindTotals", "bucket_bound_s", "quantile_s"]

BUCKET_UNIT_S: Final = 1.024e-6
"""Seconds per unit of the latency buckets: 1,024 ns, a shift instead of a division on the call path."""

_LATENCY: Final = "latency_p99_s"
_FAILURES: Final = "failure_ratio"


class KindTotals(msgspec.Struct, frozen=True):
    """Running totals of the calls of one kind; none ever falls.

    Attributes:
        latency: successful calls by the bit length of their duration in units of `BUCKET_UNIT_S`.
        failures: calls that failed, without those in `exceptions`.
        exceptions: calls that ended with an exception that the program has registered.
    """

    latency: tuple[int, ...] = ()
    failures: int = 0
    exceptions: int = 0

    def __add__(self, other: KindTotals) -> KindTotals:
        """The sum of two, for kinds that are counted as one."""
        latency = tuple(map(add, self.latency, other.latency)) if self.latency else other.latency
        return KindTotals(latency, self.failures + other.failures, self.exceptions + other.exceptions)


def bucket_bound_s(index: int) -> float:
    """The duration in seconds that every call of a latency bucket stayed below."""
    return float(1 << index) * BUCKET_UNIT_S


def quantile_s(latency: tuple[int, ...], quantile: float) -> float | None:
    """The duration within which that part of the calls ended, interpolated within its bucket; None without calls.

    Args:
        latency: calls by bucket.
        quantile: above 0, at most 1.
    """
    total = sum(latency)
    if not total:
        return None
    rank = quantile * total
    below = 0
    for index, count in enumerate(latency):
        if count and below + count >= rank:
            lower = bucket_bound_s(index - 1) if index else 0.0
            return lower + (bucket_bound_s(index) - lower) * (rank - below) / count
        below += count
    return bucket_bound_s(len(latency) - 1)  # pragma: no cover  rounding cannot leave a rank above the sum


class _Window:
    """Totals at the start of slots, the oldest first, and the newest totals, seen in `slot`.

    A slot without an observation has no entry: at its start the totals were those of the slot before.
    """

    __slots__ = ("newest", "slot", "starts")

    def __init__(self, slot: int) -> None:
        self.starts: deque[tuple[int, KindTotals]] = deque(((slot, KindTotals()),))
        self.newest = KindTotals()
        self.slot = slot


class Alerts:
    """The windows of all kinds, and the present alerts.

    Args:
        config: thresholds and window.

    The caller bounds the number of kinds (`metrics.kinds_max`).
    """

    def __init__(self, config: AlertsConfig) -> None:
        self._config = config
        self._slot_s = config.window_s / config.window_slots
        self._windows: dict[str, _Window] = {}
        self._active: dict[tuple[str, str], float] = {}

    @property
    def active(self) -> tuple[tuple[str, str], ...]:
        """Kind and measure of every present alert, sorted."""
        return tuple(sorted(self._active))

    def observe(self, now: float, totals: Mapping[str, KindTotals]) -> list[AlertEvent]:
        """Takes the totals of all kinds; returns the alerts that begin and those that end, in the order of the kinds.

        Args:
            now: seconds, not before the last call.
            totals: by kind. A kind that is seen for the first time has just made its first calls.
        """
        events: list[AlertEvent] = []
        slot = int(now // self._slot_s)
        for kind, newest in totals.items():
            window = self._windows.get(kind)
            if window is None:
                window = self._windows[kind] = _Window(slot)
            starts = window.starts
            if window.slot < slot:
                starts.append((window.slot + 1, window.newest))
                window.slot = slot
                while len(starts) > 1 and starts[1][0] <= slot - self._config.window_slots:
                    starts.popleft()
            window.newest = newest
            if self._config.enabled and (starts[0][1] != newest or self._active):
                self._judge(kind, self.recent(kind), events)
        return events

    def recent(self, kind: str) -> KindTotals:
        """What happened within the window; nothing for an unknown kind."""
        window = self._windows.get(kind)
        if window is None:
            return KindTotals()
        newest, oldest = window.newest, window.starts[0][1]
        latency = tuple(map(sub, newest.latency, oldest.latency)) if oldest.latency else newest.latency
        return KindTotals(latency, newest.failures - oldest.failures, newest.exceptions - oldest.exceptions)

    def _judge(self, kind: str, recent: KindTotals, events: list[AlertEvent]) -> None:
        config = self._config
        succeeded = sum(recent.latency)
        ended = succeeded + recent.failures + recent.exceptions
        failures = recent.failures + (recent.exceptions if config.count_registered else 0)
        p99_s = quantile_s(recent.latency, 0.99) if succeeded >= config.calls_min else None
        ratio = failures / ended if ended >= config.calls_min else None
        self._compare(kind, _LATENCY, p99_s, config.latency_p99_s, events)
        self._compare(kind, _FAILURES, ratio, config.failure_ratio, events)

    def _compare(
        self, kind: str, measure: str, figure: float | None, threshold: float, events: list[AlertEvent]
    ) -> None:
        up = (kind, measure) in self._active
        if not up and figure is not None and figure > threshold:
            self._active[kind, measure] = figure
            event: type[AlertRaised | AlertCleared] = AlertRaised
        elif up and (figure is None or figure <= threshold * self._config.clear_ratio):
            del self._active[kind, measure]
            event = AlertCleared
        else:
            return
        told = 0.0 if figure is None else figure
        window_s = self._config.window_s
        events.append(event(kind=kind, measure=measure, figure=told, threshold=threshold, window_s=window_s))

    def check(self) -> None:
        """Asserts the invariants."""
        for kind, window in self._windows.items():
            slots = [slot for slot, _ in window.starts]
            assert slots == sorted(set(slots))
            assert len(slots) <= self._config.window_slots + 1
            recent = self.recent(kind)
            assert recent.failures >= 0
            assert recent.exceptions >= 0
            assert all(count >= 0 for count in recent.latency)
        assert all(kind in self._windows for kind, _ in self._active)
