"""What the benchmark states: one row per figure, with its ratio to the limit and what it must reach.

A ratio is the median of the ratios of each round, not the ratio of the medians: a machine that slows down for a round
slows both sides of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Round = dict[str, dict[str, float]]
"""Figures of one round, by subject."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        subject: whose figure.
        figure: its name in the rounds.
        label: for people.
        unit: of the figure as shown.
        base: (subject, figure) that it is put in proportion to; None for a figure that stands alone.
        at_least, at_most: what must be reached: of the ratio where there is a base, else of the figure.
        scale: the figure is shown, and judged, times this.
    """

    subject: str
    figure: str
    label: str
    unit: str
    base: tuple[str, str] | None = None
    at_least: float | None = None
    at_most: float | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Result:
    """A row with its figures; `reached` is None where nothing is asked, or nothing was measured."""

    row: Row
    value: float | None
    ratio: float | None
    reached: bool | None

    @property
    def target(self) -> str:
        """What must be reached, in words."""
        row = self.row
        unit = "x" if row.base is not None else f" {row.unit}"
        if row.at_least is not None:
            return f">= {row.at_least:,g}{unit}"
        return f"<= {row.at_most:,g}{unit}" if row.at_most is not None else ""

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        row = self.row
        return {
            "subject": row.subject,
            "figure": row.figure,
            "label": row.label,
            "unit": row.unit,
            "value": self.value,
            "base": None if row.base is None else ".".join(row.base),
            "ratio": self.ratio,
            "target": self.target,
            "reached": self.reached,
        }


MANY = ("limit", "many_per_second")
ONCE = "once"
MEGABYTE = 1 / (1 << 20)

ROWS = (
    Row("limit", "sequential_p50_us", "limit: sequential p50", "us"),
    Row("limit", "sequential_p99_us", "limit: sequential p99", "us"),
    Row("limit", "many_per_second", "limit: 64 in flight", "/s"),
    Row("inaho", "sequential_p50_us", "sequential p50", "us", ("limit", "sequential_p50_us"), at_most=1.3),
    Row("inaho", "sequential_p99_us", "sequential p99", "us", ("limit", "sequential_p99_us"), at_most=2.0),
    Row("inaho", "many_per_second", "64 in flight, 1,000 grains", "/s", MANY, at_least=0.5),
    Row("inaho", "one_per_second", "64 in flight, one grain", "/s", MANY, at_least=0.45),
    Row("inaho", "suspending_per_second", "64 in flight, methods that suspend", "/s", MANY, at_least=0.25),
    Row("member", "many_per_second", "64 in flight, 1,000 grains, from a member", "/s", MANY),
    Row("inaho", "local_per_second", "same node, grain to grain, one by one", "/s", MANY, at_least=1.3),
    Row("inaho", "activations_per_second", "first calls that activate", "/s", MANY, at_least=0.25),
    Row("inaho", "activation_resident_bytes", "idle activation, resident", "B", at_most=500),
    Row(ONCE, "activation_traced_bytes", "idle activation, allocated", "B", at_most=500),
    Row("inaho", "stream_items_per_second", "stream, small items", "/s", at_least=200_000),
    Row("inaho", "stalled_items_ahead", "stalled stream, items ahead", "items", at_most=1_024),
    Row("inaho", "stalled_server_growth_bytes", "stalled stream, producer grows", "MiB", at_most=4, scale=MEGABYTE),
    Row("inaho", "stalled_client_growth_bytes", "stalled stream, consumer grows", "MiB", at_most=4, scale=MEGABYTE),
    Row(ONCE, "cache_ns", "identity, cache of a million", "us", at_most=0.5, scale=1e-3),
    Row(ONCE, "cache_default_size_ns", "identity, cache of the default size", "us", at_most=0.5, scale=1e-3),
    Row(ONCE, "owner_3_ns", "identity, no cache, 3 nodes", "us", at_most=1.0, scale=1e-3),
    Row(ONCE, "owner_1000_ns", "identity, no cache, 1,000 nodes", "us", at_most=1.0, scale=1e-3),
    Row(ONCE, "topology_ms", "longest stall, topology of 1,000 members", "ms", at_most=10),
    Row(ONCE, "activations_ms", "longest stall, a million activations", "ms", at_most=30),
    Row(ONCE, "import_ms", "import, interpreter taken off", "ms", at_most=150),
    Row(ONCE, "quickstart_up_s", "quickstart, two nodes up", "s", at_most=2.0),
    Row("xoscar", "sequential_p50_us", "xoscar: sequential p50", "us", ("limit", "sequential_p50_us")),
    Row("xoscar", "sequential_p99_us", "xoscar: sequential p99", "us", ("limit", "sequential_p99_us")),
    Row("xoscar", "many_per_second", "xoscar: 64 in flight, 1,000 actors", "/s", MANY),
    Row("inaho", "many_per_second", "inaho to xoscar", "/s", ("xoscar", "many_per_second"), at_least=7),
    Row("ray", "sequential_p50_us", "Ray: sequential p50", "us", ("limit", "sequential_p50_us")),
    Row("ray", "sequential_p99_us", "Ray: sequential p99", "us", ("limit", "sequential_p99_us")),
    Row("ray", "many_per_second", "Ray: 64 in flight, 1,000 keys on 8 actors", "/s", MANY),
    Row("inaho", "many_per_second", "inaho to Ray", "/s", ("ray", "many_per_second"), at_least=40),
)


def judge(rounds: Sequence[Round], rows: Sequence[Row] = ROWS) -> list[Result]:
    """Results of all rows whose subject, and base, some round has."""
    return [_judge_row(row, rounds) for row in rows]


def _judge_row(row: Row, rounds: Sequence[Round]) -> Result:
    values: list[float] = []
    ratios: list[float] = []
    for figures in rounds:
        value = figures.get(row.subject, {}).get(row.figure)
        if value is None:
            continue
        values.append(value * row.scale)
        if row.base is not None:
            base = figures.get(row.base[0], {}).get(row.base[1])
            if base:
                ratios.append(value / base)
    value = statistics.median(values) if values else None
    ratio = statistics.median(ratios) if ratios else None
    judged = value if row.base is None else ratio
    reached: bool | None = None
    if judged is not None and row.at_least is not None:
        reached = judged >= row.at_least
    elif judged is not None and row.at_most is not None:
        reached = judged <= row.at_most
    return Result(row, value, ratio, reached)


def as_table(results: Sequence[Result]) -> str:
    """The table for people; rows without a figure say so."""
    lines = [f"{'':43} {'figure':>17} {'ratio':>8}  {'target':14} reached", "-" * 94]
    for result in results:
        if result.value is None:
            figure = "not measured"
        else:
            digits = 0 if result.value >= 100 else 1 if result.value >= 10 else 2
            figure = f"{result.value:,.{digits}f} {result.row.unit:5}"
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
        reached = {None: "", True: "yes", False: "NO"}[result.reached]
        lines.append(f"{result.row.label:43} {figure:>17} {ratio:>8}  {result.target:14} {reached}".rstrip())
    return "\n".join(lines)


def spread_of(rounds: Sequence[Round], subject: str, figure: str) -> float:
    """(largest - smallest) / median over the rounds: how noisy the machine was."""
    values = [figures[subject][figure] for figures in rounds if figure in figures.get(subject, {})]
    return (max(values) - min(values)) / statistics.median(values) if values else 0.0
