"""The interface of a transport between nodes, and TCP.

A transport returns plain `asyncio` transports and runs plain `asyncio.Protocol`s, so the handshake and the connection
are written once and run over TCP, TLS and memory. A transport raises every failure as an error of `inaho.errors` that
states the cause, and no `OSError`.

Why not `asyncio.start_server` and streams: a stream costs a Task and two futures per read, and the data plane parses
many frames out of one buffer.
"""

from __future__ import annotations

import abc
import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final, Literal, cast

from inaho.authority import Authority, is_loopback_address, parse_authority
from inaho.config import TlsConfig, TransportConfig
from inaho.errors import AuthorityInUse, InahoError, InvalidConfig, ShuttingDown, Unreachable
from inaho.errors.inspection import describe
from inaho.runtime.transport.accept_loop import TcpServer
from inaho.runtime.transport.tls import TlsServer, dialer_context, tls_error

__all__ = ["CauseKind", "DialFailed", "Listener", "ProtocolFactory", "TcpTransport", "Transport"]

_logger: Final = logging.getLogger("inaho.transport")

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
"""Makes the protocol of one new connection."""

CauseKind = Literal["refused", "timeout", "local", "other"]
"""`refused`: the host answered that no process listens there; `timeout`: no answer; `local`: this machine has no
descriptor or memory left, so nothing is known about the peer; `other`: see the reason."""

_LOCAL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class DialFailed(Unreachable):
    """No connection was opened.

    Attributes:
        cause_kind: see `CauseKind`. `refused` is evidence that the process is gone, `timeout` is not.
    """

    cause_kind: CauseKind = "other"

    def __init__(self, reason: str = "", *, authority: str = "", cause_kind: CauseKind = "other") -> None:
        super().__init__(reason, authority=authority)
        self.cause_kind = cause_kind


class Listener(abc.ABC):
    """Accepts connections at one authority until it is closed.

    Attributes:
        authority: by which peers reach it: the requested host, and the real port.
    """

    authority: str

    @abc.abstractmethod
    def close(self) -> None:
        """Accepts no more. Connections that exist stay. May be repeated."""

    @abc.abstractmethod
    async def wait_closed(self) -> None:
        """Returns when the address is free again."""


class Transport(abc.ABC):
    """Opens and accepts connections. All methods belong to the loop's thread."""

    @abc.abstractmethod
    async def listen(self, authority: str, protocol_factory: ProtocolFactory, bind: str = "") -> Listener:
        """Accepts connections that are meant for `authority`.

        Args:
            authority: `host:port` that others dial; port 0 takes a free one.
            protocol_factory: called for every connection.
            bind: `host:port` of this machine, if it differs from `authority`. It may have port 0 only if both have.

        Raises:
            AuthorityInUse: another socket listens there.
            InvalidConfig: the authority does not parse, is not of this machine, or may not be bound.
            ShuttingDown: the transport is closed.
        """

    @abc.abstractmethod
    async def dial(self, authority: str, protocol_factory: ProtocolFactory) -> asyncio.BaseTransport:
        """Opens a connection to `authority`.

        Returns:
            The transport, with the protocol connected.

        Raises:
            DialFailed: no connection; see `cause_kind`.
            AuthenticationFailed: the TLS handshake failed.
            InvalidConfig: the authority does not parse.
            ShuttingDown: the transport is closed.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the listeners and opens nothing more. Connections belong to their protocols. May be repeated."""


class TcpTransport(Transport):
    """TCP, with mutual TLS where `tls` is given.

    Members are known by address, often by a plain IP address. So TLS checks that the cluster's
    authority has signed a certificate, but not its host name. Any process with a certificate of that authority is
    accepted as a node: use one certificate authority per cluster.

    Args:
        transport: time limits and bounds.
        tls: files of the certificates, read by the constructor; None for plain TCP.
        authenticated: whether the protocols prove a secret.
        insecure: whether the transport may bind other addresses than loopback with neither secret nor TLS.
        rejected: called with the address and the error of each incoming connection that failed before a protocol ran;
            by default a warning is logged.

    Raises:
        InvalidConfig: a file of `tls` is missing or unusable.
    """

    def __init__(
        self,
        transport: TransportConfig,
        tls: TlsConfig | None = None,
        *,
        authenticated: bool,
        insecure: bool = False,
        rejected: Callable[[str, InahoError], None] | None = None,
    ) -> None:
        self._config = transport
        self._tls = tls
        self._dialer_tls = dialer_context(tls) if tls else None
        self._may_bind_anywhere = authenticated or tls is not None or insecure
        self._rejected = rejected or _log_rejected
        self._listeners: list[_TcpListener] = []
        self._closed = False

    async def listen(self, authority: str, protocol_factory: ProtocolFactory, bind: str = "") -> Listener:
        self._check_open()
        reached, asked = parse_authority(authority), parse_authority(bind or authority)
        family, address = await self._resolve_bind(asked)
        if not self._may_bind_anywhere and not is_loopback_address(address[0]):
            raise InvalidConfig(
                f"{asked} can be reached from other machines, which would not be authenticated: set `secret`, "
                "or set `tls`, or set `insecure=True`, or bind 127.0.0.1"
            )
        sock = _bound_socket(family, address, asked)
        try:
            port = reached.port or sock.getsockname()[1]
            listener = _TcpListener(str(reached._replace(port=port)))
            await listener.serve(sock, protocol_factory, self._config, self._tls, self._rejected)
        except BaseException:
            sock.close()
            raise
        self._listeners = [other for other in self._listeners if not other.closed]
        self._listeners.append(listener)
        return listener

    async def dial(self, authority: str, protocol_factory: ProtocolFactory) -> asyncio.BaseTransport:
        self._check_open()
        target = parse_authority(authority, allow_port_zero=False)
        timeout_s = self._config.dial_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._dial_any(target, protocol_factory)
        except ssl.SSLError as error:
            raise tls_error(error, authority=authority) from error
        except TimeoutError as error:
            # ETIMEDOUT of the kernel is a TimeoutError too, with the same meaning.
            raise DialFailed(f"no answer within {timeout_s} s", authority=authority, cause_kind="timeout") from error
        except ConnectionRefusedError as error:
            raise DialFailed("nobody listens there", authority=authority, cause_kind="refused") from error
        except OSError as error:
            kind: CauseKind = "local" if error.errno in _LOCAL else "other"
            raise DialFailed(f"cannot connect: {describe(error)}", authority=authority, cause_kind=kind) from error

    def close(self) -> None:
        self._closed = True
        for listener in self._listeners:
            listener.close()

    async def _dial_any(self, target: Authority, protocol_factory: ProtocolFactory) -> asyncio.BaseTransport:
        """Tries the addresses of a name in turn. Raises the last address's own error, so that its type is kept."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        last: OSError = OSError("the name has no address")
        for _family, _kind, _protocol, _name, address in found:
            # The server name only feeds SNI here: the context does not check host names.
            name = target.host if self._dialer_tls else None
            try:
                transport, _ = await loop.create_connection(
                    protocol_factory, str(address[0]), target.port, ssl=self._dialer_tls, server_hostname=name
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                last = error
                continue
            sock = cast(socket.socket, transport.get_extra_info("socket"))
            if sock.getsockname() == sock.getpeername():
                # TCP's simultaneous open: nothing listens there, and the kernel chose the dialled port as our own.
                transport.abort()
                raise ConnectionRefusedError(errno.ECONNREFUSED, "the socket connected to itself")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return transport
        raise last

    async def _resolve_bind(self, asked: Authority) -> tuple[int, tuple[str, int]]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(asked.host, asked.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise InvalidConfig(f"cannot bind {asked}: the host does not resolve ({error})") from error
        # `localhost` often has an IPv6 and an IPv4 address. Only one is bound, and all peers try the IPv4 address.
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        family, *_, address = found[0]
        return family, (str(address[0]), int(address[1]))

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDown("the transport is closed")


class _TcpListener(Listener):
    """One listening socket, plain or TLS."""

    def __init__(self, authority: str) -> None:
        self.authority = authority
        self.closed = False
        self._server: TcpServer | TlsServer | None = None

    async def serve(
        self,
        sock: socket.socket,
        protocol_factory: ProtocolFactory,
        config: TransportConfig,
        tls: TlsConfig | None,
        rejected: Callable[[str, InahoError], None],
    ) -> None:
        """Starts accepting; takes over `sock`."""
        if tls is None:
            self._server = TcpServer(sock, config.handshakes_pending_max, protocol_factory, rejected)
        else:
            self._server = TlsServer(sock, protocol_factory, config, tls, rejected)
            self._server.start()

    def close(self) -> None:
        self.closed = True
        if self._server is not None:
            self._server.close()

    async def wait_closed(self) -> None:
        if self._server is not None:
            await self._server.wait_closed()


def _bound_socket(family: int, address: tuple[str, int], asked: Authority) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if os.name == "posix":
            # Lets a node restart at once on its port. On Windows the option would let two sockets share the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `[::]` means all addresses of the machine, including IPv4.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(asked.host != "::"))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        # If both sockets have SO_REUSEADDR, Linux reports only here that another socket listens on the port.
        sock.listen(1)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise AuthorityInUse("the address is taken", authority=str(asked)) from error
        raise InvalidConfig(f"cannot bind {asked}: {error.strerror or error}") from error
    return sock


def _log_rejected(address: str, error: InahoError) -> None:
    _logger.warning("connection from %s rejected: %s", address, describe(error))
