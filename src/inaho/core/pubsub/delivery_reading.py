"""What a subscription reads from the log of a partition, and where a message that was read goes.

Most messages meet a consumer with credit, and nothing that waits before them. Such a message is delivered as it is
read; all others wait in `UnsettledMessages`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from inaho.core.pubsub.deliveries_in_flight import DeliveriesInFlight, DeliveryPolicy
from inaho.core.pubsub.group_consumers import GroupConsumers
from inaho.core.pubsub.stored_message import LoggedMessage
from inaho.core.pubsub.subscription_positions import SubscriptionPositions
from inaho.core.pubsub.unsettled_messages import LINE_LOADED_MAX, UnsettledMessages

__all__ = ["NO_FAILURES", "DeliveryReading", "Number"]

RANGES_MAX: Final = 4096
"""With so many ranges of settled messages nothing more is read: they are saved, and the state must stay small."""

Number = tuple[int, int]
NO_FAILURES: Final[Number] = (0, 0)


class DeliveryReading:
    """Reads for `GroupDelivery`.

    Args:
        policy: bounds.
        positions: what is settled.
        failures: failed deliveries of messages that are not read yet, and how many of them ended with a consumer.
        messages, flights, group: parts of the delivery.

    Attributes:
        next: offset of the next message to read.
    """

    __slots__ = ("_failures", "_flights", "_group", "_messages", "_policy", "_positions", "next")

    def __init__(
        self,
        policy: DeliveryPolicy,
        positions: SubscriptionPositions,
        failures: dict[int, Number],
        messages: UnsettledMessages,
        flights: DeliveriesInFlight,
        group: GroupConsumers,
    ) -> None:
        self._policy = policy
        self._failures = failures
        self._messages = messages
        self._flights = flights
        self._group = group
        self.begin(positions)

    def begin(self, positions: SubscriptionPositions) -> None:
        """Reads from the first message that is not settled."""
        self._positions = positions
        self.next = positions.acknowledged

    def skip(self) -> None:
        """Positions have moved."""
        self.next = max(self.next, self._positions.acknowledged)

    def wanted(self, end: int) -> tuple[int, int] | None:
        """See `GroupDelivery.wanted`."""
        messages = self._messages
        room = self._policy.loaded_max - messages.loaded
        if not self._group.by_name or room <= 0 or messages.loaded_bytes >= self._policy.loaded_bytes_max:
            return None
        missing = messages.next_missing()
        if missing is not None:
            return missing, min(room, LINE_LOADED_MAX)
        self.next = self._positions.first_unsettled(self.next)
        held = len(messages.entries)
        if self.next >= end or held >= self._policy.held_max or len(self._positions) >= RANGES_MAX:
            return None
        return self.next, min(room, end - self.next)

    def load(self, messages: Iterable[LoggedMessage], now: float) -> None:
        """See `GroupDelivery.load`."""
        unsettled, positions = self._messages, self._positions
        at_once = self._nothing_waits()
        for message in messages:
            offset = message.offset
            if offset == self.next:
                self.next += 1
                if offset in positions:
                    continue
                if not (at_once and self._launch(message, now)):
                    self._enter(message, now)
                    at_once = self._nothing_waits()
            elif offset < self.next:
                entry = unsettled.entries.get(offset)
                if entry is not None:
                    unsettled.fill(entry, message)

    def _nothing_waits(self) -> bool:
        """Whether a message that was just read may be delivered before anything else is looked at."""
        return not (self._failures or self._group.claims) and self._messages.next_ready() is None

    def _launch(self, message: LoggedMessage, now: float) -> bool:
        """Delivers a message that was just read. Returns False if it must wait, or no consumer can take it now."""
        key, group = message.stored.key, self._group
        consumer = None
        if key:
            may, consumer = self._messages.owner_of(key)
            if not may or (consumer is not None and not group.can_take(consumer)):
                return False
        if consumer is None:
            consumer = group.pick()
            if consumer is None:
                return False
        self._flights.launch_new(message, consumer, now)
        return True

    def _enter(self, message: LoggedMessage, now: float) -> None:
        """A message waits, unless a consumer has it from the previous keeper."""
        offset = message.offset
        entry = self._messages.enter(offset, message.stored.key, *self._failures.pop(offset, NO_FAILURES))
        claim = self._group.drop_claim(offset)
        if entry.counted >= self._policy.attempts_max:  # it was being given up when the last keeper ended
            self._flights.give_up(entry)
        elif claim is not None and claim[1] == entry.attempt and self._flights.may_go_to(entry, claim[0]):
            self._flights.launch(entry, claim[0], now, sent=True)
            return
        if claim is not None:
            claim[0].over.append((offset, claim[1]))
        self._messages.fill(entry, message)
        self._messages.offer(entry)
