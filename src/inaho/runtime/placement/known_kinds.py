"""Decides whether a kind without a host now is known, so that a call of it waits instead of failing for good.

A kind may have one host, and that host may restart. A caller that has the class, or that has seen a host of the kind
lately, can distinguish this from a kind that does not exist: the first may pass (`TopologyUnavailable`, retried until
the deadline), the second does not (`NoSuchKind`).

Why not wait for every kind: a misspelt name would cost its caller the whole deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from inaho.core.bounded_map import BoundedMap

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.local.local_node import LocalNode
    from inaho.types import TopologySnapshot

__all__ = ["KnownKinds"]

GONE_MAX: Final = 4_096
"""Kinds without a host that are remembered; the one that lost its host first is forgotten first."""


class KnownKinds:
    """The kinds that one node knows of.

    Args:
        local: this node.
        hosts: kinds of this node, by name.
    """

    def __init__(self, local: LocalNode, hosts: Mapping[str, KindHost]) -> None:
        self._local = local
        self._hosts = hosts
        self._gone: BoundedMap[str, float] = BoundedMap(GONE_MAX)
        """Kinds that had a host in an earlier topology, and when the last one was gone: seconds of the node's clock."""

    def apply_topology(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """Notes which kinds have lost their last host, and which have a host again."""
        hosted = {kind for kinds in {member.kinds for member in snapshot.members} for kind in kinds}
        for member in () if before is None else before.members:
            for kind in member.kinds:
                if kind not in hosted:
                    self._gone.setdefault(kind, self._local.now)
        for kind in [kind for kind in self._gone if kind in hosted]:
            del self._gone[kind]

    def described(self, kind: str) -> str | None:
        """Describes a kind that no member hosts, for the reason of a refusal; None if the kind is unknown here."""
        host = self._hosts.get(kind)
        if host is not None and host.system:  # every member has it, and the caller names the member
            return None
        if host is not None and not host.kind.is_unknown:
            role = host.kind.role
            return f"kind {kind}, only on members with the role {role!r}" if role else f"kind {kind}"
        gone_at = self._gone.get(kind)
        if gone_at is None or self._local.now - gone_at >= self._local.config.membership.tombstone_s:
            return None
        return f"kind {kind}, whose last host went {self._local.now - gone_at:.1f} s ago"
