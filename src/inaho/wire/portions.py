"""Cuts long answers to what fits into a frame: the first items, as many as have room.

An answer that exceeds a frame is an error, and would be one again each time it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from inaho.wire.codec import encode

__all__ = ["portion"]

T = TypeVar("T")


def portion(items: Iterable[T], bytes_max: int) -> list[T]:
    """The first items whose encodings have at most `bytes_max` bytes together; the first one in any case."""
    found: list[T] = []
    size = 0
    for item in items:
        size += len(encode(item))
        if found and size > bytes_max:
            break
        found.append(item)
    return found
