"""Settings of topics (`pubsub.*`). What belongs to one topic is in its definition, see `Cluster.topic`."""

from __future__ import annotations

from inaho.config.base import Group
from inaho.errors import InvalidConfig

__all__ = ["PubSubConfig"]


class PubSubConfig(Group, frozen=True, kw_only=True):
    """Topics: bounds of one node, and times.

    Attributes:
        message_bytes_max: largest encoded message; a larger one is refused at `publish`. Together with its key it must
            fit into `transport.frame_bytes_max`.
        key_bytes_max: largest key of a message, in UTF-8.
        batch_bytes_max: bytes from which a batch of messages leaves at once. More cost fewer frames, fewer arrive
            sooner under load.
        linger_s: how long a batch waits for more messages. 0 sends it at the end of the iteration of the event loop.
        window: messages that wait for one subscriber, unless the subscriber sets it. Beyond it the policy of the
            subscriber decides. Four times as many may wait for one that had taken all and has not run since.
        flight_bytes_max: bytes of messages that are on the way to one node and that it has not handled yet. Calls and
            probes to that node wait behind them, so less is used while the node takes long.
        room_wait_s: how long `publish` waits for a node that handles nothing of what is on the way to it. After it,
            messages for that node are dropped until it has handled that, and other nodes are not delayed by it.
        tail_s: an idle publisher sends its last sequence number this often, until every subscribed node has it.
        subscribe_timeout_s: how long `subscribe` waits until all members know of the subscription.
        cut_off_messages_max: messages that one node keeps for one node that is cut off, with `when_cut_off="queue"`.
        cut_off_bytes_max: bytes of those messages.
        cut_off_age_s: a message that waits longer for a node that is cut off is dropped.
        shards: grains that keep the definitions of topics. All members must agree.
        topics_max: topics of one cluster.
        publishers_max: publishers of one topic whose sequences a node remembers; beyond it the oldest is forgotten.
        publish_timeout_s: how long a `publish` at least once may take until the message is in the log.
        log_batch_messages_max: messages in one append to a log.
        log_batch_bytes_max: bytes of one append to a log.
        log_queue_bytes_max: bytes that wait at the keeper of one partition; beyond it publishers wait.
        positions_save_s: positions of subscriptions are saved this long after a change, together with others. A crash
            before that repeats deliveries.
        deliver_messages_max: messages that one keeper reads ahead for one subscription.
        subscriptions_max: named subscriptions of one topic.
        send_partitions: parts of the log of durable sends, each with a keeper of its own. All members must agree, and
            it cannot be changed once there are durable sends.
        sends_max: durable sends that one partition keeps, dead letters included; beyond it new ones are refused. The
            keeper has them in its memory.
        sends_bytes_max: bytes of their arguments.
        send_attempts_max: calls of one durable send that may fail; then it is a dead letter.
        send_retry_base_s: the pause before the second attempt at its longest, doubled for each further one.
        send_retry_max_s: the longest pause between two attempts.
        send_dedup_s: the `id` of a durable send is remembered so long after its end.
        labels_max: topics that have metrics of their own; the others are counted together.
    """

    message_bytes_max: int = 256 << 10
    key_bytes_max: int = 1024
    batch_bytes_max: int = 32 << 10
    linger_s: float = 0.0
    window: int = 4096
    flight_bytes_max: int = 512 << 10
    room_wait_s: float = 0.2
    tail_s: float = 1.0
    subscribe_timeout_s: float = 5.0
    cut_off_messages_max: int = 100_000
    cut_off_bytes_max: int = 32 << 20
    cut_off_age_s: float = 300.0
    shards: int = 32
    topics_max: int = 1_000_000
    publishers_max: int = 4096
    publish_timeout_s: float = 10.0
    log_batch_messages_max: int = 1024
    log_batch_bytes_max: int = 1 << 20
    log_queue_bytes_max: int = 16 << 20
    positions_save_s: float = 0.1
    deliver_messages_max: int = 1024
    subscriptions_max: int = 1000
    send_partitions: int = 16
    sends_max: int = 100_000
    sends_bytes_max: int = 256 << 20
    send_attempts_max: int = 8
    send_retry_base_s: float = 1.0
    send_retry_max_s: float = 60.0
    send_dedup_s: float = 3600.0
    labels_max: int = 100

    @classmethod
    def may_be_zero(cls) -> frozenset[str]:
        return frozenset({"linger_s", "send_dedup_s"})

    def check(self) -> None:
        if self.send_retry_max_s < self.send_retry_base_s:
            raise InvalidConfig(
                f"PubSubConfig.send_retry_max_s ({self.send_retry_max_s}) must be at least send_retry_base_s "
                f"({self.send_retry_base_s})"
            )
