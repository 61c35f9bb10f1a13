"""Answers members that could not reach this node whether it has released what it took over (see `reconciliation`)."""

from __future__ import annotations

from collections.abc import Mapping

from inaho.errors import Pending
from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.freshness.doubts import Freshness
from inaho.runtime.freshness.reconciliation import audible_member, is_blocked
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.topology import Topology

__all__ = ["ReconciliationAnswers"]


class ReconciliationAnswers:
    """Answers the requests of one node's placement actor (`placement.ports.Reconciler`).

    Args:
        local: the node.
        topology: of the node.
        hosts: its kinds, by name.
        freshness: knows which members it doubts, and what it began in doubt.
    """

    def __init__(
        self, local: LocalNode, topology: Topology, hosts: Mapping[str, KindHost], freshness: Freshness
    ) -> None:
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._freshness = freshness
        self._found_unreachable = -1
        """Highest incarnation of this node under which others reported that they found it unreachable."""

    def doubted(self) -> list[tuple[str, str]]:
        """See `PlacementActor.doubted`. Raises `Pending` while this node has just joined and asks others itself."""
        if self._freshness.inherits:
            raise Pending(
                "this node has just joined and does not know yet which members are doubted",
                authority=self._local.authority,
            )
        return [(doubt.node_id, doubt.authority) for doubt in self._freshness.doubts.open()]

    def asked(self, node_id: str, incarnation: int) -> bool:
        """See `PlacementActor.reconcile`."""
        if incarnation > self._found_unreachable:
            self._found_unreachable = incarnation
            self._freshness.was_away("another member found this node unreachable")
        member = audible_member(self._topology, node_id)
        if member is None or is_blocked(self._topology, member.authority):  # this node may still take over
            return False
        return self._has_released()

    def _has_released(self) -> bool:
        """Whether no activation is left here that this node does not own, or that it placed in doubt."""
        through = True
        begun = self._freshness.begun
        for (kind, _), grain in list(begun.items()):
            self._hosts[kind].deactivate_soon(grain, "moved")
            through = False
        for host in self._hosts.values():
            if host.hosted and not host.system and (host.draining.walking or host.draining.moving):
                through = False
        return through
