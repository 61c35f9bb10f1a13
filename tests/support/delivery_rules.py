"""The deliveries of one subscription against a simple model, step by step, with keepers that die and come back.

The model knows the log, what is settled, and what each consumer believes to have. It says what may be sent to whom.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inaho.core.pubsub.deliveries_in_flight import DeliveryPolicy
from inaho.core.pubsub.group_delivery import GroupDelivery
from inaho.core.pubsub.stored_message import LoggedMessage, StoredMessage
from inaho.core.pubsub.subscription_positions import SubscriptionPositions

__all__ = ["DeliveryRules"]

NAMES = ("a", "b", "c")
KEYS = ("", "x", "y")
ATTEMPTS_MAX = 2
TIMEOUT_S = 10.0
POLICY = DeliveryPolicy(
    attempts_max=ATTEMPTS_MAX, ack_timeout_s=TIMEOUT_S, retry_base_s=1.0, retry_max_s=4.0, loaded_max=6,
    loaded_bytes_max=1000, held_max=40,
)  # fmt: skip


class Consumer:
    """What a consumer believes: a window, and its deliveries in the order in which they came."""

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.has: dict[int, int] = {}
        self.exclusive = False


class DeliveryRules(RuleBasedStateMachine):
    """`make` returns the machine under test."""

    make = GroupDelivery

    @initialize()
    def begin(self) -> None:
        self.now = 100.0
        self.log: list[str] = []
        self.settled: set[int] = set()
        self.failures: dict[int, int] = {}
        self.unsure: set[int] = set()
        """Messages that may have failed once without a word: their consumer ended, or their time passed."""
        self.consumers: dict[str, Consumer] = {}
        self.dead: list[Any] = []
        self.saved: tuple[int, list[tuple[int, int]], list[tuple[int, int, int]]] = (0, [], [])
        self.machine = self.make(POLICY, SubscriptionPositions(0))

    # The world.

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=6))
    def append(self, keys: list[str]) -> None:
        self.log += keys
        self.pump()

    @rule(name=st.sampled_from(NAMES), credit=st.integers(1, 5), keeps=st.booleans(), exclusive=st.booleans())
    def attach(self, name: str, credit: int, keeps: bool, exclusive: bool) -> None:
        """A consumer comes, or comes back and still has what it had, or has lost it."""
        old = self.consumers.pop(name, None)
        consumer = Consumer(credit)
        consumer.exclusive = exclusive and name == "c"
        if old is not None and keeps:
            consumer.has = dict(old.has)
        held = list(consumer.has.items())
        self.consumers[name] = consumer
        self.machine.attach(name, credit, self.now, held=held, exclusive=consumer.exclusive)
        self.pump()

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), said_so=st.booleans())
    def detach(self, data: st.DataObject, said_so: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.consumers)))
        has = set(self.consumers.pop(name).has)
        if not said_so:
            self.unsure |= has
        self.machine.detach(name, self.now, said_so=said_so)
        self.pump()

    def pick(self, data: st.DataObject) -> tuple[str, int, int] | None:
        """A delivery that some consumer has; of a key only the first one, as consumers hand them out."""
        having: list[tuple[str, int, int]] = []
        for name in sorted(self.consumers):
            keys: set[str] = set()
            for offset, attempt in sorted(self.consumers[name].has.items()):
                if self.log[offset] not in keys:
                    having.append((name, offset, attempt))
                if self.log[offset]:
                    keys.add(self.log[offset])
        return data.draw(st.sampled_from(having)) if having else None

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        picked = self.pick(data)
        if picked is None:
            return
        name, offset, attempt = picked
        del self.consumers[name].has[offset]
        assert not self.machine.acknowledge(name, [(offset, attempt)]), "an acknowledgement was refused"
        self.settled.add(offset)
        assert not self.machine.acknowledge(name, [(offset, attempt)]), "a repeated acknowledgement was refused"
        self.pump()

    @rule(data=st.data(), after_s=st.sampled_from([None, 0.0, 2.0]))
    def retry(self, data: st.DataObject, after_s: float | None) -> None:
        picked = self.pick(data)
        if picked is not None:
            self.fail(*picked, after_s)

    @rule(data=st.data())
    def fail_for_good(self, data: st.DataObject) -> None:
        """A message fails again and again, until it is given up or its key has to wait."""
        picked = self.pick(data)
        offset = -1 if picked is None else picked[1]
        while picked is not None:
            self.fail(*picked, 0.0)
            having = [(name, offset, each.has[offset]) for name, each in self.consumers.items() if offset in each.has]
            picked = having[0] if having else None

    def fail(self, name: str, offset: int, attempt: int, after_s: float | None) -> None:
        del self.consumers[name].has[offset]
        self.unsure.discard(offset)
        assert self.machine.retry(name, offset, attempt, self.now, after_s, "no"), "it was refused"
        self.failures[offset] = attempt
        self.drop_behind(name, offset)
        self.pump()

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        picked = self.pick(data)
        if picked is None:
            return
        name, offset, attempt = picked
        del self.consumers[name].has[offset]
        assert self.machine.release(name, offset, attempt, self.now), "it was refused"
        self.drop_behind(name, offset)
        self.pump()

    @rule(data=st.data(), seconds=st.floats(0.5, 30.0))
    def extend(self, data: st.DataObject, seconds: float) -> None:
        picked = self.pick(data)
        if picked is None:
            return
        assert self.machine.extend(*picked, self.now + seconds), "it was refused"

    @rule(name=st.sampled_from(NAMES), offset=st.integers(0, 20), attempt=st.integers(1, 3))
    def wrong_settlement(self, name: str, offset: int, attempt: int) -> None:
        """A delivery that this consumer does not have cannot be given back by it."""
        consumer = self.consumers.get(name)
        if consumer is not None and consumer.has.get(offset) == attempt:
            return
        assert not self.machine.retry(name, offset, attempt, self.now, None, "no")
        assert not self.machine.release(name, offset, attempt, self.now)
        elsewhere = any(offset in each.has for each in self.consumers.values())
        if elsewhere and offset not in self.settled:
            assert self.machine.acknowledge(name, [(offset, attempt)]), "another consumer has it"
        self.pump()

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, TIMEOUT_S + 1.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.unsure |= {offset for consumer in self.consumers.values() for offset in consumer.has}
        self.machine.expire(self.now)
        due = self.machine.next_deadline()
        assert due is None or due > self.now, "something is overdue"
        self.pump()

    @precondition(lambda self: self.dead)
    @rule(published=st.booleans())
    def bury(self, published: bool) -> None:
        entry = self.dead.pop(0)
        if published:
            self.machine.buried(entry)
            self.settled.add(entry.offset)
        else:
            self.machine.burial_failed(entry)
        self.pump()

    @rule()
    def save(self) -> None:
        positions = self.machine.positions
        self.saved = (positions.acknowledged, positions.ranges(), self.machine.failures())

    @rule()
    def keeper_dies(self) -> None:
        """The next keeper begins with what was saved. Consumers come back with what they have."""
        acknowledged, ranges, failures = self.saved
        positions = SubscriptionPositions(acknowledged, ranges)
        self.machine = self.make(POLICY, positions, failures)
        self.settled = {offset for offset in range(len(self.log)) if offset in positions}
        self.failures = {offset: failed for offset, failed, _ in failures}
        self.unsure = set()
        self.dead = []
        for name, consumer in sorted(self.consumers.items()):
            held = list(consumer.has.items())
            self.machine.attach(name, consumer.credit, self.now, held=held, exclusive=consumer.exclusive)
        self.pump()

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def drop_oldest(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, len(self.log)))
        lost = set(range(offset)) - self.settled
        assert self.machine.skip_to(offset) == len(lost), "dropped messages are counted wrongly"
        self.settled |= lost
        self.pump()

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def seek(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, len(self.log)))
        self.machine.seek(offset)
        self.settled = set(range(offset))
        self.failures = {}
        self.unsure = set()
        self.dead = []
        self.saved = (offset, [], [])
        self.pump()

    # What the keeper does after each of them.

    def pump(self) -> None:
        machine = self.machine
        for turn in range(1000):
            assert turn < 999, f"no end of reading: {machine.wanted(len(self.log))}"
            to_send = machine.deliver(self.now)
            for consumer in to_send:
                self.sent(consumer.name, *machine.take(consumer, 35))
            wanted = machine.wanted(len(self.log))
            if wanted is None and not to_send:
                break
            if wanted is not None:
                offset, count = wanted
                assert count > 0 and offset not in self.settled, "a settled message is read"
                machine.load([self.message(at) for at in range(offset, min(offset + count, len(self.log)))], self.now)
            machine.check()
        self.dead += machine.dead()

    def message(self, offset: int) -> LoggedMessage:
        return LoggedMessage(offset, 10, StoredMessage(self.log[offset], 0.0, "p", 1, "", b"v"))

    def sent(self, name: str, messages: list[tuple[Any, LoggedMessage]], over: list[tuple[int, int]]) -> None:
        consumer = self.consumers[name]
        for offset, attempt in over:
            if consumer.has.get(offset) == attempt:
                del consumer.has[offset]
        for entry, message in messages:
            offset, key = message.offset, self.log[message.offset]
            assert offset not in self.settled, f"{offset} is settled and was sent again"
            first = self.failures.get(offset, 0) + 1
            assert entry.attempt in ((first, first + 1) if offset in self.unsure else (first,)), "the attempt is wrong"
            self.failures[offset] = entry.attempt - 1
            self.unsure.discard(offset)
            others = [other for other in self.consumers if other != name and offset in self.held_now(other)]
            assert not others, f"{offset} was sent to {name}, and {others} has it"
            if key:
                earlier = [at for at in range(offset) if self.log[at] == key and at not in self.settled]
                mine = self.held_now(name)
                assert all(at in mine for at in earlier), f"{offset} overtakes {earlier} of its key"
            consumer.has[offset] = entry.attempt
        assert not messages or len(self.held_now(name)) <= consumer.credit, "more than its credit"

    def held_now(self, name: str) -> set[int]:
        """What a consumer has. Without what is over: it will be told."""
        had = {consumer.name: consumer for consumer in self.machine.consumers}
        return {offset for offset in self.consumers[name].has if offset in had[name].in_flight}

    def drop_behind(self, name: str, offset: int) -> None:
        """A consumer that gives a message back drops those of its key behind it."""
        key = self.log[offset]
        if key:
            has = self.consumers[name].has
            for later in [at for at in has if at > offset and self.log[at] == key]:
                del has[later]

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "machine"):
            return
        self.machine.check()
        positions = self.machine.positions
        assert {at for at in range(len(self.log)) if at in positions} == self.settled, "settled messages differ"

    def teardown(self) -> None:
        """Whatever happened: consumers that handle all they get settle the whole log."""
        if not hasattr(self, "machine"):
            return
        for name in list(self.consumers):
            self.unsure |= set(self.consumers[name].has)
            self.machine.detach(name, self.now)
        self.consumers = {"z": Consumer(3)}
        self.machine.attach("z", 3, self.now)
        for _ in range(20 * len(self.log) + 20):
            self.pump()
            for entry in self.dead:
                self.machine.buried(entry)
                self.settled.add(entry.offset)
            self.dead = []
            for offset, attempt in list(self.consumers["z"].has.items()):
                del self.consumers["z"].has[offset]
                if not self.machine.acknowledge("z", [(offset, attempt)]):
                    self.settled.add(offset)
            if self.machine.positions.acknowledged == len(self.log):
                break
            self.unsure |= set(self.consumers["z"].has)
            self.now += 1.0
            self.machine.expire(self.now)
        self.agrees()
        assert self.machine.positions.acknowledged == len(self.log), "a message was never delivered"
