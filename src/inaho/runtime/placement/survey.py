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
"""Microseconds to ask one host and to handle its answer."""

FORGET_SLICE: Final = 1_000
"""Leases checked per iteration of the loop."""


class KnownKind:
    """What an owner knows of one placed kind.

    Attributes:
        synced: all hosts have listed their activations that this node owns by the newest topology.
        changes: topologies that changed owners, counted.
        placing: by key, the Task that places the identity.
    """

    def __init__(self, host: KindHost) -> None:
        self.host = host
        self.synced = False
        self.changes = 0
        self.syncing: asyncio.Task[None] | None = None
        self.placing: dict[str, asyncio.Task[Pid]] = {}


class Survey:
    """Collects the lists of activations from all hosts, for one owner.

    Args:
        local: this node.
        topology: of this node.
        hosts: kinds of this node, by name.
        leases: its ledger.
        recalls: ends the second activation of an identity.
        calls: of placement actors.
        warnings: of nodes that this one waits for.

    Attributes:
        kinds: what is known, by kind.
        adopted: activations that holders have reported, counted.
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
        """What is known of a kind; at first nothing."""
        known = self.kinds.get(host.name)
        if known is None:
            known = self.kinds[host.name] = KnownKind(host)
        return known

    def is_outdated(self, before: TopologySnapshot | None, snapshot: TopologySnapshot, owners_changed: bool) -> bool:
        """Whether the lists are outdated by a new topology.

        So they are if the incarnation of this node has grown: others thought it dead, and have had other owners.
        """
        return owners_changed or self._incarnation(before) != self._incarnation(snapshot)

    def begin_anew(self) -> None:
        """Begins a new survey of each placed kind; nothing is placed before it is complete.

        At once, not at the next call: if a network partition led to two activations of one identity, one must end.
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
        """The incarnation of this node."""
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
        """Forgets leases of identities that other nodes own now, and asks all hosts for their lists."""
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
        """Returns when the member has listed its activations, or is no longer a member."""
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
            Keys whose activation on the node must end, because another node has one too. The activation with the higher
            epoch stays. One on this node, or one that is being placed, stays in any case.
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
                if lease.state is LeaseState.PENDING:  # it is active there, whatever the outcome of our request
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
            except Overloaded as error:  # its callers get the same error
                self._local.log.warning(
                    "%s is active on another node, but was not noted: %s", f"{kind}/{key}", describe(error)
                )
                continue
            self.adopted += 1
        return losers

    # A lease of another node.

    def look_into(self, lease: Lease) -> None:
        """A lease that this node granted to another node is pending for too long.

        If a Task still places the identity, that Task handles it. Otherwise the holder is asked to end the activation
        before the lease ends.
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
