"""Receives messages between actors: from the frames of one accepted connection to actors of this system.

Messages are delivered in the order in which they arrived, and counted; one acknowledgement per read has the count. A
peer sends on one connection at a time. So when a message has arrived on a newer connection, the other messages of the
older one are not delivered any more, because they would be out of order. The sender counts them as in doubt.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from inaho.actor.ask import PendingAsk
from inaho.actor.dead_letters import DeadLetterReason
from inaho.actor.ref import Envelope, StopReason, Terminated
from inaho.core.bounded_map import BoundedMap
from inaho.errors import (
    ActorStopped,
    FrameTooLarge,
    InahoError,
    InvalidPid,
    MailboxFull,
    Overloaded,
    ProtocolViolation,
    SerializationFailed,
)
from inaho.wire.codec import DECODE_ERRORS, encode
from inaho.wire.exceptions import encode_failure
from inaho.wire.frames import (
    ACKNOWLEDGE,
    ANSWER,
    ASK,
    FAILED,
    HEADER,
    HEADER_REST,
    STOP,
    TELL,
    TERMINATED,
    UNWATCH,
    WATCH,
    WITHDRAW,
)
from inaho.wire.letters import decode_letter, decode_value, encode_value

if TYPE_CHECKING:
    from inaho.actor.ref import ActorRef
    from inaho.actor.system import ActorSystem
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.messages.accounts import MessageAccounts

__all__ = ["Inbox"]

_U32: Final = 0xFFFFFFFF
_NO_ACTOR: Final = "no_actor"
_UNREADABLE: Final = "unreadable"


class Senders(Protocol):
    """Knows the senders of messages to this node."""

    def admit(self, inbox: Inbox, node_id: str) -> None:
        """The first message has arrived on a connection: of all connections of a process, only the newest is used."""
        ...

    def sender_of(self, signed: str, authority: str, node_id: str) -> ActorRef | None:
        """The reference to the sender that a peer has written as `signed`. Raises `InvalidPid` if that is no path."""
        ...

    def is_gone(self, ref: ActorRef) -> bool:
        """Whether the channel of this reference has ended, so that nothing can be sent through it."""
        ...


class Inbox:
    """Receives the messages of one accepted connection.

    Args:
        connection: the connection.
        number: higher for every connection that is accepted.
        local: this node.
        system: the actors of this node.
        accounts: counts of the messages of this node.
        senders: make references to the senders of messages.

    Attributes:
        stale: whether messages have arrived on a newer connection of the same process.
    """

    __slots__ = (
        "_accounts",
        "_acknowledged",
        "_admitted",
        "_asks",
        "_connection",
        "_handled",
        "_local",
        "_references",
        "_senders",
        "_system",
        "_watches",
        "number",
        "stale",
    )

    def __init__(
        self,
        connection: Connection,
        number: int,
        local: LocalNode,
        system: ActorSystem,
        accounts: MessageAccounts,
        senders: Senders,
    ) -> None:
        self.number = number
        self.stale = False
        self._connection = connection
        self._local = local
        self._system = system
        self._accounts = accounts
        self._senders = senders
        self._admitted = False
        self._handled = 0
        self._acknowledged = 0
        self._asks: dict[int, PendingAsk] = {}
        self._watches: dict[int, _Watch] = {}
        self._references: BoundedMap[str, ActorRef | None] = BoundedMap(local.config.delivery.references_max)

    def on_frame(self, kind: int, correlation: int, body: memoryview) -> None:
        """Handles a frame. Raises `ProtocolViolation`."""
        if kind <= STOP:
            if not self._admitted:
                self._admitted = True
                self._senders.admit(self, self._connection.peer.node_id)
            if self.stale:
                self._accounts.stale += 1
                return
            self._handled += 1
            if kind == STOP:
                self._stop(body)
            else:
                self._letter(kind, correlation, body)
        elif kind == WITHDRAW:
            pending = self._asks.pop(correlation, None)
            if pending is not None:
                pending.abandon()
        elif kind == WATCH:
            self._watch(correlation, body)
        elif kind == UNWATCH:
            watch = self._watches.pop(correlation, None)
            if watch is not None:
                watch.ref.target.remove_watcher(watch)
        else:
            raise ProtocolViolation(f"frame type {kind} from the side that sends messages")

    def batch_ended(self) -> None:
        """All frames of one read have been handled: acknowledges the messages among them."""
        if self._handled != self._acknowledged:
            self._acknowledged = self._handled
            self._connection.send(HEADER.pack(HEADER_REST, ACKNOWLEDGE, 0, 0, self._handled & _U32), b"")

    # Messages.

    def _letter(self, kind: int, correlation: int, body: memoryview) -> None:
        try:
            recipient, signed, name, value = decode_letter(body)
        except DECODE_ERRORS as error:
            raise ProtocolViolation(f"a message that does not decode: {error}") from error
        self._accounts.received += 1
        ref = self._system.find(recipient)
        try:
            message = decode_value(name, value, self._local.config.transport.containers_max)
        except SerializationFailed as error:
            self._accounts.unserializable(recipient, name, "in", error)
            self._accounts.dead_letter(bytes(value), recipient, signed, _UNREADABLE)
            if kind == ASK:
                self._fail(correlation, error, recipient)
            return
        if kind == TELL:
            if ref is None:
                self._accounts.dead_letter(message, recipient, signed, _NO_ACTOR)
                return
            self._deliver(ref, Envelope(message, self._sender(signed) if signed else None), signed)
        elif ref is None:
            self._accounts.dead_letter(message, recipient, signed, _NO_ACTOR)
            self._fail(correlation, ActorStopped("there is no such actor", identity=recipient), recipient)
        else:
            self._ask(ref, correlation, message)

    def _deliver(self, ref: ActorRef, envelope: Envelope, signed: str) -> None:
        try:
            ref.target.accept(envelope)
        except MailboxFull:  # the sender is not informed: its own queue slows it down
            self._accounts.dead_letter(envelope.message, ref.path, signed, DeadLetterReason.MAILBOX_FULL)

    def _sender(self, signed: str) -> ActorRef | None:
        """The reference to the sender that is written as `signed`; None if it cannot get answers."""
        known = self._references.get(signed)
        if known is not None and not self._senders.is_gone(known):
            return known
        peer = self._connection.peer
        try:
            ref = self._senders.sender_of(signed, peer.authority, peer.node_id)
        except InvalidPid as error:
            raise ProtocolViolation(f"a message has the sender {signed[:100]!r}: {error.reason}") from error
        self._references[signed] = ref
        return ref

    def _stop(self, body: memoryview) -> None:
        ref = self._system.find(_text(body))
        if ref is not None:
            ref.target.request_stop(StopReason.STOPPED)

    # Asks.

    def _ask(self, ref: ActorRef, correlation: int, message: Any) -> None:
        if correlation in self._asks:
            raise ProtocolViolation(f"a second ask {correlation}, while the first waits for its answer")
        if len(self._asks) >= self._local.config.rpc.pending_max:
            self._fail(correlation, Overloaded(f"{len(self._asks)} asks wait here (rpc.pending_max)"), ref.path)
            return
        pending = PendingAsk(self._system, ref, self._system.temporary_path())
        self._asks[correlation] = pending
        pending.future.add_done_callback(lambda done: self._answer(correlation, pending, done))
        try:
            ref.target.accept(Envelope(message, pending.ref, pending))
        except InahoError as error:
            pending.fail(error)

    def _answer(self, correlation: int, pending: PendingAsk, done: asyncio.Future[Any]) -> None:
        if self._asks.get(correlation) is pending:
            del self._asks[correlation]
        if done.cancelled():
            return
        error = done.exception()
        if self._connection.closed:
            return
        path = pending.asked.path
        if error is not None:
            self._fail(correlation, error, path)
            return
        answer = done.result()
        try:
            body = encode_value(answer)
            if HEADER_REST + len(body) > self._local.config.transport.frame_bytes_max:
                raise FrameTooLarge(f"the answer takes {len(body)} bytes (transport.frame_bytes_max)", identity=path)
        except SerializationFailed as failure:
            failure.maybe_executed = True
            self._accounts.unserializable(path, type(answer).__name__, "out", failure)
            self._fail(correlation, failure, path)
            return
        self._connection.send(HEADER.pack(HEADER_REST + len(body), ANSWER, 0, 0, correlation), body)

    def _fail(self, correlation: int, error: BaseException, identity: str) -> None:
        body = encode_failure(error, identity=identity, authority=self._local.authority, executed=True)
        self._connection.send(HEADER.pack(HEADER_REST + len(body), ANSWER, FAILED, 0, correlation), body)

    # Watching.

    def _watch(self, correlation: int, body: memoryview) -> None:
        if correlation in self._watches or len(self._watches) >= self._local.config.delivery.watches_max:
            raise ProtocolViolation(
                f"watch {correlation} exists already, or more than {len(self._watches)} actors are watched "
                "(delivery.watches_max)"
            )
        ref = self._system.find(_text(body))
        if ref is None:
            self.report_end(correlation, StopReason.STOPPED, exists=False)
            return
        watch = self._watches[correlation] = _Watch(self, correlation, ref)
        ref.target.add_watcher(watch)

    def report_end(self, correlation: int, reason: StopReason, *, exists: bool) -> None:
        """Reports the end of a watched actor to the peer, once."""
        self._watches.pop(correlation, None)
        if not self._connection.closed:
            body = encode((reason, exists))
            self._connection.send(HEADER.pack(HEADER_REST + len(body), TERMINATED, 0, 0, correlation), body)

    # The end.

    def close(self) -> None:
        """The connection has ended: abandons its asks and ends its watches."""
        asks, self._asks = self._asks, {}
        for pending in asks.values():
            pending.abandon()
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            watch.ref.target.remove_watcher(watch)
        self._references.clear()


class _Watch:
    """Watches an actor for a peer."""

    __slots__ = ("_correlation", "_inbox", "ref")

    def __init__(self, inbox: Inbox, correlation: int, ref: ActorRef) -> None:
        self.ref = ref
        self._inbox = inbox
        self._correlation = correlation

    def watched_terminated(self, terminated: Terminated) -> None:
        self._inbox.report_end(self._correlation, terminated.reason, exists=terminated.exists)


def _text(body: memoryview) -> str:
    try:
        return str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolViolation("the path of an actor is not UTF-8") from error
