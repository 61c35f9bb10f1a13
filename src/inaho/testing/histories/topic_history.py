"""The records of what happened in topics, written by publishers and subscribers: the input of `topic_checkers`.

The records extend those of `grain_history`. Each message has a text that no other message of the history has, so a
delivery names the publish that it comes from, and the checkers need no sequence numbers to find it. Sequences and
offsets that subscribers saw are written too: the checkers compare them with the order of the publishes.

Who writes the records is the user of topics: the task that publishes, the task that reads a subscription, the handler
of a grain. What nodes tell about losses comes from their events (`record_of`). Why not from the runtime itself: it
would leave out of the history what it has forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from inaho.events import Event, MessageDeadLettered, MessagesDropped, NodePaused, SelfRemoved, TailUnknown, TopicGap
from inaho.testing.histories.grain_history import Died, Paused, Record, Resumed

__all__ = [
    "DeadLettered",
    "Delivered",
    "DropTold",
    "GapTold",
    "Handled",
    "Leaving",
    "NotPublished",
    "Published",
    "Publishing",
    "Subscribed",
    "TailLost",
    "Unsubscribed",
    "Unsubscribing",
    "read_topic_journals",
    "record_of",
]


class Publishing(Record, frozen=True, tag=True, kw_only=True):
    """A call of `publish` begins. One publisher writes the publishes to one topic in their order.

    Attributes:
        publisher: node id of the process that publishes.
        message: the text of the message, unique in the history.
        key: of the message.
        client: that process is a client. At most once its messages have the number and the node id of a member.
    """

    topic: str
    publisher: str
    message: str
    key: str = ""
    client: bool = False


class Published(Record, frozen=True, tag=True, kw_only=True):
    """The call of `publish` has returned: at least once, the message is acknowledged."""

    message: str


class NotPublished(Record, frozen=True, tag=True, kw_only=True):
    """The call of `publish` has failed.

    Attributes:
        code: of the error.
        maybe: the message may be delivered all the same, as after a timeout.
    """

    message: str
    code: str
    maybe: bool = True


class Subscribed(Record, frozen=True, tag=True, kw_only=True):
    """A subscription is effective: `subscribe` has returned.

    Attributes:
        subscriber: unique in the history; a new subscription has a new one.
        node: node id of its process.
        since: when the call of `subscribe` began, seconds.
        group: at least once: the name of the subscription; empty for at most once.
        earliest: the group begins with the oldest message of the log, not with the next one.
        client: the process is a client, which is subscribed through one member after the other.
        grain: key of the grain, if the subscriber is an activation of one; such a subscription begins before it does.
        method: name of the subscription of a grain: `Kind.method`.
    """

    topic: str
    subscriber: str
    node: str
    since: float
    group: str = ""
    earliest: bool = False
    client: bool = False
    grain: str = ""
    method: str = ""


class Unsubscribing(Record, frozen=True, tag=True, kw_only=True):
    """The subscriber begins to close its subscription, or has learned that the subscription has ended."""

    subscriber: str


class Unsubscribed(Record, frozen=True, tag=True, kw_only=True):
    """The subscription is closed: nothing is delivered to the subscriber any more."""

    subscriber: str


class Leaving(Record, frozen=True, tag=True, kw_only=True):
    """A node begins to leave: its subscriptions end, and are owed nothing that is published from now on."""

    node: str


class Delivered(Record, frozen=True, tag=True, kw_only=True):
    """A message reaches a subscriber; fields that have no meaning for the topic keep their defaults.

    Attributes:
        publisher: node id, as the message has it.
        sequence: of the publisher from 1, or the offset in the partition from 0.
        missed: as the message has it.
    """

    topic: str
    subscriber: str
    message: str
    key: str = ""
    publisher: str = ""
    sequence: int
    partition: int = 0
    attempt: int = 1
    missed: int = 0


class Handled(Record, frozen=True, tag=True, kw_only=True):
    """The subscriber has handled a message, and acknowledges it after this record is written."""

    subscriber: str
    message: str


class DeadLettered(Record, frozen=True, tag=True, kw_only=True):
    """A group has given up a message after its last attempt."""

    topic: str
    group: str
    partition: int
    offset: int


class GapTold(Record, frozen=True, tag=True, kw_only=True):
    """A node told (`TopicGap`) that it missed `count` messages of a publisher, from sequence `first` on."""

    topic: str
    node: str
    publisher: str
    first: int
    count: int


class DropTold(Record, frozen=True, tag=True, kw_only=True):
    """A node told (`MessagesDropped`) that messages were dropped."""

    topic: str
    node: str
    reason: str
    count: int


class TailLost(Record, frozen=True, tag=True, kw_only=True):
    """A node told (`TailUnknown`) that it does not know what a publisher sent after sequence `last`.

    Topic and publisher are empty where it did not run for a while (`NodePaused`) or was removed (`SelfRemoved`). What a
    client tells is about all publishers, though it names its member.
    """

    topic: str
    node: str
    publisher: str
    last: int


_Line = (
    Publishing
    | Published
    | NotPublished
    | Subscribed
    | Unsubscribing
    | Unsubscribed
    | Delivered
    | Handled
    | DeadLettered
    | GapTold
    | DropTold
    | TailLost
    | Leaving
    | Died
    | Paused
    | Resumed
)
_decoder: Final[msgspec.json.Decoder[_Line]] = msgspec.json.Decoder(_Line)


def record_of(event: Event, *, node: str, at: float) -> Record | None:
    """The record of an event about topics; None for events that no checker reads.

    Args:
        event: that a node published.
        node: node id of that node.
        at: seconds of the history's clock.
    """
    if isinstance(event, TopicGap):
        return GapTold(
            at=at, topic=event.topic, node=node, publisher=event.publisher, first=event.first, count=event.count
        )
    if isinstance(event, MessagesDropped):
        return DropTold(at=at, topic=event.topic, node=node, reason=event.reason, count=event.count)
    if isinstance(event, TailUnknown):
        return TailLost(at=at, topic=event.topic, node=node, publisher=event.publisher, last=event.last)
    if isinstance(event, NodePaused | SelfRemoved):
        return TailLost(at=at, topic="", node=node, publisher="", last=0)
    if isinstance(event, MessageDeadLettered):
        return DeadLettered(
            at=at, topic=event.topic, group=event.subscription, partition=event.partition, offset=event.offset
        )
    return None


def read_topic_journals(paths: Iterable[str | os.PathLike[str]]) -> list[Record]:
    """The history that several processes wrote with `Journal`, in the order of its times.

    A last line that was cut off is left out.
    """
    records: list[Record] = []
    for path in sorted(map(str, paths)):
        lines = Path(path).read_bytes().split(b"\n")
        records.extend(_decoder.decode(line) for line in lines[:-1])
    records.sort(key=lambda record: record.at)
    return records
