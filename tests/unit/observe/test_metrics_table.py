"""The table of instruments: names, units and labels by the rules, and the same in the documentation."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from inaho.observe.metrics import INSTRUMENTS, Instrument, Sample, export_metrics

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"


class Source:
    """A source whose every instrument has one figure."""

    def __init__(self, node_label: str, value: float = 1) -> None:
        self.node_label = node_label
        self.value = value

    def samples(self, name: str) -> list[Sample]:
        labels = next(instrument.labels for instrument in INSTRUMENTS if instrument.name == name)
        return [(tuple(f"a {label}" for label in labels), self.value)]


def row(instrument: Instrument) -> str:
    """A line of the table in the documentation."""
    labels = ", ".join(f"`{label}`" for label in instrument.labels)
    return f"| `{instrument.name}` | {instrument.kind} | `{instrument.unit}` | {labels} | {instrument.description} |"


def figures(reader: InMemoryMetricReader) -> dict[str, dict[str, float]]:
    """Name of the metric -> node -> value."""
    data = reader.get_metrics_data()
    return (
        {}
        if data is None
        else {
            metric.name: {str((point.attributes or {})["inaho.node"]): point.value for point in metric.data.data_points}  # type: ignore[union-attr]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
    )


def test_names_units_and_labels_follow_the_rules():
    names = [instrument.name for instrument in INSTRUMENTS]
    assert len(names) == len(set(names))
    for instrument in INSTRUMENTS:
        assert re.fullmatch(r"inaho(\.[a-z][a-z_]*)+", instrument.name)
        assert re.fullmatch(r"1|s|By|\{[a-z]+\}", instrument.unit)
        assert instrument.kind in ("counter", "updown", "gauge")
        assert len(instrument.labels) == len(set(instrument.labels)) <= 2
        assert not {"key", "inaho.key"} & set(instrument.labels)
        assert instrument.description
        assert "|" not in instrument.description


def test_the_documentation_has_the_table():
    found = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| `inaho.")]
    expected = [row(instrument) for instrument in INSTRUMENTS]
    assert found == expected, "docs/metrics.md needs this table:\n" + "\n".join(expected)


def test_every_instrument_reaches_the_sdk_and_nodes_are_told_apart():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    first, second, client = Source("a:1", 1), Source("b:2", 2), Source("", 3)
    stops = [export_metrics(source, provider) for source in (first, second, client)]
    found = figures(reader)
    assert sorted(found) == sorted(instrument.name for instrument in INSTRUMENTS)
    assert all(nodes == {"a:1": 1, "b:2": 2, "client-3": 3} for nodes in found.values())
    stops[0]()
    assert set(figures(reader)["inaho.loop.lag"]) == {"b:2", "client-3"}
    stops[1]()
    stops[2]()
    assert figures(reader) == {}
    provider.shutdown()


def test_a_source_that_was_dropped_without_an_end_is_forgotten_and_its_place_taken():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    export_metrics(Source(""), provider)
    kept = Source("")
    export_metrics(kept, provider)
    export_metrics(kept, provider)  # twice is once
    assert set(figures(reader)["inaho.loop.lag"]) == {"client-1"}
    provider.shutdown()


def test_without_a_configured_sdk_nobody_reads_a_source_and_nothing_keeps_it():
    read: list[str] = []

    class Watched(Source):
        def samples(self, name: str) -> list[Sample]:
            read.append(name)
            return super().samples(name)

    source = Watched("a:1")
    stop = export_metrics(source)
    known = weakref.ref(source)
    del source
    gc.collect()
    assert known() is None
    stop()
    assert read == []
