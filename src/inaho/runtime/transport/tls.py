"""Mutual TLS: the contexts, the server, and errors that state the cause.

`loop.create_server(ssl=…)` hides a failed TLS handshake: the protocol is made and never notified, pending handshakes
are not bounded, and for a peer without TLS the connection just closes. So this module has its own server. It bounds the
pending handshakes. It peeks at the first bytes, so that a peer without TLS gets a refusal that it can read. It sends
the alert that asyncio leaves out, so that a dialer learns that its certificate was refused, and does not assume that
the node has crashed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, NoReturn

from inaho.config import TlsConfig, TransportConfig
from inaho.errors import AuthenticationFailed, InahoError, InvalidConfig, Overloaded, ProtocolViolation, Unreachable
from inaho.runtime.transport.accept_loop import AcceptLoop
from inaho.runtime.transport.pending_places import PendingPool, source_of
from inaho.wire.handshake_messages import MAGIC, PREFACE, encode_refusal, foreign_hint

__all__ = ["TlsServer", "acceptor_context", "dialer_context", "tls_error"]

_TLS_HANDSHAKE_RECORD: Final = b"\x16"
_BAD_CERTIFICATE_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x2a"
_LINGER_S: Final = 1.0


def acceptor_context(tls: TlsConfig) -> ssl.SSLContext:
    """The context of a listener: TLS 1.2 or newer, and every peer must have a certificate.

    Raises:
        InvalidConfig: a file is missing or unusable; the reason names the setting.
    """
    return _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)


def dialer_context(tls: TlsConfig) -> ssl.SSLContext:
    """The context of a dialer: checks the certificate chain but not the host name, see `TcpTransport`.

    Raises:
        InvalidConfig: a file is missing or unusable; the reason names the setting.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _load(context, tls)


def tls_error(error: ssl.SSLError, *, authority: str = "") -> AuthenticationFailed:
    """An error with the probable cause of a failed TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"the peer's certificate is not acceptable: {error.verify_message}"
    elif error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"):
        reason = "the peer does not speak TLS: only this side is configured with tls"
    elif isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = "the peer broke off the TLS handshake: it may have refused our certificate, its log says why"
    elif error.reason and ("ALERT" in error.reason or "RECORD_TYPE" in error.reason):
        reason = f"the peer refused our certificate, its log says why ({error.reason})"
    else:
        reason = f"TLS failed: {error.reason or error}"
    return AuthenticationFailed(reason, authority=authority)


class TlsServer:
    """Accepts connections at one socket and runs their TLS handshakes.

    Args:
        sock: bound and non-blocking; closed by `close`.
        protocol_factory: called for every connection whose TLS handshake succeeds.
        config: `handshakes_pending_max` bounds the TLS handshakes under way, `handshake_timeout_s` the time of each.
        tls: files of the certificates.
        rejected: called with the address and the error of each connection that failed before a protocol ran.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        config: TransportConfig,
        tls: TlsConfig,
        rejected: Callable[[str, InahoError], None],
    ) -> None:
        self._sock = sock
        self._protocol_factory = protocol_factory
        self._config = config
        self._context = acceptor_context(tls)
        self._rejected = rejected
        # The socket while this server must close it; None once a transport owns it.
        self._securing: dict[asyncio.Task[None], socket.socket | None] = {}
        self._pool: PendingPool[asyncio.Task[None]] = PendingPool(config.handshakes_pending_max)
        self._accepting: AcceptLoop | None = None

    @property
    def pending(self) -> int:
        """The number of TLS handshakes under way."""
        return len(self._securing)

    def start(self) -> None:
        """Begins to accept."""
        self._accepting = AcceptLoop(
            self._sock, self._config.handshakes_pending_max, self._accepted, self._rejected, "tls-accept"
        )

    def close(self) -> None:
        """Stops accepting and breaks off handshakes under way."""
        if self._accepting is not None:
            self._accepting.close()
        for task in self._securing:
            task.cancel()

    async def wait_closed(self) -> None:
        """Returns when the address is free again and all handshakes have ended."""
        if self._accepting is not None:
            await self._accepting.wait_closed()
        if self._securing:
            await asyncio.wait(list(self._securing))

    def _accepted(self, sock: socket.socket, address: Any) -> None:
        loop = asyncio.get_running_loop()
        peer = str(address)
        # asyncio closes its socket when a handshake fails; the duplicate keeps the connection open for an alert or a
        # refusal. It needs a second descriptor; without one, the accept loop pauses as after any failed accept.
        spare = sock.dup()
        task = loop.create_task(self._secure(sock, spare, peer), name=f"tls-handshake {peer}")
        self._securing[task] = sock
        task.add_done_callback(self._forget)
        # Not in the coroutine: a task that is cancelled before its first step never enters it.
        task.add_done_callback(lambda _: spare.close())
        victim = self._pool.enter(task, source_of(str(address[0])), loop.time())
        if victim is not None:
            self._rejected(
                victim.get_name().removeprefix("tls-handshake "),
                Overloaded("transport.handshakes_pending_max TLS handshakes are under way"),
            )
            victim.cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._pool.leave(task)
        sock = self._securing.pop(task)
        if sock is not None:
            sock.close()

    async def _secure(self, sock: socket.socket, spare: socket.socket, peer: str) -> None:
        """Runs the TLS handshake of one connection, and passes every failure to `rejected`."""
        try:
            async with asyncio.timeout(self._config.handshake_timeout_s):
                await self._start_tls(sock, spare)
        except TimeoutError:
            self._rejected(peer, Unreachable("the peer was silent in the TLS handshake"))
        except ssl.SSLError as error:
            self._rejected(peer, tls_error(error))
            await _send_and_close(spare, _BAD_CERTIFICATE_ALERT)
        except OSError as error:
            self._rejected(
                peer, AuthenticationFailed(f"the peer broke off the TLS handshake ({str(error) or 'reset'})")
            )
        except InahoError as error:
            self._rejected(peer, error)
            if not isinstance(error, Unreachable):
                refusal = AuthenticationFailed("the acceptor requires TLS and the dialer was given none")
                await _send_and_close(spare, PREFACE + encode_refusal(refusal))

    async def _start_tls(self, sock: socket.socket, spare: socket.socket) -> None:
        head = await _first_bytes(spare)
        if not head.startswith(_TLS_HANDSHAKE_RECORD):
            if not head:
                raise Unreachable("the peer closed the connection before it sent anything")
            if head.startswith(MAGIC):
                raise AuthenticationFailed("the peer speaks inaho without TLS: only this side is configured with tls")
            raise ProtocolViolation(f"no TLS; {foreign_hint(head)}")
        task = asyncio.current_task()
        assert task is not None
        self._securing[task] = None
        self._pool.spoke(task)
        await asyncio.get_running_loop().connect_accepted_socket(self._protocol_factory, sock, ssl=self._context)


async def _first_bytes(sock: socket.socket) -> bytes:
    """Waits for the peer's first bytes, and leaves them in the socket; empty if the peer has closed."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not readable.done():
            readable.set_result(None)

    try:
        loop.add_reader(sock.fileno(), wake)
    except NotImplementedError:
        # The proactor loop of Windows cannot peek: without TLS, the TLS handshake will fail.
        return _TLS_HANDSHAKE_RECORD
    try:
        await readable
    finally:
        loop.remove_reader(sock.fileno())
    return sock.recv(32, socket.MSG_PEEK)


async def _send_and_close(sock: socket.socket, data: bytes) -> None:
    """Sends a few last bytes and waits a little until the peer closes, since an early close could discard them."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            await loop.sock_sendall(sock, data)
            sock.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(sock, 4096):
                pass


def _load(context: ssl.SSLContext, tls: TlsConfig) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(tls.authority_certificates)
    except OSError as error:
        raise InvalidConfig(f"TlsConfig.authority_certificates {tls.authority_certificates!r}: {error}") from error
    try:
        context.load_cert_chain(tls.certificate, tls.private_key, password=_refuse_password)
    except OSError as error:
        raise InvalidConfig(
            f"TlsConfig.certificate {tls.certificate!r} with private_key {tls.private_key!r}: {error}"
        ) from error
    return context


def _refuse_password() -> NoReturn:
    # Without this, OpenSSL would ask for a password on the terminal, and the node would not start.
    raise InvalidConfig("TlsConfig.private_key is protected by a password; give one that is not")
