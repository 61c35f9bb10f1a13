"""The delay queue: order, bounds, and the law that every accepted message is accounted for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from inaho.config import DeliveryConfig
from inaho.core.delivery.delay_queue import DelayQueue, Parcel
from inaho.errors import IllegalTransition, InvalidConfig, Overloaded, Quarantined

PEER = "10.0.0.1:7700"


def make(**settings: object) -> DelayQueue[Parcel[int]]:
    return DelayQueue(DeliveryConfig().replace(**settings), PEER)


def items(parcels: list[Parcel[int]]) -> list[int]:
    return [parcel.item for parcel in parcels]


def test_what_waits_is_sent_in_order_and_counted():
    queue = make()
    for number in range(5):
        assert queue.offer(Parcel(number, 10), 1.0) == []
    assert (queue.waiting, queue.waiting_bytes) == (5, 50)
    assert items(queue.take()) == [0, 1, 2, 3, 4]
    assert (queue.drained, queue.sent, queue.sent_bytes) == (5, 5, 50)
    queue.acknowledge(3)
    assert (queue.delivered, queue.sent, queue.sent_bytes) == (3, 2, 20)
    assert items(queue.connection_lost()) == [3, 4]
    assert (queue.in_doubt, queue.sent, queue.accepted) == (2, 0, 5)
    queue.check()


def test_nothing_passes_what_waits():
    queue = make()
    assert queue.pass_through(Parcel(1, 10))
    queue.offer(Parcel(2, 10), 1.0)
    assert not queue.pass_through(Parcel(3, 10))
    assert items(queue.take()) == [2]
    assert queue.pass_through(Parcel(3, 10))
    assert items(queue.connection_lost()) == [1, 2, 3]


def test_as_much_is_sent_as_may_be_unacknowledged():
    queue = make(unacknowledged_max=2, unacknowledged_bytes_max=100)
    for number in range(3):
        queue.offer(Parcel(number, 10), 1.0)
    assert items(queue.take()) == [0, 1]
    assert not queue.pass_through(Parcel(9, 10))
    queue.acknowledge(1)
    assert items(queue.take()) == [2]
    queue.acknowledge(2)
    assert queue.pass_through(Parcel(3, 500))  # larger than the bound: alone it may go
    assert not queue.pass_through(Parcel(4, 1))
    queue.check()


def test_a_full_queue_drops_the_oldest():
    queue = make(queue_messages_max=3)
    dropped = [parcel.item for number in range(5) for parcel in queue.offer(Parcel(number, 10), 1.0)]
    assert dropped == [0, 1]
    assert queue.dead_lettered == 2
    assert items(queue.take()) == [2, 3, 4]
    queue.check()


def test_bytes_are_a_bound_too():
    queue = make(queue_bytes_max=100)
    for number in range(3):
        queue.offer(Parcel(number, 40), 1.0)
    assert queue.waiting == 2
    assert items(queue.offer(Parcel(3, 100), 1.0)) == [1, 2]
    with pytest.raises(Overloaded):
        queue.offer(Parcel(4, 101), 1.0)
    assert (queue.accepted, queue.refused) == (4, 1)
    queue.check()


def test_a_full_queue_refuses_the_new_when_told_so():
    queue = make(queue_messages_max=2, queue_policy="reject_new")
    queue.offer(Parcel(0, 10), 1.0)
    queue.offer(Parcel(1, 10), 1.0)
    with pytest.raises(Overloaded) as refused:
        queue.offer(Parcel(2, 10), 1.0)
    assert "queue_messages_max" in refused.value.reason
    assert refused.value.authority == PEER
    assert (queue.accepted, queue.refused, queue.dead_lettered) == (2, 1, 0)
    assert items(queue.take()) == [0, 1]


def test_what_waits_too_long_is_a_dead_letter():
    queue = make(queue_age_s=10.0)
    queue.offer(Parcel(0, 10), 1.0)
    queue.offer(Parcel(1, 10), 5.0)
    assert queue.next_deadline() == 11.0
    assert queue.expire(10.9) == []
    assert items(queue.expire(11.0)) == [0]
    assert queue.next_deadline() == 15.0
    assert items(queue.expire(99.0)) == [1]
    assert queue.next_deadline() is None
    queue.check()


def test_quarantine_gives_up_what_waits_and_release_makes_it_usable_again():
    queue = make()
    assert queue.pass_through(Parcel(0, 10))
    queue.offer(Parcel(1, 10), 1.0)
    assert items(queue.refuse(Quarantined("bad bytes", authority=PEER))) == [1]
    for attempt in range(2):
        assert not queue.pass_through(Parcel(2, 10))
        with pytest.raises(Quarantined, match="bad bytes"):
            queue.offer(Parcel(2, 10), 2.0)
        assert queue.refused == attempt + 1
    assert items(queue.connection_lost()) == [0]
    queue.reopen()
    queue.offer(Parcel(3, 10), 3.0)
    assert items(queue.take()) == [3]
    assert (queue.accepted, queue.dead_lettered, queue.in_doubt) == (3, 1, 1)
    queue.check()


def test_a_withdrawn_message_is_not_sent_and_is_no_news():
    queue = make(queue_messages_max=2)
    parcels = [Parcel(number, 10) for number in range(4)]
    queue.offer(parcels[0], 1.0)
    queue.offer(parcels[1], 1.0)
    parcels[0].withdrawn = parcels[1].withdrawn = True
    assert queue.offer(parcels[2], 1.0) == []
    assert items(queue.take()) == [2]
    assert (queue.dead_lettered, queue.accepted) == (2, 3)
    queue.check()


@pytest.mark.parametrize("count", [-1, 2])
def test_what_was_not_sent_cannot_be_acknowledged(count: int):
    queue = make()
    assert queue.pass_through(Parcel(0, 10))
    with pytest.raises(IllegalTransition):
        queue.acknowledge(count)
    assert (queue.sent, queue.delivered) == (1, 0)


def test_room_is_half_of_the_queue():
    queue = make(queue_messages_max=4)
    queue.offer(Parcel(0, 10), 1.0)
    queue.offer(Parcel(1, 10), 1.0)
    assert queue.has_room
    queue.offer(Parcel(2, 10), 1.0)
    assert not queue.has_room


def test_an_unknown_policy_is_refused():
    with pytest.raises(InvalidConfig, match="queue_policy"):
        DeliveryConfig(queue_policy="keep_all")


class QueueMachine(RuleBasedStateMachine):
    """Any interleaving, against a model: each message has one fate, and what is sent is in the order accepted."""

    policy = "drop_oldest"

    def __init__(self) -> None:
        super().__init__()
        config = DeliveryConfig(
            queue_messages_max=6,
            queue_bytes_max=60,
            queue_age_s=10.0,
            queue_policy=self.policy,
            unacknowledged_max=4,
            unacknowledged_bytes_max=40,
        )
        self.queue: DelayQueue[Parcel[int]] = DelayQueue(config, PEER)
        self.now = 0.0
        self.next = 0
        self.connected = False
        self.quarantined = False
        self.accepted: list[int] = []
        self.sent: list[int] = []
        self.fates: Counter[int] = Counter()
        self.withdrawn: set[int] = set()
        self.live: dict[int, Parcel[int]] = {}

    def fate(self, parcels: list[Parcel[int]]) -> None:
        self.fates.update(items(parcels))

    def leaves(self, parcels: list[Parcel[int]]) -> None:
        assert not self.withdrawn & set(items(parcels))
        self.sent += items(parcels)

    @rule(size=st.integers(1, 70))
    def tell(self, size: int) -> None:
        parcel, self.next = Parcel(self.next, size), self.next + 1
        if self.connected and self.queue.pass_through(parcel):
            self.leaves([parcel])
        else:
            try:
                self.fate(self.queue.offer(parcel, self.now))
            except (Overloaded, Quarantined):
                return
            if self.connected:
                self.leaves(self.queue.take())
        self.accepted.append(parcel.item)
        self.live[parcel.item] = parcel

    @rule()
    def connect(self) -> None:
        if not self.quarantined:
            self.connected = True
            self.leaves(self.queue.take())

    @rule()
    def lose(self) -> None:
        self.connected = False
        self.fate(self.queue.connection_lost())

    @rule(share=st.floats(0, 1))
    def acknowledge(self, share: float) -> None:
        count = int(self.queue.sent * share)
        self.fates.update([each for each in self.sent if not self.fates[each]][:count])
        self.queue.acknowledge(count)
        if self.connected:
            self.leaves(self.queue.take())

    @rule(passed_s=st.floats(0, 6))
    def time_passes(self, passed_s: float) -> None:
        self.now += passed_s
        self.fate(self.queue.expire(self.now))

    @rule()
    def quarantine(self) -> None:
        self.fate(self.queue.refuse(Quarantined("bad bytes")))
        self.quarantined = True
        self.lose()

    @rule()
    def release(self) -> None:
        self.quarantined = False
        self.queue.reopen()

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        waiting = [each for each in self.accepted if each not in self.sent and not self.fates[each]]
        waiting = [each for each in waiting if each not in self.withdrawn]
        if waiting:
            chosen = data.draw(st.sampled_from(waiting))
            self.live[chosen].withdrawn = True
            self.withdrawn.add(chosen)

    @invariant()
    def the_law_holds_and_nothing_is_lost_doubled_or_reordered(self) -> None:
        queue = self.queue
        queue.check()
        assert self.sent == sorted(set(self.sent))
        assert all(count == 1 for count in self.fates.values())
        assert queue.accepted == len(self.accepted)
        ended = queue.delivered + queue.dead_lettered + queue.in_doubt
        told = sum(self.fates.values())
        assert told <= ended <= told + len(self.withdrawn)
        assert queue.accepted == ended + queue.waiting + queue.sent


class RefusingQueueMachine(QueueMachine):
    """The same with the other policy."""

    policy = "reject_new"


TestQueueMachine = QueueMachine.TestCase
TestRefusingQueueMachine = RefusingQueueMachine.TestCase
