"""Reads and sets the parts of an exception besides its class: texts, notes, attributes, each bounded.

Builtin exceptions keep some of their attributes outside of `__dict__`, and may hold a user's object
(`AttributeError.obj`). A user's exception may raise when its text or another attribute is read, and may refuse to be
changed, as a frozen dataclass does. So the parts that Python itself keeps in every exception are read and set where
Python keeps them, without the methods of the class. Only `attributes_of` runs user code, and may raise.
"""

from __future__ import annotations

import traceback
import typing
from typing import Annotated, Any, Final

import msgspec

from inaho.errors import InahoError, RemoteError, error_from_code
from inaho.errors.inspection import TEXT_CHARS_MAX, fields_of, is_a
from inaho.wire.codec import decoder
from inaho.wire.limits import bounded

__all__ = [
    "Failure",
    "Made",
    "arguments_of",
    "attributes_of",
    "cause_of",
    "decode_body",
    "decode_made",
    "forget_context",
    "group_of",
    "held_by",
    "is_plain_error_of_ours",
    "is_short",
    "notes_of",
    "raised_at",
    "sendable",
    "set_attributes",
    "set_cause",
    "traceback_of",
]

MADE_WITH: Final = "_inaho_made_with"
"""Attribute with the constructor's arguments. It is not sent: the constructor on the caller's node sets it again."""

TRACEBACK_CHARS_MAX: Final = 16_384
MESSAGE_CHARS_MAX: Final = TEXT_CHARS_MAX
NAME_CHARS_MAX: Final = 1_024
NOTES_MAX: Final = 16
NOTE_CHARS_MAX: Final = 1_024
_SHORT: Final = 256

_CONTAINERS_MAX: Final = 4_096
"""Bound of the containers in the body of a failure, checked before it is decoded."""

ARGUMENTS_BYTES_MAX: Final = 64 << 10
"""Larger arguments are not sent, and the exception arrives as `RemoteError`: the failure must fit into a frame."""


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Body of an `ERROR` frame: one of inaho's errors (`code`), or a user's exception (`type_name`).

    A user's exception whose class cannot be registered has the code of `RemoteError`.
    """

    code: str
    reason: str
    identity: str
    authority: str
    maybe_executed: bool
    type_name: str = ""
    traceback: str = ""
    arguments: Annotated[bytes, msgspec.Meta(max_length=ARGUMENTS_BYTES_MAX)] = b""
    notes: tuple[str, ...] = ()
    cause: Failure | None = None
    members: tuple[Failure, ...] = ()


class Made(msgspec.Struct, frozen=True, array_like=True):
    """The parts of which an exception is built again: the constructor's arguments, and its attributes."""

    arguments: list[Any]
    attributes: dict[str, Any]
    named: dict[str, Any] = {}


_decode_body = bounded(decoder(Failure), _CONTAINERS_MAX)
_decode_made = bounded(decoder(Made), _CONTAINERS_MAX)


def decode_body(body: bytes | memoryview) -> Failure:
    """Decodes the body of an `ERROR` frame. Raises one of `DECODE_ERRORS`."""
    failure: Failure = _decode_body(body)
    return failure


def decode_made(arguments: bytes) -> Made:
    """Decodes `Failure.arguments`. Raises one of `DECODE_ERRORS`."""
    made: Made = _decode_made(arguments)
    return made


_HELD: Final[tuple[tuple[type[Exception], tuple[str, ...]], ...]] = (
    (OSError, ("filename", "filename2")),
    (ImportError, ("name", "path")),
    (NameError, ("name",)),
    (AttributeError, ("name",)),  # `obj` is the object itself, which is not sent
)
"""Attributes that builtin exceptions keep besides their arguments, and outside of their `__dict__`."""


def held_by(error: BaseException) -> tuple[str, ...]:
    """Names of the attributes that an exception of that class keeps outside of its `__dict__`."""
    return next((names for kind, names in _HELD if is_a(error, kind)), ())


def attributes_of(error: BaseException) -> dict[str, Any]:
    """Its attributes besides its arguments. File names that UTF-8 cannot encode are escaped.

    Raises:
        Exception: what a property of its class, or the path that it holds, raises.
    """
    attributes = {name: value for name, value in fields_of(error).items() if name not in ("__notes__", MADE_WITH)}
    for name in held_by(error):
        value = getattr(error, name)
        if value is not None:
            value = value.__fspath__() if hasattr(value, "__fspath__") else value
            attributes[name] = sendable(value, NAME_CHARS_MAX) if isinstance(value, str) else value
    return attributes


def set_attributes(error: BaseException, attributes: dict[str, Any]) -> None:
    """Sets the attributes that were sent, except Python's own: a peer must not replace `with_traceback`."""
    held, fields = held_by(error), fields_of(error)
    for name, value in attributes.items():
        if name in held:
            BaseException.__setattr__(error, name, value)
        elif not hasattr(BaseException, name):
            fields[name] = value
    fields.pop("__notes__", None)


_PYTHONS: Final = vars(BaseException)


def arguments_of(error: BaseException) -> tuple[Any, ...]:
    """Its `args`."""
    arguments: tuple[Any, ...] = _PYTHONS["args"].__get__(error)
    return arguments


def group_of(group: BaseException) -> tuple[str, tuple[BaseException, ...]]:
    """Message and members of an `ExceptionGroup`."""
    parts = vars(BaseExceptionGroup)
    return parts["message"].__get__(group), parts["exceptions"].__get__(group)


def cause_of(error: BaseException) -> BaseException | None:
    """Its `__cause__`."""
    cause: BaseException | None = _PYTHONS["__cause__"].__get__(error)
    return cause


def set_cause(error: BaseException, cause: BaseException | None) -> None:
    """Sets its `__cause__`."""
    _PYTHONS["__cause__"].__set__(error, cause)


def forget_context(error: BaseException) -> None:
    """Removes its `__context__` and a `from None`: neither is sent."""
    _PYTHONS["__context__"].__set__(error, None)
    _PYTHONS["__suppress_context__"].__set__(error, cause_of(error) is not None)


def raised_at(error: Exception, other: BaseException) -> Exception:
    """The first exception with the traceback of the other."""
    _PYTHONS["__traceback__"].__set__(error, _PYTHONS["__traceback__"].__get__(other))
    return error


def notes_of(error: BaseException) -> tuple[str, ...]:
    """The notes that were added to it, the first `NOTES_MAX`."""
    notes = fields_of(error).get("__notes__")
    if not isinstance(notes, list):
        return ()
    texts = typing.cast("list[object]", notes)[:NOTES_MAX]
    return tuple(sendable(note, NOTE_CHARS_MAX) for note in texts if isinstance(note, str))


def is_short(value: Any) -> bool:
    """Whether it cannot change, and arrives unchanged wherever it is sent."""
    kind = typing.cast(Any, type(value))
    if kind is int:
        return bool(-(2**63) <= value < 2**64)
    if kind is str:
        return len(value) <= _SHORT and value.isascii()
    return len(value) <= _SHORT if kind is bytes else kind in (float, bool, type(None))


def is_plain_error_of_ours(error: InahoError) -> bool:
    """Whether an error of inaho is described in full by its code and its text."""
    kind = type(error)
    if cause_of(error) is not None or type(error_from_code(str(kind.code), "")) is not kind:
        return False
    short = len(error.reason) <= MESSAGE_CHARS_MAX and error.reason.isascii()
    return short and not is_a(error, RemoteError) and fields_of(error).keys() <= _OURS


_OURS: Final = vars(InahoError("")).keys()


def sendable(text: str, chars_max: int) -> str:
    """Text that can be encoded, and is bounded. File names, for example, may contain what UTF-8 cannot encode."""
    text = str(text)[:chars_max]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def traceback_of(error: BaseException) -> str:
    """The end of its traceback as text."""
    try:
        lines = traceback.format_exception(error)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # it calls `__str__` and `__bool__` of the user's class
        return f"<no traceback: {type(broken).__name__}>"
    return "".join(lines)[-TRACEBACK_CHARS_MAX:]
