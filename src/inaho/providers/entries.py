"""The text of a registration and of the record of a cluster, the same in all back ends: JSON with known fields.

Fields that are missing have their defaults, and unknown ones are ignored, so nodes of different versions read each
other. What is no JSON object of that form was not written by inaho, and the list that has it is refused.
"""

from __future__ import annotations

from typing import Final

import msgspec

from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot

__all__ = ["decode_member", "decode_record", "encode"]

_encode: Final = msgspec.json.Encoder().encode
_member: Final = msgspec.json.Decoder(ProviderMember).decode
_record: Final = msgspec.json.Decoder(ClusterRecord).decode


def encode(entry: ProviderMember | ClusterRecord) -> str:
    """The text of an entry."""
    return _encode(entry).decode()


def decode_member(text: str | bytes, where: str) -> ProviderMember:
    """The registration with that text; `where` names the entry, for the error. Raises `InvalidSnapshot`."""
    try:
        return _member(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidSnapshot(f"the entry {where} is no registration of a member: {error}") from error


def decode_record(text: str | bytes, where: str) -> ClusterRecord:
    """The record with that text; `where` names the entry, for the error. Raises `InvalidSnapshot`."""
    try:
        return _record(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidSnapshot(f"the entry {where} is no record of a cluster: {error}") from error
