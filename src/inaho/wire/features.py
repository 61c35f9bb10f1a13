"""The versions of the protocol and of formats that this release has, and the additions that a peer may lack.

There are two ways to change the messages between nodes. A change that older releases cannot handle is a new protocol
version: the handshake refuses peers without a common one, with an error that names both. Everything else is an
*addition*: a name in `FEATURES` with the highest version that this release supports. Both sides send theirs in the
hello. A name that one side does not know is ignored; for the others the lower of the two versions is used
(`PeerInfo.speaks`).

Why names with a version and not one feature level: additions are made, and removed again, one by one. Why per
connection: during an upgrade a cluster has peers of both releases at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = [
    "ENDS",
    "FEATURES",
    "GOSSIP",
    "PROTOCOL_VERSIONS",
    "RELEASE",
    "RELEASE_WITHOUT_NAME",
    "REMINDERS",
    "SCHEMA_VERSIONS",
    "SENDS",
    "STATE",
    "TOPICS",
    "TOPIC_LOGS",
    "common_features",
]

RELEASE: Final = "0.2.0.dev0"
"""The release of the library, as sent to peers; `inaho.__version__`."""

RELEASE_WITHOUT_NAME: Final = "0.1"
"""The release of a peer that does not name it: only 0.1 did not."""

PROTOCOL_VERSIONS: Final = (2,)
"""Versions of framing and handshake that this release supports; the highest common one is used. 1 was that of 0.1."""

SCHEMA_VERSIONS: Final = (1,)
"""Versions of the control messages and bodies that this release supports (SPEC CL-6.1)."""

STATE: Final = "state"
"""Format of states, as stored and as handed from node to node; see `wire.stored`. 1 was that of 0.1."""

REMINDERS: Final = "reminders"
"""Format of a shard of reminders. 1 was that of 0.1."""

SENDS: Final = "sends"
"""Format of the logs of durable sends."""

GOSSIP: Final = "gossip"
"""Format of control messages."""

ENDS: Final = "ends"
"""Callers say which activations are in their PidCache, and are told when those have ended."""

TOPICS: Final = "topics"
"""Messages of topics at most once, and the announcements of subscriptions."""

TOPIC_LOGS: Final = "topic-logs"
"""Format of the logs of topics and of the positions of their subscriptions."""

FEATURES: Final[Mapping[str, int]] = MappingProxyType(
    {ENDS: 1, GOSSIP: 1, REMINDERS: 2, SENDS: 1, STATE: 2, TOPICS: 1, TOPIC_LOGS: 1}
)
"""Additions and formats by name, each with the highest version that this release supports, and all lower ones."""


def common_features(ours: Mapping[str, int], theirs: Mapping[str, int]) -> dict[str, int]:
    """The features that two sides may use with each other: those that both know, at the lower version."""
    return {name: min(version, theirs[name]) for name, version in ours.items() if name in theirs}
