"""The format of stored state: two bytes with the version, then msgpack.

    0xC1 | format u8 | state

0xC1 begins no msgpack value, so a state of 0.1, which was msgpack alone (format 1), is known by its first byte. Why not
a field beside the data: each storage would need a place for it, and the file of 0.1 has none.
"""

from __future__ import annotations

from typing import Final

from inaho.errors import SerializationFailed
from inaho.wire.features import FEATURES, RELEASE, STATE

__all__ = ["future_format", "pack_state", "unpack_state"]

_MARK: Final = 0xC1
_FORMAT: Final = FEATURES[STATE]
_HEADER: Final = bytes((_MARK, _FORMAT))


def pack_state(encoded: bytes) -> bytes:
    """A state, encoded as msgpack, in the format of this release."""
    return _HEADER + encoded


def unpack_state(data: bytes) -> bytes | memoryview:
    """The msgpack in a stored state.

    Raises:
        SerializationFailed: the format is of a later release, or the data ends within its header.
    """
    if not data or data[0] != _MARK:
        return data  # of 0.1
    if len(data) < len(_HEADER):
        raise SerializationFailed("the state ends within its header: restore it from a copy")
    if data[1] > _FORMAT:
        raise future_format("the state", data[1], _FORMAT)
    return memoryview(data)[len(_HEADER) :]


def future_format(what: str, found: int, known: int) -> SerializationFailed:
    """The error for `what`, which a later release has written in format `found`."""
    return SerializationFailed(
        f"{what} is in format {found}, written by a later release; inaho {RELEASE} reads formats 1 to {known}: run the "
        "later release on all nodes that host this kind"
    )
