"""A keeper of one partition and consumers of one group: words cross each other, and programs do anything.

`ConsumerModel` has a keeper that hears everything at once. Here deliveries and answers cross each other.
"""

from __future__ import annotations

from collections import deque
from random import Random

from inaho.core.pubsub.consumer_window import ConsumerWindow, Held, Settled
from inaho.core.pubsub.deliveries_in_flight import DeliveryPolicy
from inaho.core.pubsub.group_delivery import GroupDelivery
from inaho.core.pubsub.stored_message import LoggedMessage, StoredMessage
from inaho.core.pubsub.subscription_positions import SubscriptionPositions
from support.consumer_model import ACK_TIMEOUT_S, Given

__all__ = ["DeliveryConversation"]

KEYS = "abc"
SIZE_BYTES = 10
Item = tuple[list[Given], list[tuple[int, int]], int]


class _Consumer:
    """One consumer, and what is on its way to it and from it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.window: ConsumerWindow[Given] = ConsumerWindow(ACK_TIMEOUT_S)
        self.items: deque[Item] = deque()
        self.settlement: Settled | None = None
        self.answer: tuple[Settled, list[tuple[int, int]]] | None = None
        self.settled = 0
        self.out: list[Held[Given]] = []

    @property
    def idle(self) -> bool:
        return not (self.items or self.settlement or self.answer or self.window.dirty)


class DeliveryConversation:
    """Any messages, and any consumers.

    Attributes:
        keys: by offset.
        acked: offsets whose acknowledgement counted at a consumer.
    """

    def __init__(self, random: Random, consumers: int) -> None:
        self.keys = [random.choice(KEYS) for _ in range(random.randint(2, 14))]
        self.acked: set[int] = set()
        self._random = random
        self._now = 100.0
        policy = DeliveryPolicy(attempts_max=1_000_000, ack_timeout_s=ACK_TIMEOUT_S, retry_base_s=0.5, retry_max_s=1.0)
        self._group = GroupDelivery(policy, SubscriptionPositions(0, []), {})
        self._consumers = [_Consumer(f"c{number}") for number in range(consumers)]
        for consumer in self._consumers:
            self._group.attach(consumer.name, random.choice([1, 2, 4, 16]), self._now)
        self._work()

    @property
    def over(self) -> bool:
        """Everything is acknowledged, and nothing is on its way."""
        return len(self.acked) == len(self.keys) and all(consumer.idle for consumer in self._consumers)

    def step(self) -> None:
        """Something happens."""
        consumer = self._random.choice(self._consumers)
        steps = (self._receive, self._settle, self._hear, self._read_answer, self._send)
        rare = (self._take, self._take, self._answer, self._wait, self._expire)
        self._random.choice((*steps, *steps, *rare))(consumer)
        consumer.window.check()
        self._group.check()

    # The keeper.

    def _work(self) -> None:
        while wanted := self._group.wanted(len(self.keys)):
            first, count = wanted
            offsets = range(first, min(len(self.keys), first + count))
            self._group.load([self._message(offset) for offset in offsets], self._now)
            self._group.deliver(self._now)
        self._group.deliver(self._now)

    def _message(self, offset: int) -> LoggedMessage:
        return LoggedMessage(offset, SIZE_BYTES, StoredMessage(self.keys[offset], 0.0, "p", 1, "", b""))

    def _send(self, consumer: _Consumer) -> None:
        known = next(each for each in self._group.consumers if each.name == consumer.name)
        if known.outbox or known.over:
            taken, over = self._group.take(known, self._random.choice([SIZE_BYTES + 5, 1000]))
            given = [Given(entry.offset, entry.attempt, self.keys[entry.offset]) for entry, _ in taken]
            consumer.items.append((given, over, consumer.settled))
            self._work()

    def _hear(self, consumer: _Consumer) -> None:
        settled, consumer.settlement = consumer.settlement, None
        if settled is None:
            return
        group, name, now = self._group, consumer.name, self._now
        lost = group.acknowledge(name, settled.acked)
        for offset, attempt, after_s, reason in settled.retried:
            group.retry(name, offset, attempt, now, after_s, reason)
        for offset, attempt, seconds in settled.extended:
            if not group.extend(name, offset, attempt, now + seconds):
                lost.append((offset, attempt))
        for offset, attempt in settled.released:
            group.release(name, offset, attempt, now)
        consumer.settled = settled.number
        consumer.answer = (settled, lost)
        self._work()

    def _expire(self, consumer: _Consumer) -> None:
        self._group.expire(self._now)
        self._work()

    # The consumer.

    def _receive(self, consumer: _Consumer) -> None:
        if consumer.items:
            given, over, settled = consumer.items.popleft()
            consumer.window.over(0, over)
            consumer.window.arrived(0, given, self._now, settled)

    def _settle(self, consumer: _Consumer) -> None:
        if consumer.settlement is None and consumer.answer is None and consumer.window.dirty:
            consumer.settlement = consumer.window.take_settled(0)

    def _read_answer(self, consumer: _Consumer) -> None:
        if consumer.answer is not None:
            (settled, lost), consumer.answer = consumer.answer, None
            extended = {(offset, attempt) for offset, attempt, _ in settled.extended}
            consumer.window.refused(0, [each for each in lost if each in extended])
            consumer.window.confirmed(0, settled)

    def _take(self, consumer: _Consumer) -> None:
        held = consumer.window.take(self._now)
        if held is not None:
            offset, key = held.delivery.offset, held.delivery.key
            earlier = [each for each in range(offset) if self.keys[each] == key and each not in self.acked]
            assert not earlier, f"{offset} of key {key!r} is handed out before {earlier}"
            consumer.out.append(held)

    def _answer(self, consumer: _Consumer) -> None:
        """The program acknowledges, leaves the message behind, gives it back, or wants more time."""
        if not consumer.out:
            return
        held = consumer.out.pop(self._random.randrange(len(consumer.out)))
        window, choice = consumer.window, self._random.random()
        if choice < 0.6:
            if window.ack(held):
                self.acked.add(held.delivery.offset)
        elif choice < 0.75:
            window.left(held)
        elif choice < 0.85:
            window.retry(held, self._random.choice([None, 0.0]), "no")
        elif choice < 0.92:
            window.release(held)
        else:
            window.extend(held, ACK_TIMEOUT_S, self._now)
            window.left(held)

    def _wait(self, consumer: _Consumer) -> None:
        self._now += self._random.choice([0.1, 0.5, 1.0])
        for each in self._consumers:
            each.window.tick(self._now, ACK_TIMEOUT_S / 2)
