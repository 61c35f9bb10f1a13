"""The answering side of a connection: handles the frames of calls that a peer makes.

A call is decoded into the typed arguments of its method and becomes a turn of its activation. All turns of one read are
run as one batch, and their replies are sent in one write. A call that cannot be served is answered with an error, and
the connection stays: only bytes that no correct peer sends close it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from inaho.errors import InahoError, Overloaded, ProtocolViolation, Timeout
from inaho.errors.inspection import text_of
from inaho.runtime.activation.kind_host import host_of
from inaho.runtime.connections.connection import FLUSH_PARTS, Connection
from inaho.runtime.connections.definitions import Defined, decode_identity, decode_key, define
from inaho.runtime.connections.stream_sink import ConnectionSink
from inaho.runtime.grains.activation import ActivationTurns, Turn
from inaho.runtime.turns.streams import StreamProducer
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, encode
from inaho.wire.exceptions import encode_failure
from inaho.wire.features import ENDS
from inaho.wire.frames import (
    CALL,
    CANCEL,
    CONTROL,
    CREDIT,
    DEFINE,
    ENDED,
    ERROR,
    GOODBYE,
    HEADER,
    HEADER_REST,
    KEEPS,
    PUBLISH,
    REPLY,
    TELL,
    frame,
    unpack_fields,
)

if TYPE_CHECKING:
    from inaho.config import TransportConfig
    from inaho.runtime.connections.serving import Serving
    from inaho.runtime.grains.activation import TurnHost
    from inaho.wire.handshake import PeerInfo

__all__ = ["Incoming"]

SLICE_BYTES: Final = 32 << 10
"""An answer of more bytes is written at once, so that a peer that does not read is noticed in time."""

SMALL_BYTES: Final = 1 << 10
"""An answer of at most so many bytes is always sent, since the error in its place would not be smaller."""


class Incoming(Connection):
    """An accepted connection.

    Args:
        peer, config: see `Connection`.
        serving: the parts of the node that serve the calls.
        closed_callback: called when the connection has ended, with the suspended turns that still run.

    Attributes:
        mail: handles messages between actors.
    """

    def __init__(
        self,
        peer: PeerInfo,
        config: TransportConfig,
        serving: Serving,
        closed_callback: Callable[[Incoming, list[Turn]], None],
    ) -> None:
        local = serving.local
        super().__init__(peer, config, local.loop)
        self.running: dict[int, Turn] = {}
        """Turns of this connection that have suspended or wait, for deadlines and cancellation."""
        self.streams: dict[int, StreamProducer] = {}
        self.topology_due = b""
        self._messages = serving.messages
        self.mail = serving.messages.inbox(self)
        self._hosts = serving.hosts
        self._events = serving.events
        self._cached = serving.cached
        self._pauses = serving.local.pauses
        self._closed_callback = closed_callback
        self._local = local
        self._defined: dict[int, Defined] = {}
        self._runner = serving.runner
        self._unread = 0
        self._unread_since = 0.0
        self._turns_max = local.config.rpc.turns_max
        self._write_max = config.write_high_bytes
        activation = local.config.activation
        self._queue_depth = activation.queue_depth if activation.queue_policy == "reject_new" else sys.maxsize
        self._full: tuple[TurnHost | None, str, bytes] = (None, "", b"")
        """The last activation whose queue was full, and the refusal for its callers."""
        self._stopped = False
        """Whether the present batch stops, since the peer does not read its answers."""
        self._crowded = False
        """Whether more than `transport.write_high_bytes` may wait for the peer. The transport reports it later."""
        self._now = local.now

    def on_frame(self, kind: int, flags: int, method: int, correlation: int, body: memoryview) -> None:
        if kind == CALL:
            defined = self._defined.get(method)
            if defined is None:
                raise ProtocolViolation(f"a call of method {method}, which was not defined on this connection")
            try:
                turn = self._turn(defined, flags, correlation, body)
            except InahoError as error:
                if isinstance(error, ProtocolViolation):
                    raise
                self._refuse(defined, correlation, error)
                return
            turn.number = method
            grain = turn.grain
            if turn.method.stream:
                grain._inaho_touched = self._now
                self.start_stream(turn)
            elif grain._inaho_turn is None:  # only here: a refused call, such as a cycle, is no use of the activation
                grain._inaho_touched = self._now
                grain._inaho_turn = turn
                self._runner.run(turn)
            elif self._is_full(grain._inaho_turn) and not turn.depth and grain._inaho_host.pool is None:
                self._refuse_full(turn)
            else:
                self._runner.submit(turn)
        elif kind == PUBLISH:
            self._messages.published(self, flags, method, correlation, body)
        elif kind == KEEPS:
            self._cached.caller_keeps(self.peer.node_id, *decode_identity(body))
        elif kind >= TELL:
            self.mail.on_frame(kind, correlation, body)
        elif kind == CONTROL:
            self._events.control_message(self.peer, body)
        elif kind == CANCEL:
            self._cancel(correlation)
        elif kind == CREDIT:
            producer = self.streams.get(correlation)
            if producer is not None:
                producer.consumed(method)
        elif kind == DEFINE:
            self._define(method, body)
        elif kind == GOODBYE:
            self.on_goodbye(body)
        else:
            raise ProtocolViolation(f"frame type {kind} from the side that calls")

    def data_received(self, data: bytes | memoryview) -> None:
        self._now = self._loop.time()
        self._pauses.check()
        self._corked = True
        super().data_received(data)
        if self._corked:  # only part of a frame arrived; answers to earlier calls must not wait for the rest
            self._corked = False
            self.flush()

    def on_batch(self) -> None:
        self.mail.batch_ended()
        self._corked = False
        self.flush()
        if self._stopped:
            self.paused = self._stopped = False  # continues unless the transport has paused this connection by then

    def _turn(self, defined: Defined, flags: int, correlation: int, body: memoryview) -> Turn:
        deadline = self._now + defined.timeout_s
        fields = None
        if flags:
            fields, body = unpack_fields(flags, body)
            if fields.deadline_ms is not None:
                deadline = self._now + fields.deadline_ms / 1000.0
        if defined.error is not None:
            raise defined.error.with_traceback(None)
        if len(self.running) >= self._turns_max:
            raise Overloaded(
                f"{len(self.running)} calls of this connection run or wait here (rpc.turns_max)",
                authority=self._local.authority,
            )
        try:
            arguments = defined.decode(body)
        except DECODE_ERRORS as error:
            raise self._undecodable(defined, body, error) from error
        key = arguments[0]
        grain = defined.activations.get(key)
        if grain is None:
            grain = defined.host.activate(key)
        turn = Turn(defined.method, grain, arguments[1:], self, correlation, deadline)
        if fields is not None:
            turn.chain = fields.chain
            turn.depth = len(fields.chain)
            turn.trace = fields.trace
        return turn

    def _undecodable(self, defined: Defined, body: memoryview, error: Exception) -> InahoError:
        """The error for arguments that do not fit the method."""
        try:
            key = decode_key(body)
        except DECODE_ERRORS:
            key = "?"
        self._local.serialization_failed(defined.host.name, key, defined.method.name, "in", text_of(error))
        return defined.method.invalid_arguments(error, key, defined.definition.signature)

    def _define(self, number: int, body: memoryview) -> None:
        """Defines a method number. If this node cannot serve it, its calls fail, and the connection stays."""
        if number in self._defined or len(self._defined) >= self._config.definitions_max:
            raise ProtocolViolation(
                f"method {number} is defined twice, or more than {self._config.definitions_max} methods are defined "
                "(transport.definitions_max)"
            )
        self._defined[number] = define(
            body, self._hosts, containers_max=self._config.containers_max, authority=self._local.authority
        )

    # Answers.

    def _refuse(self, defined: Defined, correlation: int, error: InahoError) -> None:
        body = encode_failure(error, identity=defined.definition.kind, authority=self._local.authority, executed=False)
        self._send_error(correlation, body)

    def _is_full(self, busy: Turn | ActivationTurns) -> bool:
        """Whether the queue of a busy activation is full. It decides only about turns for which no turn here waits."""
        return isinstance(busy, ActivationTurns) and len(busy.waiting) >= self._queue_depth

    def _refuse_full(self, turn: Turn) -> None:
        """Refuses a turn at a third of the cost: the following refusals use the body of the first one."""
        self._runner.refused += 1
        grain = turn.grain
        host, key, body = self._full
        if host is not grain._inaho_host or key != grain._inaho_key:
            host, key, error = grain._inaho_host, grain._inaho_key, self._runner.overloaded(grain)
            body = encode_failure(error, identity=error.identity, authority=error.authority, executed=False)
            self._full = (host, key, body)
        self._send_error(turn.correlation, body)

    def reply(self, turn: Turn, result: Any) -> None:
        """Sends a result, or an error if the result cannot be sent."""
        try:
            body = encode(result)
        except ENCODE_ERRORS as error:
            host = turn.grain._inaho_host
            self._local.serialization_failed(host.name, turn.grain._inaho_key, turn.method.name, "out", text_of(error))
            self.reply_error(
                turn, turn.method.unserializable("the result", error, turn.grain._inaho_key, executed=True)
            )
            return
        length = HEADER_REST + len(body)
        if length > self._frame_max:
            self.reply_error(
                turn,
                turn.method.too_large("the result", length, self._frame_max, turn.grain._inaho_key, executed=True),
            )
            return
        if self._crowded and self._has_no_room(len(body)):
            self.reply_error(turn, self._unread_answer(turn))
            return
        out = self._out
        if not out and not self._corked:
            self._loop.call_soon(self.flush)
        out.append(HEADER.pack(length, REPLY, 0, turn.number, turn.correlation))
        out.append(body)
        if len(out) >= FLUSH_PARTS or length > SLICE_BYTES:
            self._flush_slice()

    def _has_no_room(self, size: int) -> bool:
        """Whether a large answer would exceed the bound of unread bytes (`transport.write_bytes_max`)."""
        return size > SMALL_BYTES and self.unsent_bytes + size > self._config.write_bytes_max

    def _unread_answer(self, turn: Turn) -> Overloaded:
        return Overloaded(
            f"{self.unsent_bytes} bytes of answers wait for the caller to read them (transport.write_bytes_max)",
            identity=str(turn.grain.identity),
            authority=self._local.authority,
            maybe_executed=True,
        )

    def _flush_slice(self) -> None:
        """Writes the answers so far. Stops the batch if the peer does not read its answers.

        A transport may report this only in the next loop iteration, after the batch: thousands of answers too late.
        """
        self.flush()
        if not self.paused and not self.closed:
            self._crowded = self._transport.get_write_buffer_size() > self._write_max
            if self._crowded and self._corked:
                self.paused = self._stopped = True

    def reply_error(self, turn: Turn, error: BaseException) -> None:
        """Sends an error as the answer to a turn."""
        if self.closed or turn.cancelled == "caller":
            return
        body = encode_failure(
            error,
            identity=str(turn.grain.identity),
            authority=self._local.authority,
            executed=True,
            bytes_max=self._frame_max - HEADER_REST,
            method=turn.method.name,
        )
        if self._crowded and self._has_no_room(len(body)):
            error = self._unread_answer(turn)
            body = encode_failure(error, identity=error.identity, authority=error.authority, executed=True)
        self._send_error(turn.correlation, body)

    def _send_error(self, correlation: int, body: bytes) -> None:
        self.send(HEADER.pack(HEADER_REST + len(body), ERROR, 0, 0, correlation), body)
        if len(self._out) >= FLUSH_PARTS:
            self._flush_slice()

    def push_topology(self, message: bytes) -> None:
        """Sends a client the newest topology. A client that does not read gets the last one when it reads again."""
        self.topology_due = message if self.paused else b""
        if not self.paused:
            self.send(message, b"")

    def push_ends(self, identities: list[tuple[str, str]]) -> None:
        """Notifies a caller that activations in its PidCache have ended."""
        if self.peer.speaks(ENDS):
            self.send(frame(ENDED, encode(identities)), b"")

    # Streams.

    def start_stream(self, turn: Turn) -> None:
        """Runs a streaming method until it ends or the caller cancels it."""
        if turn.correlation in self.streams:
            raise ProtocolViolation(f"a second stream for call {turn.correlation}, which is under way")
        if len(self.streams) >= self._local.config.rpc.streams_max:
            error = Overloaded(f"{len(self.streams)} streams of this connection are served here (rpc.streams_max)")
            self.reply_error(turn, error)
            return
        sink = ConnectionSink(self, self, turn, self._frame_max - HEADER_REST)
        producer = StreamProducer(turn, sink, self._local.config.rpc, self._loop)
        self.streams[turn.correlation] = producer
        host_of(turn.grain).streams.start(producer, done=lambda: self.streams.pop(turn.correlation, None))

    # Cancellation and deadlines.

    def _cancel(self, correlation: int) -> None:
        turn = self.running.get(correlation)
        if turn is not None:
            self._runner.abandon(turn, "caller")
        elif (producer := self.streams.get(correlation)) is not None:
            producer.turn.cancel("caller")

    def expire(self, now: float) -> int:
        """Interrupts turns and streams whose deadline has passed; returns how many."""
        self._watch_reader(now)
        late = [turn for turn in self.running.values() if turn.deadline <= now and not turn.cancelled]
        late += [p.turn for p in self.streams.values() if p.turn.deadline <= now and not p.turn.cancelled]
        for turn in late:
            if not self._runner.abandon(turn, "deadline"):
                self.running.pop(turn.correlation, None)
                self.reply_error(turn, Timeout("the deadline passed in the queue", maybe_executed=False))
        return len(late)

    # Flow control: of a peer that does not read its answers, no more calls are read, and it is disconnected in the end.

    def _watch_reader(self, now: float) -> None:
        """Disconnects a peer that has read none of its waiting answers for `transport.stall_timeout_s`."""
        if not self.paused or self.closed:
            self._unread = 0
            return
        unread = self._transport.get_write_buffer_size()
        if not self._unread or unread < self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since >= self._config.stall_timeout_s:
            self.abort(f"disconnected: it read nothing for {self._config.stall_timeout_s} s")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._crowded, self._stopped = True, False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._crowded = False
        if not self.closed:
            if self._behind:  # frames that arrived while the peer did not read
                self._go_on_soon()
            else:
                self._transport.resume_reading()
            if self.topology_due:
                self.push_topology(self.topology_due)

    def on_closed(self, error: InahoError) -> None:
        for producer in list(self.streams.values()):
            producer.turn.cancel("caller")
        suspended: list[Turn] = []
        for turn in list(self.running.values()):
            if turn.task is None:  # it waits, and its answer could not be sent
                self._runner.abandon(turn, "caller")
            else:  # it may finish its changes before its deadline
                suspended.append(turn)
        self.running.clear()
        self.mail.close()
        self._closed_callback(self, suspended)
