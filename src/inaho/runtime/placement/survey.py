"""Lists the activations of placed kinds: an owner asks all hosts before it places anything (see `directory`).

There is a survey of a kind whenever owners change, and no identity of the kind is looked up before it is complete. It
ends by itself: a host that does not answer is asked again until it answers or is no member any more.

Why not only at a call: if a network partition led to two activations of one identity, one of them must end, called or
not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from inaho.core.activation.lease import Lease, LeaseState
from inaho.errors import InahoError, Overloaded
from inaho.errors.inspection import describe
from inaho.runtime.placement.agreement import agree_on_owners
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.runtime.placement.recalls import RETRY_S, Recalls
from inaho.runtime.placement.system_calls import SystemCalls

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.local.warnings import WaitingWarnings
    from inaho.types import Member, Pid, TopologySnapshot

__all__ = ["KnownKind", "Survey"]

HEAR_US: Final = 200
"""What it takes to ask one host and to take its answer: of many hosts, so many are asked per turn of the loop."""

FORGET_SLICE: Final = 1_000
"""Leases looked at per turn of the loop."""


class KnownKind:
    """What an owner knows of one placed kind.

    Attributes:
        synced: all hosts have listed their activations of ours, by the newest topology.
        changes: topologies that changed owners, counted.
        placing: by key, what is under way for an identity.
    """

    def __init__(self, host: KindHost) -> None:
        self.host = host
        self.synced = False
        self.changes = 0
        self.syncing: asyncio.Task[None] | None = None
        self.placing: dict[str, asyncio.Task[Pid]] = {}


class Survey:
    """What an owner hears from hosts.

    Args:
        local: this node.
        topology: of this node.
        hosts: kinds of this node, by name.
        leases: its ledger.
        recalls: end the surplus.
        calls: of placement actors.
        warnings: of nodes that this one waits for.

    Attributes:
        kinds: what is known, by kind.
        adopted: activations learned of from their holders.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        hosts: Mapping[str, KindHost],
        leases: Leases,
        recalls: Recalls,
        calls: SystemCalls,
        warnings: WaitingWarnings,
    ) -> None:
        self.kinds: dict[str, KnownKind] = {}
        self.adopted = 0
        self._surveys = 0
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._leases = leases
        self._recalls = recalls
        self._calls = calls
        self._warnings = warnings

    def known(self, host: KindHost) -> KnownKind:
        """What is known of a kind; nothing at first."""
        known = self.kinds.get(host.name)
        if known is None:
            known = self.kinds[host.name] = KnownKind(host)
        return known

    def is_outdated(self, before: TopologySnapshot | None, snapshot: TopologySnapshot, owners_changed: bool) -> bool:
        """Whether a new topology makes what was known worthless.

        Where others have thought this node dead, its incarnation has grown, and they have had other owners meanwhile.
        """
        return owners_changed or self._incarnation(before) != self._incarnation(snapshot)

    def begin_anew(self) -> None:
        """What others hold is asked anew before anything is placed.

        At once, and not when somebody calls: where a split of the cluster had two activations of one identity, the
        one that goes must go.
        """
        if self._local.closing:
            return
        for host in self._hosts.values():
            if not host.hosted or not host.kind.placed:
                continue
            known = self.known(host)
            known.changes += 1
            known.synced = False
            if known.syncing is not None:
                known.syncing.cancel()
            known.syncing = self._local.spawn(self._sync(known), name=f"inaho-sync-{host.name}")

    def _incarnation(self, snapshot: TopologySnapshot | None) -> int:
        """This node's own."""
        members = () if snapshot is None else snapshot.members
        return next((member.incarnation for member in members if member.node_id == self._local.node_id), 0)

    async def made(self, known: KnownKind) -> None:
        """Returns when all hosts have listed their activations of the kind, by the newest topology."""
        while not known.synced:
            task = known.syncing
            if task is None:
                task = self._local.spawn(self._sync(known), name=f"inaho-sync-{known.host.name}")
                known.syncing = task
            await asyncio.wait((task,))
            if self._local.closing:
                self._leases.check_open(known.host.name, "")
            if known.syncing is task:
                known.syncing = None
                if not task.cancelled():
                    task.result()

    async def _sync(self, known: KnownKind) -> None:
        """Forgets what belongs to other owners now, and hears from all hosts."""
        kind, ledger = known.host.name, self._leases.ledger
        for number, lease in enumerate(list(ledger.of_kind(kind)), 1):
            if lease.holding and lease.holder != self._local.node_id and lease.key not in known.placing:
                if not self._leases.owns(kind, lease.key):
                    self._leases.ended(lease)
            if not number % FORGET_SLICE:
                await asyncio.sleep(0)
        members = () if self._topology.snapshot is None else self._topology.snapshot.members
        others = [
            m
            for m in members
            if kind in m.kinds and m.node_id != self._local.node_id and self._leases.member(m.node_id)
        ]
        hearing: list[asyncio.Task[None]] = []
        self._surveys += 1
        job = f"survey-{kind}-{self._surveys}"
        self._local.slices.add(job, self._begin_hearing(known, others, hearing))
        try:
            await self._local.slices.ended(job)
            await asyncio.gather(*hearing)
        finally:
            self._local.slices.drop(job)
            for task in hearing:
                task.cancel()
        known.synced = True

    def _begin_hearing(
        self, known: KnownKind, others: list[Member], hearing: list[asyncio.Task[None]]
    ) -> Iterator[int]:
        for member in others:
            hearing.append(self._local.loop.create_task(self._hear(known, member), name="inaho-hear"))
            yield HEAR_US

    async def _hear(self, known: KnownKind, member: Member) -> None:
        """Returns when the member has told what it holds, or is none any more."""
        kind = known.host.name
        while self._leases.member(member.node_id) is not None:
            try:
                held = await self._calls.ask(
                    member, PlacementActor.held, kind, self._local.node_id, self._topology.lookup.hash or 0
                )
            except InahoError as error:
                self._warnings.tell(member.authority, f"did not list its activations of {kind} yet", error)
                await self._topology.wait(RETRY_S)
                continue
            losers = self.adopt(kind, held, member.node_id)
            for key in losers:
                surplus = Lease(kind, key, member.node_id, held[key], self._local.now)
                self._local.spawn(self._recalls.recall(member, surplus), name=f"inaho-recall-{kind}")
            return

    async def announced(self, kind: str, epochs: dict[str, int], node_id: str, topology_hash: int) -> list[str]:
        """See `PlacementActor.announce`."""
        if not all(self._leases.owns(kind, key) for key in epochs):
            await agree_on_owners(self._local, self._topology, topology_hash, 1)
        return self.adopt(kind, epochs, node_id)

    def adopt(self, kind: str, held: dict[str, int], node_id: str) -> list[str]:
        """Notes which of this node's identities are active on another node: key to epoch.

        Returns:
            Keys that the node is to give up, because another has them too. Of two the higher epoch stays, but one that
            is here, or is just being placed, stays in any case.
        """
        ledger = self._leases.ledger
        host, known = self._hosts.get(kind), self.kinds.get(kind)
        if host is None or not host.hosted:
            return []
        losers: list[str] = []
        for key, epoch in held.items():
            if not self._leases.owns(kind, key):
                continue
            lease = ledger.get(kind, key)
            placing = known is not None and key in known.placing
            if lease is not None and lease.holder == node_id:
                if lease.state is LeaseState.PENDING:  # it is there already, whatever becomes of our request
                    lease.epoch = epoch
                    ledger.activate(lease, self._local.now)
                continue
            if placing or (lease is not None and lease.holder == self._local.node_id):
                losers.append(key)
                continue
            if lease is not None:
                if (lease.epoch, lease.holder) > (epoch, node_id):
                    losers.append(key)
                    continue
                other = self._leases.member(lease.holder)
                self._leases.ended(lease)
                if other is not None:
                    self._local.spawn(self._recalls.recall(other, lease), name=f"inaho-recall-{kind}")
            try:
                ledger.adopt(kind, key, node_id, epoch, self._local.now)
            except Overloaded as error:  # whoever calls it is told the same
                self._local.log.warning("%s is not known here: %s", f"{kind}/{key}", describe(error))
                continue
            self.adopted += 1
        return losers

    # A lease of another node.

    def look_into(self, lease: Lease) -> None:
        """A lease that this node granted to another is pending for too long.

        Who places the identity sees to it. If nobody does any more, its holder is asked to end the activation before
        the identity is free.
        """
        known = self.kinds.get(lease.kind)
        if known is None or lease.key not in known.placing:
            self._local.spawn(self._take_back(lease), name=f"inaho-recall-{lease.kind}")

    async def _take_back(self, lease: Lease) -> None:
        holder = self._leases.member(lease.holder)
        if holder is not None:
            await self._recalls.recall(holder, lease)
        if lease.state is LeaseState.PENDING:
            self._leases.ended(lease)
