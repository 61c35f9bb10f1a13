"""Converts values to bytes and back: msgpack by msgspec, typed at both ends.

Decoders are made per type, once; decoding validates. Dataclasses, enums, dates, UUIDs, decimals and Structs are
msgspec's own types. Pydantic models are recognised by their methods, so only their users need pydantic. Why not pickle:
it executes what it reads.

`check_type` refuses, when a grain class is defined, a type that could not be decoded at the first call.

Encoding and decoding run user code: `__post_init__`, validators, `_missing_` of an enum, `model_dump`. It may raise
anything, and this means only that this value has no encoding, or that these bytes are no value. So `ENCODE_ERRORS` and
`DECODE_ERRORS` are broad: with narrower ones a `KeyError` of one grain would end the connection of all.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import inspect

from inaho.errors import InvalidGrain

__all__ = ["DECODE_ERRORS", "ENCODE_ERRORS", "check_type", "decoder", "encode"]


def _to_plain(value: Any) -> Any:
    """Encodes pydantic models, which msgspec does not know, by the methods that they define.

    By alias and without computed fields, because `model_validate` expects this.
    """
    kind = typing.cast(Any, type(value))
    if hasattr(kind, "model_dump") and hasattr(kind, "model_validate"):
        return kind.model_dump(value, by_alias=True, round_trip=True)
    raise NotImplementedError(f"objects of type {kind.__module__}.{kind.__qualname__} have no encoding")


def _from_plain(kind: Any, value: Any) -> Any:
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise NotImplementedError(f"type {kind!r} has no decoding")
    return validate(value)


encode: Final[Callable[[Any], bytes]] = msgspec.msgpack.Encoder(enc_hook=_to_plain).encode
"""Encodes one value. Raises one of `ENCODE_ERRORS` for a value that has no encoding."""

ENCODE_ERRORS: Final = (Exception,)
"""What `encode` raises: TypeError, OverflowError, RecursionError and so on, and any error of a pydantic serializer."""

DECODE_ERRORS: Final = (Exception,)
"""What a decoder raises for bytes that are not of its type: msgspec's errors, and anything that a validator raises."""


def decoder(kind: Any) -> Callable[[bytes | memoryview], Any]:
    """The decoding function for `kind`, which must have passed `check_type`."""
    return msgspec.msgpack.Decoder(kind, dec_hook=_from_plain).decode


_TAGGED: Final = "class Opened(inaho.Struct, tag=True): ..."
_UNTAGGED: Final = (
    ". The bytes must say which one it is, and a dataclass, a TypedDict, a NamedTuple or a dict carries no tag: "
    f"write each as an inaho.Struct with one, `{_TAGGED}`"
)
_UNION_ADVICE: Final = (
    ("all Struct types must be tagged", f". The bytes must say which one it is: give each of them a tag, `{_TAGGED}`"),
    ("must have unique `tag` values", f". Give each a tag of its own: `{_TAGGED}` takes the name of the class"),
    ("must have the same `tag_field`", ". Give all of them the same `tag_field`, or none"),
    ("more than one dict", _UNTAGGED),
    ("more than one dataclass", _UNTAGGED),
    ("more than one TypedDict", _UNTAGGED),
    ("more than one NamedTuple", _UNTAGGED),
    (
        "more than one array-like",
        ". The bytes are an array for each, and must say which one it is: take one type that covers all, or write each "
        f"as an inaho.Struct with a tag and the array as a field, `{_TAGGED}`",
    ),
    (
        "custom type",
        ". Of a union with pydantic models the bytes do not say which one it is: take one pydantic.RootModel around "
        "the union, with a discriminator, as the type, or write each as an inaho.Struct with a tag, "
        f"`{_TAGGED}`",
    ),
)
"""What to write instead of a union that msgspec refuses, by a part of its message."""


def check_type(kind: Any, where: str) -> None:
    """Refuses a type that cannot cross the wire.

    Args:
        kind: annotation, resolved.
        where: the owner of the annotation, for the message.

    Raises:
        InvalidGrain: names the offending type and what can be used.
    """
    try:
        msgspec.msgpack.Decoder(kind)
        described = inspect.type_info(kind)
    except Exception as error:  # annotations of fields are evaluated here, and may raise anything
        advice = next((advice for text, advice in _UNION_ADVICE if text in str(error)), "")
        raise InvalidGrain(f"{where} has type {kind!r}, which cannot cross the wire: {error}{advice}") from error
    problem = _find_problem(described, set())
    if problem:
        raise InvalidGrain(f"{where} has type {kind!r}, which cannot cross the wire: {problem}")


def _find_problem(described: Any, seen: set[int]) -> str:
    """Describes the first type within `described` that could not be decoded; empty when there is none."""
    if id(described) in seen:
        return ""
    seen.add(id(described))
    if isinstance(described, inspect.CustomType):
        if hasattr(described.cls, "model_validate"):
            return ""
        return f"{described.cls!r} is not a type that msgspec knows, a dataclass, a Struct or a pydantic model"
    if isinstance(described, inspect.SetType | inspect.FrozenSetType) and not _is_hashable(described.item_type):
        return "items of a set must be hashable"
    if isinstance(described, inspect.DictType) and not _is_hashable(described.key_type):
        return "keys of a dict must be hashable"
    for part in _parts_of(described):
        problem = _find_problem(part, seen)
        if problem:
            return problem
    return ""


def _parts_of(described: Any) -> list[Any]:
    """The descriptions of which `described` consists; by name, because most kinds of description have a few of them."""
    single = ("type", "item_type", "key_type", "value_type")
    parts = [getattr(described, name) for name in single if hasattr(described, name)]
    for name in ("types", "item_types", "fields"):
        parts.extend(getattr(described, name, ()))
    return parts


def _is_hashable(described: Any) -> bool:
    """Whether decoded values can be items of a set. A frozen type with unhashable fields is taken for hashable."""
    if isinstance(described, inspect.UnionType):
        return all(_is_hashable(member) for member in described.types)
    if isinstance(described, inspect.Metadata):
        return _is_hashable(described.type)
    if isinstance(described, inspect.VarTupleType):
        return _is_hashable(described.item_type)
    if isinstance(described, inspect.TupleType):
        return all(_is_hashable(item) for item in described.item_types)
    if isinstance(described, inspect.StructType):
        own_hash = described.cls.__hash__ is not msgspec.Struct.__hash__
        return own_hash or described.cls.__struct_config__.frozen or not described.cls.__struct_config__.eq
    if isinstance(described, inspect.DataclassType | inspect.CustomType):
        return getattr(described.cls, "__hash__", None) is not None
    unhashable = inspect.ListType | inspect.SetType | inspect.DictType | inspect.TypedDictType | inspect.ByteArrayType
    return not isinstance(described, unhashable)
