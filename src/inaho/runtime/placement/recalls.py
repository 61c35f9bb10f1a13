"""Ends activations of placed kinds on other nodes."""

from __future__ import annotations

from typing import Final

from inaho.core.activation.lease import Lease
from inaho.errors import InahoError
from inaho.runtime.activation.leases import Leases
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.local.topology import Topology
from inaho.runtime.local.warnings import WaitingWarnings
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.types import Member

__all__ = ["RETRY_S", "Recalls"]

RETRY_S: Final = 0.05
"""Pause before a node is asked again; a new topology cuts it short."""


class Recalls:
    """Asks other nodes to end activations, until they have done so or are no longer members.

    Args:
        topology: of this node.
        leases: know which members may hold leases.
        calls: of placement actors.
        warnings: of nodes that this one waits for.

    Attributes:
        count: activations that were ended so.
    """

    def __init__(self, topology: Topology, leases: Leases, calls: SystemCalls, warnings: WaitingWarnings) -> None:
        self.count = 0
        self._topology = topology
        self._leases = leases
        self._calls = calls
        self._warnings = warnings

    async def recall(self, holder: Member, lease: Lease) -> ActivationRecord | None:
        """Returns when the holder has ended the activation.

        Args:
            holder: the node.
            lease: of the activation.

        Returns:
            The record of the activation; None if there was none, or the holder is no longer a member.
        """
        while self._leases.member(holder.node_id) is not None:
            try:
                record = await self._calls.ask(holder, PlacementActor.recall, lease.kind, lease.key, lease.epoch)
            except InahoError as error:
                self._warnings.tell(holder.authority, f"did not end {lease.kind}/{lease.key} yet", error)
                await self._topology.wait(RETRY_S)
                continue
            self.count += 1
            return record if record.was_active else None
        return None
