"""Messages between actors as bytes: which classes may be sent, under which name, and how they are encoded.

A class is sent under the name by which it is registered, and only registered classes are made from bytes, so a peer
cannot choose which code runs here. Builtin values are sent without registration, and arrive with their types. A list
that contains a Struct would arrive as a list of dicts, so the sender refuses it.

A letter is one array, `[recipient, sender, type, value]`, encoded at once. Names are sent in full with every message: a
few dozen bytes cost less than tables that both sides must bound and keep equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from inaho.errors import InvalidConfig, InvalidGrain, SerializationFailed
from inaho.errors.inspection import text_of
from inaho.types import ClusterIdentity, Member, Pid
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, check_type, decoder, encode
from inaho.wire.limits import check_containers, repeats

__all__ = ["Letter", "decode_letter", "decode_value", "encode_letter", "encode_value", "register_message"]

MessageType = TypeVar("MessageType", bound=type[Any])

Letter = tuple[str, str, str, msgspec.Raw]
"""Recipient, sender, name of the type, the value still encoded."""

NAME_CHARS_MAX: Final = 200
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})
_SHOWN_CHARS_MAX: Final = 200

_names: dict[type[Any], str] = dict.fromkeys(_PLAIN, "")
_decoders: dict[str, Callable[[bytes | memoryview | msgspec.Raw], Any]] = {"": decoder(Any)}
_classes: dict[str, type[Any]] = {}
_repeating: set[str] = {"", "list", "dict", "tuple", "set", "frozenset"}
"""Names of types that can hold any number of containers. Most messages are of other types and are not counted."""

for _container in (list, dict, tuple, set, frozenset):
    _decoders[_container.__name__] = decoder(_container)

_decode_letter: Final = decoder(Letter)


def register_message(kind: MessageType, name: str = "") -> MessageType:
    """Lets a class be sent to actors on other nodes. Usable as a decorator.

    Args:
        kind: a Struct, dataclass, enum, pydantic model or another type that msgspec knows.
        name: stable name on the wire, at most 200 characters; module and qualified name unless given. It must be the
            same on all nodes.

    Raises:
        InvalidConfig: the name belongs to another class, or cannot be one.
        InvalidGrain: the class, or the type of one of its fields, cannot cross the wire.
    """
    name = name or f"{kind.__module__}.{kind.__qualname__}"
    if len(name) > NAME_CHARS_MAX or (name in _decoders and name not in _classes):
        raise InvalidConfig(f"{name!r} cannot be the name of a message: it is too long, or a builtin's")
    known = _classes.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise InvalidConfig(f"message name {name!r} is already registered for {known!r}")
    if kind in _names and _names[kind] != name:
        raise InvalidConfig(f"{kind!r} is already registered under {_names[kind]!r}")
    try:
        check_type(kind, f"message {name}")
    except TypeError as error:
        raise InvalidGrain(f"{kind!r} cannot cross the wire: {error}") from error
    _classes[name], _names[kind], _decoders[name] = kind, name, decoder(kind)
    if repeats(kind):
        _repeating.add(name)
    return kind


def encode_letter(recipient: str, sender: str, message: Any) -> bytes:
    """The body of a `TELL` or an `ASK`.

    Args:
        recipient: path of the actor within its system.
        sender: path of the sender, within its system or in full; empty when unsigned.
        message: a builtin value, or an instance of a registered class.

    Raises:
        SerializationFailed: its class is not registered, or the value has no encoding.
    """
    name = _names.get(message.__class__)
    if name is None:
        name = _name_of(message)
    try:
        return encode((recipient, sender, name, message))
    except ENCODE_ERRORS as error:
        raise _unserializable(message, error) from error


def encode_value(message: Any) -> bytes:
    """The body of an `ANSWER`. Raises as `encode_letter`."""
    name = _names.get(message.__class__)
    if name is None:
        name = _name_of(message)
    try:
        return encode((name, message))
    except ENCODE_ERRORS as error:
        raise _unserializable(message, error) from error


def decode_letter(body: bytes | memoryview) -> Letter:
    """The parts of a letter, its value still encoded. Raises one of `DECODE_ERRORS`."""
    letter: Letter = _decode_letter(body)
    return letter


def decode_value(name: str, value: bytes | memoryview | msgspec.Raw, containers_max: int) -> Any:
    """The message.

    Args:
        name: of its type.
        value: its encoding.
        containers_max: `transport.containers_max`.

    Raises:
        SerializationFailed: no class has that name here, or the bytes are not of that class, or too many containers.
    """
    decode = _decoders.get(name)
    if decode is None:
        raise SerializationFailed(f"no message class is registered here as {name[:_SHOWN_CHARS_MAX]!r}")
    try:
        if name in _repeating and len(data := memoryview(value)) > containers_max:
            check_containers(data, containers_max)
        return decode(value)
    except DECODE_ERRORS as error:
        reason = text_of(error)[:_SHOWN_CHARS_MAX]
        raise SerializationFailed(f"a message of type {name or 'builtin'} does not decode: {reason}") from error


def _name_of(message: Any) -> str:
    """The name of a builtin container, whose content is checked; other classes must be registered."""
    kind: type[Any] = message.__class__
    if kind.__name__ in _decoders and kind.__module__ == "builtins":
        _check_plain(list(message.items()) if kind is dict else message, kind)
        return kind.__name__
    raise SerializationFailed(
        f"{kind.__module__}.{kind.__qualname__} is not a registered message class; decorate it with "
        "@inaho.register_message on all nodes"
    )


def _check_plain(values: Any, outermost: type[Any]) -> None:
    """Refuses a value that would arrive as another type. Iterative, so that depth costs no stack."""
    waiting = [(value, outermost is dict) for value in values]
    seen = 0
    while waiting:
        value, is_pair = waiting.pop()
        seen += 1
        kind = value.__class__
        if kind in _PLAIN:
            continue
        if is_pair or kind is list:
            waiting.extend((item, False) for item in value)
        elif kind is dict:
            waiting.extend((pair, True) for pair in value.items())
        else:
            raise SerializationFailed(
                f"a {outermost.__name__} holds a {kind.__module__}.{kind.__qualname__}, whose type would be lost: send "
                "a registered Struct with typed fields"
            )
        if seen > _ITEMS_MAX:
            raise SerializationFailed(f"a {outermost.__name__} holds more than {_ITEMS_MAX} items, or holds itself")


_ITEMS_MAX: Final = 1_000_000
"""A frame cannot hold more; a value that contains itself would never end."""


def _unserializable(message: Any, error: Exception) -> SerializationFailed:
    kind: type[Any] = message.__class__
    reason = text_of(error)[:_SHOWN_CHARS_MAX]
    return SerializationFailed(f"a message of type {kind.__module__}.{kind.__qualname__} has no encoding: {reason}")


for _kind in (ClusterIdentity, Pid, Member):
    register_message(_kind, f"inaho.{_kind.__name__}")
