"""Cuts long answers to what fits into a frame: the first items, as many as have room.

An answer that exceeds a frame is an error, and would be one again each time it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from inaho.wire.codec import encode

__all__ = ["portion"]

T = TypeVar("T")


def _encoded_size(item: object) -> int:
    return len(encode(item))


def portion(items: Iterable[T], bytes_max: int, size_of: Callable[[T], int] = _encoded_size) -> list[T]:
    """The first items that have at most `bytes_max` bytes together; the first one in any case.

    Args:
        items: in order.
        bytes_max: of all that are returned.
        size_of: bytes of an item; of its encoding unless given.
    """
    found: list[T] = []
    size = 0
    for item in items:
        size += size_of(item)
        if found and size > bytes_max:
            break
        found.append(item)
    return found
