"""Moving partitions between nodes: the runtime around `HandOff`.

When a topology takes a partition from this node, its activations end after their turns, and when none is left the new
owner is told. When a topology gives one to this node, an identity of it is activated only after the last owner has let
go of it; its calls wait meanwhile in the activation's queue, so a rolling restart fails none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from inaho.core.activation.handoff import HandOff, LastOwner
from inaho.errors import InahoError
from inaho.errors.inspection import describe
from inaho.runtime.activation.leases import SILENT
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.types import MemberStatus

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node
    from inaho.types import TopologySnapshot

__all__ = ["PartitionBridge"]

BLOCKED_RELEASE_S = 1.0
"""How long a blocked last owner is asked, once."""

ASK_AGAIN_S = 1.0
"""Pause between questions whether a last owner is through."""

RELEASE_RETRY_S = 0.05
"""Pause before the last owner is asked again; a new topology cuts it short."""


class PartitionBridge:
    """Hand-off of one node, both ways (DESIGN section 3, "Hand-off is pulled").

    Attributes:
        handoff: partitions of this node whose last owner may not have let go.
        asked, told: releases asked for, and drained partitions told, counted.
    """

    def __init__(self, node: Node) -> None:
        self.handoff = HandOff(node.local.config.activation.partitions)
        self.asked = 0
        self.told = 0
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self._asking_again = False
        self._lost: dict[str, dict[int, LastOwner]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        # Of what activations that come up here wait for, by kind and key.
        self._limits: dict[tuple[str, str], asyncio.Timeout] = {}
        self._waiting: set[tuple[str, str]] = set()
        """Identities whose activation here waits for a previous owner."""
        self._looking = False
        """Owners have just changed, and not all kinds know yet what of theirs is to end."""

    # A topology has come.

    def topology_changed(self, snapshot: TopologySnapshot) -> None:
        """Takes note of what moved to and from this node."""
        node = self._node
        alive = self.members_changed(snapshot)
        for kind, host in node.hosts.items():
            if not host.hosted or host.system or host.apart:
                continue
            leaving = [
                LastOwner(member.authority, member.node_id)
                for member in snapshot.members
                if member.status is MemberStatus.LEAVING and kind in member.kinds
            ]
            for partition, before, now in self._topology.lookup.moves(kind, self._local.node_id):
                if before.node_id == now.node_id:
                    continue
                if now.node_id == self._local.node_id:
                    node.ownership.gained(kind, partition, before, now)
                    self._lost.get(kind, {}).pop(partition, None)
                    if before.node_id in alive:
                        self.handoff.gained(
                            kind, partition, LastOwner(before.authority, before.node_id), snapshot.version
                        )
                    else:
                        node.fencing.took_over(kind, partition)
                    for last in leaving:  # it may have had it by a topology that this node has not seen
                        self.handoff.gained(kind, partition, last, snapshot.version)
                elif before.node_id == self._local.node_id:
                    self._lost.setdefault(kind, {})[partition] = LastOwner(now.authority, now.node_id)
        for (kind, key), limit in self._limits.items():
            if not limit.expired() and not node.leases.owns(kind, key):
                # Its next owner may be the very one that it waits for.
                limit.reschedule(self._local.loop.time())
        node.saved_versions.owners_changed()
        self._looking = True  # a kind that has nothing to end must not speak for those that were not looked at yet
        try:
            for host in node.hosts.values():
                if host.hosted and not host.system:
                    host.draining.begin()
        finally:
            self._looking = False
        self.tell_drained()
        if self.handoff and not self._asking_again:
            self._asking_again = True
            self._local.spawn(self._ask_again(), name="inaho-ask-again")

    def members_changed(self, snapshot: TopologySnapshot) -> list[str]:
        """Waits no longer for members that fell silent; returns the node ids of the others."""
        alive = [member.node_id for member in snapshot.members if member.status not in SILENT]
        self._wait_only_for(alive)
        return alive

    def _wait_only_for(self, node_ids: list[str]) -> None:
        """Nobody else is asked any more. Who had not let go may wake and save."""
        for (last, kind), (partitions, _) in self.handoff.awaited().items():
            if last.node_id not in node_ids:
                for partition in partitions:
                    self._node.fencing.took_over(kind, partition)
        self.handoff.retain(node_ids)

    # This node is the new owner.

    def last_owner(self, kind: str, key: str) -> LastOwner | None:
        """Whom to ask before the identity is activated here; None in the usual case."""
        handoff = self.handoff
        return handoff.last_owner(kind, self._topology.lookup.partition(kind, key)) if handoff else None

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
            left = [last for last in self.handoff.last_owners(kind, partition) if last.node_id not in asking]
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
        members = () if self._topology.snapshot is None else self._topology.snapshot.members
        self._wait_only_for([member.node_id for member in members if member.node_id != last.node_id])
        self.tell_drained()

    async def drained(self, kind: str, partitions: list[int], node_id: str, version: int) -> None:
        """The last owner of these partitions has let go of all of them."""
        await self._seen(version)
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

    def tell_drained(self) -> None:
        """Tells new owners of the partitions that this node lost and runs nothing of any more."""
        if self._looking:
            return
        for kind, lost in list(self._lost.items()):
            draining = self._node.hosts[kind].draining
            if draining.walking:
                continue
            busy = {self._topology.lookup.partition(kind, key) for key in draining.moving}
            done: dict[LastOwner, list[int]] = {}
            for partition, owner in sorted(lost.items()):
                if partition not in busy and self.handoff.last_owner(kind, partition) is None:
                    done.setdefault(owner, []).append(partition)
            for owner, partitions in done.items():
                for partition in partitions:
                    del lost[partition]
                self.told += len(partitions)
                telling = self._local.spawn(self._tell(owner, kind, partitions), name="inaho-drained")
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)
            if not lost:
                del self._lost[kind]

    async def wait_handed_over(self, within_s: float) -> bool:
        """Whether every new owner has acknowledged what this node lost to it; waits no longer than that."""
        deadline = self._local.loop.time() + within_s
        while (self._lost or self._telling) and self._local.loop.time() < deadline:
            if self._telling:
                await asyncio.wait(self._telling, timeout=deadline - self._local.loop.time())
            else:  # an owner before us has not let go, or an activation has not ended
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await self._ask_all()
                await self._topology.wait(min(RELEASE_RETRY_S, deadline - self._local.loop.time()))
        return not (self._lost or self._telling)

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
        """Asserts that no partition is both lost and waited for by its present owner."""
        self.handoff.check()
        for kind, lost in self._lost.items():
            assert lost, f"{kind} lost nothing"


def _age(record: ActivationRecord) -> tuple[int, int, bool]:
    """Which of two records of one identity is the newer one: by what was saved, then by who might save."""
    return (record.version, record.epoch, record.was_active)
