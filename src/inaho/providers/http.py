"""The HTTP client of all back ends that speak HTTP: JSON requests with a deadline, and streams of JSON lines.

A back end has several servers, and each of them can answer. A request goes to the one that answered last; if that
cannot be reached, the next is asked within the same deadline. So no back end repeats requests by itself.

An answer is read up to a limit and only then decoded. A stream is read as fast as its caller takes the lines: what
waits beyond a small buffer stays with the server.

Why not a client library of each back end: those of etcd and Consul block the thread or need gRPC, and all three back
ends need only a few requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

import msgspec

from inaho.errors import ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.http_answers import HttpAnswer, combined, judge
from inaho.providers.setup import ProviderSetup
from inaho.providers.tls_files import TlsFiles

try:
    import aiohttp
    from yarl import URL
except ImportError as error:
    raise ProviderInvalid(
        "providers etcd, consul and kubernetes need the package aiohttp: pip install 'inaho[providers]'"
    ) from error

__all__ = ["HttpClient", "HttpStream"]

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECTIONS_MAX: Final = 16
_READ_BYTES: Final = 64 * 1024
_TEXT_MAX: Final = 300
_NO_LIMIT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError)

Taken = TypeVar("Taken")


class _Parts(msgspec.Struct, frozen=True):
    """What a request consists of."""

    method: str
    path: str
    query: Mapping[str, str]
    body: object
    headers: Mapping[str, str]
    accept: Collection[int] = ()

    @property
    def data(self) -> bytes | None:
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return msgspec.json.encode(self.body)

    @property
    def all_headers(self) -> dict[str, str]:
        kind = "application/octet-stream" if isinstance(self.body, bytes) else "application/json"
        return {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": kind, **self.headers}


_Take = Callable[[str, _Parts, aiohttp.ClientResponse], Awaitable[Taken]]
"""Makes something of a response."""


class HttpStream:
    """A response that goes on: JSON values, one per line.

    Iterate it once. It ends when the server ends the response. A broken connection raises `ProviderUnreachable`, a line
    that is no JSON or too long `ProviderStreamFailed`.

    Attributes:
        who: provider and server, for the text of errors.
        headers: of the response.
    """

    def __init__(self, who: str, response: aiohttp.ClientResponse) -> None:
        self.who = who
        self.headers: Mapping[str, str] = response.headers
        self._content = response.content

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for line in self.lines():
            try:
                found = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                text = line[:_TEXT_MAX].decode(errors="replace")
                raise ProviderStreamFailed(f"{self.who}: a line of the stream is no JSON: {error}: {text}") from error
            yield found

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines as they come, without their ends; empty ones are left out."""
        pending = bytearray()
        while chunk := await self._more():
            *lines, last = chunk.split(b"\n")
            for line in lines:
                pending += line
                if pending.strip():
                    yield bytes(pending)
                pending.clear()
            pending += last
            if len(pending) > LINE_BYTES_MAX:
                raise ProviderStreamFailed(f"{self.who}: a line of the stream has over {LINE_BYTES_MAX} bytes")
        if pending.strip():
            yield bytes(pending)

    async def _more(self) -> bytes:
        try:
            return await self._content.readany()
        except _FAILURES as error:
            raise ProviderUnreachable(f"{self.who}: the connection of the stream broke: {_described(error)}") from error


class HttpClient:
    """Requests to the servers of one back end. Nothing is opened before the first request.

    Args:
        setup: names the provider, its servers and the deadline of one request (`request_timeout_s`).
        port: where the URL gives a server none.
        tls: None for plain HTTP.
        judge: the error that an answer means; None leaves it to the caller. After `ProviderUnreachable` the next server
            is asked.
        proxy_from_environment: whether `HTTPS_PROXY` and its like are used.

    Attributes:
        closed: whether `close` was called.

    Raises:
        ProviderInvalid: the URL names no server, or one that is no `host:port`.
    """

    def __init__(
        self,
        setup: ProviderSetup,
        *,
        port: int,
        tls: TlsFiles | None,
        judge: Callable[[HttpAnswer], ProviderError | None] = judge,
        proxy_from_environment: bool = False,
    ) -> None:
        self._name = setup.name
        self._timeout_s = setup.request_timeout_s
        self._servers = _server_urls(setup, port, "http" if tls is None else "https")
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._judge = judge
        self._proxies = proxy_from_environment
        self._session: _Session | None = None
        self._replaced: set[_Session] = set()
        self._responses: dict[aiohttp.ClientResponse, None] = {}  # that are being read
        self._first = 0  # index of the server that answered last
        self.closed = False

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
        wait_s: float = 0.0,
    ) -> HttpAnswer:
        """One request, and its answer with whatever status `judge` leaves to the caller.

        A server may carry it out twice, or carry it out although it fails: an answer that is lost is asked for again.

        Args:
            method: such as `GET`.
            path: of the URL, not escaped.
            query: parameters, not escaped.
            body: bytes as they are; other values as JSON; None sends nothing.
            headers: more headers. They may contain secrets: no error repeats them.
            accept: further statuses that the caller decides.
            wait_s: how long the server may hold its answer back on purpose, seconds; each deadline is so much later.

        Raises:
            ProviderUnreachable: no server was reached, or answered in time.
            ProviderInvalid: refused, or a certificate does not verify.
            ProviderStreamFailed: the answer is too long.
        """
        parts = _Parts(method, path, query or {}, body, headers or {}, accept)
        async with self._asking(parts, self._whole, wait_s) as answer:
            return answer

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[HttpStream]:
        """A response that goes on, for a watch: `async with client.stream(...) as stream: async for item in stream`.

        The deadline of a request holds until the response begins. Later only the caller ends a stream that is silent.

        Args, Raises: as `request`; a status other than 200 that `judge` leaves raises `ProviderStreamFailed`.
        """
        parts = _Parts(method, path, query or {}, body, headers or {})
        async with self._asking(parts, self._beginning) as stream:
            yield stream

    async def close(self) -> None:
        """Ends all connections; requests under way fail. Later ones are refused."""
        self.closed = True
        sessions, self._session = {*self._replaced, *filter(None, (self._session,))}, None
        for response in self._responses:  # aiohttp does not wake who reads from a connection that it closes
            response.content.set_exception(aiohttp.ClientConnectionError("the provider was closed"))
        for session in sessions:
            await session.http.close()

    @contextlib.asynccontextmanager
    async def _asking(self, parts: _Parts, take: _Take[Taken], wait_s: float = 0.0) -> AsyncGenerator[Taken]:
        """What `take` makes of the response of the first server that gives one; the response is open meanwhile."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout_s
        failures: list[ProviderError] = []
        first = self._first
        for tried in range(len(self._servers)):
            index = (first + tried) % len(self._servers)
            share_s = max(0.0, end - loop.time()) / (len(self._servers) - tried) + wait_s
            async with contextlib.AsyncExitStack() as opened:
                try:
                    found = await self._ask(opened, self._servers[index], parts, take, share_s)
                except _AskNext as failure:
                    failures.append(failure.error)
                    continue
                self._first = index
                yield found
                return
        raise combined(failures)

    async def _ask(
        self, opened: contextlib.AsyncExitStack, server: URL, parts: _Parts, take: _Take[Taken], timeout_s: float
    ) -> Taken:
        who = f"provider {self._name}: {server}"
        session = await opened.enter_async_context(await self._current_session(who))
        tls = self._tls or TlsFiles()
        try:
            async with asyncio.timeout(timeout_s):
                response = await opened.enter_async_context(
                    session.http.request(
                        parts.method,
                        server.with_path(parts.path).with_query(parts.query),
                        data=parts.data,
                        headers=parts.all_headers,
                        allow_redirects=False,
                        timeout=_NO_LIMIT,
                        ssl=self._context or True,
                        server_hostname=tls.server_name or None,
                    )
                )
                self._responses[response] = None
                opened.callback(self._responses.pop, response, None)
                return await take(who, parts, response)
        except TimeoutError as error:
            self._replace_session(session)
            reason = f"{who}: no answer within {timeout_s:.3g} s to {parts.method} {parts.path}"
            raise _AskNext(ProviderUnreachable(reason)) from error
        except _FAILURES as error:
            problem = tls.problem(error)
            if problem:
                self._context = None  # the files are read again: somebody may replace them
                raise _AskNext(ProviderInvalid(f"{who}: {problem}")) from error
            if isinstance(error, aiohttp.ClientResponseError):
                raise _AskNext(ProviderInvalid(f"{who}: this server does not speak HTTP: {error.message}")) from error
            used = "without TLS: it may want TLS" if self._tls is None else "with TLS: it may have none"
            raise _AskNext(ProviderUnreachable(f"{who}: {_described(error, used)}")) from error

    async def _whole(self, who: str, parts: _Parts, response: aiohttp.ClientResponse) -> HttpAnswer:
        """Reads the answer, and raises what its status means."""
        answer = HttpAnswer(who, response.status, response.headers, await _body(who, response))
        wrong = None if answer.status in parts.accept else self._judge(answer)
        if isinstance(wrong, ProviderUnreachable):
            raise _AskNext(wrong)
        if wrong is not None:
            raise wrong
        return answer

    async def _beginning(self, who: str, parts: _Parts, response: aiohttp.ClientResponse) -> HttpStream:
        if response.status == 200:
            return HttpStream(who, response)
        raise (await self._whole(who, parts, response)).unexpected(f"{parts.method} {parts.path}")

    async def _current_session(self, who: str) -> _Session:
        if self._tls is not None and self._context is None:
            try:
                context = await asyncio.to_thread(self._tls.context)
            except ProviderInvalid as error:
                raise ProviderInvalid(f"{who}: {error.reason}") from error
            self._context = context
        if self.closed:
            raise ProviderUnreachable(f"{who}: the provider is closed")
        if self._session is None:
            self._session = _Session(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ttl_dns_cache=1),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=self._proxies,
                    read_bufsize=_READ_BYTES,
                    auto_decompress=False,
                ),
                self._replaced,
            )
        return self._session

    def _replace_session(self, session: _Session) -> None:
        """Idle connections may be as dead as the one that was silent: later requests open new ones."""
        if session is self._session:
            self._session = None
            session.replace()


class _Session:
    """A session of aiohttp. After `replace` it is closed when the last request that uses it has ended."""

    def __init__(self, http: aiohttp.ClientSession, replaced: set[_Session]) -> None:
        self.http = http
        self._replaced = replaced
        self._users = 0

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if self in self._replaced and not self._users:
            self._replaced.discard(self)
            await self.http.close()

    def replace(self) -> None:
        self._replaced.add(self)


class _AskNext(Exception):  # noqa: N818  not an error by itself
    """The next server may do better."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.reason)
        self.error = error


async def _body(who: str, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise ProviderStreamFailed(f"{who}: the answer has over {ANSWER_BYTES_MAX} bytes")
    return bytes(body)


def _server_urls(setup: ProviderSetup, port: int, scheme: str) -> Sequence[URL]:
    found: list[URL] = []
    for server in setup.url.servers:
        try:
            url = URL(f"{scheme}://{server}")
        except ValueError as error:
            raise ProviderInvalid(f"provider {setup.name}: the server {server!r} is no host:port: {error}") from error
        if not url.host:
            raise ProviderInvalid(f"provider {setup.name}: the server {server!r} is no host:port")
        found.append(url if url.explicit_port else url.with_port(port))
    if not found:
        raise ProviderInvalid(
            f"provider {setup.name}: the URL names no server; write {setup.url.scheme}://HOST:{port}/{setup.prefix}"
        )
    return found


def _described(error: BaseException, used: str = "") -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error.os_error, ConnectionResetError):
        # The text of the error itself repeats the server, and shows objects of Python.
        return f"cannot connect: {error.os_error.strerror or error.os_error or type(error.os_error).__name__}"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerDisconnectedError | ConnectionResetError):
        return f"the server has closed the connection {used}".rstrip()
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
