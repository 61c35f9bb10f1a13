"""The calling side of a connection: sends calls and passes on replies.

Pending calls are in the timer wheel of the connection (`PendingWheel`); a reply finds its future by one dict pop. A
method is defined once, before its first call; the calls then name it by a small integer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from inaho.actor.raise_soon import raise_soon
from inaho.config import CALL_TIMEOUT_MAX_S
from inaho.core.pubsub.flight import Flight
from inaho.core.rpc.deadlines import COUNT_MASK, SLOT_BITS, SLOT_MASK, SLOTS_PER_S, PendingWheel
from inaho.errors import InahoError, Overloaded, ProtocolViolation, ShuttingDown, Timeout, Unreachable
from inaho.runtime.connections.connection import FLUSH_PARTS, Connection
from inaho.runtime.grains.method import METHODS
from inaho.runtime.turns.steps import SIGNALS
from inaho.runtime.turns.streams import AGAIN, StreamReceiver
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, decoder, encode
from inaho.wire.exceptions import decode_failure
from inaho.wire.features import ENDS
from inaho.wire.frames import (
    ACKNOWLEDGE,
    ANSWER,
    CALL,
    CANCEL,
    CONTROL,
    CREDIT,
    DEFINE,
    END,
    ENDED,
    ERROR,
    GOODBYE,
    HEADER,
    HEADER_BYTES,
    HEADER_REST,
    ITEMS,
    KEEPS,
    PUBLISHED,
    REPLY,
    TERMINATED,
    TOPOLOGY,
    Identities,
    TopologyPush,
    frame,
)

if TYPE_CHECKING:
    from inaho.config import RpcConfig, TransportConfig
    from inaho.runtime.grains.method import GrainMethod
    from inaho.types import TopologySnapshot
    from inaho.wire.handshake import PeerInfo

__all__ = ["Outgoing"]

STREAM_TIMEOUT_S: Final = CALL_TIMEOUT_MAX_S
"""The time-out of a stream if neither the method nor the caller sets one: practically none."""

_decode_topology = decoder(TopologyPush)
_decode_ends = decoder(Identities)


class MessageSender(Protocol):
    """Sends messages between actors on one connection."""

    def on_frame(self, kind: int, flags: int, correlation: int, body: memoryview) -> None:
        """Handles an acknowledgement or an answer. Raises `ProtocolViolation`."""
        ...

    def disconnected(self, connection: Outgoing) -> None:
        """The connection accepts no more frames."""
        ...


class Outgoing(Connection):
    """A dialled connection.

    Args:
        peer, config, loop: see `Connection`.
        rpc: limits of calls.
        flight_bytes_max: see `Flight`.
        ending_callback: called, once or twice, when the connection accepts no more calls.
        closed_callback: called when the connection has ended, with the reason.
        topology_callback: called with topologies that a member sends to this client.
        ends_callback: called with kind and key of activations at the peer that have ended.

    Attributes:
        used_lately: whether calls wait for their answers, or anything was begun since deadlines were last checked.
        ending: whether one side has sent a goodbye, or the connection has ended.
        flight: what was published and the peer has not yet confirmed.
        when_published: called when the peer has confirmed a frame, with whether the frame is kept until then; None if
            nobody needs to know any more.
    """

    def __init__(
        self,
        peer: PeerInfo,
        config: TransportConfig,
        loop: asyncio.AbstractEventLoop,
        *,
        rpc: RpcConfig,
        flight_bytes_max: int,
        ending_callback: Callable[[Outgoing], None],
        closed_callback: Callable[[Outgoing, InahoError], None],
        topology_callback: Callable[[TopologySnapshot], None],
        ends_callback: Callable[[list[tuple[str, str]]], None],
    ) -> None:
        super().__init__(peer, config, loop)
        self.wheel: PendingWheel[Any] = PendingWheel(loop.time())
        self.late_replies = 0
        self._slots: list[dict[int, Any]] = self.wheel.slots
        self._defined: set[int] = set()
        self._results: dict[int, Callable[[bytes | memoryview], Any]] = {}
        """Decoders of results, by number of the method."""
        self._rpc = rpc
        self.ending = False
        self._count_seen = 0
        self.sender: MessageSender | None = None
        """The sender of messages between actors on this connection; see `attach`."""
        self.flight = Flight(flight_bytes_max)
        self.when_published: Callable[[bool], None] | None = None
        self._ending_callback = ending_callback
        self._closed_callback = closed_callback
        self._topology_callback = topology_callback
        self._ends_callback = ends_callback

    # Calls.

    def call(
        self,
        method: GrainMethod,
        key: str,
        arguments: tuple[Any, ...],
        entry: Any,
        deadline: float,
        now: float,
        flags: int = 0,
        fields: bytes = b"",
    ) -> int:
        """Sends a call. Its result, its exception, or `Timeout` at `deadline` goes to `entry`.

        Args:
            entry: a future, or the receiver of a stream.
            deadline, now: seconds of the loop's clock.
            flags, fields: from `pack_fields`.

        Returns:
            The id under which it can be cancelled.

        Raises:
            SerializationFailed, FrameTooLarge: nothing was sent.
            Unreachable: the connection is ending; nothing was sent.
        """
        try:
            body = encode((key, *arguments))
        except ENCODE_ERRORS as error:
            raise method.unserializable_argument(arguments, error, key) from error
        length = HEADER_REST + len(fields) + len(body)
        if length > self._frame_max:
            raise method.too_large("the arguments", length, self._frame_max, key)
        number = method.number
        if number not in self._defined:
            self._define(method)
        wheel = self.wheel
        wheel.count = count = (wheel.count + 1) & COUNT_MASK
        slot = (int(deadline * SLOTS_PER_S) + 1) & SLOT_MASK
        correlation = count << SLOT_BITS | slot
        usual = now <= deadline <= wheel.horizon
        if not usual or self._slots[slot].setdefault(correlation, entry) is not entry:
            correlation = wheel.add(entry, deadline, now)
        out = self._out
        if not out:
            self._loop.call_soon(self.flush)
        out.append(HEADER.pack(length, CALL, flags, number, correlation))
        if fields:
            out.append(fields)
        out.append(body)
        if len(out) >= FLUSH_PARTS:
            self.flush()
        return correlation

    def _define(self, method: GrainMethod) -> None:
        if self.ending:  # calls of known methods reach this too, see `_end`
            raise Unreachable("the connection is closing", authority=self.peer.authority, maybe_executed=False)
        if len(self._defined) >= self._config.definitions_max:
            raise Overloaded(
                f"{len(self._defined)} methods are defined on this connection (transport.definitions_max)",
                authority=self.peer.authority,
            )
        timeout_s = method.timeout_s
        if timeout_s is None:
            timeout_s = STREAM_TIMEOUT_S if method.stream else self._rpc.timeout_s
        definition = frame(DEFINE, encode(method.definition(timeout_s)), method=method.number)
        self._defined.add(method.number)
        self._results[method.number] = method.bounded_result_decoder(self._config.containers_max)
        self.send(definition, b"")

    def open_stream(
        self,
        method: GrainMethod,
        key: str,
        arguments: tuple[Any, ...],
        receiver: StreamReceiver,
        deadline: float,
        flags: int,
        fields: bytes,
    ) -> None:
        """Starts a stream; its items go to `receiver`."""
        correlation = self.call(method, key, arguments, receiver, deadline, self._loop.time(), flags, fields)

        def consumed(count: int) -> None:
            if not self.closed:
                self.send(HEADER.pack(HEADER_REST, CREDIT, 0, count, correlation), b"")

        receiver.decode = self._results[method.number]
        receiver.attach(consumed, lambda: self.cancel(correlation))

    def cancel(self, correlation: int) -> None:
        """The caller does not wait any more: removes the call and cancels it at the callee."""
        if self.wheel.pop(correlation) is not None and not self.closed:
            self.send(HEADER.pack(HEADER_REST, CANCEL, 0, 0, correlation), b"")

    @property
    def used_lately(self) -> bool:
        return self._count_seen != self.wheel.count or any(
            entry.__class__ is not StreamReceiver for slot in self._slots if slot for entry in slot.values()
        )

    def expire(self, now: float) -> int:
        """Fails calls whose deadline has passed and cancels them at the callee; returns how many."""
        self._count_seen = self.wheel.count
        expired = self.wheel.expire(now)
        for correlation, entry in expired:
            error = Timeout("no answer before the deadline", authority=self.peer.authority)
            if isinstance(entry, StreamReceiver):
                entry.fail(error)
            elif not entry.done():
                entry.set_exception(error)
            if not self.closed:
                self.send(HEADER.pack(HEADER_REST, CANCEL, 0, 0, correlation), b"")
        if self.ending and not self.closed and not len(self.wheel):
            self.close()  # the peer waits for this, see `Acceptor.farewell`
        return len(expired)

    def send_control(self, body: bytes) -> None:
        """Sends one control message."""
        self.send(HEADER.pack(HEADER_REST + len(body), CONTROL, 0, 0, 0), body)

    def attach(self, sender: MessageSender | None) -> None:
        """Sets the handler of acknowledgements and answers to messages; None for none."""
        self.sender = sender

    # Answers.

    def data_received(self, data: bytes | memoryview) -> None:
        """`Connection.data_received` with replies, which are nearly all frames, handled in the loop."""
        self.bytes_received += len(data)
        if self._rest and not (data := self._gathered(data)):
            return
        view, position, size = memoryview(data), 0, len(data)
        end = 0
        unpack, length_max, far = HEADER.unpack_from, self._frame_max, self.wheel.far
        slots, results = self._slots, self._results
        length: int
        kind: int
        flags: int
        method: int
        correlation: int
        try:
            while size - position >= HEADER_BYTES:
                length, kind, flags, method, correlation = unpack(data, position)
                if not HEADER_REST <= length <= length_max:
                    raise self._bad_length(length)
                end = position + 4 + length
                if end > size:
                    break
                if kind == REPLY:
                    entry = slots[correlation & SLOT_MASK].pop(correlation, None)
                    if far:
                        far.pop(correlation, None)
                    if entry is None:
                        self.late_replies += 1
                    elif entry.__class__ is StreamReceiver or method not in results:
                        slots[correlation & SLOT_MASK][correlation] = entry  # fails with the connection
                        raise ProtocolViolation(f"a reply to call {correlation} that does not match it")
                    elif not entry.done():
                        try:
                            entry.set_result(results[method](view[position + HEADER_BYTES : end]))
                        except DECODE_ERRORS as error:
                            entry.set_exception(METHODS[method].invalid_result(error, ""))
                else:
                    self.on_frame(kind, flags, method, correlation, view[position + HEADER_BYTES : end])
                position = end
        except ProtocolViolation as error:
            self._violated(error)
            return
        except SIGNALS as error:  # raised while a result or error is made: the frame is consumed, the program ends
            raise_soon(error)
            position = max(position, end)
        if position < size:
            self._keep(view, position)

    def on_frame(self, kind: int, flags: int, method: int, correlation: int, body: memoryview) -> None:
        if kind == ITEMS:
            receiver = self.wheel.get(correlation)
            if isinstance(receiver, StreamReceiver):
                receiver.take(body)
            elif receiver is not None:
                raise ProtocolViolation(f"stream items for call {correlation}, which is no stream")
        elif kind == ERROR:
            self._on_error(correlation, body)
        elif kind == END:
            receiver = self.wheel.get(correlation)
            if isinstance(receiver, StreamReceiver):
                self.wheel.pop(correlation)
                receiver.end()
            elif receiver is not None:
                raise ProtocolViolation(f"the end of stream {correlation}, which is a call")
        elif kind == TOPOLOGY:
            try:
                self._topology_callback(_decode_topology(body).snapshot)
            except DECODE_ERRORS as error:
                raise ProtocolViolation(f"a topology that does not decode: {error}") from error
        elif kind == ENDED:
            try:
                ends = _decode_ends(body)
            except DECODE_ERRORS as error:
                raise ProtocolViolation(f"ends of activations that do not decode: {error}") from error
            self._ends_callback(ends)
        elif kind == GOODBYE:
            self.on_goodbye(body)
        elif kind in (ACKNOWLEDGE, ANSWER, TERMINATED):
            if self.sender is not None:  # otherwise its call has ended already
                self.sender.on_frame(kind, flags, correlation, body)
        elif kind == PUBLISHED:
            if not self.flight.awaited:
                raise ProtocolViolation("a confirmation of messages that were not sent")
            kept = self.flight.confirm(self._loop.time())
            if self.when_published is not None:
                self.when_published(kept)
        else:
            raise ProtocolViolation(f"frame type {kind} from the side that answers")

    def _on_error(self, correlation: int, body: memoryview) -> None:
        entry = self.wheel.get(correlation)
        if entry is None:
            self.late_replies += 1
            return
        try:
            error = decode_failure(body)
        except DECODE_ERRORS as broken:  # the call is still pending, and fails with the connection
            raise ProtocolViolation(f"an error that does not decode: {broken}") from broken
        self.wheel.pop(correlation)
        if isinstance(entry, StreamReceiver):
            entry.fail(error)
        elif not entry.done():
            entry.set_exception(error)

    def keep(self, kind: str, key: str) -> None:
        """Notifies the peer that this node's PidCache has the activation, so that the peer notifies it of the end."""
        if not self.closed and self.peer.speaks(ENDS):
            self.send(frame(KEEPS, encode((kind, key))), b"")

    # The end.

    def close(self, error: InahoError | None = None) -> None:
        super().close(error)
        self._end()

    def on_goodbye(self, body: memoryview) -> None:
        super().on_goodbye(body)
        self._end()
        if self._goodbye is None or self._goodbye.code != ShuttingDown.code:
            self._transport.close()  # no more frames will arrive, and a peer need not close after its goodbye
        # A node that leaves still answers the calls that it has received, and waits until this node closes: `expire`
        # closes when all are answered.

    def _end(self) -> None:
        """Accepts no more calls: the peer would not read them, so no answer would come."""
        self.ending = True
        self._defined.clear()  # so every call comes to `_define`, which refuses it: no check in `call` is needed
        self._ending_callback(self)

    def on_closed(self, error: InahoError) -> None:
        self._end()
        for entry in self.wheel.drain():
            authority = self.peer.authority
            if isinstance(entry, StreamReceiver):
                reason = f"the connection ended during the stream: {error.reason}; {AGAIN}"
                entry.fail(Unreachable(reason, authority=authority, maybe_executed=True))
            elif not entry.done():
                reason = f"the connection ended before an answer came: {error.reason}"
                entry.set_exception(Unreachable(reason, authority=authority, maybe_executed=True))
        self._closed_callback(self, error)
