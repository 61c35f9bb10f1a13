"""Delivers the messages of one partition to the consumers of one subscription, each message to one of them.

The order of a key is kept strictly: its messages are in flight only at one consumer, which hands them out one at a
time. When one fails (given back, expired, its consumer gone), those behind it are taken back without counting as
attempts, and wait until it is delivered again and settled, or given up as a dead letter. Other keys go on, and messages
without a key have no order. So a message that fails holds back its key, not its partition.

Memory is bounded. The content of a message is kept only from the read to the delivery, at most `loaded_max` messages
and `loaded_bytes_max` bytes. Of each message that is not settled otherwise only a small entry is kept, and behind
failing keys at most `held_max` of them; then nothing more is read until some are settled.
"""

from __future__ import annotations

from collections.abc import Iterable

from inaho.core.pubsub.deliveries_in_flight import GONE, DeliveriesInFlight, DeliveryPolicy
from inaho.core.pubsub.delivery_entries import DeliveryState, Entry, GroupConsumer
from inaho.core.pubsub.delivery_reading import NO_FAILURES, DeliveryReading, Number
from inaho.core.pubsub.group_consumers import GroupConsumers
from inaho.core.pubsub.stored_message import LoggedMessage
from inaho.core.pubsub.subscription_positions import SubscriptionPositions
from inaho.core.pubsub.unsettled_messages import UnsettledMessages

__all__ = ["GroupDelivery"]


class GroupDelivery:
    """The deliveries of one subscription of one partition. Times are seconds of one clock, given by the caller.

    Args:
        policy: rules and bounds.
        positions: what is settled.
        failures: what `failures` of the previous keeper has returned.

    Attributes:
        positions: as given.
        dead_letters: messages given up and published as dead letters.
    """

    def __init__(
        self, policy: DeliveryPolicy, positions: SubscriptionPositions, failures: Iterable[tuple[int, int, int]] = ()
    ) -> None:
        self.positions = positions
        self.dead_letters = 0
        self._policy = policy
        self._failures = {offset: (failed, gone) for offset, failed, gone in failures}
        self._messages = UnsettledMessages()
        self._group = GroupConsumers()
        self._flights = DeliveriesInFlight(policy, self._messages)
        self._reading = DeliveryReading(policy, positions, self._failures, self._messages, self._flights, self._group)
        self._settled = 0
        self._old_acks = True
        """Deliveries of the previous keeper may still be acknowledged."""

    # Consumers.

    def attach(
        self,
        name: str,
        credit: int,
        now: float,
        *,
        authority: str = "",
        exclusive: bool = False,
        held: Iterable[Number] = (),
    ) -> GroupConsumer:
        """A consumer joins, or comes back with another stream.

        Args:
            name: unique in the group.
            credit: deliveries that it may have.
            now: seconds.
            authority: for people.
            exclusive: see `ConsumeRequest`.
            held: offset and attempt of deliveries that it has from an earlier stream. It keeps those that nobody else
                has got; the others go to its `over`.
        """
        has = dict(held)
        consumer = self._group.by_name.get(name)
        if consumer is None:
            consumer = self._group.add(name)
        consumer.credit, consumer.authority, consumer.exclusive = credit, authority, exclusive
        for entry in list(consumer.in_flight.values()):
            if entry.consumer is consumer and not (entry.sent and has.get(entry.offset) == entry.attempt):
                self._flights.take_back(entry)
        consumer.over.clear()
        consumer.outbox.clear()
        self._group.forget_claims(consumer)
        self.heard(name)
        for offset in sorted(has):
            if not self._keep(consumer, offset, has[offset], now):
                consumer.over.append((offset, has[offset]))
        return consumer

    def _keep(self, consumer: GroupConsumer, offset: int, attempt: int, now: float) -> bool:
        """Leaves a delivery of an earlier stream to its consumer, if nobody else has got it."""
        entry = self._messages.entries.get(offset)
        if entry is None:
            if not self._old_acks or offset < self.next or offset in self.positions or consumer.credit_left <= 0:
                return False
            return self._group.claim(consumer, offset, attempt)
        if entry.attempt != attempt:
            return False
        if entry.consumer is consumer:
            self._flights.extend(entry, now + self._policy.ack_timeout_s)
            return True
        if not self._flights.may_go_to(entry, consumer):
            return False
        self._flights.launch(entry, consumer, now, sent=True)
        return True

    def detach(self, name: str, now: float, *, said_so: bool = False) -> None:
        """A consumer has ended. What it has is delivered again at once; it has failed, unless the consumer said so."""
        consumer = self._group.remove(name)
        if consumer is None:
            return
        for entry in list(consumer.in_flight.values()):
            if entry.consumer is not consumer:  # taken back with an earlier one of its key
                continue
            if entry.sent and not said_so:
                self._flights.fail(entry, now, GONE, gone=True)
            else:
                self._flights.take_back(entry)
        self._flights.unpark(consumer)

    # What consumers say.

    def acknowledge(self, name: str, deliveries: Iterable[Number]) -> list[Number]:
        """A consumer has handled messages, given by offset and attempt.

        Returns:
            Those whose delivery was over: they are or were delivered again.
        """
        consumer, entries = self.heard(name), self._messages.entries
        over: list[Number] = []
        for offset, attempt in deliveries:
            entry = entries.get(offset)
            if entry is not None and entry.consumer is consumer is not None and entry.failures + 1 == attempt:
                self._settle(entry)
            elif not (offset in self.positions or self._acknowledge_old(name, entry, offset, attempt)):
                over.append((offset, attempt))
        return over

    def _acknowledge_old(self, name: str, entry: Entry | None, offset: int, attempt: int) -> bool:
        """Settles a message that the consumer got from the previous keeper. Returns False if that delivery is over."""
        if entry is None:
            old = self._old_acks and offset >= self.next and self._failures.get(offset, NO_FAILURES)[0] + 1 == attempt
            if not self._group.settle_claim(name, offset, attempt) and (not old or offset in self._group.claims):
                return False
            self._failures.pop(offset, None)
            self.positions.settle(offset)
            self._settled += 1
            return True
        if not self._old_acks or entry.attempt != attempt or entry.state is not DeliveryState.READY:
            return False
        self._settle(entry)
        return True

    def retry(self, name: str, offset: int, attempt: int, now: float, after_s: float | None, reason: str) -> bool:
        """A consumer gives a message back as failed. Returns False if the delivery was over."""
        if self._group.settle_claim(name, offset, attempt):
            self._failures[offset] = (attempt, self._failures.get(offset, NO_FAILURES)[1])
            self._settled += 1
            return True
        entry = self._of(name, offset, attempt)
        if entry is not None:
            self._flights.fail(entry, now, reason, after_s=None if after_s is None else max(0.0, after_s))
        return entry is not None

    def release(self, name: str, offset: int, attempt: int, now: float) -> bool:
        """A consumer gives a message back that it has not begun. Returns False if the delivery was over."""
        if self._group.settle_claim(name, offset, attempt):
            return True
        entry = self._of(name, offset, attempt)
        if entry is not None:
            self._flights.rest(entry, now)
        return entry is not None

    def extend(self, name: str, offset: int, attempt: int, until: float) -> bool:
        """A consumer works on a message: its deadline is `until`. Returns False if the delivery was over."""
        entry = self._of(name, offset, attempt)
        if entry is not None:
            self._flights.extend(entry, until)
        return entry is not None or self._group.claims.get(offset) == (name, attempt)

    def _of(self, name: str, offset: int, attempt: int) -> Entry | None:
        consumer = self.heard(name)
        if consumer is None:
            return None
        entry = consumer.in_flight.get(offset)
        return entry if entry is not None and entry.attempt == attempt else None

    def heard(self, name: str) -> GroupConsumer | None:
        """A consumer has said something: deliveries to it that have expired no longer use its credit."""
        consumer = self._group.by_name.get(name)
        if consumer is not None and consumer.expired:
            consumer.expired = 0
            self._flights.unpark(consumer)
        return consumer

    # Reading.

    @property
    def next(self) -> int:
        """Offset of the next message to read."""
        return self._reading.next

    def wanted(self, end: int) -> tuple[int, int] | None:
        """What to read now: a first offset and how many messages; None for nothing. `end` is that of the log."""
        return self._reading.wanted(end)

    def load(self, messages: Iterable[LoggedMessage], now: float) -> None:
        """Messages that were read, in order. Those that are not wanted are ignored."""
        self._reading.load(messages, now)

    # Delivering.

    def deliver(self, now: float) -> list[GroupConsumer]:
        """Gives deliverable messages to consumers with credit. Returns those that have something to be sent."""
        messages, group = self._messages, self._group
        while (entry := messages.next_ready()) is not None:
            if self._flights.must_wait(entry):
                messages.pop_ready(aside=True)
                self._flights.put_aside(entry)
                continue
            line = entry.line
            owner = None if line is None else line.owner
            consumer = owner if owner is not None and group.can_take(owner) else group.pick()
            if consumer is None:
                break
            if line is not None and owner is not None and consumer is not owner:  # others need not wait for it
                messages.pop_ready(aside=True)
                messages.unload(line)
                owner.parked.append(entry)
                continue
            messages.pop_ready()
            self._flights.launch(entry, consumer, now, sent=False)
        return [consumer for consumer in group.by_name.values() if consumer.outbox or consumer.over]

    def take(self, consumer: GroupConsumer, bytes_max: int) -> tuple[list[tuple[Entry, LoggedMessage]], list[Number]]:
        """What is to be sent to a consumer now: messages until there are so many bytes, and what is over."""
        over, consumer.over = consumer.over, []
        taken: list[tuple[Entry, LoggedMessage]] = []
        used = 0
        for entry in consumer.outbox:
            used += 1
            message = entry.message
            if entry.consumer is consumer and not entry.sent and message is not None:
                entry.sent = True
                self._messages.forget(entry)
                taken.append((entry, message))
                bytes_max -= message.size_bytes
                if bytes_max <= 0:
                    break
        del consumer.outbox[:used]
        return taken, over

    def _settle(self, entry: Entry) -> None:
        self._flights.settle(entry)
        self.positions.settle(entry.offset)
        self._settled += 1

    # Dead letters.

    def dead(self) -> list[Entry]:
        """Messages that were given up since the last call: publish each, then call `buried` or `burial_failed`."""
        dead, self._flights.dead = self._flights.dead, []
        return [entry for entry in dead if entry.state is DeliveryState.DEAD]

    def buried(self, entry: Entry) -> None:
        """A dead letter is published: its key goes on."""
        if entry.state is DeliveryState.DEAD:
            self.dead_letters += 1
            self._settle(entry)

    def burial_failed(self, entry: Entry) -> None:
        """A dead letter could not be published: `dead` gives it again. Its key waits."""
        if entry.state is DeliveryState.DEAD:
            self._flights.dead.append(entry)

    # Time.

    def next_deadline(self) -> float | None:
        """When `expire` has something to do, at the earliest."""
        return self._flights.next_deadline()

    def expire(self, now: float) -> None:
        """Ends deliveries whose time has passed, and pauses."""
        self._flights.expire(now)

    # Moves.

    def skip_to(self, offset: int) -> int:
        """Settles all before `offset`, whoever has them. Returns how many were not settled."""
        self._abandon(offset)
        for failed in [failed for failed in self._failures if failed < offset]:
            del self._failures[failed]
        count = self.positions.settle_before(offset)
        self._reading.skip()
        self._settled += 1
        return count

    def seek(self, offset: int) -> None:
        """Continues at `offset`, which may be before or after the present position. All deliveries are over."""
        self._abandon(None)
        self._failures.clear()
        self._old_acks = False
        self.positions = SubscriptionPositions(offset)
        self._reading.begin(self.positions)
        self._settled += 1

    def _abandon(self, before: int | None) -> None:
        """Ends all deliveries of messages before that offset, or all, and tells who has them."""
        for entry in [entry for entry in self._messages.entries.values() if before is None or entry.offset < before]:
            consumer = entry.consumer
            if consumer is not None and entry.sent:
                consumer.over.append((entry.offset, entry.attempt))
            self._flights.settle(entry)
        self._group.end_claims(before)

    # For saving, for people, for tests.

    @property
    def changes(self) -> int:
        """Grows with every change of what `positions` and `failures` say."""
        return self._settled + self._flights.failed

    def failures(self) -> list[tuple[int, int, int]]:
        """Of unsettled messages that have failed: offset, failed deliveries, and how many of them do not count."""
        failed = [(at, e.failures, e.failures - e.counted) for at, e in self._messages.entries.items() if e.failures]
        return sorted([*((offset, *counts) for offset, counts in self._failures.items()), *failed])

    @property
    def consumers(self) -> list[GroupConsumer]:
        """The oldest first."""
        return list(self._group.by_name.values())

    @property
    def unsettled(self) -> list[Entry]:
        """The messages that were read and are not settled, by offset."""
        return list(self._messages.entries.values())

    @property
    def redelivered(self) -> int:
        """Deliveries after the first one."""
        return self._flights.redelivered

    def check(self) -> None:
        """Asserts what must hold after every step."""
        entries = self._messages.entries
        for part in (self.positions, self._messages, self._flights, self._group):
            part.check()
        assert list(entries) == sorted(entries), "entries are out of order"
        read = [offset for offset in range(self.positions.acknowledged, self.next) if offset not in self.positions]
        assert read == list(entries), "a message that was read is neither settled nor kept"
        assert self.next >= self.positions.acknowledged
        assert not any(offset < self.next for offset in self._group.claims), "a claim outlives its message"
        flying = {offset: entry for offset, entry in entries.items() if entry.state is DeliveryState.IN_FLIGHT}
        had = {offset: entry for each in self.consumers for offset, entry in each.in_flight.items()}
        assert had == flying, "consumers and deliveries differ"
        for consumer in self.consumers:
            assert all(entry.consumer is consumer for entry in consumer.in_flight.values())
