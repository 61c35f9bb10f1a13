"""The bounded message queue of one actor, and what happens to messages when it is full.

It is a deque with a policy for the moment at which it is full. Control messages (`PoisonPill`, `Terminated`) use the
same queue, to keep their place in the order, but take no room in it: there is at most one pill, and at most one
`Terminated` for each watch. So they are bounded anyway and are never dropped.

Why not `asyncio.Queue`: its `put` waits, which a `tell` must not. It cannot drop the oldest message, nor take back an
ask whose asker gave up.
"""

from __future__ import annotations

from collections import deque

from inaho.actor.ref import Envelope
from inaho.config import Group
from inaho.errors import IllegalTransition, InvalidConfig, MailboxFull

__all__ = ["Mailbox", "MailboxConfig"]

_WITHDRAWN_MIN = 16  # withdrawn envelopes that are kept before a sweep is worth its cost


class MailboxConfig(Group, frozen=True, kw_only=True):
    """Settings of a mailbox.

    Attributes:
        capacity: messages that may wait. More absorbs longer bursts, and costs memory and waiting time.
        policy: what a full mailbox does with one more: `reject_new` raises `MailboxFull` to the teller, `drop_oldest`
            sends the oldest to the dead letters.
        batch_max: messages handled before other Tasks run, if the actor itself never waits. More gives throughput,
            fewer give fairness.
    """

    capacity: int = 1024
    policy: str = "reject_new"
    batch_max: int = 64

    def check(self) -> None:
        if self.policy not in ("reject_new", "drop_oldest"):
            raise InvalidConfig(f"MailboxConfig.policy must be 'reject_new' or 'drop_oldest', not {self.policy!r}")


class Mailbox:
    """A queue of envelopes in order of arrival.

    Args:
        config: bound and policy.
        path: of the owner, for error texts.
    """

    __slots__ = ("_accepting", "_config", "_path", "_queue", "_waiting", "_withdrawn")

    def __init__(self, config: MailboxConfig, path: str) -> None:
        self._config = config
        self._path = path
        self._queue: deque[Envelope] = deque()
        self._waiting = 0  # user envelopes that can still be taken
        self._withdrawn = 0  # withdrawn envelopes in the queue
        self._accepting = True

    def __len__(self) -> int:
        """Messages that wait; control messages are not counted."""
        return self._waiting

    @property
    def accepting(self) -> bool:
        """False from the moment that a pill is queued or the mailbox is closed."""
        return self._accepting

    def put(self, envelope: Envelope) -> Envelope | None:
        """Queues a message.

        Returns:
            The envelope that was dropped to make room, or None.

        Raises:
            MailboxFull: the mailbox is full and its policy is `reject_new`.
            IllegalTransition: the mailbox takes no more messages.
        """
        if not self._accepting:
            raise IllegalTransition("the mailbox is closed", identity=self._path)
        dropped: Envelope | None = None
        if self._waiting >= self._config.capacity:
            if self._config.policy == "reject_new":
                raise MailboxFull(f"{self._waiting} messages wait (MailboxConfig.capacity)", identity=self._path)
            dropped = self._drop_oldest()
        self._queue.append(envelope)
        self._waiting += 1
        return dropped

    def put_control(self, envelope: Envelope, *, last: bool = False) -> None:
        """Queues a control message whatever the capacity; `last` refuses everything after it.

        Silently does nothing once the mailbox accepts no more: an actor that is ending needs neither a second pill nor
        the end of a watched actor.
        """
        if self._accepting:
            self._queue.append(envelope)
            self._accepting = not last

    def take(self) -> Envelope | None:
        """The next envelope, or None when none waits."""
        while self._queue:
            envelope = self._queue.popleft()
            if envelope.withdrawn:
                self._withdrawn -= 1
                continue
            if not envelope.control:
                self._waiting -= 1
            return envelope
        return None

    def withdraw(self, envelope: Envelope) -> None:
        """Takes back a user envelope that is in the queue; its place is free at once."""
        if envelope.control or envelope.withdrawn:
            raise IllegalTransition("the envelope cannot be withdrawn", identity=self._path)
        envelope.withdrawn = True
        self._waiting -= 1
        self._withdrawn += 1
        # Otherwise the queue of a stuck actor, whose askers give up, would grow without bound.
        if self._withdrawn > max(_WITHDRAWN_MIN, self._config.capacity // 2):
            self._queue = deque(kept for kept in self._queue if not kept.withdrawn)
            self._withdrawn = 0

    def close(self) -> list[Envelope]:
        """Accepts no more and returns the waiting user messages, in order."""
        left_over = [envelope for envelope in self._queue if not envelope.control and not envelope.withdrawn]
        self._accepting = False
        self._queue.clear()
        self._waiting = self._withdrawn = 0
        return left_over

    def check(self) -> None:
        """Asserts the invariants."""
        live = sum(not envelope.control and not envelope.withdrawn for envelope in self._queue)
        assert live == self._waiting <= self._config.capacity
        assert sum(envelope.withdrawn for envelope in self._queue) == self._withdrawn

    def _drop_oldest(self) -> Envelope:
        for index, envelope in enumerate(self._queue):
            if not envelope.control and not envelope.withdrawn:
                del self._queue[index]
                self._waiting -= 1
                return envelope
        raise IllegalTransition("nothing to drop", identity=self._path)
