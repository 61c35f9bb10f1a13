"""Reads exceptions of any class safely, whatever the methods of that class do.

Grains raise exceptions of user classes, which may have a `__str__` that raises, a computed `__class__` or a
`__setattr__` that refuses. The call must still be answered, so these functions avoid such methods, or catch what they
raise.
"""

from __future__ import annotations

from typing import Any, Final, TypeGuard, TypeVar

__all__ = ["add_note", "describe", "fields_of", "is_a", "text_of"]


Error = TypeVar("Error", bound=BaseException)

TEXT_CHARS_MAX: Final = 4_096
"""Characters of the text of an exception that are kept."""


def is_a(error: BaseException, kind: type[Error] | tuple[type[Error], ...]) -> TypeGuard[Error]:
    """As `isinstance`, but safe: `isinstance` asks a user's class for `__class__`, which may raise."""
    return issubclass(type(error), kind)


_FIELDS: Final = vars(BaseException)["__dict__"]


def fields_of(error: BaseException) -> dict[str, Any]:
    """The `__dict__` of an exception, to read and to change, even if its class refuses to set attributes."""
    fields: dict[str, Any] = _FIELDS.__get__(error)
    return fields


def add_note(error: BaseException, note: str) -> None:
    """As `BaseException.add_note`, which asks the class to set an attribute."""
    fields = fields_of(error)
    notes: Any = fields.get("__notes__")
    fields["__notes__"] = [*notes, note] if isinstance(notes, list) else [note]


def text_of(error: BaseException) -> str:
    """The text of an exception, cut to a bound, whatever its `__str__` does."""
    try:
        return str.__str__(str(error))[:TEXT_CHARS_MAX]
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a user's __str__ may raise anything; the call still gets its answer
        return f"<the text of this exception could not be read: {type(broken).__name__}>"


def describe(error: BaseException) -> str:
    """Describes an exception for logs and reasons: its class and its text, if it has one.

    Some of Python's own have no text: the `TimeoutError` of `asyncio.timeout`, `CancelledError`,
    `ConnectionResetError`.
    """
    name, text = type(error).__name__, text_of(error).strip()
    if text:
        return f"{name}: {text}"
    if is_a(error, TimeoutError):
        return f"{name}: no answer in time"
    return name
