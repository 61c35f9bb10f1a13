"""Decides which values may be passed within a process as they are, without the codec.

A call of a grain on this node must have the same result as a call of a grain elsewhere: the same value of the same
type, or the same error. Encoding and decoding every value would guarantee that, at ten times the cost of the call. Most
arguments and results do not need it: nothing can change them, they have an encoding, and the decoded value would be
equal and of the same type. These are `None`, `bool`, `float`, an `int` of 64 bits, short ASCII text, short bytes,
members of an enum, and frozen Structs of such fields. All other values go through the codec.

The test is a Python expression, compiled once per type, because a caller's function can then contain it. Lengths are
bounded so that the values fit into a frame of any allowed size (`PLAIN_BYTES_MAX`).
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec

__all__ = ["PLAIN_BYTES_MAX", "check_of", "classes_of", "expression", "leaves"]

PLAIN_BYTES_MAX: Final = 8 << 10
"""Bound of an encoded call or answer of plain values, including its key of 1 KiB."""

_CHARS_MAX: Final = 1024
"""Bound of the characters of text, or bytes, of the plain values of one call together."""

_LEAVES_MAX: Final = 64
_NAMES_CHARS_MAX: Final = 2048
"""Bound of the scalars in a frozen Struct that is checked, and of the length of the names of their fields."""

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1

_SCALARS: Final = (str, int, float, bool, bytes, type(None))
_SAFE: Final = (float, bool, type(None))
"""Classes of which every exact instance is plain."""


def is_union(kind: Any) -> bool:
    """Whether it is `A | B` or `Union[A, B]`."""
    return isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union


def leaves(kind: Any) -> int:
    """The number of scalars that a plain value of the type may hold; 0 if no value of it is plain."""
    if kind is Any or kind is None or kind in _SCALARS or _is_plain_enum(kind):
        return 1
    if is_union(kind):
        return max(map(leaves, typing.get_args(kind)))
    if _is_plain_struct(kind, ()):
        return sum(leaves(field.type) for field in _fields(kind))
    return 0


def classes_of(kind: Any) -> frozenset[type]:
    """Classes of which every exact instance is a plain value of the type."""
    if kind is Any:
        return frozenset(_SAFE)
    if is_union(kind):
        return frozenset[type]().union(*map(classes_of, typing.get_args(kind)))
    if kind is None:
        return frozenset({type(None)})
    return frozenset({kind}) if kind in _SAFE or _is_plain_enum(kind) else frozenset()


def expression(kind: Any, value: str, scope: dict[str, Any], longest: int) -> str:
    """A Python expression that is true only of plain values of the type; empty if there are none.

    Args:
        kind: annotation, resolved.
        value: name of the value in the expression.
        scope: the names that the expression needs are added here.
        longest: the longest text, and the most bytes, of one scalar.
    """
    scope["_inaho_type"], scope["_inaho_len"] = type, len
    classes = classes_of(kind)
    tests: list[str] = []
    if classes:
        name = f"_inaho_plain{len(scope)}"
        scope[name] = classes
        tests.append(f"_inaho_type({value}) in {name}")
    parts = typing.get_args(kind) if is_union(kind) else _SCALARS if kind is Any else (kind,)
    for part in parts:
        if part in classes or part is None:
            continue
        if part in (int, str, bytes):
            scope[f"_inaho_{part.__name__}"] = part
            limit = {
                int: f"{_INT_MIN} <= {value} <= {_INT_MAX}",
                str: f"_inaho_len({value}) <= {longest} and {value}.isascii()",
                bytes: f"_inaho_len({value}) <= {longest}",
            }[part]
            tests.append(f"_inaho_type({value}) is _inaho_{part.__name__} and {limit}")
        elif _is_plain_struct(part, ()):
            name = f"_inaho_plain{len(scope)}"
            scope[name] = part
            fields = [expression(f.type, f"{value}.{f.name}", scope, longest) for f in _fields(part)]
            tests.append(" and ".join([f"_inaho_type({value}) is {name}", *fields]))
    return f"({' or '.join(tests)})" if tests else ""


def check_of(kind: Any) -> Callable[[Any], bool] | None:
    """A function that is true only of plain values of the type; None if there are none."""
    scope: dict[str, Any] = {}
    text = expression(kind, "value", scope, chars_max(leaves(kind)))
    if not text:
        return None
    check: Callable[[Any], bool] = eval(f"lambda value: {text}", scope)  # noqa: S307  nothing of the user's is in it
    return check


def _fields(kind: Any) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def chars_max(count: int) -> int:
    """The longest text of one of `count` scalars that are passed together."""
    return _CHARS_MAX // max(1, count)


def _is_plain_enum(kind: Any) -> bool:
    """Whether each member, and nothing else, arrives unchanged: flags have instances that are no members."""
    if not (isinstance(kind, type) and issubclass(kind, enum.Enum)) or issubclass(kind, enum.Flag):
        return False
    try:
        decode = msgspec.msgpack.Decoder(kind).decode
        return all(decode(msgspec.msgpack.encode(member)) is member for member in kind)
    except Exception:  # values that have no encoding, or a `_missing_` of the user's
        return False


def _is_plain_struct(kind: Any, outer: tuple[Any, ...]) -> bool:
    """Whether a frozen Struct of that exact class is plain if its fields are. Recursive types are not.

    Structs with a `__dict__` or with `__post_init__`, which would run again on arrival, are not plain either. Nor are
    Structs with a field of another Struct type, unless that type is plain too; its exact class is checked.
    """
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)) or kind in outer or len(outer) > 3:
        return False
    config = kind.__struct_config__
    if not config.frozen or config.dict or hasattr(kind, "__post_init__"):
        return False
    fields = _fields(kind)
    if len(fields) > _LEAVES_MAX or sum(len(field.encode_name) for field in fields) > _NAMES_CHARS_MAX:
        return False
    for field in fields:
        for part in typing.get_args(field.type) if is_union(field.type) else (field.type,):
            if not (part is None or part in _SCALARS or _is_plain_enum(part) or _is_plain_struct(part, (*outer, kind))):
                return False
    return not outer or bool(fields)
