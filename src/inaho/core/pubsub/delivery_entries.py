"""What `GroupDelivery` keeps of one message that is not settled, of one key, and of one consumer."""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

from inaho.core.pubsub.stored_message import LoggedMessage

__all__ = ["GONE", "DeliveryState", "Entry", "GroupConsumer", "KeyLine", "Place"]

GONE: Final = "the consumer is gone"


class DeliveryState(enum.Enum):
    """State of one unsettled message of one subscription."""

    READY = "ready"
    """It may be delivered, as soon as earlier ones of its key are in flight."""

    IN_FLIGHT = "in flight"
    """A consumer has it, or it is in the outbox of one."""

    WAITING = "waiting"
    """It failed, and its pause has not passed."""

    DEAD = "dead"
    """It is given up, and is being published to the dead-letter topic."""

    SETTLED = "settled"
    """It is done: stale entries of heaps are recognised by it."""


class Place(enum.Enum):
    """Where a message waits that is ready and the next of its key."""

    NOWHERE = "nowhere"
    DELIVERABLE = "deliverable"
    """Its content is loaded, and it waits for a consumer with credit."""

    MISSING = "missing"
    """Its content must be read again."""

    ASIDE = "aside"
    """It waits for the consumer that has its key, or for the end of a delivery."""


class Entry:
    """One message that is not settled. Its content is kept only between the read and the delivery.

    Attributes:
        offset: in the partition.
        line: its key's; None for a message without key.
        message: its content, while it is loaded.
        state: see `DeliveryState`.
        failures: deliveries that failed.
        gone: how many of them ended with their consumer.
        blamed: that was because of this message.
        reason: of the last failure.
        consumer: who has it, if in flight.
        sent: whether it has left the outbox.
        at: its deadline in flight, or the end of its pause.
        timer: number of its valid item among the timers.
        place: where it waits, see `Place`.
    """

    __slots__ = (
        "at", "blamed", "consumer", "failures", "gone", "line", "message", "offset", "place", "reason", "sent", "state",
        "timer",
    )  # fmt: skip

    def __init__(self, offset: int, line: KeyLine | None, failures: int, gone: int) -> None:
        self.offset = offset
        self.line = line
        self.message: LoggedMessage | None = None
        self.state = DeliveryState.READY
        self.failures = failures
        self.gone = gone
        self.blamed = False
        self.reason = ""
        self.consumer: GroupConsumer | None = None
        self.sent = False
        self.at = 0.0
        self.timer = 0
        self.place = Place.NOWHERE

    @property
    def attempt(self) -> int:
        """Number of its present or next delivery."""
        return self.failures + 1

    @property
    def counted(self) -> int:
        """Failed deliveries that count for `attempts_max`: not those that ended with a consumer that others ended."""
        return self.failures if self.blamed else self.failures - self.gone

    @property
    def is_next(self) -> bool:
        """Whether it is the next of its key to be delivered."""
        line = self.line
        return line is None or (line.flying < len(line.entries) and line.entries[line.flying] is self)


class KeyLine:
    """The unsettled messages of one key, in order: first those in flight, at one consumer, then those with content.

    Attributes:
        key: not empty.
        entries: by offset.
        flying: how many of the first ones are in flight.
        loaded: how many of those behind them have their content.
        owner: the consumer that has those in flight; None if there are none.
    """

    __slots__ = ("entries", "flying", "key", "loaded", "owner")

    def __init__(self, key: str) -> None:
        self.key = key
        self.entries: deque[Entry] = deque()
        self.flying = 0
        self.loaded = 0
        self.owner: GroupConsumer | None = None

    @property
    def held(self) -> bool:
        """Whether a failed message holds the key back."""
        return self.flying < len(self.entries) and self.entries[self.flying].state is not DeliveryState.READY


class GroupConsumer:
    """One consumer of a group.

    Attributes:
        name: unique in the group.
        authority: of its node, for people.
        credit: deliveries that it may have.
        exclusive: it is the only one that gets messages, unless an earlier one is.
        in_flight: what it has, by offset, in the order of the deliveries.
        claimed: messages not read yet that it has from an earlier stream.
        expired: deliveries that expired since it was last heard of. They use its credit: who does not answer gets no
            more messages.
        outbox: what is in flight and not taken for sending yet.
        over: deliveries that it no longer has, and was not told so.
        parked: messages of its keys that wait for its credit.
    """

    __slots__ = (
        "authority", "claimed", "credit", "exclusive", "expired", "in_flight", "name", "outbox", "over", "parked",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.authority = ""
        self.credit = 0
        self.exclusive = False
        self.in_flight: dict[int, Entry] = {}
        self.claimed = 0
        self.expired = 0
        self.outbox: list[Entry] = []
        self.over: list[tuple[int, int]] = []
        self.parked: list[Entry] = []

    @property
    def credit_left(self) -> int:
        """How many more deliveries it may get; may be below 0 after its credit was lowered."""
        return self.credit - len(self.in_flight) - self.claimed - self.expired
