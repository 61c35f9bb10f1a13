"""The versions of the protocol and of formats that this release has, and the additions that a peer may lack.

There are two ways to change what nodes say to each other. A change that no older release could bear is a new protocol
version: the handshake refuses peers without one in common, by name. Everything else is an *addition*: a name in
`FEATURES` with the highest version that this release speaks. Both sides say theirs in the hello, names that one side
does not know are ignored, and what both know is agreed at the lower of the two versions (`PeerInfo.speaks`).

Why names with a version and not one feature level: additions are made, and dropped again, one by one. Why per
connection: a cluster in the middle of an upgrade has peers of both releases at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = [
    "FEATURES",
    "GOSSIP",
    "PROTOCOL_VERSIONS",
    "RELEASE",
    "RELEASE_WITHOUT_NAME",
    "REMINDERS",
    "SCHEMA_VERSIONS",
    "STATE",
    "common_features",
]

RELEASE: Final = "0.2.0.dev0"
"""The release of the library, as peers are told it; `inaho.__version__`."""

RELEASE_WITHOUT_NAME: Final = "0.1"
"""What a peer is that does not name its release: 0.1 was the only one that did not."""

PROTOCOL_VERSIONS: Final = (2,)
"""Versions of framing and handshake that this release speaks; the highest common one is used. 1 was that of 0.1."""

SCHEMA_VERSIONS: Final = (1,)
"""Versions of the control messages and bodies that this release speaks (SPEC CL-6.1)."""

STATE: Final = "state"
"""Format of states, as stored and as handed from node to node; see `wire.stored`. 1 was that of 0.1."""

REMINDERS: Final = "reminders"
"""Format of a shard of reminders. 1 was that of 0.1."""

GOSSIP: Final = "gossip"
"""Format of control messages."""

FEATURES: Final[Mapping[str, int]] = MappingProxyType({GOSSIP: 1, REMINDERS: 2, STATE: 2})
"""Additions and formats by name, each with the highest version that this release speaks; it speaks all below, too."""


def common_features(ours: Mapping[str, int], theirs: Mapping[str, int]) -> dict[str, int]:
    """What two sides may use with each other: names that both know, at the lower version."""
    return {name: min(version, theirs[name]) for name, version in ours.items() if name in theirs}
