"""Resolves the method numbers of one accepted connection, as the caller has defined them; decodes arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from inaho.core.identity.identity import validate_key, validate_kind
from inaho.errors import InahoError, InvalidPid, NoSuchKind, ProtocolViolation
from inaho.wire.codec import DECODE_ERRORS, decoder
from inaho.wire.frames import Definition

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.grains.method import GrainMethod

__all__ = ["Defined", "decode_definition", "decode_identity", "decode_key", "define"]

Decode = Callable[[bytes | memoryview], Any]


class _Keyed(Struct, array_like=True):
    """The key of a call. The arguments after it are skipped."""

    key: str


_decode_keyed: Final = decoder(_Keyed)
_decode_identity: Final = decoder(tuple[str, str])
decode_definition: Final = decoder(Definition)
"""The body of a `DEFINE` frame."""


class Defined:
    """The method of a method number on this node, or the error for its calls."""

    __slots__ = ("activations", "decode", "definition", "error", "host", "method", "timeout_s")

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.timeout_s = definition.timeout_ms / 1000.0
        self.host: KindHost = None  # type: ignore[assignment]
        self.method: GrainMethod = None  # type: ignore[assignment]
        self.activations: dict[str, Any] = {}
        self.decode: Decode = _decode_keyed
        self.error: InahoError | None = None


def define(body: memoryview, hosts: Mapping[str, KindHost], *, containers_max: int, authority: str) -> Defined:
    """Resolves a definition on this node. If this node cannot serve it, its calls fail, and the connection stays.

    Args:
        body: of a `DEFINE` frame.
        hosts: kinds by name.
        containers_max: `transport.containers_max`, for the arguments of calls.
        authority: of this node, for errors.

    Raises:
        ProtocolViolation: it does not decode.
    """
    try:
        defined = Defined(decode_definition(body))
    except DECODE_ERRORS as error:
        raise ProtocolViolation(f"a definition that does not decode: {error}") from error
    definition = defined.definition
    host = hosts.get(definition.kind)
    if host is None or not host.hosted:
        defined.error = NoSuchKind(
            f"this node hosts no kind {definition.kind!r}", identity=definition.kind, authority=authority
        )
        return defined
    try:
        method = host.kind.find(definition.method, stream=definition.streams)
        defined.decode = method.bounded_arguments_decoder(definition.arity, containers_max)
    except InahoError as error:
        defined.error = error
        return defined
    defined.host, defined.method, defined.activations = host, method, host.activations
    return defined


def decode_key(body: bytes | memoryview) -> str:
    """The key of a call whose arguments do not fit the method. Raises one of `DECODE_ERRORS`."""
    keyed: _Keyed = _decode_keyed(body)
    return keyed.key


def decode_identity(body: memoryview) -> tuple[str, str]:
    """The kind and key of a `KEEPS` frame. Raises `ProtocolViolation`."""
    try:
        kind, key = _decode_identity(body)
        validate_kind(kind)
        validate_key(key)
    except (*DECODE_ERRORS, InvalidPid) as error:
        raise ProtocolViolation(f"an identity that does not decode: {error}") from error
    return kind, key
