"""The type of a topic's messages: its name in definitions, and how values are checked, encoded and decoded.

Nodes of one topic need not have the same class, as callers and grains need not. What they share is the name, which is
that of the class, and the fields. A handle without a type takes and gives plain data.
"""

from __future__ import annotations

import types
import typing
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

from inaho.errors import InvalidGrain, InvalidTopic, WrongMessageType
from inaho.errors.inspection import text_of
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, check_type, decoder, encode
from inaho.wire.plain import check_of

__all__ = ["MessageType", "message_type", "type_name"]

T = TypeVar("T")

NAME_CHARS_MAX: Final = 500

TYPES_MAX: Final = 256
"""Types that are kept with their decoders, so that all handles of a type share them."""


def type_name(kind: Any) -> str:
    """The name of a type of messages in a definition: that of the class; empty for `Any`."""
    if kind is Any:
        return ""
    if kind is None or kind is type(None):
        return "None"
    if kind is Ellipsis:
        return "..."
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if isinstance(kind, types.UnionType) or origin is typing.Union:
        return " | ".join(type_name(each) or "Any" for each in arguments)
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(type_name(each) or 'Any' for each in arguments)}]"
    return getattr(kind, "__name__", None) or str(kind)


class MessageType(Generic[T]):
    """The type of the messages of one handle of a topic.

    Args:
        kind: any type that a grain's method may have; `Any` for plain data of any type.

    Attributes:
        kind: as given.
        name: in definitions; empty for `Any`.
        decode: bytes to one value. Raises one of `DECODE_ERRORS`.
        decode_many: bytes to a list of values.
        is_plain: whether a value is surely of the type, cannot change, and has an encoding, so that it needs no check
            and no copy; None if no value of the type is known to be so.

    Raises:
        InvalidTopic: the type cannot cross the wire, or its name is too long.
    """

    def __init__(self, kind: Any) -> None:
        try:
            check_type(kind, "the topic's message")
        except InvalidGrain as error:
            raise InvalidTopic(error.reason) from error
        self.kind = kind
        self.name = type_name(kind)
        if len(self.name) > NAME_CHARS_MAX:
            raise InvalidTopic(f"the name of the type of a topic has at most {NAME_CHARS_MAX} characters: {self.name}")
        self.decode = decoder(kind)
        self.decode_many = decoder(list[kind])
        self.is_plain = check_of(kind)

    def encode(self, value: T, topic: str) -> bytes:
        """The encoded value, once it is certain that a subscriber can decode it.

        Raises:
            WrongMessageType: it is not of the type, or has no encoding.
        """
        try:
            encoded = encode(value)
        except ENCODE_ERRORS as error:
            raise WrongMessageType(f"a message of topic {topic!r} has no encoding: {text_of(error)}") from error
        if self.is_plain is None or not self.is_plain(value):
            self.copy(encoded, topic)
        return encoded

    def copy(self, encoded: bytes, topic: str) -> T:
        """A value of its own, decoded. Raises `WrongMessageType`."""
        try:
            value: T = self.decode(encoded)
        except DECODE_ERRORS as error:
            raise WrongMessageType(
                f"a message of topic {topic!r} must be of type {self.name or 'Any'}: {text_of(error)}"
            ) from error
        return value


@lru_cache(TYPES_MAX, typed=True)
def _known(kind: Any, name: str) -> MessageType[Any]:
    """With its name, because `int | str` equals `str | int`, whose name differs."""
    return MessageType(kind)


def message_type(kind: Any) -> MessageType[Any]:
    """The `MessageType` of a type, made once for all topics of the type. Raises as `MessageType`."""
    try:
        return _known(kind, type_name(kind))
    except TypeError:  # the type is not hashable
        return MessageType(kind)
