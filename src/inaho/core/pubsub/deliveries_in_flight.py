"""The deliveries of one subscription that are under way, and how they end: settled, failed, taken back.

A consumer that ends without a word may have been ended by a message. All that it had are delivered again with the next
number, but the blame is on one: after two such ends a message is a suspect, of these only one is in flight at a time,
and if its consumer ends then, it is to blame. The others are not given up for such ends, now or later. Otherwise a
message that kills programs would turn the messages before and behind it into dead letters.
"""

from __future__ import annotations

from typing import Final

import msgspec

from inaho.core.back_off import back_off_s
from inaho.core.pubsub.delivery_entries import DeliveryState, Entry, GroupConsumer
from inaho.core.pubsub.delivery_timers import DeliveryTimers
from inaho.core.pubsub.stored_message import LoggedMessage
from inaho.core.pubsub.unsettled_messages import UnsettledMessages

__all__ = ["EXPIRED", "GONE", "DeliveriesInFlight", "DeliveryPolicy"]

EXPIRED: Final = "not acknowledged in time"
GONE: Final = "the consumer is gone"

REST_S: Final = 0.1
"""Pause of a message that was given back without a failure. Without it the same consumer would get it at once."""

WAITING: Final = DeliveryState.WAITING

SUSPECT_AT: Final = 2
"""A message is a suspect when so many consumers have ended while they had it."""


class DeliveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Rules of one topic, and bounds; for the first four see `TopicDefinition`.

    Attributes:
        loaded_max: messages whose content is kept.
        loaded_bytes_max: their bytes; the last read may exceed it.
        held_max: messages that are read and not settled.
    """

    attempts_max: int = 8
    ack_timeout_s: float = 30.0
    retry_base_s: float = 1.0
    retry_max_s: float = 60.0
    loaded_max: int = 1024
    loaded_bytes_max: int = 4 << 20
    held_max: int = 65_536


class DeliveriesInFlight:
    """Begins and ends deliveries.

    Args:
        policy: of the topic.
        messages: of the subscription.

    Attributes:
        dead: messages that were given up and are not published as dead letters.
        failed: deliveries that failed.
        redelivered: deliveries after the first one.
        waiting: messages that failed and wait for their pause.
    """

    __slots__ = ("_messages", "_policy", "_suspect", "_suspects", "_timers", "dead", "failed", "redelivered", "waiting")

    def __init__(self, policy: DeliveryPolicy, messages: UnsettledMessages) -> None:
        self.dead: list[Entry] = []
        self.failed = 0
        self.redelivered = 0
        self.waiting = 0
        self._policy = policy
        self._messages = messages
        self._timers = DeliveryTimers()
        self._suspect: Entry | None = None
        self._suspects: list[Entry] = []

    def launch(self, entry: Entry, consumer: GroupConsumer, now: float, *, sent: bool) -> None:
        """A message goes to a consumer; it was `sent` already, or goes to its outbox."""
        self._messages.launch(entry, consumer)
        entry.sent = sent
        entry.at = now + self._policy.ack_timeout_s
        if sent:
            self._messages.forget(entry)
        else:
            consumer.outbox.append(entry)
            self.redelivered += entry.failures > 0
        if entry.gone >= SUSPECT_AT:
            self._suspect = entry
        self._timers.arm(entry)

    def launch_new(self, message: LoggedMessage, consumer: GroupConsumer, now: float) -> None:
        """A message that was just read goes to the outbox of a consumer, before anything else was done with it."""
        entry = self._messages.enter_launched(message, consumer)
        entry.at = now + self._policy.ack_timeout_s
        consumer.outbox.append(entry)
        self._timers.arm(entry)

    def must_wait(self, entry: Entry) -> bool:
        """Whether it is a suspect and another one is in flight."""
        return entry.gone >= SUSPECT_AT and self._suspect is not None

    def may_go_to(self, entry: Entry, consumer: GroupConsumer) -> bool:
        """Whether a message may be delivered to that consumer before others are looked at."""
        line = entry.line
        if entry.state is not DeliveryState.READY or not entry.is_next or consumer.credit_left <= 0:
            return False
        return (line is None or line.owner in (None, consumer)) and not self.must_wait(entry)

    def put_aside(self, entry: Entry) -> None:
        """A suspect waits until the one in flight has landed."""
        self._suspects.append(entry)

    def extend(self, entry: Entry, until: float) -> None:
        """Moves the deadline of a delivery."""
        earlier = until < entry.at
        entry.at = until
        if earlier:
            self._timers.arm(entry)

    def take_back(self, entry: Entry) -> None:
        """Ends a delivery, and those of the key behind it. They do not count, and are delivered again."""
        consumer = entry.consumer
        assert consumer is not None
        unsent = False
        for each in self._messages.take_back(entry):
            unsent = unsent or not each.sent
            if each is not entry and each.sent:
                consumer.over.append((each.offset, each.attempt))
            self._landed(each)
            each.state = DeliveryState.READY
        if (
            unsent
        ):  # were they left there, the next delivery would be sent in the place of this one, before earlier ones
            consumer.outbox[:] = [each for each in consumer.outbox if each.consumer is consumer]
        self._messages.offer(entry)
        self.unpark(consumer)

    def rest(self, entry: Entry, now: float) -> None:
        """A consumer gives a message back that it cannot handle now: it is delivered again, but not at once."""
        self.take_back(entry)
        self._pause(entry, now + REST_S)

    def _pause(self, entry: Entry, until: float) -> None:
        entry.state = DeliveryState.WAITING
        entry.at = until
        self.waiting += 1
        self._timers.arm(entry)

    def fail(self, entry: Entry, now: float, reason: str, *, after_s: float | None = None, gone: bool = False) -> None:
        """A delivery has failed: the message waits, or is given up.

        Args:
            entry: of the message.
            now: seconds.
            reason: for people.
            after_s: the pause until the next delivery; None takes the one of the topic.
            gone: because its consumer is gone. The next delivery needs no pause.
        """
        entry.failures += 1
        entry.gone += gone
        entry.blamed = entry.blamed or (gone and entry is self._suspect)
        entry.reason = reason
        self.failed += 1
        self.take_back(entry)
        if after_s is None and not gone:
            after_s = back_off_s(self._policy.retry_base_s, self._policy.retry_max_s, entry.failures)
        if entry.counted >= self._policy.attempts_max:
            self.give_up(entry)
        elif after_s:
            self._pause(entry, now + after_s)

    def give_up(self, entry: Entry) -> None:
        """A message that is not in flight becomes a dead letter. Its key waits until that is published."""
        entry.state = DeliveryState.DEAD
        self.dead.append(entry)

    def settle(self, entry: Entry) -> None:
        """A message is done, whatever its state."""
        consumer = entry.consumer
        if consumer is not None:
            del consumer.in_flight[entry.offset]
            entry.consumer = None
        self.waiting -= entry.state is WAITING
        self._messages.remove(entry)
        self._landed(entry)
        if consumer is not None and consumer.parked:
            self.unpark(consumer)

    def _landed(self, entry: Entry) -> None:
        self._timers.disarm(entry)
        if entry is self._suspect:
            self._suspect = None
            suspects, self._suspects = self._suspects, []
            self._messages.offer_again(suspects)

    def unpark(self, consumer: GroupConsumer) -> None:
        """Messages of the keys of a consumer may be deliverable again."""
        if consumer.parked:
            parked, consumer.parked = consumer.parked, []
            self._messages.offer_again(parked)

    def next_deadline(self) -> float | None:
        """When `expire` has something to do, at the earliest."""
        return self._timers.next_deadline()

    def expire(self, now: float) -> None:
        """Ends deliveries whose time has passed, and pauses.

        An expired delivery uses the credit of its consumer until that says something. Otherwise a consumer that hangs
        would get one window of messages after the other, and each would fail.
        """
        while (entry := self._timers.pop(now)) is not None:
            consumer = entry.consumer
            if consumer is None:
                self.waiting -= 1
                entry.state = DeliveryState.READY
                self._messages.offer(entry)
                continue
            if entry.sent:
                consumer.over.append((entry.offset, entry.attempt))
                consumer.expired += 1
            self.fail(entry, now, EXPIRED)

    def check(self) -> None:
        """Asserts that states, timers and counts agree."""
        entries = list(self._messages.entries.values())
        waiting = [entry for entry in entries if entry.state is DeliveryState.WAITING]
        flying = [entry for entry in entries if entry.state is DeliveryState.IN_FLIGHT]
        assert self.waiting == len(waiting), f"{self.waiting} counted, {len(waiting)} wait"
        self._timers.check(waiting + flying)
        suspects = [entry for entry in flying if entry.gone >= SUSPECT_AT]
        assert suspects == ([] if self._suspect is None else [self._suspect]), f"{len(suspects)} suspects fly"
        for entry in entries:
            if entry.state is DeliveryState.DEAD:
                assert self.dead.count(entry) <= 1
            assert (entry.consumer is not None) == (entry.state is DeliveryState.IN_FLIGHT)
