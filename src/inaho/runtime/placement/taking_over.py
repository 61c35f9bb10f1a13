"""This node is the new owner: before it activates an identity, previous owners release it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from inaho.errors import InahoError
from inaho.errors.inspection import describe
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.placement.agreement import topology_seen
from inaho.runtime.placement.moved_partitions import moving
from inaho.runtime.placement.placement_actor import PlacementActor

if TYPE_CHECKING:
    from inaho.core.activation.handoff import PreviousOwner
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.local.warnings import WaitingWarnings
    from inaho.runtime.placement.previous_owners import PreviousOwners
    from inaho.runtime.placement.system_calls import SystemCalls

__all__ = ["RELEASE_RETRY_S", "TakingOver", "age"]

BLOCKED_RELEASE_S: Final = 1.0
"""Seconds that a blocked previous owner has for its answer. It is asked once."""

ASK_AGAIN_S: Final = 1.0
"""Pause between questions which partitions a previous owner has released."""

RELEASE_RETRY_S: Final = 0.05
"""Pause before a previous owner is asked again; a new topology cuts it short."""

WAITING_US: Final = 4
"""Microseconds to check one activation that waits."""


class TakingOver:
    """Asks previous owners to release identities, and which partitions they have released.

    Args:
        local: this node.
        topology: of this node.
        leases: know whether this node may activate.
        previous: the previous owners to ask.
        calls: of placement actors.
        warnings: of nodes that this one waits for.
        released: called when previous owners have released partitions.

    Attributes:
        asked: releases asked for, counted.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        leases: Leases,
        previous: PreviousOwners,
        calls: SystemCalls,
        warnings: WaitingWarnings,
        released: Callable[[], None],
    ) -> None:
        self.asked = 0
        self._local = local
        self._topology = topology
        self._leases = leases
        self._previous = previous
        self._calls = calls
        self._warnings = warnings
        self._released = released
        self._asking_again = False
        self._limits: dict[tuple[str, str], asyncio.Timeout] = {}
        """Time limits of the requests to previous owners, by kind and key."""
        self._waiting: set[tuple[str, str]] = set()
        """Identities whose activation here waits for a previous owner."""

    def waits(self, kind: str, key: str) -> bool:
        """Whether an activation of the identity waits here for a previous owner to release it."""
        return (kind, key) in self._waiting

    async def take_over(self, kind: str, key: str, askers: list[str] | None = None) -> ActivationRecord:
        """Returns when all previous owners have ended the activation, or are no longer members.

        Args:
            kind, key: the identity.
            askers: see `PlacementActor.release`.

        Returns:
            The newest of their records.
        """
        if askers is not None:
            return await self._take_over(kind, key, askers)
        self._waiting.add((kind, key))
        try:
            return await self._take_over(kind, key, None)
        finally:
            self._waiting.discard((kind, key))

    async def _take_over(self, kind: str, key: str, askers: list[str] | None) -> ActivationRecord:
        asking = [*(askers or ()), self._local.node_id]
        newest = ActivationRecord(False)
        partition = self._topology.lookup.partition(kind, key)
        while True:
            if askers is None:
                self._leases.check_owner(kind, key)
            left = [each for each in self._previous.of(kind, partition) if each.node_id not in asking]
            if not left:
                return newest
            previous = left[0]
            self.asked += 1
            try:
                version = self._topology.version
                async with asyncio.timeout(BLOCKED_RELEASE_S if self._is_blocked(previous) else None) as limit:
                    if askers is None:
                        self._limits[kind, key] = limit
                    try:
                        record = await self._calls.ask(previous, PlacementActor.release, kind, key, version, asking)
                    finally:
                        if self._limits.get((kind, key)) is limit:
                            del self._limits[kind, key]
            except (InahoError, TimeoutError) as error:
                if self._is_blocked(previous) and (askers is not None or self._leases.owns(kind, key)):
                    self._give_up(previous, error)
                    continue
                self._warnings.tell(previous.authority, f"did not release {kind}/{key} yet", error)
                await self._topology.wait(RELEASE_RETRY_S)
                continue
            asking.append(previous.node_id)
            newest = max(newest, record, key=age)
            if record.drained:
                self._are_drained(kind, [partition], previous.node_id, version)

    def _is_blocked(self, previous: PreviousOwner) -> bool:
        topology = self._topology.snapshot
        return topology is not None and previous.authority in topology.blocked

    def _give_up(self, previous: PreviousOwner, error: Exception) -> None:
        """Stops waiting for a blocked previous owner that did not answer: it may be blocked because it is wedged.

        Its leases are revoked, and once a successor is active, the storage refuses its saves (`Fencing`).
        """
        self._local.log.warning(
            "%s is blocked and did not release its activations: %s", previous.authority, describe(error)
        )
        self._previous.give_up(previous)
        self._released()

    async def drained(self, kind: str, partitions: list[int], node_id: str, version: int) -> None:
        """See `PlacementActor.drained`."""
        await topology_seen(self._local, self._topology, version)
        await self._local.slices.ended(moving(kind))
        self._are_drained(kind, partitions, node_id, version)

    def _are_drained(self, kind: str, partitions: list[int], node_id: str, version: int) -> None:
        self._previous.handoff.drained(kind, partitions, node_id, version)
        self._released()

    def stop_waiting(self) -> Iterator[int]:
        """Ends the wait for previous owners of identities that another node owns now.

        Yields:
            About how many microseconds each step took.
        """
        for (kind, key), limit in tuple(self._limits.items()):
            if not limit.expired() and self._limits.get((kind, key)) is limit and not self._leases.owns(kind, key):
                # The new owner may be the node that is waited for.
                limit.reschedule(self._local.loop.time())
            yield WAITING_US

    def ask_again_later(self) -> None:
        """Asks previous owners from time to time, as long as there are any: a report of drained partitions may be lost.

        A report also does not count if the topology of its sender is older than the one by which this node gained.
        """
        if self._previous.handoff and not self._asking_again:
            self._asking_again = True
            self._local.spawn(self._ask_again(), name="inaho-ask-again")

    async def _ask_again(self) -> None:
        try:
            while self._previous.handoff:
                await asyncio.sleep(ASK_AGAIN_S)
                await self.ask_all()
        finally:
            self._asking_again = False

    async def ask_all(self) -> None:
        """Asks all previous owners once which partitions they have released."""
        for (previous, kind), (partitions, version) in self._previous.handoff.awaited().items():
            back: list[int] = []  # it owns them again, so this node waits no longer
            for partition in partitions:
                owner = self._topology.lookup.owner_of(kind, partition)
                if owner is not None and owner.node_id == previous.node_id:
                    back.append(partition)
            left = partitions if not back else [partition for partition in partitions if partition not in set(back)]
            through: list[int] = []
            try:
                if left:
                    through = await self._calls.ask(previous, PlacementActor.through, kind, left, version)
            except InahoError as error:
                self._warnings.tell(previous.authority, "did not report which partitions it has released", error)
            self._are_drained(kind, back + through, previous.node_id, version)


def age(record: ActivationRecord) -> tuple[int, int, bool]:
    """The sort key by which the newest record of an identity is last: by saved version, then by epoch."""
    return (record.version, record.epoch, record.was_active)
