"""Counters by label stay bounded, and nothing that was counted is lost by it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inaho.core.rpc.throttle import OTHER
from inaho.runtime.local.labelled_counter import LabelledCounter
from inaho.runtime.telemetry.counts import KindLabels

names = st.lists(st.text(max_size=3), max_size=60)


@given(names, st.integers(1, 5))
def test_a_counter_is_bounded_and_counts_all(labels: list[str], size_max: int):
    counter = LabelledCounter(size_max)
    for label in labels:
        counter.add(label)
        counter.check()
    assert sum(count for _, count in counter.samples) == len(labels)
    first = list(dict.fromkeys(labels))[:size_max]
    assert all(counter.get(label) == labels.count(label) for label in first if label != OTHER)


@given(names, st.integers(1, 5))
def test_a_kind_keeps_its_label_and_sums_are_kept(kinds: list[str], kinds_max: int):
    labels = KindLabels(kinds_max)
    given_labels = {kind: labels.of(kind) for kind in kinds}
    assert len(set(given_labels.values()) - {OTHER}) <= kinds_max
    assert {kind: labels.of(kind) for kind in kinds} == given_labels
    samples = [((kind, "reason"), float(number)) for number, kind in enumerate(kinds)]
    merged = labels.merged(list(samples))
    assert sum(value for _, value in merged) == sum(value for _, value in samples)
    assert len({labels for labels, _ in merged}) == len(merged)


def test_kinds_beyond_the_bound_are_other():
    labels = KindLabels(2)
    assert [labels.of(kind) for kind in ("A", "B", "C", "A", "D")] == ["A", "B", OTHER, "A", OTHER]
    assert labels.merged([(("C",), 1), (("A",), 2), (("D",), 3)]) == [((OTHER,), 4), (("A",), 2)]
