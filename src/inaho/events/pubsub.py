"""Events of topics and their subscriptions (SPEC CL-9, CL-10.1)."""

from __future__ import annotations

from inaho.events.base import Event, IdentityEvent

__all__ = [
    "BacklogFull",
    "CutOffQueueDelivered",
    "DurableSendFailed",
    "MessageDeadLettered",
    "MessageRedelivered",
    "MessagesDropped",
    "SubscriberFailed",
    "SubscriptionEnded",
    "SubscriptionStarted",
    "TailUnknown",
    "TopicCreated",
    "TopicDeleted",
    "TopicEvent",
    "TopicGap",
]


class TopicEvent(Event, frozen=True, kw_only=True):
    """Base of events about one topic."""

    topic: str


class TopicCreated(TopicEvent, frozen=True, kw_only=True):
    """This node has learned that a topic was created; `delivery` is `at_most_once` or `at_least_once`."""

    delivery: str


class TopicDeleted(TopicEvent, frozen=True, kw_only=True):
    """This node has learned that a topic was deleted."""


class SubscriptionStarted(TopicEvent, frozen=True, kw_only=True):
    """A subscription of this node is effective.

    `subscription` is its name, empty for one without a name; `kind` is `process`, `actor`, `grain` or `client`.
    """

    subscription: str
    kind: str


class SubscriptionEnded(TopicEvent, frozen=True, kw_only=True):
    """A subscription of this node has ended.

    `reason` says why: `closed`, `slow`, `terminated`, `deleted`, `stopped`.
    """

    subscription: str
    kind: str
    reason: str


class TopicGap(TopicEvent, frozen=True, kw_only=True):
    """This node has missed messages of one publisher of a topic at most once.

    Attributes:
        publisher: node id of the publisher's process.
        authority: of the publisher; empty for a client.
        first: sequence number of the first message that is missing.
        count: messages that are missing.
    """

    publisher: str
    authority: str
    first: int
    count: int


class TailUnknown(TopicEvent, frozen=True, kw_only=True):
    """A publisher of a topic has ended or is lost: its last messages may be missing, and nobody can tell.

    The same is told of a publisher that could not be reached when the subscription began, and publishes to this node
    now: messages before its first one may be missing.

    Attributes:
        publisher: node id of the publisher's process.
        authority: of the publisher; empty for a client.
        last: sequence number of the last message that has arrived; 0 for none.
    """

    publisher: str
    authority: str
    last: int


class MessagesDropped(TopicEvent, frozen=True, kw_only=True):
    """Messages at most once were dropped, or messages at least once that exceeded a bound.

    Attributes:
        count: messages since the last event for this topic and reason.
        reason: `slow_subscriber`, `slow_node`, `cut_off`, `cut_off_queue_full`, `cut_off_too_long`, `handler_failed`,
            `out_of_order` (a grain or client has got a later message of that publisher), `undecodable`, `backlog`.
        authority: the node that did not get them; this node's own for its subscribers.
        subscription: name of the subscription, where one is concerned.
    """

    count: int
    reason: str
    authority: str = ""
    subscription: str = ""


class CutOffQueueDelivered(TopicEvent, frozen=True, kw_only=True):
    """A node that was cut off is back, and has been sent what was kept for it."""

    authority: str
    count: int


class SubscriberFailed(TopicEvent, frozen=True, kw_only=True):
    """A subscriber raised or was interrupted while it handled a message; `reason` has the exception."""

    subscription: str
    key: str
    reason: str


class MessageRedelivered(TopicEvent, frozen=True, kw_only=True):
    """A message at least once is delivered again; `attempt` counts from 1, and `reason` says why."""

    subscription: str
    partition: int
    offset: int
    key: str
    attempt: int
    reason: str


class MessageDeadLettered(TopicEvent, frozen=True, kw_only=True):
    """A subscription has given up a message after `attempts`: it is in the topic `dead_letters`.

    Later messages of its key are delivered now: the order of that key is given up.
    """

    subscription: str
    partition: int
    offset: int
    key: str
    attempts: int
    dead_letters: str
    reason: str


class BacklogFull(TopicEvent, frozen=True, kw_only=True):
    """The backlog of one partition has reached its quota; `policy` says what happens to messages.

    `subscription` is the one that is furthest behind; empty when there is none.
    """

    partition: int
    messages: int
    size_bytes: int
    policy: str
    subscription: str


class DurableSendFailed(IdentityEvent, frozen=True, kw_only=True):
    """A call that was sent with `durable=True` failed.

    Attributes:
        method: name of the method.
        id: of the send.
        attempt: calls that have failed, from 1; a call that certainly did not run does not count.
        reason: why it failed.
        given_up: it is a dead letter now; otherwise it is tried again.
    """

    method: str
    id: str
    attempt: int
    reason: str
    given_up: bool = False
