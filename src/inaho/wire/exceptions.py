"""Decides how an exception crosses the wire: by error code, by registered name, or as `RemoteError`.

inaho's own errors cross by their code. A user's exception crosses by the name under which its class is registered, with
its arguments and attributes, and is raised as its own class on the other side. One that is not registered, or whose
arguments have no encoding, arrives as `RemoteError` with type name, message and remote traceback. Causes (`raise …
from`), notes and the members of an `ExceptionGroup` are sent too, within bounds. `__context__` is not sent: the
traceback shows it.

A user's class may raise anything when it is read. Its exception then arrives as `RemoteError`. An error raised here
instead would keep a grain busy for ever, or end a connection. A caller on the same node gets the same result: an
exception that holds only short scalars is passed on as it is, any other one goes through the codec.

Only registered classes are ever constructed, so a peer cannot choose which code runs here. Exceptions that end a
process or a generator (`SystemExit`, `StopIteration` and so on) are never registered: raised at a caller they would be
commands, not errors.
"""

from __future__ import annotations

import builtins
import types
import typing
from typing import Any, Final, Self, TypeVar

from inaho.errors import FrameTooLarge, InahoError, InvalidConfig, RemoteError, error_from_code
from inaho.errors.inspection import add_note, fields_of, is_a, text_of
from inaho.wire.codec import ENCODE_ERRORS, encode
from inaho.wire.exception_parts import (
    ARGUMENTS_BYTES_MAX,
    MADE_WITH,
    MESSAGE_CHARS_MAX,
    NAME_CHARS_MAX,
    NOTES_MAX,
    TRACEBACK_CHARS_MAX,
    Failure,
    arguments_of,
    attributes_of,
    cause_of,
    decode_body,
    decode_made,
    forget_context,
    group_of,
    held_by,
    is_plain_error_of_ours,
    is_short,
    notes_of,
    raised_at,
    sendable,
    set_attributes,
    set_cause,
    traceback_of,
)

__all__ = [
    "Failure",
    "GrainError",
    "as_seen_by_caller",
    "decode_failure",
    "encode_failure",
    "exception_name",
    "is_expected",
    "register_exception",
]

ExceptionType = TypeVar("ExceptionType", bound=type[Exception])

CAUSES_MAX: Final = 4
"""Bound of the chain of causes that is sent."""

MEMBERS_MAX: Final = 64
GROUP_DEPTH_MAX: Final = 8
"""Bound of the exceptions in a group, over all its levels, and of the levels. A larger or deeper group arrives as
`RemoteError`."""

NESTED_CHARS_MAX: Final = 512
"""Bound of the text of a cause or member."""

_MANY: Final = 16

_NEVER: Final = (StopIteration, StopAsyncIteration)
"""Python gives these a meaning in coroutines and generators; a future does not accept the first."""

_by_name: dict[str, type[Exception]] = {}
_names: dict[type[BaseException], str] = {}
_groups: set[type[BaseException]] = set()
"""Registered classes whose constructor takes a message and members."""


def register_exception(kind: ExceptionType, name: str = "") -> ExceptionType:
    """Lets exceptions of a class cross the wire as their own class. Usable as a decorator.

    Such an exception is an expected result of the program. It is counted apart from failures
    (`inaho.rpc.client.exceptions`), and raises no alert unless `alerts.count_registered` is set.

    Args:
        kind: the class; `kind(*error.args)` must rebuild an instance.
        name: stable name on the wire; module and qualified name unless given. Same on all nodes.

    Raises:
        InvalidConfig: the name belongs to another class, or the class is no error but a signal to Python: it does not
            derive from `Exception`, or it derives from `StopIteration` or `StopAsyncIteration`.
    """
    if not _may_be_registered(kind):
        raise InvalidConfig(f"{kind!r} cannot cross the wire: raised at a caller it would not be taken for an error")
    name = name or f"{kind.__module__}.{kind.__qualname__}"
    known = _by_name.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise InvalidConfig(f"exception name {name!r} is already registered for {known!r}")
    _by_name[name] = kind
    _names[kind] = name
    if issubclass(kind, BaseExceptionGroup):
        _groups.add(kind)
    return kind


def _may_be_registered(kind: type[BaseException]) -> bool:
    return issubclass(kind, Exception) and not issubclass(kind, _NEVER)


class GrainError(Exception):
    """Base for a user's exceptions: every subclass is registered when it is defined.

    A subclass may have a constructor of its own: its arguments are remembered, and build the exception again on the
    caller's node. `Exception` alone keeps only what was passed to `super().__init__`, which is usually a text made of
    them.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        error = super().__new__(cls, *arguments, **named)
        if isinstance(cls.__init__, types.FunctionType):
            fields_of(error)[MADE_WITH] = (arguments, named)
        return error

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        register_exception(cls)


for _kind in vars(builtins).values():
    if isinstance(_kind, type) and issubclass(_kind, Exception):
        if not issubclass(_kind, Warning) and _may_be_registered(_kind):
            register_exception(_kind, _kind.__name__)  # `IOError` is another name of `OSError`
_PYTHONS_OWN: Final = frozenset(_names)
"""Registered by this module, so they are not expected results of a program."""
register_exception(GrainError)


def is_expected(error: BaseException) -> bool:
    """Whether the program has registered the class of `error`: an expected result, such as "out of stock".

    Python's own exceptions are registered too, but not by the program, and are usually mistakes. A group of exceptions
    is expected when all of its members are.
    """
    if is_a(error, BaseExceptionGroup):
        return all(map(is_expected, group_of(error)[1]))
    return type(error) in _names and type(error) not in _PYTHONS_OWN


def encode_failure(
    error: BaseException, *, identity: str, authority: str, executed: bool, bytes_max: int = 0, method: str = ""
) -> bytes:
    """The body of an `ERROR` frame for any exception. Never raises.

    Args:
        error: the exception with which the call ended.
        identity: the grain.
        authority: this node.
        executed: whether user code had begun; sent with a user's exception, while an error of inaho has its own flag.
        bytes_max: a longer body is replaced by that of a `FrameTooLarge`; 0 for no bound.
        method: the method that failed, for the text of that error.
    """
    body = _encode(error, identity, authority, executed, with_traceback=True)
    if bytes_max and len(body) > bytes_max:
        too_large = FrameTooLarge(
            f"the {type(error).__name__} of {method} takes {len(body)} bytes, the most is {bytes_max} "
            "(transport.frame_bytes_max)",
            maybe_executed=True,
        )
        body = _encode(too_large, identity, authority, executed=True, with_traceback=False)
    return body


def _encode(error: BaseException, identity: str, authority: str, executed: bool, *, with_traceback: bool) -> bytes:
    try:
        return encode(_Encoding(identity, authority, executed).failure(error, with_traceback=with_traceback))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:
        deep = isinstance(broken, RecursionError)  # raised by user code at the limit of recursion
        reason = "nested too deeply to be described" if deep else sendable(text_of(error), MESSAGE_CHARS_MAX)
        trace = sendable(traceback_of(error), TRACEBACK_CHARS_MAX) if with_traceback and not deep else ""
        name = sendable(exception_name(type(error)), NAME_CHARS_MAX)
        code = "" if _may_be_registered(type(error)) else RemoteError.code
        return encode(Failure(code, reason, identity, authority, executed, name, trace))


class _Encoding:
    """Encodes one exception with its causes and members, within the bounds."""

    def __init__(self, identity: str, authority: str, executed: bool) -> None:
        self.identity = identity
        self.authority = authority
        self.executed = executed
        self.arguments_bytes = 0
        self.members = 0

    def failure(
        self, error: BaseException, *, with_traceback: bool = False, causes: int = 0, levels: int = 0
    ) -> Failure:
        """`causes`, `levels`: the present depth in the chain of causes, and within groups."""
        identity, authority, executed = self.identity, self.authority, self.executed
        outermost = not causes and not levels
        if is_a(error, InahoError):
            executed = error.maybe_executed
            identity, authority = error.identity or identity, error.authority or authority
        if is_a(error, RemoteError):  # passed on from another node: keep its parts
            code = RemoteError.code if error.advice == RemoteError.unregistrable else ""
            reason, type_name, trace = error.message or error.reason, error.type_name, error.remote_traceback
        elif is_a(error, InahoError):
            code, reason, type_name, trace = error.code, error.reason, "", ""
        else:
            code = "" if _may_be_registered(type(error)) else RemoteError.code
            reason, type_name = text_of(error), exception_name(type(error))
            trace = traceback_of(error) if with_traceback else ""
        members, arguments = self._group(error, causes, levels)
        if members is None:
            members, arguments = (), b""
        elif not members and type(error) in _names:
            arguments = self._arguments(error)
        cause = cause_of(error)
        return Failure(
            code=sendable(code, NAME_CHARS_MAX),
            reason=sendable(reason, MESSAGE_CHARS_MAX if outermost else NESTED_CHARS_MAX),
            identity=sendable(identity, NAME_CHARS_MAX),
            authority=sendable(authority, NAME_CHARS_MAX),
            maybe_executed=bool(executed),
            type_name=sendable(type_name, NAME_CHARS_MAX),
            traceback=sendable(trace[-TRACEBACK_CHARS_MAX:], TRACEBACK_CHARS_MAX) if outermost else "",
            arguments=arguments,
            notes=notes_of(error) if outermost else (),
            cause=None
            if cause is None or causes >= CAUSES_MAX
            else self.failure(cause, causes=causes + 1, levels=levels),
            members=members,
        )

    def _group(self, error: BaseException, causes: int, levels: int) -> tuple[tuple[Failure, ...] | None, bytes]:
        """Members and message of a group; None for members if it cannot be sent."""
        if not is_a(error, BaseExceptionGroup):
            return (), b""
        kind: type[BaseException] = type(typing.cast(BaseException, error))
        message, members = group_of(error)
        self.members += len(members)
        if kind not in _names or levels >= GROUP_DEPTH_MAX or self.members > MEMBERS_MAX:
            return None, b""
        failures = tuple(self.failure(member, causes=causes, levels=levels + 1) for member in members)
        if self.members > MEMBERS_MAX:
            return None, b""
        return failures, self._made(([message], attributes_of(error), {}))

    def _arguments(self, error: BaseException) -> bytes:
        """Arguments and attributes of a registered exception; empty when they have no encoding or a very long one."""
        arguments = arguments_of(error)
        try:
            attributes = attributes_of(error)
        except KeyboardInterrupt:
            raise
        except BaseException:  # a property of the user's
            return b""
        positional, named = fields_of(error).get(MADE_WITH, (arguments, {}))
        return self._made((list(positional), attributes, named)) or self._made((list(arguments), attributes, {}))

    def _made(self, made: tuple[list[Any], dict[str, Any], dict[str, Any]]) -> bytes:
        try:
            body = encode(made)
        except ENCODE_ERRORS:
            return b""  # sent as type, message and traceback instead
        if self.arguments_bytes + len(body) > ARGUMENTS_BYTES_MAX:
            return b""
        self.arguments_bytes += len(body)
        return body


def decode_failure(body: bytes | memoryview) -> Exception:
    """The exception to raise to the caller.

    Raises:
        msgspec.MsgspecError, ValueError, RecursionError: the body is not a `Failure`.
    """
    failure = decode_body(body)
    error = _raised(failure)
    if failure.traceback and not is_a(error, InahoError):
        add_note(error, f"raised by {failure.identity} at {failure.authority}:\n{failure.traceback}")
    return error


def as_seen_by_caller(
    error: BaseException, *, identity: str, authority: str, bytes_max: int = 0, method: str = ""
) -> Exception:
    """The exception that a caller on the same node gets: the same as one on another node would. Never raises.

    The exception itself if the caller could not see a difference, else one that went through the codec: it shares no
    list with the grain, and an exception that cannot be sent is a `RemoteError` here too. It keeps the traceback.

    The arguments are those of `encode_failure`.
    """
    if is_a(error, InahoError) and is_plain_error_of_ours(error):
        error.identity = error.identity or identity
        error.authority = error.authority or authority
        forget_context(error)
        return error
    if is_a(error, Exception) and _is_plain(error):
        forget_context(error)
        return error
    body = _encode(error, identity, authority, executed=True, with_traceback=False)
    if not bytes_max or len(body) + TRACEBACK_CHARS_MAX <= bytes_max:
        seen = _raised(decode_body(body))
        if not isinstance(seen, RemoteError):
            return raised_at(seen, error)
    body = encode_failure(
        error, identity=identity, authority=authority, executed=True, bytes_max=bytes_max, method=method
    )
    return raised_at(_raised(decode_body(body)), error)


def _raised(failure: Failure) -> Exception:
    """The exception that a failure describes, without the traceback."""
    error: Exception | None
    if failure.code and failure.code != RemoteError.code:
        error = error_from_code(
            failure.code,
            failure.reason,
            identity=failure.identity,
            authority=failure.authority,
            maybe_executed=failure.maybe_executed,
        )
    else:
        kind = _by_name.get(failure.type_name)
        error = None if kind is None or not failure.arguments else _rebuild(kind, failure)
        if error is None:
            error = RemoteError(
                identity=failure.identity,
                authority=failure.authority,
                maybe_executed=failure.maybe_executed,
                type_name=failure.type_name,
                message=failure.reason,
                remote_traceback=failure.traceback,
            )
            if failure.code:  # a class that cannot be registered gets no advice to register it
                error.advice = RemoteError.unregistrable
    for note in failure.notes[:NOTES_MAX]:
        add_note(error, note)
    if failure.cause is not None:
        set_cause(error, _raised(failure.cause))
    return error


def _rebuild(kind: Any, failure: Failure) -> Exception | None:
    """An instance of a registered class; None when its arguments do not fit the constructor on this node."""
    try:
        made = decode_made(failure.arguments)
        error: Any
        if kind in _groups:
            error = kind(*made.arguments, [_raised(member) for member in failure.members])
        else:
            error = kind(*made.arguments, **made.named)
        if type(error) is not error.__class__ or not is_a(error, Exception):
            return None
        set_attributes(error, made.attributes)
    except KeyboardInterrupt:
        raise
    except BaseException:  # the constructor is the user's and may raise anything; the arguments come from a peer
        return None
    return error


def _is_plain(error: Exception) -> bool:
    """Whether a registered exception holds nothing that can change, and would be rebuilt equal."""
    kind: Any = type(error)
    if kind not in _names or is_a(error, BaseExceptionGroup) or isinstance(kind.__init__, types.FunctionType):
        return False
    if isinstance(kind.__new__, types.FunctionType) and not issubclass(kind, GrainError):
        return False
    fields = fields_of(error)
    try:
        if error.__class__ is not kind or cause_of(error) is not None or getattr(error, "obj", None) is not None:
            return False
        values = [*arguments_of(error), *fields.values(), *(getattr(error, name) for name in held_by(error))]
    except KeyboardInterrupt:
        raise
    except BaseException:  # a property of the user's
        return False
    return len(values) <= _MANY and "__notes__" not in fields and all(map(is_short, values))


def exception_name(kind: type[BaseException]) -> str:
    """The name on the wire; for an unregistered class its module and qualified name."""
    return _names.get(kind) or f"{kind.__module__}.{kind.__qualname__}"
