"""The machines of topics at least once against simple models."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inaho.core.pubsub import log_sizes
from inaho.core.pubsub.log_sizes import LogSizes
from inaho.core.pubsub.subscription_positions import SubscriptionPositions
from support.delivery_rules import DeliveryRules
from support.partition_rules import PartitionRules

pytestmark = pytest.mark.timeout(300)
"""Seconds. The tests take a few; but a failure that is found is first made small, and that must not be cut off."""

TestDeliveries = DeliveryRules.TestCase
TestDeliveries.settings = settings(max_examples=100, stateful_step_count=40)

TestPartitionLog = PartitionRules.TestCase
TestPartitionLog.settings = settings(max_examples=100, stateful_step_count=40)


@given(st.integers(0, 5), st.lists(st.tuples(st.sampled_from(("settle", "before")), st.integers(0, 30)), max_size=40))
def test_positions_are_a_set_of_offsets(start: int, steps: list[tuple[str, int]]):
    positions = SubscriptionPositions(start)
    settled = set(range(start))
    for what, offset in steps:
        if what == "settle":
            assert positions.settle(offset) == (offset not in settled)
            settled.add(offset)
        else:
            assert positions.settle_before(offset) == len(set(range(offset)) - settled)
            settled |= set(range(offset))
        positions.check()
        assert {each for each in range(40) if each in positions} == settled
        assert positions.acknowledged + positions.settled_above == len(settled)
        for each in range(40):
            assert positions.first_unsettled(each) == next(at for at in range(each, 80) if at not in settled)
    again = SubscriptionPositions(positions.acknowledged, reversed(positions.ranges()))
    again.check()
    assert (again.acknowledged, again.ranges()) == (positions.acknowledged, positions.ranges())


@given(st.integers(0, 9), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=9))
def test_ranges_that_overlap_or_touch_are_joined(start: int, ranges: list[tuple[int, int]]):
    positions = SubscriptionPositions(start, ranges)
    positions.check()
    settled = set(range(start)).union(*(range(first, stop) for first, stop in ranges))
    assert {each for each in range(20) if each in positions} == settled


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 40)), min_size=1, max_size=40), st.data())
def test_sizes_are_exact_where_records_have_one_size(appends: list[tuple[int, int]], data: st.DataObject):
    sizes = LogSizes(7, 7, 0)
    for count, trim in appends:
        sizes.append(count, 10 * count)
        sizes.trim(min(sizes.end, sizes.first + trim))
        sizes.check()
        left = sizes.end - sizes.first
        assert sizes.size_bytes == 10 * left
        offset = data.draw(st.integers(0, sizes.end + 5))
        assert sizes.bytes_from(offset) == 10 * max(0, sizes.end - max(sizes.first, offset))
        room = data.draw(st.integers(0, 10 * left + 20))
        assert sizes.offset_within(room) == max(sizes.first, sizes.end - room // 10)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=2000))
@settings(max_examples=30)
def test_sizes_stay_few_and_their_sum_is_exact(records: list[int]):
    sizes = LogSizes(0, 0, 0)
    for record in records:
        for _ in range(70):  # more than a segment
            sizes.append(1, record)
    sizes.check()
    assert sizes.size_bytes == 70 * sum(records)
    seen = [sizes.bytes_from(offset) for offset in range(0, sizes.end + 1, 97)]
    assert seen == sorted(seen, reverse=True)
    assert len(sizes._starts) <= log_sizes.SEGMENTS_MAX
