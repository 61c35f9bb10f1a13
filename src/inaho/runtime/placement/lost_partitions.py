"""Keeps the partitions that this node has lost until their new owners know that they are drained.

A new owner asks before it activates an identity (`PartitionBridge`). It need not ask any more for a partition that
is drained: all activations of it here have ended, and the owners before this node have released it, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from inaho.errors import InahoError
from inaho.errors.inspection import describe
from inaho.runtime.placement.placement_actor import PlacementActor

if TYPE_CHECKING:
    from inaho.core.activation.handoff import HandOff, PreviousOwner
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.placement.system_calls import SystemCalls

__all__ = ["LostPartitions"]

TELLING: Final = "tell-drained"
"""The job (`Slices`) that reports drained partitions to new owners."""

TELL_US: Final = 150
"""Microseconds to begin one such report."""


class LostPartitions:
    """Reports drained partitions to their new owners.

    Args:
        local: the node.
        topology: of the node.
        hosts: its kinds by name.
        handoff: previous owners that this node itself waits for.
        unsettled: kinds whose moved partitions are not all known yet.
        calls: of placement actors.

    Attributes:
        told: partitions reported, counted.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        hosts: Mapping[str, KindHost],
        handoff: HandOff,
        unsettled: Container[str],
        calls: SystemCalls,
    ) -> None:
        self.told = 0
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._handoff = handoff
        self._unsettled = unsettled
        self._calls = calls
        self._lost: dict[str, dict[int, PreviousOwner]] = {}
        self._drained: deque[tuple[PreviousOwner, str, list[int]]] = deque()
        """Drained partitions that are not reported yet, with their new owners."""
        self._telling: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether an acknowledgement of a new owner is missing."""
        return bool(self._lost or self._drained or self._telling)

    def add(self, kind: str, partition: int, owner: PreviousOwner) -> None:
        """The partition has another owner now."""
        self._lost.setdefault(kind, {})[partition] = owner

    def regained(self, kind: str, partition: int) -> None:
        """The partition is this node's again."""
        lost = self._lost.get(kind)
        if lost is not None:
            lost.pop(partition, None)
            if not lost:
                del self._lost[kind]

    def report_drain(self, kind: str = "") -> None:
        """Begins to report the partitions that are drained by now: of one kind, or of all."""
        for each in (kind,) if kind else tuple(self._lost):
            if each not in self._lost or each in self._unsettled:
                continue
            if not self._hosts[each].draining.walking:
                self._look(each, self._lost[each])

    def _look(self, kind: str, lost: dict[int, PreviousOwner]) -> None:
        busy = {self._topology.lookup.partition(kind, key) for key in self._hosts[kind].draining.moving}
        done: dict[PreviousOwner, list[int]] = {}
        for partition, owner in sorted(lost.items()):
            if partition not in busy and self._handoff.previous_owner(kind, partition) is None:
                done.setdefault(owner, []).append(partition)
        for owner, partitions in done.items():
            for partition in partitions:
                del lost[partition]
            self.told += len(partitions)
            self._drained.append((owner, kind, partitions))
        if not lost:
            del self._lost[kind]
        if done and TELLING not in self._local.slices:
            self._local.slices.add(TELLING, self._begin_telling())

    def _begin_telling(self) -> Iterator[int]:
        while self._drained:
            telling = self._local.spawn(self._tell(*self._drained.popleft()), name="inaho-drained")
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
            yield TELL_US

    async def _tell(self, owner: PreviousOwner, kind: str, partitions: list[int]) -> None:
        node_id, version = self._local.node_id, self._topology.version
        try:
            await self._calls.ask(owner, PlacementActor.drained, kind, partitions, node_id, version)
        except InahoError as error:  # the owner then asks for each identity: slower, but as safe
            self._local.log.info(
                "reporting %d drained partitions to %s failed: %s", len(partitions), owner.authority, describe(error)
            )

    async def acknowledged(self, within_s: float) -> bool:
        """Waits for acknowledgements, at most `within_s` seconds; returns False at once if no report is on its way."""
        if TELLING in self._local.slices:
            await self._local.slices.ended(TELLING)
        elif self._telling:
            await asyncio.wait(self._telling, timeout=within_s)
        else:
            return False
        return True

    def check(self) -> None:
        """Asserts that each kind in the table has a lost partition."""
        for kind, lost in self._lost.items():
            assert lost, f"{kind} lost nothing"
