"""Exceptions that cross the wire.

inaho's own errors travel by code. A user's exception travels by the name under which its class is registered, with its
arguments and attributes, and is raised as itself on the other side. One that is not registered, or whose arguments have
no encoding, arrives as `RemoteError` with type name, message and remote traceback: the caller is told all that can be
told safely. Only registered classes are ever constructed, so a peer cannot choose what runs here.
"""

from __future__ import annotations

import builtins
import traceback
from typing import Any, Final, TypeVar

import msgspec

from inaho.errors import InahoError, InvalidConfig, RemoteError, error_from_code
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, decoder, encode

__all__ = ["Failure", "GrainError", "as_seen_by_caller", "decode_failure", "encode_failure", "register_exception"]

ExceptionType = TypeVar("ExceptionType", bound=type[Exception])

TRACEBACK_CHARS_MAX: Final = 16_384
MESSAGE_CHARS_MAX: Final = 4_096

_by_name: dict[str, type[Exception]] = {}
_names: dict[type[BaseException], str] = {}


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Body of an `ERROR` frame: one of inaho's errors (`code`), or a user's exception (`type_name`)."""

    code: str
    reason: str
    identity: str
    authority: str
    maybe_executed: bool
    type_name: str = ""
    traceback: str = ""
    arguments: bytes = b""


_decode = decoder(Failure)
_decode_arguments = decoder(tuple[list[Any], dict[str, Any]])


def register_exception(kind: ExceptionType, name: str = "") -> ExceptionType:
    """Lets an exception class cross the wire as itself. Usable as a decorator.

    Args:
        kind: the class; `kind(*error.args)` must rebuild an instance.
        name: stable name on the wire; module and qualified name unless given. Same on all nodes.

    Raises:
        InvalidConfig: the name belongs to another class.
    """
    name = name or f"{kind.__module__}.{kind.__qualname__}"
    known = _by_name.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise InvalidConfig(f"exception name {name!r} is already registered for {known!r}")
    _by_name[name] = kind
    _names[kind] = name
    return kind


class GrainError(Exception):
    """Base for a user's exceptions: every subclass is registered when it is made."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        register_exception(cls)


register_exception(GrainError)
for _name, _kind in sorted(vars(builtins).items()):
    if isinstance(_kind, type) and issubclass(_kind, Exception) and not issubclass(_kind, Warning | ExceptionGroup):
        register_exception(_kind, _name)


def is_registered(error: BaseException) -> bool:
    """Whether `error` can arrive as its own type."""
    return type(error) in _names or isinstance(error, InahoError)


def encode_failure(error: BaseException, *, identity: str, authority: str, executed: bool) -> bytes:
    """The body of an `ERROR` frame for whatever was raised. Never raises.

    Args:
        error: what the call ended with.
        identity: the grain.
        authority: this node.
        executed: whether user code had begun; sent with a user's exception, while an error of ours knows itself.
    """
    if isinstance(error, InahoError) and not isinstance(error, RemoteError):
        failure = Failure(
            error.code, error.reason, error.identity or identity, error.authority or authority, error.maybe_executed
        )
        return encode(failure)
    if isinstance(error, RemoteError):  # passed on from further away: keep what it says
        type_name, message, trace = error.type_name, error.message or error.reason, error.remote_traceback
        return encode(Failure("", message, identity, authority, True, type_name, trace))
    type_name = _names.get(type(error), "")
    arguments = b""
    if type_name:
        attributes = {name: value for name, value in vars(error).items() if name != "__notes__"}
        try:
            arguments = encode((error.args, attributes))
        except ENCODE_ERRORS:
            arguments = b""  # told by type, message and traceback instead
    if not arguments:
        type_name = type_name or f"{type(error).__module__}.{type(error).__qualname__}"
    return encode(
        Failure("", _text_of(error), identity, authority, executed, type_name, _traceback_of(error), arguments)
    )


def decode_failure(body: bytes | memoryview) -> Exception:
    """The exception to raise at the caller.

    Raises:
        msgspec.MsgspecError: the body is not a `Failure`.
    """
    failure = _decode(body)
    if failure.code:
        return error_from_code(
            failure.code,
            failure.reason,
            identity=failure.identity,
            authority=failure.authority,
            maybe_executed=failure.maybe_executed,
        )
    kind = _by_name.get(failure.type_name)
    if kind is not None and failure.arguments:
        error = _rebuild(kind, failure)
        if error is not None:
            return error
    return RemoteError(
        identity=failure.identity,
        authority=failure.authority,
        maybe_executed=failure.maybe_executed,
        type_name=failure.type_name,
        message=failure.reason,
        remote_traceback=failure.traceback,
    )


def as_seen_by_caller(error: Exception, *, identity: str, authority: str) -> Exception:
    """What a caller on the same node gets: the same as one on another node would, with the cause attached."""
    if is_registered(error):
        return error
    seen = decode_failure(encode_failure(error, identity=identity, authority=authority, executed=True))
    seen.__cause__ = error
    return seen


def _rebuild(kind: type[Exception], failure: Failure) -> Exception | None:
    """An instance of a registered class; None when its arguments do not fit its constructor here."""
    try:
        arguments, attributes = _decode_arguments(failure.arguments)
        error = kind(*arguments)
        error.__dict__.update(attributes)
    except (*DECODE_ERRORS, AttributeError):
        return None
    if failure.traceback:
        error.add_note(f"raised by {failure.identity} at {failure.authority}:\n{failure.traceback}")
    return error


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:MESSAGE_CHARS_MAX]
    except Exception as broken:  # a user's __str__ may do anything; the call still gets its answer
        return f"<the text of this exception could not be had: {type(broken).__name__}>"


def _traceback_of(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(error)
    except Exception as broken:  # as above
        return f"<no traceback: {type(broken).__name__}>"
    return "".join(lines)[-TRACEBACK_CHARS_MAX:]
