"""A client's home: some member that tells it topologies.

Any member will do. When no connection is left, all known members and the seeds are dialled, and whoever answers first
is the new home; calls wait meanwhile as they wait for any dial.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inaho.errors import InahoError, TopologyUnavailable

if TYPE_CHECKING:
    from inaho.runtime.node import Node

__all__ = ["Home"]

FINAL_CODES = ("authentication_failed", "invalid_config", "version_mismatch", "wrong_cluster")
"""What one seed refuses for these reasons, the others will refuse too."""


class Home:
    """Finds and keeps a member for one client."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def find(self) -> None:
        """Returns when a member has told the topology.

        Raises:
            TopologyUnavailable: no seed did within `membership.join_timeout_s`; the reason has what each said.
            InahoError: a seed refused for a reason that the others will share.
        """
        node = self._node
        config = node.config.membership
        deadline = node.loop.time() + config.join_timeout_s
        pause_s = config.join_retry_s
        while True:
            refusals = await self._ask_all()
            if node.topology is not None:
                return
            if node.loop.time() + pause_s >= deadline:
                raise TopologyUnavailable(f"no seed answered within {config.join_timeout_s} s: {'; '.join(refusals)}")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, config.join_retry_s * 8)

    async def _ask_all(self) -> list[str]:
        """Asks the seeds in turn; what went wrong with each until one told a topology."""
        node = self._node
        refusals: list[str] = []
        for authority in self._candidates():
            try:
                await node.peers.connect(authority, "")
            except InahoError as error:
                if error.code in FINAL_CODES:
                    raise
                refusals.append(f"{authority}: {error.reason}")
                continue
            if node.topology is None:
                await node.wait_for_topology(node.config.transport.handshake_timeout_s)
            if node.topology is not None:
                return refusals
            refusals.append(f"{authority}: sent no topology")
        return refusals

    def keep(self) -> None:
        """Looks for another home when no connection is left."""
        node = self._node
        if not node.peers.connections and not node.closing and node.topology is not None:
            for authority in self._candidates():
                node.peers.dial_in_background(authority)

    def _candidates(self) -> tuple[str, ...]:
        topology = self._node.topology
        members = () if topology is None else topology.members
        return tuple(dict.fromkeys((*(member.authority for member in members), *self._node.config.seeds)))
