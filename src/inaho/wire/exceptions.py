"""Exceptions that cross the wire.

inaho's own errors travel by code. A user's exception travels by the name under which its class is registered, with its
arguments and attributes, and is raised as itself on the other side. One that is not registered, or whose arguments have
no encoding, arrives as `RemoteError` with type name, message and remote traceback: the caller is told all that can be
told safely. Only registered classes are ever constructed, so a peer cannot choose what runs here. Never registered are
what ends a process or a generator (`SystemExit`, `StopIteration` and their kin): raised at a caller they would not be
errors but commands.
"""

from __future__ import annotations

import builtins
import inspect
import traceback
import types
from collections.abc import Callable
from typing import Annotated, Any, Final, Self, TypeVar

import msgspec

from inaho.errors import InahoError, InvalidConfig, RemoteError, error_from_code
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, decoder, encode

__all__ = [
    "Failure",
    "GrainError",
    "as_seen_by_caller",
    "decode_failure",
    "encode_failure",
    "exception_name",
    "is_expected",
    "register_exception",
    "text_of",
]

ExceptionType = TypeVar("ExceptionType", bound=type[Exception])

TRACEBACK_CHARS_MAX: Final = 16_384
MESSAGE_CHARS_MAX: Final = 4_096
NAME_CHARS_MAX: Final = 1_024
ARGUMENTS_BYTES_MAX: Final = 64 << 10
"""Larger arguments stay at home, and the exception arrives as `RemoteError`: what failed must still fit in a frame."""

_NEVER: Final = (StopIteration, StopAsyncIteration)
"""Python gives these a meaning in coroutines and generators; a future does not even take the first."""

_MADE_WITH: Final = "_inaho_made_with"
"""Attribute with the constructor's arguments. It is not sent: the constructor at the caller makes it again."""

_SCALARS: Final = (str, int, float, bool, bytes, type(None))

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
    arguments: Annotated[bytes, msgspec.Meta(max_length=ARGUMENTS_BYTES_MAX)] = b""


_decode = decoder(Failure)
_decode_arguments = decoder(tuple[list[Any], dict[str, Any]])


def register_exception(kind: ExceptionType, name: str = "") -> ExceptionType:
    """Lets an exception class cross the wire as itself. Usable as a decorator.

    Such an exception is a result that the program expects. It is counted apart from failures
    (`inaho.rpc.client.exceptions`), and raises no alert unless `alerts.count_registered` is set.

    Args:
        kind: the class; `kind(*error.args)` must rebuild an instance.
        name: stable name on the wire; module and qualified name unless given. Same on all nodes.

    Raises:
        InvalidConfig: the name belongs to another class, or the class is no error but a signal to Python: not derived
            from `Exception`, or from `StopIteration` or `StopAsyncIteration`.
    """
    if not issubclass(kind, Exception) or issubclass(kind, _NEVER):
        raise InvalidConfig(f"{kind!r} cannot cross the wire: raised at a caller it would not be taken for an error")
    name = name or f"{kind.__module__}.{kind.__qualname__}"
    known = _by_name.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise InvalidConfig(f"exception name {name!r} is already registered for {known!r}")
    _by_name[name] = kind
    _names[kind] = name
    return kind


class GrainError(Exception):
    """Base for a user's exceptions: every subclass is registered when it is made.

    A subclass may have a constructor of its own: what it was given is remembered, and builds the exception anew at the
    caller. `Exception` alone keeps only what was passed to `super().__init__`, which is mostly a text made from it.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        error = super().__new__(cls, *arguments, **named)
        if isinstance(cls.__init__, types.FunctionType):
            vars(error)[_MADE_WITH] = (arguments, named)
        return error

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        register_exception(cls)


for _kind in vars(builtins).values():
    if isinstance(_kind, type) and issubclass(_kind, Exception):
        if not issubclass(_kind, (Warning, ExceptionGroup, *_NEVER)):
            register_exception(_kind, _kind.__name__)  # `IOError` is but another name of `OSError`
_PYTHONS_OWN: Final = frozenset(_names)
"""Registered by this module, so they say nothing about what a program expects."""
register_exception(GrainError)


def is_registered(error: BaseException) -> bool:
    """Whether `error` can arrive as its own type."""
    return type(error) in _names or isinstance(error, InahoError)


def is_expected(error: BaseException) -> bool:
    """Whether a program has registered the class of `error`: a result of its own, such as "out of stock".

    Python's own exceptions are registered too, but not by the program, and are mostly mistakes. A group of exceptions
    is expected when all in it are.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_expected, error.exceptions))
    return type(error) in _names and type(error) not in _PYTHONS_OWN


def encode_failure(error: BaseException, *, identity: str, authority: str, executed: bool) -> bytes:
    """The body of an `ERROR` frame for whatever was raised. Never raises.

    Args:
        error: what the call ended with.
        identity: the grain.
        authority: this node.
        executed: whether user code had begun; sent with a user's exception, while an error of ours knows itself.
    """
    if isinstance(error, InahoError):
        identity, authority, executed = error.identity or identity, error.authority or authority, error.maybe_executed
    if isinstance(error, RemoteError):  # passed on from further away: keep what it says
        code, reason, type_name, trace = "", error.message or error.reason, error.type_name, error.remote_traceback
    elif isinstance(error, InahoError):
        code, reason, type_name, trace = error.code, error.reason, "", ""
    else:
        code, reason, type_name, trace = "", text_of(error), exception_name(type(error)), _traceback_of(error)
    failure = Failure(
        code=_sendable(code, NAME_CHARS_MAX),
        reason=_sendable(reason, MESSAGE_CHARS_MAX),
        identity=_sendable(identity, NAME_CHARS_MAX),
        authority=_sendable(authority, NAME_CHARS_MAX),
        maybe_executed=bool(executed),
        type_name=_sendable(type_name, NAME_CHARS_MAX),
        traceback=_sendable(trace[-TRACEBACK_CHARS_MAX:], TRACEBACK_CHARS_MAX),
        arguments=_arguments_of(error) if type(error) in _names else b"",
    )
    return encode(failure)


def decode_failure(body: bytes | memoryview) -> Exception:
    """The exception to raise at the caller.

    Raises:
        msgspec.MsgspecError, ValueError, RecursionError: the body is not a `Failure`.
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


def as_seen_by_caller(error: BaseException, *, identity: str, authority: str) -> Exception:
    """What a caller on the same node gets: the same as one on another node would, with the cause attached.

    The exception itself where nothing could tell the difference, else one that went through the codec: it shares no
    list with the grain, and what cannot be sent is a `RemoteError` here too.
    """
    if isinstance(error, InahoError) or (isinstance(error, Exception) and _is_plain(error)):
        return error
    seen = decode_failure(encode_failure(error, identity=identity, authority=authority, executed=True))
    seen.__cause__ = error
    return seen


def _rebuild(kind: Callable[..., Any], failure: Failure) -> Exception | None:
    """An instance of a registered class; None when its arguments do not fit its constructor here."""
    try:
        arguments, attributes = _decode_arguments(failure.arguments)
        error = kind(*arguments)
        if not isinstance(error, Exception):
            return None
        _set_attributes(error, attributes)
        if failure.traceback:
            BaseException.add_note(error, f"raised by {failure.identity} at {failure.authority}:\n{failure.traceback}")
    except DECODE_ERRORS:  # the constructor is the user's, the arguments are a peer's
        return None
    return error


def _set_attributes(error: Exception, attributes: dict[str, Any]) -> None:
    """Sets what the exception carried, except what belongs to Python: a peer shall not replace `with_traceback`."""
    vars(error).update({name: value for name, value in attributes.items() if not hasattr(BaseException, name)})
    vars(error).pop("__notes__", None)


def _is_plain(error: Exception) -> bool:
    """Whether a registered exception holds nothing that can be changed, and would be rebuilt as it is."""
    if type(error) not in _names:
        return False
    if isinstance(type(error).__init__, types.FunctionType) and _MADE_WITH not in vars(error):
        return False
    return all(type(value) in _SCALARS for value in (*error.args, *_attributes_of(error).values()))


def _attributes_of(error: BaseException) -> dict[str, Any]:
    return {name: value for name, value in vars(error).items() if name not in ("__notes__", _MADE_WITH)}


def _arguments_of(error: BaseException) -> bytes:
    """Arguments and attributes of a registered exception; empty when they have no encoding or a very long one."""
    for arguments_of in (_constructor_arguments, _kept_arguments):
        try:
            arguments = encode((arguments_of(error), _attributes_of(error)))
        except ENCODE_ERRORS:
            continue  # told by type, message and traceback instead
        return arguments if len(arguments) <= ARGUMENTS_BYTES_MAX else b""
    return b""


def _kept_arguments(error: BaseException) -> tuple[Any, ...]:
    return error.args


def _constructor_arguments(error: BaseException) -> tuple[Any, ...]:
    """What the constructor was given, by position. Raises `ValueError` where that cannot be said by position."""
    made_with = vars(error).get(_MADE_WITH)
    if made_with is None:
        return error.args
    arguments, named = made_with
    if not named:
        return tuple(arguments)
    bound = inspect.signature(type(error)).bind(*arguments, **named)
    if bound.kwargs:
        raise ValueError("the constructor has parameters that are given by keyword only")
    return bound.args


def exception_name(kind: type[BaseException]) -> str:
    """The name on the wire, for one that is not registered its module and qualified name."""
    return _names.get(kind) or f"{kind.__module__}.{kind.__qualname__}"


def _sendable(text: str, chars_max: int) -> str:
    """Text that has an encoding and an end. Names of files, for one, may contain what UTF-8 does not."""
    text = str(text)[:chars_max]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def text_of(error: BaseException) -> str:
    """The text of an exception, cut to a bound, whatever its `__str__` does."""
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
