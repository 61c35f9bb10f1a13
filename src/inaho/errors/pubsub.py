"""Errors of topics, and of sends that are stored (SPEC CL-9)."""

from __future__ import annotations

from inaho.errors.base import InahoError

__all__ = [
    "InvalidTopic",
    "LogConflict",
    "LogTrimmed",
    "MessageTooLarge",
    "NoSubscribers",
    "NoSuchSubscription",
    "NoSuchTopic",
    "SubscriptionLost",
    "TopicConflict",
    "TopicFull",
    "WrongMessageType",
]


class InvalidTopic(InahoError, ValueError):
    """A name or a setting of a topic or of a subscription is out of range; `reason` names it and its bounds."""

    code = "invalid_topic"


class NoSuchTopic(InahoError):
    """No topic has that name: nobody has created it, or it was deleted. Nothing was published."""

    code = "no_such_topic"
    advice = "create it with cluster.topic(name, type, delivery=…)"


class TopicConflict(InahoError):
    """The topic exists with another setting, or for another type of message. It stays as it is.

    `reason` has both values.
    """

    code = "topic_conflict"
    advice = "leave the setting out to take the topic as it is, or delete the topic and create it again"


class NoSubscribers(InahoError):
    """A message was published to a topic without subscribers, and the topic does not allow it. Nothing was sent."""

    code = "no_subscribers"
    advice = "subscribe first, or create the topic with allow_no_subscribers=True"


class WrongMessageType(InahoError, TypeError):
    """The value is not of the type of the topic, or has no encoding. Nothing was published."""

    code = "wrong_message_type"
    advice = "publish a value of the topic's type"


class MessageTooLarge(InahoError):
    """The encoded message exceeds `pubsub.message_bytes_max`. Nothing was published."""

    code = "message_too_large"
    advice = "publish a reference to the data, or raise pubsub.message_bytes_max on every node"


class TopicFull(InahoError):
    """The backlog of a topic has reached its quota, and its policy refuses new messages. Nothing was published."""

    code = "topic_full"
    advice = "let its subscriptions catch up, delete a subscription that nobody reads, or raise the quota"


class NoSuchSubscription(InahoError):
    """The topic has no subscription of that name."""

    code = "no_such_subscription"
    advice = "list the subscriptions with `inaho topics lag`"


class SubscriptionLost(InahoError):
    """A subscription has ended: it was too slow (`slow="disconnect"`), its topic was deleted, or its node has left.

    Messages that were not acknowledged are delivered again to the next subscriber of that name.
    """

    code = "subscription_lost"
    advice = "subscribe again"


class LogConflict(InahoError):
    """A write to a log was refused: another keeper has a newer epoch, or the log does not end where the writer thinks.

    Attributes:
        end: offset after the last record of the log; None when it is unknown.
        epoch: newest epoch that has opened the log; None when it is unknown.
    """

    code = "log_conflict"
    advice = "open the log again with a newer epoch"
    end: int | None = None
    epoch: int | None = None

    def __init__(
        self,
        reason: str = "",
        *,
        identity: str = "",
        authority: str = "",
        maybe_executed: bool | None = None,
        end: int | None = None,
        epoch: int | None = None,
    ) -> None:
        super().__init__(reason, identity=identity, authority=authority, maybe_executed=maybe_executed)
        self.end = end
        self.epoch = epoch


class LogTrimmed(InahoError):
    """The records that were asked for are no longer in the log."""

    code = "log_trimmed"
    advice = "read from the first record that is left"
