"""Queues messages to one peer and counts each as delivered, dead letter or in doubt.

There are two stages. A message *waits* while there is no connection, or while too much is unacknowledged. It is *sent*
once and then stays in the second stage until the peer acknowledges it. When the connection breaks, messages of the
second stage are in doubt: the peer may have them or not, and they are not sent again. So nothing arrives twice. Waiting
messages were certainly not sent; they continue in order after the reconnection.

Every message ends in exactly one of three ways, and the counts add up (SPEC CL-3):

    accepted = waiting + sent + delivered + dead letters + in doubt

One queue for the whole peer keeps the order for every Pid. Why not a queue per Pid: the connection is one queue anyway,
and the bounds are those of the peer.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import Any, Generic, TypeVar

from inaho.config import DeliveryConfig
from inaho.errors import IllegalTransition, InahoError, Overloaded

__all__ = ["DelayQueue", "Parcel"]

Item = TypeVar("Item")
ParcelType = TypeVar("ParcelType", bound="Parcel[Any]")


class Parcel(Generic[Item]):
    """A message with what the queue needs to know of it.

    Attributes:
        item: the message; only the owner of the queue reads it.
        size: encoded bytes.
        at: when it began to wait, seconds; 0 while it has not.
        withdrawn: its sender gave it up; it keeps its place and is dropped at its turn.
    """

    __slots__ = ("at", "item", "size", "withdrawn")

    def __init__(self, item: Item, size: int) -> None:
        self.item = item
        self.size = size
        self.at = 0.0
        self.withdrawn = False


class DelayQueue(Generic[ParcelType]):
    """The two stages of one peer.

    Args:
        config: bounds and policy.
        authority: of the peer, for errors.

    Attributes:
        accepted, delivered, dead_lettered, in_doubt: messages so far.
        refused: messages that were not accepted.
        drained: messages that had waited and were sent.
    """

    __slots__ = (
        "_authority",
        "_config",
        "_refusal",
        "_sent",
        "_sent_bytes",
        "_sent_bytes_max",
        "_sent_max",
        "_waiting",
        "_waiting_bytes",
        "accepted",
        "dead_lettered",
        "delivered",
        "drained",
        "in_doubt",
        "refused",
    )

    def __init__(self, config: DeliveryConfig, authority: str) -> None:
        self._config = config
        self._authority = authority
        self._waiting: deque[ParcelType] = deque()
        self._sent: deque[ParcelType] = deque()
        self._waiting_bytes = 0
        self._sent_bytes = 0
        self._sent_max = config.unacknowledged_max
        self._sent_bytes_max = config.unacknowledged_bytes_max
        self._refusal: InahoError | None = None
        self.accepted = 0
        self.delivered = 0
        self.dead_lettered = 0
        self.in_doubt = 0
        self.refused = 0
        self.drained = 0

    @property
    def waiting(self) -> int:
        """Messages that wait."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Encoded bytes that wait."""
        return self._waiting_bytes

    @property
    def sent(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._sent)

    @property
    def sent_bytes(self) -> int:
        """Encoded bytes sent and not acknowledged."""
        return self._sent_bytes

    @property
    def has_room(self) -> bool:
        """Whether half of the queue is free: a sender that waits for room continues before the queue is empty."""
        config = self._config
        return len(self._waiting) * 2 <= config.queue_messages_max and self._waiting_bytes * 2 <= config.queue_bytes_max

    # Into the first stage, or past it.

    def pass_through(self, parcel: ParcelType) -> bool:
        """Accepts a message as sent, if no message waits before it and enough is acknowledged.

        Returns:
            Whether it was accepted. If so, the caller sends it now; if not, nothing has changed.
        """
        sent = self._sent
        if self._waiting or len(sent) >= self._sent_max or self._sent_bytes >= self._sent_bytes_max or self._refusal:
            return False
        self.accepted += 1
        self._sent_bytes += parcel.size
        sent.append(parcel)
        return True

    def offer(self, parcel: ParcelType, now: float) -> list[ParcelType]:
        """Accepts a message to wait.

        Args:
            parcel: the message.
            now: seconds.

        Returns:
            Messages dropped to make room, oldest first: dead letters. Withdrawn ones are not returned.

        Raises:
            Overloaded: the queue is full and its policy is `reject_new`, or the message alone exceeds the bound.
            InahoError: what `refuse` was given.
        """
        config = self._config
        if self._refusal is not None:
            self.refused += 1
            raise copy(self._refusal)  # an error that is raised keeps a traceback
        if parcel.size > config.queue_bytes_max or (config.queue_policy == "reject_new" and not self._fits(parcel)):
            self.refused += 1
            raise Overloaded(
                f"{len(self._waiting)} messages, {self._waiting_bytes} bytes wait "
                "(delivery.queue_messages_max, delivery.queue_bytes_max)",
                authority=self._authority,
            )
        dropped: list[ParcelType] = []
        while not self._fits(parcel):
            self._drop_first(dropped)
        self.accepted += 1
        parcel.at = now
        self._waiting_bytes += parcel.size
        self._waiting.append(parcel)
        return dropped

    def _fits(self, parcel: ParcelType) -> bool:
        config = self._config
        return (
            len(self._waiting) < config.queue_messages_max
            and self._waiting_bytes + parcel.size <= config.queue_bytes_max
        )

    # From the first stage to the second.

    def take(self) -> list[ParcelType]:
        """Messages to send now, in order, as many as the bound of unacknowledged ones allows. The caller sends them."""
        taken: list[ParcelType] = []
        while self._waiting and len(self._sent) < self._sent_max and self._sent_bytes < self._sent_bytes_max:
            parcel = self._leave_queue()
            if parcel.withdrawn:
                self.dead_lettered += 1
                continue
            self._sent_bytes += parcel.size
            self._sent.append(parcel)
            taken.append(parcel)
        self.drained += len(taken)
        return taken

    # Out of the second stage.

    def acknowledge(self, count: int) -> None:
        """The peer has the `count` oldest sent messages.

        Raises:
            IllegalTransition: so many were not sent. Nothing changed.
        """
        if not 0 <= count <= len(self._sent):
            raise IllegalTransition(
                f"{count} messages acknowledged, {len(self._sent)} were sent", authority=self._authority
            )
        popleft = self._sent.popleft
        acknowledged_bytes = 0
        for _ in range(count):
            acknowledged_bytes += popleft().size
        self._sent_bytes -= acknowledged_bytes
        self.delivered += count

    def connection_lost(self) -> list[ParcelType]:
        """Messages sent and not acknowledged, in order: they are in doubt and will not be sent again."""
        doubtful = list(self._sent)
        self._sent.clear()
        self._sent_bytes = 0
        self.in_doubt += len(doubtful)
        return doubtful

    # Out of the first stage, unsent.

    def expire(self, now: float) -> list[ParcelType]:
        """Messages that have waited longer than `queue_age_s`, oldest first: dead letters."""
        expired: list[ParcelType] = []
        while (due := self.next_deadline()) is not None and now >= due:
            self._drop_first(expired)
        return expired

    def refuse(self, refusal: InahoError) -> list[ParcelType]:
        """Gives up all waiting messages, and accepts none until `reopen` (SPEC CL-3.4).

        Args:
            refusal: raised when a message is offered.

        Returns:
            The messages that waited, in order: dead letters, whose senders are to be notified.
        """
        self._refusal = refusal
        given_up: list[ParcelType] = []
        while self._waiting:
            self._drop_first(given_up)
        return given_up

    def reopen(self) -> None:
        """Accepts messages again (SPEC CL-4.4)."""
        self._refusal = None

    def next_deadline(self) -> float | None:
        """When the oldest message that waits becomes a dead letter; None when none waits."""
        return self._waiting[0].at + self._config.queue_age_s if self._waiting else None

    def check(self) -> None:
        """Asserts the conservation law, the bounds and the order of arrival."""
        known = len(self._waiting) + len(self._sent) + self.delivered + self.dead_lettered + self.in_doubt
        assert self.accepted == known, f"{self.accepted} accepted, {known} accounted for"
        assert self._waiting_bytes == sum(parcel.size for parcel in self._waiting) <= self._config.queue_bytes_max
        assert self._sent_bytes == sum(parcel.size for parcel in self._sent)
        assert len(self._waiting) <= self._config.queue_messages_max
        assert len(self._sent) <= self._sent_max
        assert self._refusal is None or not self._waiting
        times = [parcel.at for parcel in self._waiting]
        assert times == sorted(times)

    def _leave_queue(self) -> ParcelType:
        parcel = self._waiting.popleft()
        self._waiting_bytes -= parcel.size
        return parcel

    def _drop_first(self, dropped: list[ParcelType]) -> None:
        """Drops the oldest message as a dead letter; withdrawn ones are counted but not reported."""
        parcel = self._leave_queue()
        self.dead_lettered += 1
        if not parcel.withdrawn:
            dropped.append(parcel)
