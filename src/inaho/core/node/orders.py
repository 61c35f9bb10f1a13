"""Takes what comes from outside of the cluster: orders of operators, and what the provider in use lists."""

from __future__ import annotations

from inaho.core.inputs import (
    BlockNode,
    Discovered,
    FoundCluster,
    ProviderBlocks,
    ProviderMembers,
    ResolveConflict,
    UnblockNode,
)
from inaho.core.node.exchange import Exchange
from inaho.core.node.lifecycle import MEMBER, Lifecycle
from inaho.core.node.view import ClusterView
from inaho.errors import IllegalTransition

__all__ = ["Orders"]


class Orders:
    """The orders that one node gets.

    Args:
        view: of this node.
        exchange: sends verdicts.
        life: of this node.
    """

    def __init__(self, view: ClusterView, exchange: Exchange, life: Lifecycle) -> None:
        self._view = view
        self._exchange = exchange
        self._life = life

    def resolve_conflict(self, now: float, resolve: ResolveConflict) -> None:
        """An operator decides which view holds. Raises `IllegalTransition` if there is no conflict."""
        member = self._exchange.in_conflict(now, resolve.authority, resolve.keep)
        if self._life.stage is not MEMBER or member is None:
            raise IllegalTransition("there is no conflict with that authority", authority=resolve.authority)
        if resolve.keep:
            self._exchange.send_verdict(now, member, rule="operator")
        else:
            self._life.lose_place(now, self._view.me, "operator", resolve.authority)

    def block(self, now: float, block: BlockNode) -> None:
        """An operator blocks an authority."""
        self._view.block(now, block.authority, blocked=True)

    def unblock(self, now: float, unblock: UnblockNode) -> None:
        """An operator ends a block."""
        self._view.block(now, unblock.authority, blocked=False)

    def provider_blocks(self, now: float, blocks: ProviderBlocks) -> None:
        """The provider in use blocks these authorities, and no others."""
        self._view.set_provider_blocks(now, blocks.authorities)

    def discovered(self, now: float, discovered: Discovered) -> None:
        """The provider in use lists these."""
        self._life.discovered(now, discovered.authorities[: self._view.config.membership.members_max])

    def provider_members(self, now: float, listed: ProviderMembers) -> None:
        """The provider that is the membership lists these."""
        self._life.listed(now, listed.members[: self._view.config.membership.members_max])

    def found_cluster(self, now: float, found: FoundCluster) -> None:
        """This node has won the record of the cluster."""
        self._life.joiner.won()
