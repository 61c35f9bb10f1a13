"""Collects the metrics of a node when they are read (SPEC CL-6.5, CL-10, VA-4.3).

The parts of a node count for themselves, in plain integers that cost the call path an addition. This module reads them:
for OpenTelemetry (`observe.metrics`), for `Cluster.metrics`, and once a second for the alerts. Rare things that are
events anyway are counted from the event stream, so that their publishers need not count too.

An exporter usually asks on a thread of its own, instrument by instrument. That thread must not read a dictionary that
the loop changes, and the values of one collection should be of one moment. So `NodeMetrics` asks the loop for the
values of all instruments at once, and gives each instrument its values once. The second question for the same
instrument begins the next collection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NoAnswer
from threading import get_ident
from typing import TYPE_CHECKING, Final

from inaho.errors import MetricsOff
from inaho.events import AlertRaised
from inaho.observe.metrics import INSTRUMENTS, Sample, export_metrics
from inaho.runtime.telemetry.counts import NodeCounts
from inaho.runtime.telemetry.metric_values import read_metrics

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from inaho.runtime.node.node import Node

__all__ = ["NodeMetrics"]

LOOK_S: Final = 1.0
"""The period of the check of alerts and closed connections."""

FRESH_S: Final = 1.0
"""Older values are not given to an exporter."""

ANSWER_S: Final = 1.0
"""How long an exporter's thread waits for a busy loop. After that it gets no values in this collection."""


class NodeMetrics:
    """The metrics of one node; a `MetricSource`. Make it on the node's loop.

    Args:
        node: its parts are read at each collection, not before.

    Attributes:
        counts: the counters that no part of the node keeps itself.
    """

    def __init__(self, node: Node) -> None:
        self.counts = NodeCounts(node)
        self.node = node
        self.local = node.local
        self._log = logging.getLogger("inaho.alerts")
        self._thread = get_ident()
        self._look_due = 0.0
        self._lag_before_s = 0.0
        self._values: dict[str, Sequence[Sample]] = {}
        self._read_at = 0.0
        self._stops: list[Callable[[], None]] = []

    # Once a second.

    def tick(self, now: float, lag_s: float) -> None:
        """Checks alerts and closed connections once per `LOOK_S`.

        Args:
            now: seconds of the loop's clock.
            lag_s: how late this tick is.
        """
        self.counts.lag_s = max(self.counts.lag_s, lag_s)
        if now < self._look_due:
            return
        self._look_due = now + LOOK_S
        self.counts.lag_s, self._lag_before_s = max(self._lag_before_s, lag_s), self.counts.lag_s
        if self.counts.events is not None:
            self.counts.traffic.sweep()
        for event in self.counts.alerts.observe(now, self.counts.totals()):
            raised = isinstance(event, AlertRaised)
            self._log.log(
                logging.WARNING if raised else logging.INFO,
                "%s of %s is %.4g within %g s, %s alerts.%s = %g",
                event.measure,
                event.kind,
                event.figure,
                event.window_s,
                "above" if raised else "no longer above",
                event.measure,
                event.threshold,
            )
            self.local.publish(event)

    # Reading.

    @property
    def node_label(self) -> str:
        """The authority; empty for a client."""
        return self.local.authority

    def samples(self, name: str) -> Sequence[Sample]:
        """The values of one instrument; see `MetricSource`. Any thread may ask."""
        values = self._values.pop(name, None)
        now = self.local.loop.time()
        if values is None or now - self._read_at > FRESH_S:
            self._values = read = self._ask()
            self._read_at = now
            values = read.pop(name, ())
        return values

    def _ask(self) -> dict[str, Sequence[Sample]]:
        """The values of all instruments, read on the loop. No instrument has values when the loop does not answer."""
        if get_ident() == self._thread:
            return read_metrics(self.node, self.counts)
        answer: Future[dict[str, Sequence[Sample]]] = Future()
        try:
            self.local.loop.call_soon_threadsafe(self._answer, answer)
            return answer.result(ANSWER_S)
        except (NoAnswer, CancelledError, RuntimeError):  # the loop is busy or closed: the gap in the values shows it
            answer.cancel()
            return {instrument.name: () for instrument in INSTRUMENTS}

    def _answer(self, answer: Future[dict[str, Sequence[Sample]]]) -> None:
        if not answer.set_running_or_notify_cancel():
            return
        try:
            answer.set_result(read_metrics(self.node, self.counts))
        except Exception as error:
            answer.set_exception(error)

    def snapshot(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """See `Cluster.metrics`."""
        self._demand()
        values = read_metrics(self.node, self.counts)
        return {
            instrument.name: [
                (dict(zip(instrument.labels, labels, strict=True)), value) for labels, value in values[instrument.name]
            ]
            for instrument in INSTRUMENTS
        }

    # Exporting.

    def export(self, provider: MeterProvider | None = None) -> None:
        """See `Cluster.export_metrics`."""
        self._demand()
        self._stops.append(export_metrics(self, provider))

    def _demand(self) -> None:
        if not self.local.config.metrics.enabled:
            raise MetricsOff("this node has no metrics (metrics.enabled)", authority=self.local.authority)

    def close(self) -> None:
        """Stops exporting, and counting events."""
        for stop in self._stops:
            stop()
        self._stops.clear()
        if self.counts.events is not None:
            self.counts.events.close()

    def check(self) -> None:
        """Asserts the invariants."""
        self.counts.check()
