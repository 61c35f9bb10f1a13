"""Places one identity: finds out where it is active, and has it activated if it is not.

The owner of an identity runs this, in a Task that all requests for the identity share (see `directory`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from inaho.core.activation.lease import Lease, LeaseState
from inaho.core.activation.placement import LEAST_LOADED, choose, hosts_of
from inaho.core.rpc.retry import MOVING
from inaho.errors import InahoError, Pending, error_from_code
from inaho.events import ActivationFailed
from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.activation.leases import Leases
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.topology import Topology
from inaho.runtime.placement.activation_requests import ActivationRequest, ActivationResponse
from inaho.runtime.placement.loads import Loads
from inaho.runtime.placement.placed_activations import PlacedActivations
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.runtime.placement.recalls import Recalls
from inaho.runtime.placement.survey import KnownKind
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid

__all__ = ["Placing", "PlacingOutdated"]

NOT_TAKEN: Final = frozenset((*MOVING, "no_such_kind", "overloaded", "unreachable"))
"""Codes of refusals that are due to the host and not to the activation: the owner then activates it itself."""


class PlacingOutdated(Exception):  # noqa: N818  not an error: begin again
    """Owners have changed while an identity was placed."""


class Placing:
    """Places identities that this node owns.

    Args:
        local: this node.
        topology: of this node.
        leases: grants the lease.
        loads: of hosts, to choose one.
        recalls: ends activations on other nodes.
        placed_activations: activations of placed kinds on this node.
        calls: of placement actors.
        before_activation: returns when this node has written its marker, if it doubts a member: the host may doubt
            none.

    Attributes:
        placed: activations placed on other nodes, counted.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        leases: Leases,
        loads: Loads,
        recalls: Recalls,
        placed_activations: PlacedActivations,
        calls: SystemCalls,
        before_activation: Callable[[], Awaitable[None]],
    ) -> None:
        self.placed = 0
        self._local = local
        self._topology = topology
        self._leases = leases
        self._loads = loads
        self._recalls = recalls
        self._placed_activations = placed_activations
        self._calls = calls
        self._before_activation = before_activation

    async def place(self, known: KnownKind, key: str, asker: str, *, verify: bool) -> Pid:
        """Returns where the identity is active; if it is active nowhere, places it.

        Args:
            known: its kind; the survey of it is complete.
            key: of the identity.
            asker: node id of the caller.
            verify: the node that was called last did not have it.

        Raises:
            PlacingOutdated: begin again.
            ActivationFailed: or whatever else the activation failed with.
            InahoError: this node may not place it.
        """
        host, changes = known.host, known.changes
        handed: ActivationRecord | None = None
        lease = self._leases.ledger.get(host.name, key)
        if lease is not None and lease.holder == self._local.node_id:
            if await self._placed_activations.has(host, key):
                return self._here(host.name, key)
        elif lease is not None:
            holder = self._leases.member(lease.holder)
            if holder is not None and holder.status is MemberStatus.UP:
                if await self._calls.ask(holder, PlacementActor.holds, host.name, key):
                    return self._there(host.name, key, holder)
            elif holder is not None:  # the node leaves, so the activation moves
                handed = await self._recalls.recall(holder, lease)
            self._leases.ended(lease)
        if known.changes != changes:
            raise PlacingOutdated
        hosts = hosts_of(self._topology.snapshot, host.name)
        if host.kind.placement == LEAST_LOADED:
            self._loads.report()
        chosen = choose(
            host.kind.placement, hosts,
            asker=asker, owner=self._local.node_id, loads=self._loads.book, random=self._local.entropy.random,
        )  # fmt: skip
        if chosen.node_id != self._local.node_id:
            there = await self._place_there(known, key, chosen, handed)
            if there is not None:
                return there
            if known.changes != changes:
                raise PlacingOutdated
        await self._place_here(known, key, handed, changes)
        return self._here(host.name, key)

    async def _place_here(self, known: KnownKind, key: str, handed: ActivationRecord | None, changes: int) -> None:
        host = known.host
        await self._placed_activations.clear(host, key)
        await self._before_placing(host)
        if known.changes != changes:
            raise PlacingOutdated
        self._leases.check_owner(host.name, key)
        self._placed_activations.check_current(host.name, key)
        lease = self._leases.grant(host.name, key)
        if handed is not None:
            self._leases.ledger.raise_epoch(lease, handed.epoch)
        self._loads.book.granted(self._local.node_id)
        await self._placed_activations.begin(host, lease, self._local.node_id, handed)

    async def _place_there(
        self, known: KnownKind, key: str, chosen: Member, handed: ActivationRecord | None
    ) -> Pid | None:
        """Grants the identity to another node, which activates it; None if it is certainly not active there.

        Raises:
            ActivationFailed: or whatever else the activation failed with.
            Pending: its lease was lost while it was active or might be; it is ended again.
        """
        kind, ledger, loads = known.host.name, self._leases.ledger, self._loads.book
        changes = known.changes
        await self._before_placing(known.host)
        if known.changes != changes:
            return None
        self._leases.check_placement(kind, key)
        lease = ledger.grant(kind, key, chosen.node_id, self._local.now)
        if handed is not None:
            ledger.raise_epoch(lease, handed.epoch)
        loads.granted(chosen.node_id)
        hash_ = self._topology.lookup.hash or 0
        request = ActivationRequest(kind, key, lease.epoch, hash_, self._local.node_id, handed)
        try:
            response = await self._calls.ask(
                chosen, PlacementActor.activate, request, timeout_s=self._local.config.activation.lease_pending_s
            )
        except InahoError as error:
            loads.ended(chosen.node_id)
            if error.maybe_executed:
                await self._take_back(chosen, lease)
                raise Pending(
                    f"{chosen.authority} did not answer whether the activation has started: {error.reason}",
                    identity=f"{kind}/{key}",
                ) from error
            response = ActivationResponse(code="unreachable", reason=error.reason)
        if lease.state is LeaseState.ACTIVE:  # it was there already, as the node has announced meanwhile
            return self._there(kind, key, chosen)
        if response.code:
            self._leases.ended(lease)
            self._local.log.info("%s did not activate %s/%s: %s", chosen.authority, kind, key, response.reason)
            if response.code in NOT_TAKEN:
                return None
            self._local.publish(ActivationFailed(identity=ClusterIdentity(kind, key), reason=response.reason))
            identity = f"{kind}/{key}"
            raise error_from_code(response.code, response.reason, identity=identity, authority=chosen.authority)
        if lease.state is not LeaseState.PENDING:
            await self._recalls.recall(chosen, lease)
            raise self._leases.lost(lease, executed=False)
        self.placed += 1
        lease.epoch = response.epoch
        ledger.activate(lease, self._local.now)
        return self._there(kind, key, chosen)

    async def _take_back(self, holder: Member, lease: Lease) -> None:
        await self._recalls.recall(holder, lease)
        self._leases.ended(lease)

    async def _before_placing(self, host: KindHost) -> None:
        """Writes the marker of this node if it doubts a member: the host may doubt none."""
        if host.kind.state_type is not None:
            await self._before_activation()

    def _here(self, kind: str, key: str) -> Pid:
        return Pid(self._local.authority, self._local.node_id, ClusterIdentity(kind, key))

    @staticmethod
    def _there(kind: str, key: str, holder: Member) -> Pid:
        return Pid(holder.authority, holder.node_id, ClusterIdentity(kind, key))
