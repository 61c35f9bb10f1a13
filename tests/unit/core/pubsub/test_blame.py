"""A message that kills its consumers becomes a dead letter; those that the consumers had beside it do not."""

from __future__ import annotations

import pytest

from inaho.core.pubsub.deliveries_in_flight import GONE, DeliveryPolicy
from inaho.core.pubsub.delivery_entries import Entry
from inaho.core.pubsub.group_delivery import GroupDelivery
from inaho.core.pubsub.stored_message import LoggedMessage, StoredMessage
from inaho.core.pubsub.subscription_positions import SubscriptionPositions

COUNT = 12
DEADLY = 5
POLICY = DeliveryPolicy(attempts_max=3, ack_timeout_s=10.0, retry_base_s=1.0, retry_max_s=1.0)


class Keepers:
    """One keeper after another, and consumers that die as soon as they have the deadly message."""

    def __init__(self) -> None:
        self.group = GroupDelivery(POLICY, SubscriptionPositions(0))
        self.now = 100.0
        self.dead: list[Entry] = []

    def move(self) -> None:
        """The next keeper begins with what this one has saved."""
        positions = SubscriptionPositions(self.group.positions.acknowledged, self.group.positions.ranges())
        self.group = GroupDelivery(POLICY, positions, self.group.failures())

    def deliver(self) -> list[Entry]:
        """What a new consumer gets."""
        group = self.group
        consumer = group.attach("one", COUNT, self.now)
        while (wanted := group.wanted(COUNT)) is not None:
            first, count = wanted
            stored = StoredMessage("", 0.0, "p", 1, "", b"v")
            group.load([LoggedMessage(at, 10, stored) for at in range(first, min(first + count, COUNT))], self.now)
            group.deliver(self.now)
        group.deliver(self.now)
        taken, _ = group.take(consumer, 1 << 20)
        group.check()
        return [entry for entry, _ in taken]

    def bury(self) -> None:
        for entry in self.group.dead():
            self.dead.append(entry)
            self.group.buried(entry)

    def live_and_die(self) -> None:
        """One life of a consumer."""
        taken = self.deliver()
        if all(entry.offset != DEADLY for entry in taken):
            assert not self.group.acknowledge("one", [(entry.offset, entry.attempt) for entry in taken])
            self.group.detach("one", self.now, said_so=True)
        else:
            self.group.detach("one", self.now)
        self.now += 5.0
        self.group.expire(self.now)
        self.bury()


@pytest.mark.parametrize("each", [1, 2, 3, 1000])
def test_only_the_message_that_kills_becomes_a_dead_letter(each: int):
    keepers = Keepers()
    for life in range(1, 60):
        keepers.live_and_die()
        if life % each == 0:
            keepers.move()
            keepers.deliver()
            keepers.bury()
            keepers.group.detach("one", keepers.now, said_so=True)
    assert [(entry.offset, entry.reason) for entry in keepers.dead] == [(DEADLY, GONE)]
    assert keepers.group.positions.acknowledged == COUNT


def test_ends_of_consumers_do_not_count_when_a_message_fails_itself():
    keepers = Keepers()
    for _ in range(2):
        keepers.deliver()
        keepers.group.detach("one", keepers.now)
    entry = keepers.deliver()[0]
    assert entry.attempt == 3
    assert keepers.group.retry("one", entry.offset, 3, keepers.now, 0.0, "no")
    keepers.bury()
    assert not keepers.dead
    keepers.move()
    [entry] = [each for each in keepers.deliver() if each.offset == entry.offset]
    assert entry.attempt == 4 and keepers.group.retry("one", entry.offset, 4, keepers.now, 0.0, "no")
    entry = keepers.deliver()[0]
    assert keepers.group.retry("one", entry.offset, 5, keepers.now, 0.0, "no")
    keepers.bury()
    assert [(each.offset, each.reason) for each in keepers.dead] == [(0, "no")]
