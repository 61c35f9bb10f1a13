"""Attaches the providers of topology to a node: those of its configuration, and objects of the program.

The node does not know its providers: it starts and serves without them as well. `ClusterExtension` attaches them before
the node starts.
"""

from __future__ import annotations

from collections.abc import Sequence

from inaho.core.inputs import Discovered, Input
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import TopologyUnavailable
from inaho.providers.base import TopologyProvider
from inaho.runtime.node.node import Node
from inaho.runtime.provisioning.partition_manager_bridge import PartitionManagerBridge
from inaho.runtime.provisioning.placement_supervisor_bridge import PlacementSupervisorBridge
from inaho.runtime.provisioning.remoting_bridge import RemotingBridge
from inaho.runtime.provisioning.service import ProvisioningService

__all__ = ["NodeProvisioning", "attach_providers"]


class NodeProvisioning:
    """The providers of one node, from its start to its end: a `node_lifecycle.Provisioning`.

    Args:
        node: not started.
        providers: in the order of their priority.

    Attributes:
        service: runs the providers.
        partitions: has the newest snapshot.
        remoting: has the state of each remote.
    """

    def __init__(self, node: Node, providers: Sequence[TopologyProvider]) -> None:
        self._node = node
        self._providers = tuple(providers)
        self._entry: ProviderMember | None = None
        placement = PlacementSupervisorBridge(node.local, self._feed)
        self.partitions = PartitionManagerBridge()
        self.remoting = RemotingBridge(node.local, node.associations)
        self.service = ProvisioningService(node.local, (placement, self.partitions, self.remoting), self._own_entry)

    async def begin(self) -> bool:
        """See `node_lifecycle.Provisioning`."""
        config = self._node.local.config
        self.service.set_providers(self._providers)
        # A node with seeds has contacts already; without any it must not found before it has read who is there.
        patience_s = config.membership.found_after_s if config.seeds else config.membership.join_timeout_s
        if not await self.service.wait_snapshot(patience_s) and not config.seeds:
            raise TopologyUnavailable(
                f"no provider has answered within {patience_s:g} s: {self.service.silent()}",
                authority=self._node.local.authority,
            )
        return False

    def tick(self, now: float, lag_s: float) -> None:
        """See `node_lifecycle.Provisioning`."""
        entry = self._own_entry()
        if entry != self._entry:
            self._entry = entry
            self.service.member_changed()
        self.service.tick(now, lag_s)

    async def end(self) -> None:
        """See `node_lifecycle.Provisioning`."""
        await self.service.stop()

    def _feed(self, given: Input) -> None:
        """Takes an input for the control plane; a client has none, and its gateway dials what is discovered."""
        gateway = self._node.gateway
        if gateway is None:
            self._node.control.feed(given)
        elif isinstance(given, Discovered):
            gateway.discovered = given.authorities

    def _own_entry(self) -> ProviderMember | None:
        """The registration of this node; None for a client, and before it listens."""
        machine = self._node.control.machine
        if machine is None:
            return None
        member = machine.member
        return ProviderMember(
            authority=member.authority,
            node_id=member.node_id,
            incarnation=member.incarnation,
            kinds=member.kinds,
            weight=member.weight,
            roles=member.roles,
            cluster=self._node.local.config.name,
            quarantined=tuple(association.authority for association in self._node.associations.quarantined()),
        )


def attach_providers(node: Node, providers: Sequence[TopologyProvider]) -> NodeProvisioning:
    """Attaches providers to a node that has not started."""
    provisioning = NodeProvisioning(node, providers)
    node.lifecycle.attach_provisioning(provisioning)
    return provisioning
