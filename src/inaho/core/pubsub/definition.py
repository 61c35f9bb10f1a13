"""What a topic is: its name, the type of its messages, and the policies that all nodes follow for it.

A definition is made once and does not change: nodes may keep it as long as they like. The first definition of a name
wins; who asks for the topic with another setting gets `TopicConflict`, with both values. A setting that is left out
takes the topic as it is.

Why not settings of each publisher or subscriber: two nodes with different answers to "may this message be lost?" would
both be right, and a message would be lost.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from inaho.core.pubsub.arguments import is_number
from inaho.errors import InvalidTopic, TopicConflict

__all__ = ["AT_LEAST_ONCE", "AT_MOST_ONCE", "DEAD_LETTERS", "RESERVED", "TopicDefinition", "check_name"]

AT_MOST_ONCE: Final = "at_most_once"
AT_LEAST_ONCE: Final = "at_least_once"

DEAD_LETTERS: Final = ".dead-letters"
"""The dead-letter topic of `orders` is `orders.dead-letters`; the keeper creates it when it is first needed."""

RESERVED: Final = "inaho."
"""Names of topics of the runtime begin with this."""

NAME_CHARS_MAX: Final = 200
PARTITIONS_MAX: Final = 256

_CHOICES: Final = {
    "delivery": (AT_MOST_ONCE, AT_LEAST_ONCE),
    "when_cut_off": ("drop", "queue"),
    "backlog_policy": ("reject", "drop_oldest"),
}
_RANGES: Final = {
    "partitions": (1, PARTITIONS_MAX),
    "retention_s": (0.0, 1e9),
    "backlog_max": (1, 1 << 40),
    "backlog_bytes_max": (1, 1 << 50),
    "attempts_max": (1, 1_000_000),
    "ack_timeout_s": (0.1, 86_400.0),
    "retry_base_s": (0.001, 3600.0),
    "retry_max_s": (0.001, 86_400.0),
    "dedup_s": (0.0, 86_400.0),
}


class TopicDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """The definition of one topic.

    Attributes:
        name: 1 to 200 printable characters, no spaces; at most 187 for at least once. Names that end with
            `.dead-letters` are of topics at least once.
        message_type: name of the class of its messages; empty accepts values of any type.
        delivery: `at_most_once`: direct and fast, a message may be lost, and the loss is told; `at_least_once`: a
            message is in a log before `publish` returns.
        when_cut_off: what happens to messages for nodes that this node cannot reach: `drop` them at once, or `queue`
            them within the bounds `pubsub.cut_off_*`. At least once: `drop` fails a `publish` at once while the log
            cannot be reached, `queue` waits for it up to `pubsub.publish_timeout_s`.
        allow_no_subscribers: whether a message that nobody gets is no error. At least once it never is one.
        partitions: at least once: parts of the log. Messages of one key are in one partition, in order.
        retention_s: at least once: acknowledged messages stay so many seconds for replay, and so do all messages while
            there is no subscription. 0 removes what is acknowledged, and keeps what comes before the first
            subscription.
        backlog_max: at least once: messages that one partition keeps for subscriptions.
        backlog_bytes_max: their bytes.
        backlog_policy: at least once: what a full partition does: `reject` refuses new messages with `TopicFull`,
            `drop_oldest` drops the oldest messages of the subscription that is furthest behind, and says so.
        attempts_max: at least once: deliveries of one message to one subscription; then it is a dead letter.
        ack_timeout_s: at least once: a message that is neither acknowledged nor extended so long is delivered again.
        retry_base_s, retry_max_s: at least once: the pause before the first redelivery, doubled for each further one.
        dedup_s: at least once: a message with an id that was published within this time is not stored again.
        created_at: Unix seconds of the registry. It tells a topic from an earlier one of its name that was deleted.
    """

    name: str
    message_type: str = ""
    delivery: str = AT_MOST_ONCE
    when_cut_off: str = "drop"
    allow_no_subscribers: bool = False
    partitions: int = 8
    retention_s: float = 0.0
    backlog_max: int = 1_000_000
    backlog_bytes_max: int = 1 << 30
    backlog_policy: str = "reject"
    attempts_max: int = 8
    ack_timeout_s: float = 30.0
    retry_base_s: float = 1.0
    retry_max_s: float = 60.0
    dedup_s: float = 120.0
    created_at: float = 0.0

    @property
    def durable(self) -> bool:
        """Whether messages are stored: at least once."""
        return self.delivery == AT_LEAST_ONCE

    @property
    def dead_letters(self) -> str:
        """Name of its dead-letter topic; a dead letter of that topic stays in it."""
        return self.name if self.name.endswith(DEAD_LETTERS) else self.name + DEAD_LETTERS

    def check(self) -> None:
        """Raises `InvalidTopic` for a name or a setting out of its bounds."""
        check_name(self.name)
        for setting, allowed in _CHOICES.items():
            if getattr(self, setting) not in allowed:
                raise InvalidTopic(
                    f"{setting} of topic {self.name!r} must be one of {', '.join(allowed)}, not "
                    f"{getattr(self, setting)!r}"
                )
        for setting, (low, high) in _RANGES.items():
            value = getattr(self, setting)
            whole = isinstance(low, int)
            if not is_number(value, low, high) or (whole and not isinstance(value, int)):
                what = "a whole number" if whole else "a number"
                raise InvalidTopic(f"{setting} of topic {self.name!r} must be {what} in {low}..{high}, not {value!r}")
        if self.allow_no_subscribers not in (True, False) or is_number(self.allow_no_subscribers, 0, 1):
            raise InvalidTopic(
                f"allow_no_subscribers of topic {self.name!r} must be True or False, not {self.allow_no_subscribers!r}"
            )

    def check_new(self) -> None:
        """Raises as `check`, and `InvalidTopic` if a topic of this name could have no dead-letter topic."""
        self.check()
        if not self.durable and self.name.endswith(DEAD_LETTERS):
            raise InvalidTopic(
                f"topics whose names end with {DEAD_LETTERS!r} take dead letters, so that they are at least once, and "
                f"{self.name!r} would be {self.delivery}"
            )
        if self.durable and len(self.dead_letters) > NAME_CHARS_MAX:
            raise InvalidTopic(
                f"the name of a topic at least once has 1 to {NAME_CHARS_MAX - len(DEAD_LETTERS)} characters, not "
                f"{self.name!r}: its dead letters go to a topic with {DEAD_LETTERS!r} behind the name"
            )

    def check_same(self, asked: dict[str, Any]) -> None:
        """Raises `TopicConflict` if a setting in `asked` differs; only those given are compared."""
        for setting in sorted(asked):
            is_, wanted = getattr(self, setting), asked[setting]
            if is_ != wanted:
                raise TopicConflict(f"topic {self.name!r} has {setting} {is_!r}, not {wanted!r}")


def check_name(name: object) -> None:
    """Raises `InvalidTopic` for a name that no topic can have."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX:
        raise InvalidTopic(f"the name of a topic has 1 to {NAME_CHARS_MAX} characters, not {name!r}")
    if not name.isprintable() or " " in name:
        raise InvalidTopic(f"the name of a topic has printable characters and no spaces, not {name!r}")
