"""The directory of an owner: where the activations of placed kinds in its partitions are.

A placed kind is activated where its strategy says (`core.activation.placement`), and the owner of the identity
remembers where: its `ActivationLedger` has the lease, whose holder may be another node. Callers ask the owner once
(`locator`) and from then on call the host directly, by their PidCache.

The hosts have the truth. When owners change, a new owner asks all hosts for their activations before it places anything
(`survey`), and hosts also report to a new owner by themselves (`placed_activations`), so it does not matter which node
died, or which noticed it first. If a message is lost, the next caller repairs it: a caller that was refused asks again
with `verify`.

All changes of one identity happen in one Task of its own (`placing`), which all requests for it share: two first
callers on two nodes get one activation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from inaho.core.activation.lease import Lease, LeaseState
from inaho.core.identity.identity import validate_key
from inaho.errors import NoSuchKind
from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.activation.leases import Leases
from inaho.runtime.connections.ports import CachedActivations
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.placement.loads import Loads
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.runtime.placement.placing import Placing, PlacingOutdated
from inaho.runtime.placement.survey import KnownKind, Survey
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.types import ClusterIdentity, MemberStatus, Pid

__all__ = ["Directory"]


class Directory:
    """What one node answers as the owner of partitions (SPEC VA-2.1, BS-3).

    Args:
        local: this node.
        hosts: its kinds, by name.
        leases: its ledger.
        survey: lists the activations of all hosts.
        placing: places one identity.
        loads: of hosts.
        cached: notified of what has ended, for the PidCache of this node.
        calls: of placement actors.
    """

    def __init__(
        self,
        local: LocalNode,
        hosts: Mapping[str, KindHost],
        leases: Leases,
        survey: Survey,
        placing: Placing,
        loads: Loads,
        cached: CachedActivations,
        calls: SystemCalls,
    ) -> None:
        self._local = local
        self._hosts = hosts
        self._leases = leases
        self._survey = survey
        self._placing = placing
        self._loads = loads
        self._cached = cached
        self._calls = calls

    async def locate(self, kind: str, key: str, asker: str, *, verify: bool) -> Pid:
        """See `PlacementActor.locate`."""
        host = self._hosts.get(kind)
        if host is None or not host.hosted:
            raise NoSuchKind(f"this node hosts no kind {kind!r}", identity=kind, authority=self._local.authority)
        validate_key(key)
        if not host.kind.placed:
            self._leases.check_owner(kind, key)
            return Pid(self._local.authority, self._local.node_id, ClusterIdentity(kind, key))
        known = self._survey.known(host)
        while True:
            self._leases.check_owner(kind, key)
            lease = self._leases.ledger.get(kind, key)
            if lease is not None and not verify and lease.state is LeaseState.ACTIVE and key not in known.placing:
                holder = self._leases.member(lease.holder)
                if holder is not None and holder.status is MemberStatus.UP:  # it refuses calls if it has none
                    return Pid(holder.authority, holder.node_id, ClusterIdentity(kind, key))
            if not known.synced:
                await self._survey.made(known)
                continue
            task = known.placing.get(key)
            if task is None:
                task = self._local.spawn(
                    self._placing.place(known, key, asker, verify=verify), name=f"inaho-place-{kind}"
                )
                known.placing[key] = task
                task.add_done_callback(lambda done: self._placed(known, key, done))
            await asyncio.wait((task,))  # not `shield`: if a waiter is cancelled just then, it loses the failure
            try:
                return task.result()
            except PlacingOutdated:
                continue

    def _placed(self, known: KnownKind, key: str, task: asyncio.Task[Pid]) -> None:
        if known.placing.get(key) is task:
            del known.placing[key]
        if not task.cancelled():
            task.exception()  # retrieved here, since all callers may have given up

    async def terminated(self, kind: str, ends: dict[str, tuple[int, int]], node_id: str) -> None:
        """See `PlacementActor.terminated`."""
        known = self._survey.kinds.get(kind)
        if known is not None and any(version for _, version in ends.values()):
            await self._survey.made(known)  # the other holders must be known
        for key, (epoch, version) in ends.items():
            lease = self._leases.ledger.get(kind, key)
            if lease is None:
                continue
            if lease.holder != node_id:
                if version:  # the identity is active elsewhere, perhaps with an older version
                    await self._superseded(lease, version, node_id)
                continue
            if lease.epoch > epoch:
                continue
            if lease.state is LeaseState.ACTIVE and (known is None or key not in known.placing):
                self._leases.ended(lease)
                self._loads.book.ended(node_id)
                self._cached.ended(node_id, [(kind, key)])

    async def _superseded(self, lease: Lease, version: int, node_id: str) -> None:
        other, holder = self._leases.member(node_id), self._leases.member(lease.holder)
        authority = "" if other is None else other.authority
        if holder is not None:
            await self._calls.ask(holder, PlacementActor.superseded, lease.kind, {lease.key: version}, authority)

    def check(self) -> None:
        """Asserts that a lease of another node is active, or is being placed."""
        self._loads.book.check()
        for kind, known in self._survey.kinds.items():
            for lease in self._leases.ledger.of_kind(kind):
                settled = lease.holder == self._local.node_id or lease.state is LeaseState.ACTIVE
                assert settled or lease.key in known.placing, f"{lease!r} is pending, but no Task places it"
