"""Attaches the providers of topology to a node: those of its configuration, objects of the program, and those added.

The node does not know its providers: it starts and serves without them as well. `ClusterExtension` attaches them before
the node starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from inaho.config import ProviderDescriptor
from inaho.core.inputs import Discovered, Input, ProviderMembers
from inaho.core.membership.incarnation import first_of, generation_of
from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.provider_state import ProviderState
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.core.provisioning.topology_feed import ProviderReport
from inaho.errors import ProviderInvalid, TopologyUnavailable
from inaho.observe.metrics import Sample
from inaho.providers.base import TopologyProvider
from inaho.providers.registered import DefinitionStore, RegisteredProvider
from inaho.providers.registry import ProviderRegistry
from inaho.providers.validator import ProviderValidator
from inaho.runtime.node.node import Node
from inaho.runtime.operators.provider_operations import PROVIDERS_KEY, ProviderActor
from inaho.runtime.provisioning.contacts import HandshakeContacts
from inaho.runtime.provisioning.founding import Founding
from inaho.runtime.provisioning.metric_values import provisioning_values
from inaho.runtime.provisioning.partition_manager_bridge import PartitionManagerBridge
from inaho.runtime.provisioning.placement_supervisor_bridge import PlacementSupervisorBridge
from inaho.runtime.provisioning.provider_membership import ProviderMembership
from inaho.runtime.provisioning.remoting_bridge import RemotingBridge
from inaho.runtime.provisioning.service import ProvisioningService
from inaho.types import Member, MemberStatus

__all__ = ["NodeProvisioning", "attach_providers"]

MEMBERSHIP: Final = Capabilities(register=True, details=True)
"""What a provider needs to be the membership."""


class NodeProvisioning:
    """The providers of one node, from its start to its end: a `node_lifecycle.Provisioning`.

    Args:
        node: not started.
        given: those of the configuration and of the program, in the order of their priority.
        store: keeps what is added while the node runs; None for a client or a simulation.

    Attributes:
        registry: the set of providers.
        service: runs them.
        placement: feeds the control plane.
        partitions: has the newest snapshot.
        remoting: has the state of each remote.
    """

    def __init__(
        self,
        node: Node,
        given: Sequence[str | ProviderDescriptor | TopologyProvider],
        store: DefinitionStore | None,
    ) -> None:
        local, config = node.local, node.local.config
        self._node = node
        self._given = tuple(given)
        self._entry: ProviderMember | None = None
        self._contacts = HandshakeContacts(local, node.transport)
        self.placement = PlacementSupervisorBridge(local, self._feed, self._make_membership())
        self.partitions = PartitionManagerBridge()
        self.remoting = RemotingBridge(local, node.associations)
        self.service = ProvisioningService(local, (self.placement, self.partitions, self.remoting), self._own_entry)
        self.registry = ProviderRegistry(
            ProviderValidator(config.name, config.provisioning, local.log),
            store,
            config.provisioning,
            MEMBERSHIP if config.membership.source == "provider" else Capabilities(),
            now=local.loop.time,
            publish=local.publish,
            changed=self._changed,
        )

    def _make_membership(self) -> ProviderMembership | None:
        """Applies snapshots as the membership, where the provider is that. A client gets its members from a member."""
        local = self._node.local
        if local.client or local.config.membership.source != "provider":
            return None
        return ProviderMembership(
            local,
            self._contacts,
            steady=lambda: self.service.steady,
            read_soon=self._read_soon,
            apply=lambda members: self._feed(ProviderMembers(tuple(map(_as_member, members)))),
        )

    def _read_soon(self) -> None:
        self.service.read_soon()

    def _changed(self, registered: tuple[RegisteredProvider, ...]) -> None:
        usable = [each.provider for each in registered if each.provider is not None]
        if usable or self.service.providers:  # a node without any must not report that none is up
            self.service.set_providers(usable)

    async def begin(self) -> bool:
        """See `node_lifecycle.Provisioning`. Raises `ProviderError` too, as `ProviderRegistry.open`."""
        config = self._node.local.config
        await self.registry.open(self._given)
        if not self.service.providers:
            self._refuse_if_membership()
            return False
        # A node with seeds has contacts already; without any it must not found before it has read who is there.
        patience_s = config.membership.found_after_s if config.seeds else config.membership.join_timeout_s
        if not await self.service.wait_snapshot(patience_s) and not config.seeds:
            raise TopologyUnavailable(
                f"no provider has answered within {patience_s:g} s: {self.service.silent()}",
                authority=self._node.local.authority,
            )
        founders = [one for one in self.service.providers if one.capabilities.record]
        if founders and not self._node.local.client:
            founding = Founding(self._node.local, founders[0], self._own_entry, self._contacts, self._node.control)
            self._node.local.spawn(founding.run(), name="inaho-founding")
        elif not founders:
            self._node.local.log.info(
                "no provider of this node keeps a record of the cluster (%s): the first seed founds, or the first of "
                "the listed authorities",
                ", ".join(one.name for one in self.service.providers),
            )
        return bool(founders)

    def _refuse_if_membership(self) -> None:
        local = self._node.local
        if local.config.membership.source == "provider" and not local.client:
            reasons = [f"; provider {each.name}: {each.disabled}" for each in self.registry.providers]
            raise ProviderInvalid(
                'membership.source = "provider" needs a provider with which members register: etcd, consul, '
                f"kubernetes, postgresql or redis{''.join(reasons)}",
                authority=local.authority,
            )

    def tick(self, now: float, lag_s: float) -> None:
        """See `node_lifecycle.Provisioning`."""
        if not self.service.providers:
            return
        if self._node.local.shutting_down:
            self.service.shut_down()
        entry = self._own_entry()
        if entry != self._entry:
            self._entry = entry
            self.service.member_changed()
        self.service.tick(now, lag_s)

    def metric_values(self) -> Iterator[tuple[str, Sequence[Sample]]]:
        """See `node_lifecycle.Provisioning`."""
        return provisioning_values(self.service, self.remoting)

    async def end(self) -> None:
        """See `node_lifecycle.Provisioning`."""
        self.registry.close()
        await self.service.stop()

    # For people.

    def describe(self) -> tuple[ProviderState, ...]:
        """All providers of this node, the highest priority first."""
        reports = {report.name: report for report in self.service.reports()}
        return tuple(_state(each, reports.get(each.name)) for each in self.registry.providers)

    async def add(self, definition: ProviderDescriptor | TopologyProvider, *, priority: int = 0) -> None:
        """Adds a provider. Raises as `ProviderRegistry.add`."""
        await self.registry.add(definition, priority=priority)

    async def remove(self, name: str) -> None:
        """Removes a provider that was added while the node ran. Raises as `ProviderRegistry.remove`."""
        await self.registry.remove(name)

    # What the parts below need.

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
        member, incarnation = machine.member, self._node.control.incarnation
        return ProviderMember(
            authority=member.authority,
            node_id=member.node_id,
            # 0 while no member has admitted it. Without refutations: each would write the entry again.
            incarnation=first_of(generation_of(incarnation)),
            kinds=member.kinds,
            weight=member.weight,
            roles=member.roles,
            cluster=self._node.local.config.name,
            quarantined=tuple(association.authority for association in self._node.associations.quarantined()),
        )


def _as_member(entry: ProviderMember) -> Member:
    """A registration as a member; the control plane gives it a status."""
    return Member(
        authority=entry.authority,
        node_id=entry.node_id,
        incarnation=entry.incarnation,
        status=MemberStatus.UP,
        kinds=entry.kinds,
        weight=entry.weight,
        roles=entry.roles,
    )


def _state(registered: RegisteredProvider, report: ProviderReport | None) -> ProviderState:
    known = ProviderState(
        name=registered.name,
        url=registered.url,
        priority=registered.priority,
        state="disabled",
        reason=registered.disabled,
        owner=registered.owner.value,
    )
    if report is None:
        return known
    return msgspec.structs.replace(
        known,
        state=report.state.value,
        reason=report.reason,
        active=report.active,
        why=report.why,
        seq_no=report.seq_no,
        heard_s=report.heard_s,
        errors=report.errors,
    )


def attach_providers(
    node: Node,
    given: Sequence[str | ProviderDescriptor | TopologyProvider],
    store: DefinitionStore | None,
) -> NodeProvisioning:
    """Attaches providers to a node that has not started; none may be given, and some added later."""
    provisioning = NodeProvisioning(node, given, store)
    node.lifecycle.attach_provisioning(provisioning)
    if not node.local.client:
        node.add_kind(ProviderActor.inaho_kind, parts=(node.local, provisioning)).install(PROVIDERS_KEY)
    return provisioning
