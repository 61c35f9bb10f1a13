"""Messages to the actors of one other process: its queue, its connection, and the asks that wait.

A message goes directly to the connection if no earlier one waits; this is the hot path and costs one append to the
queue of unacknowledged messages. Otherwise it waits in the `DelayQueue`, which has the bounds and the counts. A channel
belongs to one process and ends with it, so that none of its messages reaches the next process at the same authority.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from inaho.actor.ref import Envelope, OpenAsk, StopReason
from inaho.core.delivery.delay_queue import DelayQueue
from inaho.errors import IllegalTransition, InahoError, Overloaded, ProtocolViolation, Unreachable
from inaho.events import MessageInDoubt, MessageRefused, QueueDrained
from inaho.runtime.messages.outbound import Mail, RemoteAsk, as_failure
from inaho.runtime.messages.watches import RemoteWatches, WatchedActor
from inaho.wire.codec import DECODE_ERRORS, decoder
from inaho.wire.exceptions import decode_failure
from inaho.wire.frames import (
    ACKNOWLEDGE,
    ANSWER,
    FAILED,
    HEADER,
    HEADER_REST,
    TERMINATED,
    WITHDRAW,
)
from inaho.wire.letters import decode_value

if TYPE_CHECKING:
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.messages.accounts import MessageAccounts

__all__ = ["Channel"]

_U32: Final = 0xFFFFFFFF
_decode_answer: Final = decoder(tuple[str, Raw])
_decode_end: Final = decoder(tuple[StopReason, bool])


class Channel:
    """Sends messages to one process.

    Args:
        local: this node.
        accounts: of its messages.
        authority, node_id: the process.
        dial: dials the process in the background, if it may be dialled now.
        progressed: called when no message is left that the peer may still get and acknowledge.

    Attributes:
        queue: messages that wait or are unacknowledged.
        gone: why this channel has ended; empty before.
        was_member: whether the process has ever been a member.
    """

    def __init__(
        self,
        local: LocalNode,
        accounts: MessageAccounts,
        authority: str,
        node_id: str,
        *,
        dial: Callable[[str], None],
        progressed: Callable[[], None],
    ) -> None:
        self.authority = authority
        self.node_id = node_id
        self.queue: DelayQueue[Mail] = DelayQueue(local.config.delivery, authority)
        self.gone = ""
        self.was_member = False
        self._local = local
        self._accounts = accounts
        self._dial_now = dial
        self._progressed = progressed
        self._line: Outgoing | None = None
        self._connection: Outgoing | None = None
        """The line is the connection, or None while the member is unreachable and nothing may be sent."""
        self._held = ""
        self._acknowledged = 0
        self._draining: int | None = None
        self._asks: dict[int, RemoteAsk] = {}
        self._watches = RemoteWatches(authority, local.config.delivery.watches_max)
        self._numbers = 0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def may_finish(self) -> bool:
        """Whether a message is left that the peer may still get and acknowledge."""
        return not self._held and bool(self.queue.waiting or self.queue.sent)

    # Sending.

    def post(self, mail: Mail) -> None:
        """Sends a message, now or later.

        Raises:
            Quarantined: nothing is sent to that node.
            Overloaded: too many messages wait, and `delivery.queue_policy` is `reject_new`.
        """
        line = self._line
        if line is not None and self.queue.pass_through(mail):
            body = mail.body
            correlation = 0
            if mail.ask is not None:
                correlation = self._written(mail.ask)
            line.send(HEADER.pack(HEADER_REST + len(body), mail.kind, 0, 0, correlation), body)
            mail.body = b""
            return
        self._delay(mail)

    def ask(self, mail: Mail, pending: OpenAsk, envelope: Envelope) -> None:
        """Sends an ask. Raises as `post`, and `Unreachable` while the member is unreachable (SPEC CL-2.2)."""
        if self._held or self.gone:
            raise Unreachable(self._held or self.gone, identity=mail.recipient, authority=self.authority)
        if len(self._asks) >= self._local.config.rpc.pending_max:
            raise Overloaded(f"{len(self._asks)} asks wait (rpc.pending_max)", authority=self.authority)
        ask = mail.ask = RemoteAsk(self, self._next_number(), mail, pending, envelope)
        pending.held_by(ask, envelope)
        self.post(mail)

    def ask_over(self, ask: RemoteAsk) -> None:
        """The caller does not wait any more: withdraws the ask at the peer, if it was sent."""
        if self._asks.pop(ask.correlation, None) is not None and self._line is not None:
            self._line.send(HEADER.pack(HEADER_REST, WITHDRAW, 0, 0, ask.correlation), b"")

    def _next_number(self) -> int:
        number = self._numbers = (self._numbers + 1) & _U32
        while number in self._asks:
            number = self._numbers = (self._numbers + 1) & _U32
        return number

    def _written(self, ask: RemoteAsk) -> int:
        self._asks[ask.correlation] = ask
        ask.pending.begin(ask.envelope)
        return ask.correlation

    def _delay(self, mail: Mail) -> None:
        if self.gone:
            self.dead_letter(mail, "unreachable")
            return
        try:
            dropped = self.queue.offer(mail, self._local.loop.time())
        except InahoError as error:
            self._refused(mail, error)
            raise
        for lost in dropped:
            self._give_up(lost, "delay_queue_full", Overloaded("dropped for a newer message", authority=self.authority))
        if self._line is None:
            self._dial()

    def _dial(self) -> None:
        if not self._held and not self.gone:
            self._dial_now(self.authority)

    def _drain(self) -> None:
        line = self._line
        while line is not None and (taken := self.queue.take()):
            for mail in taken:
                ask = mail.ask
                correlation = 0 if ask is None else self._written(ask)
                line.send(HEADER.pack(HEADER_REST + len(mail.body), mail.kind, 0, 0, correlation), mail.body)
                mail.body = b""
            if self._draining is not None:
                self._draining += len(taken)
        if not self.queue.waiting:
            self._drained()
        self._wake()

    def _drained(self) -> None:
        """Publishes, once per connection, how many messages had waited for it (SPEC CL-3.5)."""
        count, self._draining = self._draining, None
        if count:
            self._local.publish(QueueDrained(authority=self.authority, node_id=self.node_id, count=count))

    async def room(self) -> None:
        """Returns when the queue is less than half full, also if it was emptied because nothing can be sent."""
        while not self.queue.has_room:
            waiter = self._local.loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:  # it was cancelled
                    self._waiters.remove(waiter)

    def _wake(self) -> None:
        if self._waiters and self.queue.has_room:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # Watching.

    def watch(self, target: WatchedActor) -> int:
        """Begins to watch an actor. Raises `Overloaded` beyond `delivery.watches_max`."""
        number = self._watches.add(target, self._line)
        if self._line is None:
            self._dial()
        return number

    def unwatch(self, number: int) -> None:
        """Ends a watch."""
        self._watches.remove(number, self._line)

    # Receiving.

    def on_frame(self, kind: int, flags: int, correlation: int, body: memoryview) -> None:
        """Handles a frame of the connection. Raises `ProtocolViolation`."""
        if kind == ACKNOWLEDGE:
            count = (correlation - self._acknowledged) & _U32
            try:
                self.queue.acknowledge(count)
            except IllegalTransition as error:
                raise ProtocolViolation(f"an acknowledgement of messages that were not sent: {error.reason}") from error
            self._acknowledged = correlation
            if self.queue.waiting:
                self._drain()
            elif not self.queue.sent:
                self._progressed()
        elif kind == ANSWER:
            ask = self._asks.pop(correlation, None)
            if ask is not None:
                self._answer(ask, flags, body)
        elif kind == TERMINATED:
            try:
                reason, exists = _decode_end(body)
            except DECODE_ERRORS as error:
                raise ProtocolViolation(f"a report of the end of an actor that does not decode: {error}") from error
            self._watches.ended(correlation, reason, exists=exists)
        else:
            raise ProtocolViolation(f"frame type {kind} from the side that receives messages")

    def _answer(self, ask: RemoteAsk, flags: int, body: memoryview) -> None:
        pending = ask.pending
        try:
            if flags & FAILED:
                pending.fail(as_failure(decode_failure(body), ask.mail.recipient))
                return
            name, value = _decode_answer(body)
        except DECODE_ERRORS as error:
            raise ProtocolViolation(f"an answer that does not decode: {error}") from error
        try:
            message = decode_value(name, value, self._local.config.transport.containers_max)
            pending.accept(Envelope(message, None))
        except InahoError as error:
            self._accounts.unserializable(ask.mail.recipient, name, "in", error)
            error.maybe_executed = True
            pending.fail(error)

    # Changes of the connection and the peer.

    def connected(self, connection: Outgoing) -> None:
        """A connection to the process is open: sends watches and waiting messages on it."""
        self._connection = connection
        connection.attach(self)
        self._acknowledged = 0
        self._watches.connection_lost()
        if not self._held:
            self._open(connection)

    def _open(self, connection: Outgoing) -> None:
        self._line = connection
        self._watches.send(connection)
        self._draining = 0
        self._drain()

    def disconnected(self, connection: Outgoing) -> None:
        """The connection accepts no more frames: unacknowledged messages are in doubt, and sent asks fail."""
        if self._connection is not connection:
            return
        self._connection = self._line = None
        connection.attach(None)
        self._progressed()
        self._drained()
        for mail in self.queue.connection_lost():
            self._local.publish(
                MessageInDoubt(
                    recipient=mail.recipient, sender=mail.sender, authority=self.authority, message=mail.item
                )
            )
        asks, self._asks = self._asks, {}
        for ask in asks.values():
            ask.pending.fail(
                Unreachable(
                    "the connection ended before the answer came",
                    identity=ask.mail.recipient,
                    authority=self.authority,
                    maybe_executed=True,
                )
            )

    def hold(self, reason: str) -> None:
        """Stops sending while the member is unreachable (SPEC CL-2.2); continues with an empty reason."""
        self._progressed()
        if reason and not self._held:
            self._line = None
        self._held, was_held = reason, self._held
        if was_held and not reason and self._connection is not None:
            self._open(self._connection)

    def refuse(self, error: InahoError) -> None:
        """Gives up waiting messages and refuses new ones with `error`, until `reopen` (SPEC CL-3.4)."""
        for mail in self.queue.refuse(error):
            self._give_up(mail, error.code, error)
        self._progressed()
        self._wake()

    def reopen(self) -> None:
        """Accepts messages again."""
        self.queue.reopen()

    def end(self, reason: str) -> None:
        """The process has ended: gives up waiting messages, and reports watched actors as terminated."""
        if self.gone:
            return
        self.gone = reason
        if self._connection is not None:
            self.disconnected(self._connection)
        self.refuse(Unreachable(reason, authority=self.authority))
        self._watches.all_ended(StopReason.NODE_REMOVED)

    def tick(self, now: float) -> None:
        """Gives up messages that have waited too long, and dials if messages or watches wait for a connection."""
        for mail in self.queue.expire(now):
            reason = "the message waited too long for a connection (delivery.queue_age_s)"
            error = Unreachable(reason, authority=self.authority)
            self._give_up(mail, "delayed_too_long", error)
            self._progressed()
        self._wake()
        if self._connection is None and (self.queue.waiting or len(self._watches)):
            self._dial()

    # Messages that are not sent.

    def dead_letter(self, mail: Mail, reason: str) -> None:
        """Records a message as a dead letter."""
        self._accounts.dead_letter(mail.item, mail.recipient, mail.sender, reason)

    def _give_up(self, mail: Mail, reason: str, error: InahoError) -> None:
        self.dead_letter(mail, reason)
        self._refused(mail, error)
        if mail.ask is not None:
            pending = mail.ask.pending
            pending.unqueue(mail.ask.envelope)
            pending.fail(type(error)(error.reason, identity=mail.recipient, authority=self.authority))

    def _refused(self, mail: Mail, error: InahoError) -> None:
        if self._local.events_wanted(MessageRefused):
            self._local.publish(
                MessageRefused(
                    recipient=mail.recipient,
                    sender=mail.sender,
                    authority=self.authority,
                    code=error.code,
                    reason=error.reason,
                )
            )

    def check(self) -> None:
        """Asserts the invariants."""
        self.queue.check()
        self._watches.check()
        assert self._line is None or self._line is self._connection
        assert not (self._held and self._line)
        assert not (self.gone and (self._connection or len(self._watches) or self.queue.waiting))
