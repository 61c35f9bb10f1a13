"""Tells whether arguments of programs are what they should be: programs need not have types, and nothing is half done.

An argument of another type fails late otherwise: it cannot be encoded, together with what others send at that time.
"""

from __future__ import annotations

from typing import Final

from inaho.errors import InvalidTopic

__all__ = ["NO_TEXT", "is_number", "is_text", "is_whole", "key_size"]

NO_TEXT: Final = ""
"""No key, or no id. Python has one empty text, so publishers look closer at what is not this object."""

SHOWN_MAX: Final = 100
"""Characters of a wrong key in an error."""


def is_whole(value: object, low: int, high: int) -> bool:
    """Whether it is a whole number in `low` to `high`. True and False are no numbers."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: object, low: float, high: float) -> bool:
    """Whether it is a number in `low` to `high`. True and False are no numbers, and what is not a number is in none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def is_text(value: object, chars_max: int) -> bool:
    """Whether it is text of at most `chars_max` characters that can be encoded as UTF-8."""
    if not isinstance(value, str) or len(value) > chars_max:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def key_size(key: object, bytes_max: int) -> int:
    """The bytes of the key of a message. Raises `InvalidTopic` if it is no text, has no UTF-8, or has more bytes."""
    if isinstance(key, str) and key.isascii():
        size = len(key)
    else:
        size = len(key.encode()) if isinstance(key, str) and is_text(key, bytes_max) else bytes_max + 1
    if size > bytes_max:
        raise InvalidTopic(
            f"the key of a message is text, at most {bytes_max} bytes of UTF-8 (pubsub.key_bytes_max), not "
            f"{repr(key)[:SHOWN_MAX]}"
        )
    return size
