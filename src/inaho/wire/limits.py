"""Bounds the lists, maps and Structs in a value, counted on its bytes before it is decoded.

One byte of msgpack can be an empty list, map or Struct, which takes a hundred bytes of memory. A frame of 1 MiB could
become 100 MB and block the event loop for a tenth of a second. Numbers and text take at most some 30 times their bytes,
and a frame is bounded. So *containers* are counted.

The bytes that can begin a container are an upper bound of them, counted at a millisecond per megabyte. Only a body with
too many is read token by token, for at most some milliseconds. A body with fewer bytes than containers are allowed is
not counted, and a type that cannot hold many of them keeps its decoder (`repeats`).

Python's recursion limit, in C, bounds the depth wherever msgspec decodes: a deeper value is refused like any other that
does not decode. A check here would have to read every token of every body.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import inspect

__all__ = ["bounded", "check_containers", "repeats"]

Decode = Callable[[Any], Any]

_SCANNED_PER_CONTAINER: Final = 2
_SCANNED_MIN: Final = 4096
"""Tokens that are read before a body is refused without a count: this number, and two per allowed container."""

_CONTAINERS: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_SHORT: Final = re.compile(rb"[\x00-\xa0\xc0\xc2\xc3\xe0-\xff]+")
"""A run of tokens of one byte, small lists and maps among them."""


def _sizes() -> tuple[list[int], list[int]]:
    """By first byte: bytes of the token without payload, and of the length field that a payload follows."""
    whole, field = [1] * 256, [0] * 256
    for byte in range(0xA0, 0xC0):
        whole[byte] = 1 + (byte & 0x1F)
    for byte, size in (
        (0xCA, 5), (0xCB, 9), (0xCC, 2), (0xCD, 3), (0xCE, 5), (0xCF, 9), (0xD0, 2), (0xD1, 3), (0xD2, 5), (0xD3, 9),
        (0xD4, 3), (0xD5, 4), (0xD6, 6), (0xD7, 10), (0xD8, 18),
    ):  # fmt: skip
        whole[byte] = size
    for byte, size in (
        (0xC4, 1),
        (0xC5, 2),
        (0xC6, 4),
        (0xC7, 1),
        (0xC8, 2),
        (0xC9, 4),
        (0xD9, 1),
        (0xDA, 2),
        (0xDB, 4),
    ):
        field[byte] = size
    return whole, field


_WHOLE, _FIELD = _sizes()
_COUNT_BYTES: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
"""Containers whose length field has this number of bytes."""


def check_containers(body: bytes | memoryview, containers_max: int) -> None:
    """Refuses a value with too many lists and maps in it.

    Args:
        body: msgpack. Malformed bytes pass: the decoder will refuse them.
        containers_max: lists, maps and Structs in all, at any depth.

    Raises:
        ValueError: it has more; the text names the setting.
    """
    data = bytes(body)
    if _could_begin(data) > containers_max and not _has_at_most(data, containers_max):
        raise ValueError(
            f"it has more than {containers_max} lists, maps and Structs, or too many values to count them "
            "(transport.containers_max)"
        )


def _could_begin(data: bytes) -> int:
    """The number of bytes that would begin a container if they began a token."""
    return len(data) - len(data.translate(None, _CONTAINERS))


def _has_at_most(data: bytes, containers_max: int) -> bool:
    position, size, containers = 0, len(data), 0
    for _ in range(_SCANNED_MIN + _SCANNED_PER_CONTAINER * containers_max):
        if position >= size:
            return containers <= containers_max
        byte = data[position]
        width = _COUNT_BYTES.get(byte)
        if width is not None:
            containers += 1
            position += 1 + width
        elif run := _SHORT.match(data, position):
            containers += _could_begin(run.group())
            position = run.end()
        else:
            position += _WHOLE[byte]
            if width := _FIELD[byte]:  # an extension has one byte more, its type
                payload = int.from_bytes(data[position : position + width], "big")
                position += width + payload + (0xC7 <= byte <= 0xC9)
        if containers > containers_max:
            return False
    return False


def bounded(decode: Decode, containers_max: int) -> Decode:
    """`decode` behind `check_containers`, for a type that `repeats`. Raises as both."""

    def decode_bounded(body: bytes | memoryview) -> Any:
        if len(body) > containers_max:
            check_containers(body, containers_max)
        return decode(body)

    return decode_bounded


def repeats(kind: Any) -> bool:
    """Whether a value of the type can hold any number of containers. The type must have passed `check_type`."""
    return _repeats(inspect.type_info(kind), within=False, outer=())


_OPEN: Final = (inspect.AnyType, inspect.CustomType, inspect.RawType)
_SEQUENCES: Final = (
    inspect.ListType,
    inspect.SetType,
    inspect.FrozenSetType,
    inspect.VarTupleType,
    inspect.DictType,
)
_RECORDS: Final = (
    inspect.StructType,
    inspect.DataclassType,
    inspect.TypedDictType,
    inspect.NamedTupleType,
    inspect.TupleType,
)


def _repeats(described: Any, *, within: bool, outer: tuple[int, ...]) -> bool:
    """`within`: a sequence is around it. `outer`: the types around it, for those that hold themselves."""
    if isinstance(described, _OPEN):
        return True
    if isinstance(described, (*_SEQUENCES, *_RECORDS)):
        if within or id(described) in outer:
            return True
        outer = (*outer, id(described))
        within = isinstance(described, _SEQUENCES)
    return any(_repeats(part, within=within, outer=outer) for part in _parts(described))


def _parts(described: Any) -> list[Any]:
    parts = [getattr(described, name) for name in ("item_type", "key_type", "value_type") if hasattr(described, name)]
    parts.extend(getattr(described, "types", ()))
    parts.extend(getattr(described, "item_types", ()))
    parts.extend(field.type for field in getattr(described, "fields", ()))
    if isinstance(described, inspect.Metadata):
        parts.append(described.type)
    return parts
