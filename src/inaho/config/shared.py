"""Lists the settings that must be equal on all members, and takes the members' values on a client.

Members send these values in the handshake, and a member with other values is refused; the error has both values. Some
are needed for common decisions (the number of partitions decides the owner of a name). The others are bounds that the
receiving side enforces as violations of the protocol, so a sender with a higher bound would be disconnected for a
message that it thinks is allowed. All other settings are a node's own: a difference costs at most a refusal that says
so.

A client hosts nothing and decides nothing: it uses the members' values instead of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from inaho.config.cluster import ClusterConfig

__all__ = ["SHARED", "adopt_settings", "shared_settings"]

SHARED: Final = (
    "activation.partitions",
    "activation.reminder_shards",
    "delivery.watches_max",
    "membership.incarnation_jump_max",
    "membership.members_max",
    "membership.tombstones_max",
    "pubsub.key_bytes_max",
    "pubsub.message_bytes_max",
    "pubsub.send_partitions",
    "pubsub.shards",
    "transport.definitions_max",
    "transport.frame_bytes_max",
)
"""Group and field of each, sorted. Only whole numbers above 0."""

SOURCES: Final = ("gossip", "provider")
"""`membership.source` is sent as 1 or 2. A client decides nothing by it, and keeps its own."""


def shared_settings(config: ClusterConfig) -> dict[str, int]:
    """The values of `config` that must be equal on all members, by name."""
    found: dict[str, int] = {}
    for name in SHARED:
        group, _, setting = name.partition(".")
        found[name] = getattr(getattr(config, group), setting)
    found["membership.source"] = 1 + SOURCES.index(config.membership.source)
    return found


def adopt_settings(config: ClusterConfig, settings: Mapping[str, int]) -> ClusterConfig:
    """`config` with the values that a member sent; names that are not shared are ignored.

    Raises:
        InvalidConfig: a value that no member can have.
    """
    for name, value in shared_settings(config).items():
        if name not in SHARED:
            continue
        told = settings.get(name, value)
        if told != value:
            group, _, setting = name.partition(".")
            config = config.replace(**{group: getattr(config, group).replace(**{setting: told})})
    return config
