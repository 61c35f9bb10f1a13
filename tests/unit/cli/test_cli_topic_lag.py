"""What `inaho topics lag` counts, from the descriptions of the partitions."""

from __future__ import annotations

from inaho.cli.commands.topics import consumers_of, lags_of
from inaho.runtime.topic_logs.keeper_messages import ConsumerDescription, PartitionDescription, SubscriptionDescription


def partition(number: int, *consumers: str) -> PartitionDescription:
    described = [ConsumerDescription(f"{each}/{number}", "10.0.0.1:7700", 1, 0) for each in consumers]
    work = SubscriptionDescription("work", 0, 2, 0.0, 0, 0, 0.0, 0, 0, 0, described)
    return PartitionDescription("orders", number, "10.0.0.1:7700", 0, 2, 10, 2, 0, 0, [work])


def test_a_consumer_of_several_partitions_is_counted_once():
    [lag] = lags_of([partition(0, "node1/1", "node1/2", "node2/1"), partition(1, "node1/1", "node2/1"), partition(2)])
    assert (lag["lag"], consumers_of(lag)) == (6, 3)
