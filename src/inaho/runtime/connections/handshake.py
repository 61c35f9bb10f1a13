"""Runs a handshake over any asyncio transport, then replaces itself by the protocol of the connection.

The machine in `wire.handshake` decides; this shell passes bytes to it, writes its answers and bounds the time. The next
protocol is made, and gets bytes, only after the peer is authenticated.

Why the next protocol is made *before* the last bytes are sent: `established` may still refuse the peer (shutdown, too
many connections, quarantine). Then the dialer gets the refusal instead of a connection that opens and closes at once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, TypeVar, cast

from inaho.errors import InahoError, Overloaded, Timeout, Unreachable
from inaho.runtime.transport.pending_places import PendingPool, source_of
from inaho.runtime.transport.tls import tls_error
from inaho.runtime.transport.transport import DialFailed, Transport
from inaho.wire.handshake import Handshake, HandshakeState, PeerInfo

__all__ = ["Established", "HandshakeGate", "HandshakeProtocol", "accept_factory", "dial_authenticated"]

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)

Established = Callable[[asyncio.Transport, PeerInfo], ProtocolT]
"""Makes the protocol that follows. An `InahoError` refuses the peer with its code and reason."""


class HandshakeGate:
    """Bounds the unauthenticated incoming connections: at the bound, one is closed for each new one.

    Args:
        pending_max: `transport.handshakes_pending_max`.

    Attributes:
        turned_away: the number of connections that were closed for a new one.
    """

    def __init__(self, pending_max: int) -> None:
        self.turned_away = 0
        self._pending_max = pending_max
        self._pool: PendingPool[HandshakeProtocol] = PendingPool(pending_max)

    @property
    def pending(self) -> int:
        """Connections that are in their handshake."""
        return len(self._pool)

    def enter(self, protocol: HandshakeProtocol, address: str, now: float) -> None:
        """Gives a connection a place; another connection may be closed for it (`PendingPool`)."""
        victim = self._pool.enter(protocol, source_of(address), now)
        if victim is not None:
            self.turned_away += 1
            victim.give_way(
                Overloaded(f"transport.handshakes_pending_max ({self._pending_max}) handshakes are under way")
            )

    def spoke(self, protocol: HandshakeProtocol) -> None:
        """The connection has sent its hello."""
        self._pool.spoke(protocol)

    def leave(self, protocol: HandshakeProtocol) -> None:
        """Frees the place of a connection."""
        self._pool.leave(protocol)

    def close(self, error: InahoError) -> None:
        """Ends all handshakes at once, so that the peers need not wait for a time-out."""
        for protocol in self._pool.items():
            protocol.close(error)

    def check(self) -> None:
        """Asserts the invariants."""
        self._pool.check()


class HandshakeProtocol(asyncio.Protocol):
    """One connection until it is authenticated or closed.

    Exactly one of `established` and `failed` is called, once. An `established` that raises is followed by `failed`.

    Args:
        handshake: not started.
        timeout_s: time limit from the open connection to the authenticated peer.
        established: makes the next protocol.
        failed: called with the error, and with the address of the peer if it is known. The connection is closed or
            closing.
        gate: for an acceptor, gives the connection a place.
    """

    def __init__(
        self,
        handshake: Handshake,
        *,
        timeout_s: float,
        established: Established[asyncio.Protocol],
        failed: Callable[[InahoError, str], None],
        gate: HandshakeGate | None = None,
    ) -> None:
        self._handshake = handshake
        self._timeout_s = timeout_s
        self._established = established
        self._failed = failed
        self._gate = gate
        self._received_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        name: tuple[Any, ...] | None = transport.get_extra_info("peername")  # unknown once it is closed
        self._address = ":".join(map(str, name[:2])) if name else ""
        if self._gate is not None:
            self._gate.enter(self, str(name[0]) if name else "", asyncio.get_running_loop().time())
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._expire)
        self._transport.write(self._handshake.start())

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if self._ended or transport is None:
            # A transport may deliver data that it has read before it was closed.
            return
        self._received_bytes += len(data)
        try:
            answer, peer, leftover = self._handshake.receive(data)
        except InahoError as error:
            self._part(error, self._handshake.farewell)
            return
        if peer is None:
            if answer and self._gate is not None:
                self._gate.spoke(self)
            transport.write(answer)
            return
        try:
            successor = self._established(transport, peer)
        except InahoError as error:
            # If this node refuses the peer, an acceptor sends a refusal in place of its proof. A dialer sends nothing:
            # its peer has ended the handshake and would read a refusal as a frame.
            self._part(error, self._handshake.refuse(error) if self._handshake.role == "acceptor" else b"")
            return
        self._end()
        transport.write(answer)
        transport.set_protocol(successor)
        successor.connection_made(transport)
        if leftover and not transport.is_closing():
            successor.data_received(leftover)

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ended:
            return
        if isinstance(exc, ssl.SSLError):
            error: InahoError = tls_error(exc)
        elif exc is None and self._received_bytes:
            error = Unreachable("the peer closed the connection in the middle of the handshake")
        else:
            how = "reset" if isinstance(exc, ConnectionResetError) else f"lost ({exc})" if exc else "closed"
            error = Unreachable(f"the connection was {how} in the handshake; the peer may require TLS or be ending")
        self._end()
        self._failed(error, self._address)

    def abort(self) -> None:
        """Ends the connection without a message; neither callback is called."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    def close(self, error: InahoError) -> None:
        """Ends the connection in the middle of the handshake."""
        self._part(error, b"")

    def give_way(self, error: InahoError) -> None:
        """Closes the connection for a newer one. A peer that has sent its hello gets the reason."""
        if self._handshake.state is HandshakeState.AWAIT_PROOF:
            self._part(error, self._handshake.refuse(error))
        else:
            self._give_up(error)

    def _expire(self) -> None:
        got = f"{self._received_bytes} bytes received"
        self._give_up(Timeout(f"no handshake within {self._timeout_s} s ({got})", maybe_executed=False))

    def _give_up(self, error: InahoError) -> None:
        self.abort()
        self._failed(error, self._address)

    def _part(self, error: InahoError, farewell: bytes) -> None:
        """Sends the last message, unless it is empty, and closes."""
        transport = cast(asyncio.Transport, self._transport)
        self._end()
        if farewell:
            transport.write(farewell)
        transport.close()
        self._failed(error, self._address)

    def _end(self) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gate is not None:
            self._gate.leave(self)
            self._gate = None


def accept_factory(
    make_handshake: Callable[[], Handshake],
    *,
    timeout_s: float,
    gate: HandshakeGate,
    established: Established[asyncio.Protocol],
    failed: Callable[[InahoError, str], None],
) -> Callable[[], HandshakeProtocol]:
    """The `protocol_factory` of a listener.

    Args:
        make_handshake: makes the acceptor's handshake of one connection, with a fresh nonce.
        timeout_s: see `HandshakeProtocol`.
        gate: shared by all connections of the listener.
        established: see `HandshakeProtocol`.
        failed: called with the reason and the address of each connection that failed, for events and metrics.
    """

    def make() -> HandshakeProtocol:
        return HandshakeProtocol(
            make_handshake(), timeout_s=timeout_s, established=established, failed=failed, gate=gate
        )

    return make


async def dial_authenticated(
    transport: Transport,
    authority: str,
    handshake: Handshake,
    timeout_s: float,
    established: Established[ProtocolT],
) -> ProtocolT:
    """Opens a connection and authenticates it.

    Args:
        transport: dials.
        authority: to dial.
        handshake: a dialer's, not started.
        timeout_s: for the handshake; the transport limits the time of the dial.
        established: makes the next protocol.

    Returns:
        The protocol that `established` made, connected.

    Raises:
        DialFailed: no connection, or it broke or went silent in the handshake; see `cause_kind`.
        InahoError: the handshake failed on either side, see `Handshake.receive`; `authority` is filled in.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[ProtocolT] = loop.create_future()
    # If a dial is cancelled while the handshake fails, no other code retrieves the error.
    outcome.add_done_callback(lambda done: done.cancelled() or done.exception())

    def succeed(raw: asyncio.Transport, peer: PeerInfo) -> asyncio.Protocol:
        successor = established(raw, peer)
        if not outcome.done():
            outcome.set_result(successor)
        return successor

    def fail(error: InahoError, _address: str) -> None:
        if not outcome.done():
            outcome.set_exception(_of_dial(error, authority))

    def make() -> HandshakeProtocol:
        return HandshakeProtocol(handshake, timeout_s=timeout_s, established=succeed, failed=fail)

    raw = cast(asyncio.Transport, await transport.dial(authority, make))
    try:
        return await outcome
    except asyncio.CancelledError:
        # The connection will have no owner. The protocol's own `connection_lost` cleans up.
        raw.abort()
        raise


def _of_dial(error: InahoError, authority: str) -> InahoError:
    if isinstance(error, Timeout):
        return DialFailed(error.reason, authority=authority, cause_kind="timeout")
    if type(error) is Unreachable:
        return DialFailed(error.reason, authority=authority, cause_kind="other")
    error.authority = error.authority or authority
    return error
