"""Requests to the JSON gateway of etcd: tokens, what its errors mean, ranges, transactions, leases, watches.

The gateway takes and returns the messages of etcd's gRPC as JSON: bytes in base64, 64-bit numbers as text. An error has
the code of gRPC. Each request asks for a leader: a server that has lost it refuses at once, and ends its watches, in
place of waiting for one.

Why not gRPC itself: it would be the heaviest dependency of all, for eight requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec

from inaho.errors import ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.http import HttpClient
from inaho.providers.http_answers import HttpAnswer, judge
from inaho.providers.setup import ProviderSetup
from inaho.providers.tls_files import TLS_OPTIONS, TlsFiles

__all__ = ["EtcdGateway", "EtcdRefused", "KeyValue", "RangeResult"]

PORT: Final = 2379

NOT_FOUND: Final = 5
FAILED_PRECONDITION: Final = 9
OUT_OF_RANGE: Final = 11
_CANCELLED, _UNKNOWN, _INVALID_ARGUMENT, _DEADLINE_EXCEEDED, _PERMISSION_DENIED = 1, 2, 3, 4, 7
_RESOURCE_EXHAUSTED, _ABORTED, _INTERNAL, _UNAVAILABLE, _DATA_LOSS, _UNAUTHENTICATED = 8, 10, 13, 14, 15, 16
_PASSING: Final = (
    *(_CANCELLED, _UNKNOWN, _DEADLINE_EXCEEDED, _RESOURCE_EXHAUSTED),
    *(_ABORTED, _INTERNAL, _UNAVAILABLE, _DATA_LOSS),
)
"""Codes of gRPC after which another server, or the same one later, may do better."""

Result = TypeVar("Result")


class EtcdRefused(ProviderStreamFailed):
    """etcd has refused a request.

    Attributes:
        grpc_code: of gRPC.
    """

    grpc_code: int = 0


class _TokenRefused(ProviderInvalid):
    """The token is not known any more, or belongs to older permissions; a new one may do."""


class KeyValue(msgspec.Struct, frozen=True):
    """A key with its value, the revision that wrote it, and its lease (0: none)."""

    key: bytes
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0


class _Header(msgspec.Struct, frozen=True):
    revision: int = 0


class RangeResult(msgspec.Struct, frozen=True):
    """Keys, in order, at the revision of the header; `more` if there are further ones."""

    header: _Header
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False


class _OperationResult(msgspec.Struct, frozen=True):
    response_range: RangeResult | None = None


class _TxnResult(msgspec.Struct, frozen=True):
    header: _Header
    succeeded: bool = False
    responses: tuple[_OperationResult, ...] = ()


class _PutResult(msgspec.Struct, frozen=True):
    header: _Header


class _LeaseResult(msgspec.Struct, frozen=True):
    lease: int = msgspec.field(name="ID", default=0)
    ttl_s: int = msgspec.field(name="TTL", default=0)
    error: str = ""


class _KeepAliveResult(msgspec.Struct, frozen=True):
    result: _LeaseResult


class _TokenResult(msgspec.Struct, frozen=True):
    token: str


class EtcdGateway:
    """The servers of one etcd.

    Args:
        setup: of the provider: scheme `etcd` or `etcds`, TLS options, the secrets `username` and `password`.

    Raises:
        ProviderInvalid: an option, a secret or a server is wrong.
    """

    def __init__(self, setup: ProviderSetup) -> None:
        self._name = setup.name
        self._secrets = setup.secrets
        tls = setup.url.scheme == "etcds"
        unknown = sorted(set(setup.url.options) - (set(TLS_OPTIONS) if tls else set()))
        if unknown:
            known = ", ".join(TLS_OPTIONS) if tls else f"none; {', '.join(TLS_OPTIONS)} with etcds://"
            raise ProviderInvalid(f"provider {setup.name}: unknown option {', '.join(unknown)}; known are {known}")
        if setup.secrets.names not in ((), ("password", "username")):
            given = ", ".join(setup.secrets.names)
            raise ProviderInvalid(
                f"provider {setup.name}: the secrets of etcd are username and password, both or none; given: {given}"
            )
        self._client = HttpClient(setup, port=PORT, tls=TlsFiles.of(setup) if tls else None, judge=_judge)
        self._token = ""
        self._authenticating = asyncio.Lock()

    async def range(
        self, key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = 0, after: bytes = b""
    ) -> RangeResult:
        """The key, or those from it up to `end`, as a majority of the servers knows them.

        Args:
            key: the first one.
            end: the first one beyond; empty for one key.
            limit: most keys; 0 for all.
            revision: read as it was then; 0 for now.
            after: begin behind this key instead.
        """
        request = {"key": after + b"\0" if after else key, "range_end": end, "limit": limit, "revision": revision}
        return await self._call("/v3/kv/range", request, RangeResult)

    async def put(self, key: bytes, value: str, lease: int) -> None:
        """Writes a key that lives as long as the lease, whatever was there."""
        await self._call("/v3/kv/put", {"key": key, "value": value.encode(), "lease": lease}, _PutResult)

    async def transact(
        self, compare: Mapping[str, Any], success: Mapping[str, Any], failure: Mapping[str, Any] | None = None
    ) -> tuple[bool, RangeResult | None]:
        """Carries out `success` if the comparison holds, else `failure`: whether it held, and the range that was asked.

        All three are messages of etcd.
        """
        request = {"compare": [compare], "success": [success], "failure": [failure] if failure else []}
        found = await self._call("/v3/kv/txn", request, _TxnResult)
        return found.succeeded, found.responses[0].response_range if found.responses else None

    async def grant(self, ttl_s: int) -> int:
        """A new lease of that many seconds, or more: etcd has a shortest one."""
        found = await self._call("/v3/lease/grant", {"TTL": ttl_s}, _LeaseResult)
        if not found.lease:
            raise ProviderStreamFailed(
                f"provider {self._name}: etcd grants no lease: {found.error or 'no reason given'}"
            )
        return found.lease

    async def keep_alive(self, lease: int) -> bool:
        """Makes the lease last its full time from now; False if there is none."""
        found = await self._call("/v3/lease/keepalive", {"ID": lease}, _KeepAliveResult)
        return found.result.ttl_s > 0

    async def watch(self, key: bytes, end: bytes, revision: int) -> AsyncGenerator[None]:
        """Yields after each change from that revision on, of the keys from `key` up to `end`.

        Raises:
            ProviderStreamFailed: etcd has ended it, or the revision was compacted.
            ProviderUnreachable: the connection broke, or the server has lost its leader.
        """
        create = {"key": key, "range_end": end, "start_revision": revision}
        used = await self._headers()
        async with self._client.stream("POST", "/v3/watch", body={"create_request": create}, headers=used) as stream:
            async for line in stream:
                error = _error_of(line)
                if error is not None:
                    raise _refusal(stream.who, *error)
                result = line.get("result", {})
                if result.get("compact_revision", "0") != "0":
                    raise ProviderStreamFailed(
                        f"{stream.who}: etcd has compacted its history since revision {revision}: "
                        f"it begins at {result['compact_revision']}"
                    )
                if result.get("canceled"):
                    self._forget_token(used)  # a token that is not known any more is reported as a lack of permission
                    reason = result.get("cancel_reason") or "no reason given"
                    raise ProviderStreamFailed(f"{stream.who}: etcd has ended the watch: {reason}")
                if result.get("events"):
                    yield

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._client.closed

    async def close(self) -> None:
        """Ends all connections."""
        await self._client.close()

    async def _call(self, path: str, request: Mapping[str, Any], kind: type[Result]) -> Result:
        used = await self._headers()
        try:
            answer = await self._client.request("POST", path, body=request, headers=used)
        except _TokenRefused:
            self._forget_token(used)
            answer = await self._client.request("POST", path, body=request, headers=await self._headers())
        return answer.decode(kind, strict=False)

    async def _headers(self) -> dict[str, str]:
        found = {"Grpc-Metadata-hasleader": "true"}
        if self._secrets.names:
            async with self._authenticating:
                if not self._token:
                    self._token = await self._authenticate()
            found["Authorization"] = self._token
        return found

    async def _authenticate(self) -> str:
        try:
            secrets = {"name": self._secrets.read("username"), "password": self._secrets.read("password")}
        except ProviderInvalid as error:
            raise ProviderInvalid(f"provider {self._name}: {error.reason}") from error
        try:
            answer = await self._client.request("POST", "/v3/auth/authenticate", body=secrets)
        except EtcdRefused as error:
            if error.grpc_code == FAILED_PRECONDITION:
                raise ProviderInvalid(
                    f"provider {self._name}: etcd has no authentication switched on; remove the secrets username and "
                    "password, or run etcdctl auth enable"
                ) from error
            raise
        return answer.decode(_TokenResult).token

    def _forget_token(self, headers: Mapping[str, str]) -> None:
        """Forgets the token of a request, unless another request has a new one already."""
        if self._token == headers.get("Authorization"):
            self._token = ""


def _error_of(body: Any) -> tuple[int, str] | None:
    """Code and text of an error of the gateway; its versions write them differently. None if it is no error."""
    if not isinstance(body, dict):
        return None
    found = cast("dict[str, Any]", body)
    inner = found.get("error")
    if isinstance(inner, dict):
        found = cast("dict[str, Any]", inner)
    code = found.get("grpc_code", found.get("code"))
    return (code, str(found.get("message") or found.get("error") or "")) if isinstance(code, int) else None


def _judge(answer: HttpAnswer) -> ProviderError | None:
    if answer.status == 200:
        return None
    try:
        error = _error_of(msgspec.json.decode(answer.body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = None
    if error is not None:
        return _refusal(answer.who, *error)
    if answer.status == 404:
        return ProviderInvalid(
            f"{answer.who}: this server has no path /v3: it is no etcd 3.4 or newer, "
            "or it runs with --enable-grpc-gateway=false"
        )
    return judge(answer) or answer.unexpected("etcd")


def _refusal(who: str, code: int, text: str) -> ProviderError:
    """The error that a code of gRPC, and its text, mean."""
    if code == _UNAUTHENTICATED or "auth store is old" in text:
        return _TokenRefused(f"{who}: etcd refuses the token of this user: {text}")
    if code == _INVALID_ARGUMENT and "user name is empty" in text:
        return ProviderInvalid(f"{who}: etcd demands a user; give the provider the secrets username and password")
    if code == _INVALID_ARGUMENT and "authentication failed" in text:
        return ProviderInvalid(f"{who}: etcd refuses the user or the password: {text}")
    if code == _PERMISSION_DENIED:
        return ProviderInvalid(f"{who}: the user needs the permission readwrite for all keys under the prefix: {text}")
    if code == _RESOURCE_EXHAUSTED and "space exceeded" in text:
        return ProviderStreamFailed(
            f"{who}: etcd is full (alarm NOSPACE) and takes no writes; compact and defragment it, then run "
            f"etcdctl alarm disarm, or give it a larger --quota-backend-bytes: {text}"
        )
    if code in _PASSING:
        return ProviderUnreachable(f"{who}: etcd cannot answer now: {text}")
    refused = EtcdRefused(f"{who}: etcd refuses the request: {text}")
    refused.grpc_code = code
    return refused
