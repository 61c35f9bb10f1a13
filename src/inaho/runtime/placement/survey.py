"""What hosts hold of placed kinds: an owner asks all of them before it places anything (see `directory`).

A survey is made of a kind whenever owners change, and no identity of the kind is looked up before it is complete. It
ends by itself: a host that does not answer is asked again until it answers or is no member any more.

Why not only when somebody calls: where a split of the cluster had two activations of one identity, the one that goes
must go, called or not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from inaho.core.activation.lease import Lease, LeaseState
from inaho.errors import InahoError, Overloaded
from inaho.errors.inspection import describe
from inaho.runtime.placement.placement_actor import PLACEMENT_KEY, PlacementActor
from inaho.runtime.placement.system_calls import ask_system_actor

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.node.node import Node
    from inaho.runtime.placement.directory import Directory
    from inaho.types import Member, Pid, TopologySnapshot

__all__ = ["RETRY_S", "KnownKind", "Survey", "ask_placement"]

RETRY_S: Final = 0.05
"""Pause before a host is asked again; a new topology cuts it short."""

FORGET_SLICE: Final = 1_000
"""Leases looked at per turn of the loop."""


class KnownKind:
    """What an owner knows of one placed kind.

    Attributes:
        synced: all hosts have told what they hold of ours, by the newest topology.
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
        node: this node.
        directory: of this node.

    Attributes:
        kinds: what is known, by kind.
        adopted: activations learned of from their holders.
    """

    def __init__(self, node: Node, directory: Directory) -> None:
        self.kinds: dict[str, KnownKind] = {}
        self.adopted = 0
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self._directory = directory

    def known(self, host: KindHost) -> KnownKind:
        """What is known of a kind; nothing at first."""
        known = self.kinds.get(host.name)
        if known is None:
            known = self.kinds[host.name] = KnownKind(host)
        return known

    def topology_changed(self, before: TopologySnapshot | None, snapshot: TopologySnapshot, changed: bool) -> None:
        """What others hold is asked anew before anything is placed.

        At once, and not when somebody calls: where a split of the cluster had two activations of one identity, the
        one that goes must go.
        """
        if not changed and self._incarnation(before) == self._incarnation(snapshot):
            return
        self._directory.loads.retain(member.node_id for member in snapshot.members)
        self._node.holdings.owners_changed()
        if self._local.closing:
            return
        for host in self._node.hosts.values():
            if not host.hosted or not host.kind.placed:
                continue
            known = self.known(host)
            known.changes += 1
            known.synced = False
            if known.syncing is not None:
                known.syncing.cancel()
            known.syncing = self._local.spawn(self._sync(known), name=f"inaho-sync-{host.name}")

    def _incarnation(self, snapshot: TopologySnapshot | None) -> int:
        """This node's own; it grows when others have thought this node dead, and have had other owners meanwhile."""
        members = () if snapshot is None else snapshot.members
        return next((member.incarnation for member in members if member.node_id == self._local.node_id), 0)

    async def made(self, known: KnownKind) -> None:
        """Returns when all hosts have told what they hold of the kind, by the newest topology."""
        while not known.synced:
            task = known.syncing
            if task is None:
                task = self._local.spawn(self._sync(known), name=f"inaho-sync-{known.host.name}")
                known.syncing = task
            await asyncio.wait((task,))
            if self._local.closing:
                self._node.leases.check_open(known.host.name, "")
            if known.syncing is task:
                known.syncing = None
                if not task.cancelled():
                    task.result()

    async def _sync(self, known: KnownKind) -> None:
        """Forgets what belongs to other owners now, and hears from all hosts."""
        node, kind, ledger = self._node, known.host.name, self._node.leases.ledger
        for number, lease in enumerate(list(ledger.of_kind(kind)), 1):
            if lease.holding and lease.holder != self._local.node_id and lease.key not in known.placing:
                if not node.leases.owns(kind, lease.key):
                    self._directory.forget(lease)
            if not number % FORGET_SLICE:
                await asyncio.sleep(0)
        members = () if self._topology.snapshot is None else self._topology.snapshot.members
        others = [
            m
            for m in members
            if kind in m.kinds and m.node_id != self._local.node_id and self._node.leases.member(m.node_id)
        ]
        async with asyncio.TaskGroup() as group:
            for member in others:
                group.create_task(self._hear(known, member))
        known.synced = True

    async def _hear(self, known: KnownKind, member: Member) -> None:
        """Returns when the member has told what it holds, or is none any more."""
        node, kind = self._node, known.host.name
        while self._node.leases.member(member.node_id) is not None:
            try:
                held: dict[str, int] = await ask_placement(
                    node, member, PlacementActor.held, kind, self._local.node_id, self._topology.lookup.hash or 0
                )
            except InahoError as error:
                node.waiting_warnings.tell(member.authority, f"did not tell what it holds of {kind} yet", error)
                await self._topology.wait(RETRY_S)
                continue
            losers = self.adopt(kind, held, member.node_id)
            for key in losers:
                surplus = Lease(kind, key, member.node_id, held[key], self._local.now)
                self._local.spawn(self._directory.recall(member, surplus), name=f"inaho-recall-{kind}")
            return

    def adopt(self, kind: str, held: dict[str, int], node_id: str) -> list[str]:
        """Takes note of what a node holds of this node's identities: key to epoch.

        Returns:
            Keys that the node is to give up, because another has them too. Of two the higher epoch stays, but one that
            is here, or is just being placed, stays in any case.
        """
        node, ledger = self._node, self._node.leases.ledger
        host, known = node.hosts.get(kind), self.kinds.get(kind)
        if host is None or not host.hosted:
            return []
        losers: list[str] = []
        for key, epoch in held.items():
            if not node.leases.owns(kind, key):
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
                other = self._node.leases.member(lease.holder)
                self._directory.forget(lease)
                if other is not None:
                    self._local.spawn(self._directory.recall(other, lease), name=f"inaho-recall-{kind}")
            try:
                ledger.adopt(kind, key, node_id, epoch, self._local.now)
            except Overloaded as error:  # whoever calls it is told the same
                self._local.log.warning("%s is not known here: %s", f"{kind}/{key}", describe(error))
                continue
            self.adopted += 1
        return losers


async def ask_placement(
    node: Node, member: Member, function: Any, *arguments: Any, timeout_s: float | None = None
) -> Any:
    """Calls the placement actor of that very member. Raises as `ask_system_actor`."""
    method = PlacementActor.inaho_kind.methods[function.__name__]
    return await ask_system_actor(
        node, member.authority, member.node_id, method, PLACEMENT_KEY, arguments, timeout_s=timeout_s
    )
