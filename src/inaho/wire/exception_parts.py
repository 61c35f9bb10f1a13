"""What an exception consists of, apart from its class: texts, notes, and attributes, each within bounds; and its bytes.

Builtin exceptions keep some of their attributes outside of `__dict__`, and may have an object of the user's among them
(`AttributeError.obj`). A user's exception may do anything when it is asked for its text. Nothing here raises.
"""

from __future__ import annotations

import traceback
import typing
from typing import Annotated, Any, Final

import msgspec

from inaho.errors_cluster import TEXT_CHARS_MAX

__all__ = ["Failure", "Made", "attributes_of", "held_by", "is_short", "notes_of", "sendable", "traceback_of"]

MADE_WITH: Final = "_inaho_made_with"
"""Attribute with the constructor's arguments. It is not sent: the constructor at the caller makes it again."""

TRACEBACK_CHARS_MAX: Final = 16_384
MESSAGE_CHARS_MAX: Final = TEXT_CHARS_MAX
NAME_CHARS_MAX: Final = 1_024
NOTES_MAX: Final = 16
NOTE_CHARS_MAX: Final = 1_024
_SHORT: Final = 256

ARGUMENTS_BYTES_MAX: Final = 64 << 10
"""Larger arguments stay at home, and the exception arrives as `RemoteError`: what failed must still fit in a frame."""


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
    """What an exception is made anew from: the constructor's arguments, and the attributes that it had."""

    arguments: list[Any]
    attributes: dict[str, Any]
    named: dict[str, Any] = {}


_HELD: Final[tuple[tuple[type[Exception], tuple[str, ...]], ...]] = (
    (OSError, ("filename", "filename2")),
    (ImportError, ("name", "path")),
    (NameError, ("name",)),
    (AttributeError, ("name",)),  # `obj` is the very object, which stays at home
)
"""What builtin exceptions keep beside their arguments, and outside of their `__dict__`."""


def held_by(error: BaseException) -> tuple[str, ...]:
    """Names of the attributes that an exception of that class keeps outside of its `__dict__`."""
    return next((names for kind, names in _HELD if isinstance(error, kind)), ())


def attributes_of(error: BaseException) -> dict[str, Any]:
    """What it has beside its arguments. File names that UTF-8 cannot write are escaped."""
    attributes = {name: value for name, value in vars(error).items() if name not in ("__notes__", MADE_WITH)}
    for name in held_by(error):
        value = getattr(error, name)
        if value is not None:
            value = value.__fspath__() if hasattr(value, "__fspath__") else value
            attributes[name] = sendable(value, NAME_CHARS_MAX) if isinstance(value, str) else value
    return attributes


def notes_of(error: BaseException) -> tuple[str, ...]:
    """The notes that were added to it, the first `NOTES_MAX`."""
    notes = getattr(error, "__notes__", ())
    if not isinstance(notes, list):
        return ()
    texts = typing.cast("list[object]", notes)[:NOTES_MAX]
    return tuple(sendable(note, NOTE_CHARS_MAX) for note in texts if isinstance(note, str))


def is_short(value: Any) -> bool:
    """Whether it cannot change, and arrives as itself wherever it is sent."""
    kind = typing.cast(Any, type(value))
    if kind is int:
        return bool(-(2**63) <= value < 2**64)
    if kind is str:
        return len(value) <= _SHORT and value.isascii()
    return len(value) <= _SHORT if kind is bytes else kind in (float, bool, type(None))


def sendable(text: str, chars_max: int) -> str:
    """Text that has an encoding and an end. Names of files, for one, may contain what UTF-8 does not."""
    text = str(text)[:chars_max]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def traceback_of(error: BaseException) -> str:
    """The end of its traceback as text."""
    try:
        lines = traceback.format_exception(error)
    except Exception as broken:  # as above
        return f"<no traceback: {type(broken).__name__}>"
    return "".join(lines)[-TRACEBACK_CHARS_MAX:]
