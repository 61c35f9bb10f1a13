"""Where the activations of placed kinds are: the directory that each owner keeps for its partitions.

A placed kind is activated where its strategy says (`core.activation.placement`), and the owner of the identity
remembers where: its `ActivationLedger` has the lease, whose holder may be another node. Callers ask the owner once and
go straight to the holder from then on, by their PidCache.

The holders are the truth. When owners change, a new owner asks all hosts what they hold before it places anything
(`held`), and holders tell a new owner by themselves (`Holdings`), so it does not matter who died, or who saw it first.
What is lost on the way is repaired by who notices: a caller that was refused asks again with `verify`.

All that happens to one identity happens in one Task of its own, which all who ask share: two first callers on two
nodes get one activation.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from inaho.core.activation.lease import Lease, LeaseState
from inaho.core.activation.placement import LEAST_LOADED, LoadBook, choose, hosts_of
from inaho.core.identity.identity import validate_key
from inaho.core.rpc.retry import MOVING
from inaho.errors import InahoError, NoSuchKind, Pending, Timeout, error_from_code
from inaho.events import ActivationFailed
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.placement.placement_actor import (
    ActivationRequest,
    ActivationResponse,
    PlacementActor,
)
from inaho.runtime.placement.survey import RETRY_S, KnownKind, Survey, ask_placement
from inaho.types import ClusterIdentity, MemberStatus, Pid

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.node.node import Node
    from inaho.types import Member

__all__ = ["Directory"]

NOT_TAKEN: Final = frozenset((*MOVING, "no_such_kind", "overloaded", "unreachable"))
"""Codes with which a host takes no activation, which says nothing of the activation: the owner takes it itself."""


class _Changed(Exception):  # noqa: N818  not an error: begin again
    """Owners have changed while an identity was placed."""


class Directory:
    """Placement by one node, as the owner of partitions and as a caller (SPEC VA-2.1, BS-3).

    Attributes:
        loads: what is known of the load of others.
        placed, recalled: activations placed on other nodes, and taken back from them.
        survey: what hosts hold.
    """

    def __init__(self, node: Node) -> None:
        self.loads = LoadBook()
        self.placed = 0
        self.recalled = 0
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self.survey = Survey(node, self)
        self._loads_at = -1.0

    # This node wants to call.

    async def find(self, kind: str, key: str, *, verify: bool) -> Pid:
        """Where an identity is active; it is activated if it is not. Nothing of a call has run when this raises.

        Args:
            kind, key: the identity.
            verify: whoever was called last did not have it.

        Raises:
            TopologyUnavailable, NoSuchKind: nobody owns it.
            ActivationFailed: the user's code raised.
            InahoError: as the owner says, or because it does not answer.
        """
        node = self._node
        owner = self._topology.lookup.owner(kind, key)
        try:
            if owner.node_id == self._local.node_id:
                return await self.locate(kind, key, self._local.node_id, verify=verify)
            found: Pid = await ask_placement(node, owner, PlacementActor.locate, kind, key, self._local.node_id, verify)
            return found
        except Timeout as error:
            raise Pending(
                f"the owner did not say where it is: {error.reason}",
                identity=f"{kind}/{key}",
                authority=owner.authority,
            ) from error
        except InahoError as error:
            error.maybe_executed = False
            raise

    def still_there(self, pid: Pid) -> bool:
        """Whether an entry of the PidCache is as good as it was before owners changed."""
        node = self._node
        host = node.hosts.get(pid.identity.kind)
        if host is None or not host.kind.placed:
            return self._topology.lookup.owns(pid)
        member = self._node.leases.member(pid.node_id)
        return member is not None and member.status is MemberStatus.UP

    def _hear_loads(self) -> None:
        """Takes note of the loads that others have told, once per tick at most."""
        node = self._node
        if node.driver is not None and self._local.now != self._loads_at:
            self._loads_at = self._local.now
            self.loads.report({**dict(node.driver.control.loads()), self._local.node_id: node.activations.count})

    # This node is the owner.

    async def locate(self, kind: str, key: str, asker: str, *, verify: bool) -> Pid:
        """See `PlacementActor.locate`."""
        node = self._node
        host = node.hosts.get(kind)
        if host is None or not host.hosted:
            raise NoSuchKind(f"this node hosts no kind {kind!r}", identity=kind, authority=self._local.authority)
        validate_key(key)
        if not host.kind.placed:
            node.leases.check_owner(kind, key)
            return self._pid(kind, key, self._local.authority, self._local.node_id)
        known = self.survey.known(host)
        while True:
            node.leases.check_owner(kind, key)
            lease = node.leases.ledger.get(kind, key)
            if lease is not None and not verify and lease.state is LeaseState.ACTIVE and key not in known.placing:
                holder = node.leases.member(lease.holder)
                if holder is not None and holder.status is MemberStatus.UP:  # if it is no more, it says so
                    return self._pid(kind, key, holder.authority, holder.node_id)
            if not known.synced:
                await self.survey.made(known)
                continue
            task = known.placing.get(key)
            if task is None:
                task = self._local.spawn(self._settle(known, key, asker, verify), name=f"inaho-place-{kind}")
                known.placing[key] = task
                task.add_done_callback(lambda done: self._settled(known, key, done))
            await asyncio.wait((task,))  # not a shield: its failure is lost on a waiter that is cancelled just then
            try:
                return task.result()
            except _Changed:
                continue

    def _settled(self, known: KnownKind, key: str, task: asyncio.Task[Pid]) -> None:
        if known.placing.get(key) is task:
            del known.placing[key]
        if not task.cancelled():
            task.exception()  # whoever asked may have gone

    async def _settle(self, known: KnownKind, key: str, asker: str, verify: bool) -> Pid:
        """Finds out where the identity is, and places it if it is nowhere."""
        node, host, changes = self._node, known.host, known.changes
        ledger = node.leases.ledger
        handed: ActivationRecord | None = None
        lease = ledger.get(host.name, key)
        if lease is not None and lease.holder == self._local.node_id:
            if await node.holdings.has(host, key):
                return self._pid(host.name, key, self._local.authority, self._local.node_id)
        elif lease is not None:
            holder = self._node.leases.member(lease.holder)
            if holder is not None and holder.status is MemberStatus.UP:
                if await ask_placement(node, holder, PlacementActor.holds, host.name, key):
                    return self._pid(host.name, key, holder.authority, holder.node_id)
            elif holder is not None:  # it leaves, and its activation with it
                handed = await self.recall(holder, lease)
            self.forget(lease)
        if known.changes != changes:
            raise _Changed
        hosts = hosts_of(self._topology.snapshot, host.name)
        if host.kind.placement == LEAST_LOADED:
            self._hear_loads()
        chosen = choose(
            host.kind.placement, hosts,
            asker=asker, owner=self._local.node_id, loads=self.loads, random=self._local.entropy.random,
        )  # fmt: skip
        if chosen.node_id != self._local.node_id:
            there = await self._place_there(known, key, chosen, handed)
            if there is not None:
                return there
            if known.changes != changes:
                raise _Changed
        await self._place_here(known, key, handed, changes)
        return self._pid(host.name, key, self._local.authority, self._local.node_id)

    async def _place_here(self, known: KnownKind, key: str, handed: ActivationRecord | None, changes: int) -> None:
        node, host = self._node, known.host
        await node.holdings.clear(host, key)
        await self._before_placing(host)
        if known.changes != changes:
            raise _Changed
        node.leases.check_owner(host.name, key)
        node.holdings.check_current(host.name, key)
        lease = node.leases.grant(host.name, key)
        if handed is not None:
            node.leases.ledger.raise_epoch(lease, handed.epoch)
        self.loads.granted(self._local.node_id)
        await node.holdings.begin(host, lease, self._local.node_id, handed)

    async def _place_there(
        self, known: KnownKind, key: str, chosen: Member, handed: ActivationRecord | None
    ) -> Pid | None:
        """Grants the identity to another node and has it activated there; None when it is not, for certain.

        Raises:
            ActivationFailed: or whatever else the activation failed with.
            Pending: it had come up, or may have, when its lease was lost; it is ended again.
        """
        node, kind = self._node, known.host.name
        ledger = node.leases.ledger
        changes = known.changes
        await self._before_placing(known.host)
        if known.changes != changes:
            return None
        lease = ledger.grant(kind, key, chosen.node_id, self._local.now)
        if handed is not None:
            ledger.raise_epoch(lease, handed.epoch)
        self.loads.granted(chosen.node_id)
        hash_ = self._topology.lookup.hash or 0
        request = ActivationRequest(kind, key, lease.epoch, hash_, self._local.node_id, handed)
        try:
            response: ActivationResponse = await ask_placement(
                node, chosen, PlacementActor.activate, request, timeout_s=self._local.config.activation.lease_pending_s
            )
        except InahoError as error:
            self.loads.ended(chosen.node_id)
            if error.maybe_executed:
                await self.recall(chosen, lease)
                self.forget(lease)
                raise Pending(
                    f"{chosen.authority} did not say whether it is up: {error.reason}", identity=f"{kind}/{key}"
                ) from error
            response = ActivationResponse(code="unreachable", reason=error.reason)
        if lease.state is LeaseState.ACTIVE:  # it was there, as the node has told meanwhile
            return self._pid(kind, key, chosen.authority, chosen.node_id)
        if response.code:
            self.forget(lease)
            self._local.log.info("%s did not activate %s/%s: %s", chosen.authority, kind, key, response.reason)
            if response.code in NOT_TAKEN:
                return None
            self._local.publish(ActivationFailed(identity=ClusterIdentity(kind, key), reason=response.reason))
            identity = f"{kind}/{key}"
            raise error_from_code(response.code, response.reason, identity=identity, authority=chosen.authority)
        if lease.state is not LeaseState.PENDING:
            await self.recall(chosen, lease)
            raise node.leases.lost(lease, executed=False)
        self.placed += 1
        lease.epoch = response.epoch
        ledger.activate(lease, self._local.now)
        return self._pid(kind, key, chosen.authority, chosen.node_id)

    async def _before_placing(self, host: KindHost) -> None:
        """Has the marker of this node written where it doubts somebody: its host may doubt nobody."""
        if host.kind.state_type is not None:
            await self._node.freshness.before_activation()

    async def recall(self, holder: Member, lease: Lease) -> ActivationRecord | None:
        """Returns when the holder has ended the activation; None when it is no member any more."""
        node = self._node
        while self._node.leases.member(holder.node_id) is not None:
            try:
                record: ActivationRecord = await ask_placement(
                    node, holder, PlacementActor.recall, lease.kind, lease.key, lease.epoch
                )
            except InahoError as error:
                node.waiting_warnings.tell(holder.authority, f"did not end {lease.kind}/{lease.key} yet", error)
                await self._topology.wait(RETRY_S)
                continue
            self.recalled += 1
            return record if record.was_active else None
        return None

    def look_into(self, lease: Lease) -> None:
        """A lease that this node granted to another is pending for too long.

        Who places the identity sees to it. If nobody does any more, its holder is asked to end the activation before
        the identity is free.
        """
        known = self.survey.kinds.get(lease.kind)
        if known is None or lease.key not in known.placing:
            self._local.spawn(self._take_back(lease), name=f"inaho-recall-{lease.kind}")

    async def _take_back(self, lease: Lease) -> None:
        holder = self._node.leases.member(lease.holder)
        if holder is not None:
            await self.recall(holder, lease)
        if lease.state is LeaseState.PENDING:
            self.forget(lease)

    async def terminated(self, kind: str, ends: dict[str, tuple[int, int]], node_id: str) -> None:
        """See `PlacementActor.terminated`."""
        node = self._node
        known = self.survey.kinds.get(kind)
        if known is not None and any(version for _, version in ends.values()):
            await self.survey.made(known)  # who else has them must be known
        for key, (epoch, version) in ends.items():
            lease = node.leases.ledger.get(kind, key)
            if lease is None:
                continue
            if lease.holder != node_id:
                if version:  # it goes on elsewhere, perhaps from an older version
                    await self._superseded(lease, version, node_id)
                continue
            if lease.epoch > epoch:
                continue
            if lease.state is LeaseState.ACTIVE and (known is None or key not in known.placing):
                self.forget(lease)
                self.loads.ended(node_id)
                for event in node.pid_cache.invalidate(kind, key, "terminated"):
                    self._local.publish(event)

    async def _superseded(self, lease: Lease, version: int, node_id: str) -> None:
        node, other, holder = self._node, self._node.leases.member(node_id), self._node.leases.member(lease.holder)
        authority = "" if other is None else other.authority
        if holder is not None:
            await ask_placement(node, holder, PlacementActor.superseded, lease.kind, {lease.key: version}, authority)

    def forget(self, lease: Lease) -> None:
        """Takes a lease that another node held out of the ledger."""
        self._node.leases.ended(lease)

    @staticmethod
    def _pid(kind: str, key: str, authority: str, node_id: str) -> Pid:
        return Pid(authority, node_id, ClusterIdentity(kind, key))

    def check(self) -> None:
        """Asserts that a lease of another node is active, or is being placed."""
        self.loads.check()
        for kind, known in self.survey.kinds.items():
            for lease in self._node.leases.ledger.of_kind(kind):
                settled = lease.holder == self._local.node_id or lease.state is LeaseState.ACTIVE
                assert settled or lease.key in known.placing, f"{lease!r} is being placed by nobody"
