"""What publishers and consumers exchange with the keeper of a partition, and the methods of that keeper.

Every message carries what it is about: a batch has the number of its publisher, and a settlement has offset and
attempt of each delivery. So a call whose outcome is unknown can be repeated, also at the next keeper: a batch is stored
once, and an acknowledgement of an acknowledged message succeeds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

from inaho.errors import InvalidPid
from inaho.types import Struct

__all__ = [
    "EARLIEST",
    "KEEPER",
    "LATEST",
    "AppendBatch",
    "Appended",
    "ConsumeRequest",
    "ConsumerDescription",
    "Deliveries",
    "Delivery",
    "DeliveryNumber",
    "Extension",
    "NewMessage",
    "PartitionDescription",
    "PartitionKeeper",
    "ReplayRequest",
    "Retry",
    "Settlement",
    "StartAt",
    "SubscriptionDescription",
    "keeper_key",
    "log_name",
    "partition_of",
]

KEEPER: Final = "inaho.topic-log"
"""Kind of the keepers."""

EARLIEST: Final = "earliest"
LATEST: Final = "latest"

DeliveryNumber = tuple[int, int]
"""Offset and attempt: names one delivery of one subscription."""


def keeper_key(topic: str, partition: int) -> str:
    """Key of the keeper of that partition."""
    return f"{partition}/{topic}"


def partition_of(key: str) -> tuple[str, int]:
    """Topic and partition of the keeper with that key. Raises `InvalidPid` if no keeper has it."""
    number, separator, topic = key.partition("/")
    if not separator or not topic or not (number.isascii() and number.isdecimal()) or str(int(number)) != number:
        raise InvalidPid(f"the key of a keeper of topics is 'partition/topic', not {key!r}")
    return topic, int(number)


def log_name(topic: str, partition: int) -> str:
    """Name of its log in `Storage.log`."""
    return f"{topic}/{partition}"


# Publishing.


class NewMessage(Struct, frozen=True, array_like=True, gc=False):
    """One message to store.

    Attributes:
        key: empty for none.
        published_at: Unix seconds at the publisher.
        value: encoded as the topic's type.
        id: for deduplication within `dedup_s`; empty for none.
    """

    key: str
    published_at: float
    value: bytes
    id: str = ""


class AppendBatch(Struct, frozen=True, array_like=True):
    """What one node publishes to one partition at once.

    A publisher sends one batch to a partition at a time, and repeats it with its number until it is answered or given
    up. Numbers only grow. A batch with a number that is not above the last one stored is not stored.

    Attributes:
        publisher: node id of the process.
        number: from 1, counted by publisher and partition.
        messages: at least one, at most `pubsub.log_batch_messages_max`; together at most `pubsub.log_batch_bytes_max`.
    """

    publisher: str
    number: int
    messages: list[NewMessage]


class Appended(Struct, frozen=True, array_like=True):
    """The answer: the batch is in the log.

    Attributes:
        first: offset of its first message that was stored; -1 if none was.
        stored: messages stored. Fewer than were sent if ids were known; 0 if the batch was a repetition.
    """

    first: int
    stored: int


# Consuming.


class StartAt(Struct, frozen=True):
    """Where a new subscription, a seek or a replay begins.

    Attributes:
        at: `latest`: after the last message; `earliest`: at the first that is left; `offset`; or `time`: at the first
            message published at that time or later.
        offset: for `offset`. One that is trimmed means the first that is left.
        time: for `time`, Unix seconds.
    """

    at: str = LATEST
    offset: int = 0
    time: float = 0.0


class ConsumeRequest(Struct, frozen=True):
    """A consumer joins the group of a subscription; the subscription is made if there is none.

    Attributes:
        subscription: its name.
        consumer: unique for each consumer and partition, and the same after a reconnection, which replaces the old
            stream. Begins with the node id of its process.
        authority: of its node; empty for a client. For people.
        credit: deliveries that may be unsettled at this consumer, at least 1.
        start: for a new subscription.
        held: deliveries that it got from an earlier stream and has not settled. It keeps those that nobody else has
            got meanwhile; the first item of the stream names the others as `over`.
        exclusive: of the consumers of the subscription, only one gets messages, as long as it stays.
    """

    subscription: str
    consumer: str
    authority: str = ""
    credit: int = 256
    start: StartAt = StartAt()
    held: list[DeliveryNumber] = []  # noqa: RUF012  Structs copy mutable defaults
    exclusive: bool = False


class Delivery(Struct, frozen=True, array_like=True, gc=False):
    """One message of the log, as it goes to a consumer or a replay.

    Attributes:
        offset: in the partition.
        attempt: 1 for the first delivery to this subscription; always 1 in a replay.
        key: empty for none.
        published_at: Unix seconds at the publisher.
        publisher: node id of the publisher's process.
        value: encoded as the topic's type.
    """

    offset: int
    attempt: int
    key: str
    published_at: float
    publisher: str
    value: bytes


class Deliveries(Struct, frozen=True, array_like=True):
    """One item of a consumer's stream. The first one confirms that the subscription is saved; it may be empty.

    Attributes:
        messages: deliveries, by offset for each key.
        over: deliveries that this consumer no longer has: the time to acknowledge has passed. Those it has not begun
            to handle it should not begin.
        settled: number of the newest settlement that came from the consumer during the stream; 0 for none. Messages
            that were given back later than that were given back unknown to the keeper.
    """

    messages: list[Delivery]
    over: list[DeliveryNumber] = []  # noqa: RUF012  Structs copy mutable defaults
    settled: int = 0


class Retry(Struct, frozen=True, array_like=True):
    """A consumer gives a delivery back; `after_s` None takes the pause of the topic, which grows."""

    offset: int
    attempt: int
    after_s: float | None = None
    reason: str = ""


class Extension(Struct, frozen=True, array_like=True):
    """A consumer prolongs the time to acknowledge to `seconds` from now."""

    offset: int
    attempt: int
    seconds: float


class Settlement(Struct, frozen=True):
    """What a consumer says about its deliveries, for one partition and one turn of its loop.

    Attributes:
        subscription, consumer: as in its `ConsumeRequest`.
        acked: handled.
        retried: failed. The consumer releases what it has of the same key with it.
        extended: the time to acknowledge is prolonged.
        released: given back unhandled, because the consumer ends, waits too long for its handler, or has given back an
            earlier one of the key. They do not count as attempts: the next delivery has the same number.
        leaving: the consumer ends: it gets no further delivery, and its stream is closed next. What it has beside
            `acked` and `retried` counts as released.
        number: counts the settlements of the consumer, from 1.
    """

    subscription: str
    consumer: str
    acked: list[DeliveryNumber] = []  # noqa: RUF012  Structs copy mutable defaults
    retried: list[Retry] = []  # noqa: RUF012
    extended: list[Extension] = []  # noqa: RUF012
    released: list[DeliveryNumber] = []  # noqa: RUF012
    leaving: bool = False
    number: int = 0


class ReplayRequest(Struct, frozen=True):
    """Messages from `start` on, without a subscription; `follow` goes on with new ones at the end of the log."""

    start: StartAt = StartAt(EARLIEST)
    follow: bool = False


# For people.


class ConsumerDescription(Struct, frozen=True):
    """One consumer of a subscription of one partition."""

    consumer: str
    authority: str
    credit: int
    in_flight: int


class SubscriptionDescription(Struct, frozen=True):
    """One subscription of one partition.

    Attributes:
        name: of the subscription.
        acknowledged: offset before which all messages are settled.
        lag: messages that are not settled.
        oldest_at: Unix seconds at which the oldest of them was published; 0 if there is none or it was not read yet.
        in_flight: deliveries that are not settled.
        held_keys: keys whose messages wait because an earlier one of the key failed.
        waiting_s: seconds until the next redelivery; 0 if none waits.
        attempts_most: most attempts of a message that is not settled.
        redelivered: deliveries after the first one, since the keeper began.
        dead_letters: messages given up, since the keeper began.
        consumers: by name; the first ones, if they are so many that they do not fit into a frame.
    """

    name: str
    acknowledged: int
    lag: int
    oldest_at: float
    in_flight: int
    held_keys: int
    waiting_s: float
    attempts_most: int
    redelivered: int
    dead_letters: int
    consumers: list[ConsumerDescription]


class PartitionDescription(Struct, frozen=True):
    """One partition, as its keeper sees it.

    Attributes:
        topic, partition: which one.
        authority: of the keeper's node.
        first, end, size_bytes: of the log, see `LogBounds`.
        appended: messages since the keeper began.
        repeated: messages not stored because their batch or id was known, since the keeper began.
        dropped: messages dropped by the policy `drop_oldest`, since the keeper began.
        subscriptions: by name.
        more: there are further subscriptions; never of what `Topic.partition` returns.
    """

    topic: str
    partition: int
    authority: str
    first: int
    end: int
    size_bytes: int
    appended: int
    repeated: int
    dropped: int
    subscriptions: list[SubscriptionDescription]
    more: bool = False


class PartitionKeeper(Protocol):
    """The methods of `TopicLogKeeper`, as a reference to one has them.

    All raise `NoSuchTopic` for a topic that is not, or no longer, defined; `InvalidConfig` if the storage of the
    keeper's node has no log or is its own; and what any call raises.
    """

    async def append(self, batch: AppendBatch) -> Appended:
        """Stores a batch; it is in the log when this returns. Idempotent by its number.

        Raises:
            TopicFull: the backlog is full, and the topic's policy refuses. Nothing was stored.
            StorageFailed: `maybe_executed` tells whether it may have been stored; repeat it with its number.
        """
        ...

    def consume(self, request: ConsumeRequest) -> AsyncIterator[Deliveries]:
        """The deliveries to one consumer, until it closes the stream or the keeper ends; then open it again.

        Raises:
            SubscriptionLost: the subscription or the topic was deleted, or the stream was replaced by another one.
            Overloaded: `pubsub.subscriptions_max`.
            InvalidArguments: name, credit or start out of range.
        """
        ...

    async def settle(self, settlement: Settlement) -> list[DeliveryNumber]:
        """Acknowledges, gives back and extends deliveries. Idempotent.

        Returns:
            Those that the consumer no longer had: they are delivered again, or were.
        """
        ...

    def replay(self, request: ReplayRequest) -> AsyncIterator[list[Delivery]]:
        """Messages without a subscription."""
        ...

    async def describe(self, after: str) -> PartitionDescription:
        """The partition now, with the next subscriptions after that name, as many as fit into a frame."""
        ...

    async def delete_subscription(self, name: str) -> bool:
        """Forgets a subscription, durably, and ends its streams. Returns whether there was one."""
        ...

    async def seek(self, name: str, start: StartAt) -> int:
        """Moves a subscription, durably; deliveries so far are void.

        Returns:
            The offset from which it continues.

        Raises:
            NoSuchSubscription: there is none.
        """
        ...

    async def remove(self, created_at: float) -> None:
        """The topic is deleted: ends all streams, and removes the log and the subscriptions.

        Args:
            created_at: of the deleted topic. A later topic of that name stays.
        """
        ...
