"""Values to bytes and back: msgpack by msgspec, typed at both ends.

Decoders are made per type, once; decoding validates. Dataclasses, enums, dates, UUIDs, decimals and Structs are
msgspec's own; pydantic models are recognised by their methods, so that pydantic is needed only by those who use it.
Why not pickle: it executes what it reads.

`check_type` refuses, when a grain class is made, a type that could not be decoded at the first call. `is_plain` tells
which values may be passed within a process as they are, because nobody can change them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import inspect

from inaho.errors import InvalidGrain

__all__ = ["check_type", "decoder", "encode", "plain_types"]


def _to_plain(value: Any) -> Any:
    """Encodes what msgspec does not know: pydantic models, by the methods that define one."""
    dump = getattr(type(value), "model_dump", None)
    if dump is not None and hasattr(type(value), "model_validate"):
        return dump(value)
    if isinstance(value, frozenset | set | tuple):  # subclasses
        return list(value)
    raise NotImplementedError(f"objects of type {type(value).__module__}.{type(value).__qualname__} have no encoding")


def _from_plain(kind: Any, value: Any) -> Any:
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise NotImplementedError(f"type {kind!r} has no decoding")
    return validate(value)


encode: Final[Callable[[Any], bytes]] = msgspec.msgpack.Encoder(enc_hook=_to_plain).encode
"""Encodes one value. Raises TypeError, ValueError, OverflowError, RecursionError or NotImplementedError."""

ENCODE_ERRORS: Final = (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError, msgspec.MsgspecError)
"""What `encode` raises for a value that has no encoding."""

DECODE_ERRORS: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, NotImplementedError, OverflowError)
"""What a decoder raises for bytes that are not of its type; ValueError covers pydantic's validation."""


def decoder(kind: Any) -> Callable[[bytes | memoryview], Any]:
    """The decoding function for `kind`, which must have passed `check_type`."""
    return msgspec.msgpack.Decoder(kind, dec_hook=_from_plain).decode


def check_type(kind: Any, where: str) -> None:
    """Refuses a type that cannot cross the wire.

    Args:
        kind: annotation, resolved.
        where: what has the annotation, for the message.

    Raises:
        InvalidGrain: names the offending type and what can be used.
    """
    try:
        msgspec.msgpack.Decoder(kind)
        described = inspect.type_info(kind)
    except (TypeError, msgspec.MsgspecError) as error:
        raise InvalidGrain(f"{where} has type {kind!r}, which cannot cross the wire: {error}") from error
    custom = _find_custom(described, set())
    if custom is not None:
        raise InvalidGrain(
            f"{where} has type {kind!r}, which cannot cross the wire: {custom!r} is not a type that msgspec knows, "
            "a dataclass, a Struct or a pydantic model"
        )


def _find_custom(described: Any, seen: set[int]) -> Any:
    """The first type within `described` that only a hook could decode, pydantic models excepted."""
    if isinstance(described, inspect.CustomType):
        return None if hasattr(described.cls, "model_validate") else described.cls
    if id(described) in seen:
        return None
    seen.add(id(described))
    for name in ("type", "item_type", "key_type", "value_type"):
        found = _find_custom(getattr(described, name, None), seen)
        if found is not None:
            return found
    for name in ("types", "item_types", "fields", "args"):
        for part in getattr(described, name, None) or ():
            found = _find_custom(part, seen)
            if found is not None:
                return found
    return None


_SCALARS: Final = (str, int, float, bool, bytes, type(None))


def plain_types(kind: Any) -> frozenset[type]:
    """Classes whose exact instances satisfy `kind` and cannot be changed: these need no copy within a process.

    Empty where nothing is certain; then a value takes the way through the codec, which copies and validates it.
    """
    if kind is Any:
        return frozenset(_SCALARS)
    if kind is None or kind in _SCALARS:
        return frozenset({type(None) if kind is None else kind})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return frozenset({kind})
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return frozenset({kind}) if _is_frozen(kind, ()) else frozenset()
    members = getattr(kind, "__args__", ())
    if members and _is_union(kind):
        found = [plain_types(member) for member in members]
        return frozenset().union(*(part for part in found if part))
    return frozenset()


def _is_union(kind: Any) -> bool:
    import types
    import typing

    return isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union


def _is_frozen(kind: type[msgspec.Struct], outer: tuple[type, ...]) -> bool:
    """Whether every instance is deeply immutable. Recursive types are taken as mutable."""
    if not kind.__struct_config__.frozen or kind in outer:
        return False
    for field in msgspec.structs.fields(kind):
        parts = field.type.__args__ if _is_union(field.type) else (field.type,)
        for part in parts:
            if part in _SCALARS or part is None:
                continue
            if isinstance(part, type) and issubclass(part, enum.Enum):
                continue
            if isinstance(part, type) and issubclass(part, msgspec.Struct) and _is_frozen(part, (*outer, kind)):
                continue
            return False
    return True
