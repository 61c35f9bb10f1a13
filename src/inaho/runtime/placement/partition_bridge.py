"""Moving partitions between nodes: the runtime around `HandOff`.

When a topology takes a partition from this node, its activations end after their turns, and when none is left the new
owner is told. When a topology gives one to this node, an identity of it is activated only after the last owner has let
go of it; its calls wait meanwhile in the activation's queue, so a rolling restart fails none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from inaho.core.activation.handoff import HandOff, LastOwner
from inaho.errors import InahoError
from inaho.errors.inspection import describe
from inaho.runtime.activation.leases import SILENT
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.local.history import TopologyChange
from inaho.runtime.placement.lost_partitions import LostPartitions
from inaho.runtime.placement.moved_partitions import Move, MovedPartitions, moving
from inaho.runtime.placement.placement_actor import PlacementActor

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node
    from inaho.types import Member, TopologySnapshot

__all__ = ["PartitionBridge"]

BLOCKED_RELEASE_S = 1.0
"""How long a blocked last owner is asked, once."""

ASK_AGAIN_S = 1.0
"""Pause between questions whether a last owner is through."""

RELEASE_RETRY_S = 0.05
"""Pause before the last owner is asked again; a new topology cuts it short."""

WAITING_US = 4
"""What it takes to look at one activation that waits."""


class PartitionBridge:
    """Hand-off of one node, both ways (DESIGN section 3, "Hand-off is pulled").

    Attributes:
        handoff: partitions of this node whose last owner may not have let go.
        asked: releases asked for, counted.
    """

    def __init__(self, node: Node) -> None:
        self.handoff = HandOff(node.local.config.activation.partitions)
        self.asked = 0
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self._asking_again = False
        self._moved = MovedPartitions(node.local.node_id, node.local.config.activation.partitions, self)
        self._lost = LostPartitions(
            node.local, node.topology, node.hosts, self.handoff, self._moved.waiting, self._tell
        )
        # Of what activations that come up here wait for, by kind and key.
        self._limits: dict[tuple[str, str], asyncio.Timeout] = {}
        self._waiting: set[tuple[str, str]] = set()
        """Identities whose activation here waits for a previous owner."""
        self._alive: dict[str, None] = {}
        """Node ids of the members that can be asked."""

    # A topology has come.

    def topology_changed(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """Has noted what moved to and from this node, and ends what it has lost, both in slices."""
        node = self._node
        self.members_changed(snapshot)
        reasons = TopologyChange(self._local.unix_time(), before, snapshot)
        move = Move(self._topology.lookup.change(self._local.node_id), reasons, snapshot)
        for kind, host in node.hosts.items():
            if host.hosted and not host.system and not host.apart:
                self._moved.add(kind, move)
                if moving(kind) not in self._local.slices:
                    self._local.slices.add(moving(kind), self._note_moved(kind))
        self._local.slices.add("waiting-activations", self._stop_waiting())
        node.saved_versions.owners_changed()
        for host in node.hosts.values():
            if host.hosted and not host.system:
                host.draining.begin()
        self.tell_drained()

    def _note_moved(self, kind: str) -> Iterator[int]:
        yield from self._moved.steps(kind)
        self.tell_drained(kind)

    def _stop_waiting(self) -> Iterator[int]:
        """Activations that come up wait no longer for previous owners where another node owns them now."""
        node = self._node
        for (kind, key), limit in tuple(self._limits.items()):
            if not limit.expired() and self._limits.get((kind, key)) is limit and not node.leases.owns(kind, key):
                # Its next owner may be the very one that it waits for.
                limit.reschedule(self._local.loop.time())
            yield WAITING_US

    def gained(self, kind: str, partition: int, before: Member, now: Member, move: Move) -> None:
        """See `MoveSink`."""
        node = self._node
        node.ownership.gained(kind, partition, before, now, move.reasons)
        self._lost.regained(kind, partition)
        self._await(kind, partition, before, move.version)
        for member in move.leaving(kind):  # it may have had it by a topology that this node has not seen
            self._await(kind, partition, member, move.version)
        if self.handoff and not self._asking_again:
            self._asking_again = True
            self._local.spawn(self._ask_again(), name="inaho-ask-again")

    def _await(self, kind: str, partition: int, last: Member, version: int) -> None:
        if last.node_id in self._alive:
            self.handoff.gained(kind, partition, LastOwner(last.authority, last.node_id), version)
        else:
            self._node.fencing.took_over(kind, partition)

    def lost(self, kind: str, partition: int, now: Member) -> None:
        """See `MoveSink`."""
        self._lost.add(kind, partition, LastOwner(now.authority, now.node_id))

    def members_changed(self, snapshot: TopologySnapshot) -> None:
        """Waits no longer for members that fell silent."""
        self._alive = {member.node_id: None for member in snapshot.members if member.status not in SILENT}
        self._wait_only_for(self._alive)

    def _wait_only_for(self, node_ids: Collection[str]) -> None:
        """Nobody else is asked any more. Who had not let go may wake and save."""
        for (last, kind), (partitions, _) in self.handoff.awaited().items():
            if last.node_id not in node_ids:
                for partition in partitions:
                    self._node.fencing.took_over(kind, partition)
        self.handoff.retain(node_ids)

    # This node is the new owner.

    def last_owner(self, kind: str, key: str) -> LastOwner | None:
        """Whom to ask before the identity is activated here; None in the usual case."""
        if not self._moved.waiting and not self.handoff:
            return None
        owners = self.last_owners(kind, self._topology.lookup.partition(kind, key))
        return owners[0] if owners else None

    def last_owners(self, kind: str, partition: int) -> tuple[LastOwner, ...]:
        """All who must be asked before an identity of the partition is activated here, earliest first."""
        if self._moved.waiting:
            self._moved.settle(kind, partition)
        return self.handoff.last_owners(kind, partition)

    async def take_over(self, kind: str, key: str, askers: list[str] | None = None) -> ActivationRecord:
        """Returns when all who may have it from before have ended its activation, or are members no more.

        Args:
            kind, key: the identity.
            askers: see `PlacementActor.release`.

        Returns:
            The newest of what they had.
        """
        if askers is not None:
            return await self._take_over(kind, key, askers)
        self._waiting.add((kind, key))
        try:
            return await self._take_over(kind, key, None)
        finally:
            self._waiting.discard((kind, key))

    def waits(self, kind: str, key: str) -> bool:
        """Whether an activation of the identity waits here for a previous owner to release it."""
        return (kind, key) in self._waiting

    async def _take_over(self, kind: str, key: str, askers: list[str] | None) -> ActivationRecord:
        node = self._node
        asking = [*(askers or ()), self._local.node_id]
        newest = ActivationRecord(False)
        partition = self._topology.lookup.partition(kind, key)
        while True:
            if askers is None:
                node.leases.check_owner(kind, key)
            left = [last for last in self.last_owners(kind, partition) if last.node_id not in asking]
            if not left:
                return newest
            last = left[0]
            self.asked += 1
            try:
                function, version = PlacementActor.release, self._version
                async with asyncio.timeout(BLOCKED_RELEASE_S if self._is_blocked(last) else None) as limit:
                    if askers is None:
                        self._limits[kind, key] = limit
                    try:
                        record: ActivationRecord = await self._ask(last, function, kind, key, version, asking)
                    finally:
                        if self._limits.get((kind, key)) is limit:
                            del self._limits[kind, key]
            except (InahoError, TimeoutError) as error:
                if self._is_blocked(last) and (askers is not None or node.leases.owns(kind, key)):
                    self._give_up(last, error)
                    continue
                node.waiting_warnings.tell(last.authority, f"did not release {kind}/{key} yet", error)
                await self._topology.wait(RELEASE_RETRY_S)
                continue
            asking.append(last.node_id)
            newest = max(newest, record, key=_age)
            if record.drained:
                self._drained(kind, [partition], last.node_id, version)

    def _is_blocked(self, last: LastOwner) -> bool:
        topology = self._topology.snapshot
        return topology is not None and last.authority in topology.blocked

    def _give_up(self, last: LastOwner, error: Exception) -> None:
        """A blocked owner did not answer. It may be blocked because it is wedged, so nobody waits for it any more.

        Its leases are revoked, and what it saves once a successor is up is refused by the storage (`Fencing`).
        """
        self._local.log.warning("%s is blocked and did not release what it had: %s", last.authority, describe(error))
        members = self._topology.members
        self._wait_only_for({member.node_id for member in members if member.node_id != last.node_id})
        self.tell_drained()

    async def drained(self, kind: str, partitions: list[int], node_id: str, version: int) -> None:
        """The last owner of these partitions has let go of all of them."""
        await self._seen(version)
        await self._local.slices.ended(moving(kind))
        self._drained(kind, partitions, node_id, version)

    def _drained(self, kind: str, partitions: list[int], node_id: str, version: int) -> None:
        self.handoff.drained(kind, partitions, node_id, version)
        self.tell_drained()

    async def _seen(self, version: int, *, while_: Callable[[], bool] = lambda: True) -> None:
        """Waits until this node has seen that topology, but no longer than views take to agree."""
        within_s = self._local.config.gossip.convergence_s  # then the other one has seen more, and goes by that
        await self._topology.wait_until(lambda: self._version >= version or not while_(), within_s)

    @property
    def _version(self) -> int:
        topology = self._topology.snapshot
        return 0 if topology is None else topology.version

    async def _ask_again(self) -> None:
        """Asks last owners from time to time, as long as there are any: news of what they drained may have been missed.

        It comes by a topology of theirs, and counts only if that is not older than the one by which this node gained.
        """
        try:
            while self.handoff:
                await asyncio.sleep(ASK_AGAIN_S)
                await self._ask_all()
        finally:
            self._asking_again = False

    async def _ask_all(self) -> None:
        node = self._node
        for (last, kind), (partitions, version) in self.handoff.awaited().items():
            back: list[int] = []  # it owns them again, and nothing need be asked of an owner
            for partition in partitions:
                owner = self._topology.lookup.owner_of(kind, partition)
                if owner is not None and owner.node_id == last.node_id:
                    back.append(partition)
            left = partitions if not back else [partition for partition in partitions if partition not in set(back)]
            try:
                told: list[int] = left and await self._ask(last, PlacementActor.through, kind, left, version)
            except InahoError as error:
                node.waiting_warnings.tell(last.authority, "did not tell what it is through with", error)
                told = []
            self._drained(kind, back + told, last.node_id, version)

    # This node is the last owner.

    async def release(self, kind: str, key: str, version: int, askers: list[str]) -> ActivationRecord:
        """See `PlacementActor.release`."""
        node = self._node
        await self._seen(version, while_=lambda: node.leases.owns(kind, key))
        record = await self.take_over(kind, key, askers)  # we may wait for one before us ourselves
        host = node.hosts.get(kind)
        if host is not None and key in host.activations:
            record = max(record, await host.hand_over(key), key=_age)
        return msgspec.structs.replace(record, drained=self._holds_nothing(kind, key))

    def _holds_nothing(self, kind: str, key: str) -> bool:
        """Whether this node is through with the identity's partition, so that its owner need not ask again."""
        host = self._node.hosts.get(kind)
        if host is None:
            return True
        through = not host.draining.walking and not host.draining.moving
        return through and self.last_owner(kind, key) is None and not self._node.leases.owns(kind, key)

    async def through(self, kind: str, partitions: list[int], version: int) -> list[int]:
        """See `PlacementActor.through`. What this node waits for since a later version does not concern the asker."""
        node = self._node
        await self._seen(version)
        await self._local.slices.ended(moving(kind))
        host = node.hosts.get(kind)
        if host is None:
            return partitions
        if host.draining.walking or self._version < version:
            return []
        busy = {self._topology.lookup.partition(kind, key) for key in host.draining.moving}
        return [
            partition
            for partition in partitions
            if partition not in busy
            and (
                (owner := self._topology.lookup.owner_of(kind, partition)) is None
                or owner.node_id != self._local.node_id
            )
            and not self.handoff.waits_since(kind, partition, version)
        ]

    def tell_drained(self, kind: str = "") -> None:
        """Has new owners told which partitions that this node lost are drained by now: of one kind, or of all."""
        self._lost.tell_drained(kind)

    @property
    def told(self) -> int:
        """Drained partitions told, counted."""
        return self._lost.told

    @property
    def hands_over(self) -> bool:
        """Whether a new owner has not acknowledged yet what this node lost to it."""
        return bool(self._moved.waiting or self._lost)

    async def wait_handed_over(self, within_s: float) -> bool:
        """Whether every new owner has acknowledged what this node lost to it; waits no longer than that."""
        deadline = self._local.loop.time() + within_s
        while self.hands_over and self._local.loop.time() < deadline:
            job = next(map(moving, self._moved.waiting), "")
            if job in self._local.slices:
                await self._local.slices.ended(job)
            elif not await self._lost.acknowledged(deadline - self._local.loop.time()):
                # An owner before us has not let go, or an activation has not ended.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await self._ask_all()
                await self._topology.wait(min(RELEASE_RETRY_S, deadline - self._local.loop.time()))
        return not self.hands_over

    async def _tell(self, owner: LastOwner, kind: str, partitions: list[int]) -> None:
        try:
            await self._ask(owner, PlacementActor.drained, kind, partitions, self._local.node_id, self._version)
        except InahoError as error:  # it goes on asking for each identity, which is slower and no less right
            self._local.log.info(
                "%s was not told of %d drained partitions: %s", owner.authority, len(partitions), describe(error)
            )

    async def _ask(self, owner: LastOwner, function: Any, *arguments: Any) -> Any:
        """Calls the placement actor of that very node."""
        return await self._node.placement_calls.ask(owner, function, *arguments)

    def check(self) -> None:
        """Asserts the invariants of the parts."""
        self.handoff.check()
        self._moved.check()
        self._lost.check()


def _age(record: ActivationRecord) -> tuple[int, int, bool]:
    """Which of two records of one identity is the newer one: by what was saved, then by who might save."""
    return (record.version, record.epoch, record.was_active)
