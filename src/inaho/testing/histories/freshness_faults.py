"""Injects the faults of a `freshness_swarm` and records when each begins and ends.

Why not the methods of `SimCluster` itself: they do not record how long a fault lasts. A crash, for example, is
over when that node is a member again, a pause when the process runs.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from inaho.runtime.cluster.cluster import Cluster
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.histories.freshness_history import Fault
from inaho.testing.histories.grain_history import Died, Journal, Paused, Record, Resumed
from inaho.testing.simulation.errors import OutOfTime
from inaho.testing.simulation.simulated_network import Faults
from inaho.testing.simulation.simulated_process import DEAD, RUNNING
from inaho.testing.storage.faults import FaultyStorage, StorageFaults
from inaho.types import MemberStatus

__all__ = ["FaultyCourse", "LoadedCourse"]

BACK_S: Final = 60.0
"""Seconds within which a started process is a member, or a leaving one has ended."""

NOTICED_S: Final = 20.0
"""Seconds within which a fault is noticed, if at all."""


class FaultyCourse:
    """Makes the faults of an episode. Nodes are named by index.

    Args:
        sim: the cluster.
        chance: of everything that is drawn.
        journal: is told of faults.
        nodes: how many.
    """

    def __init__(self, sim: SimCluster, chance: random.Random, journal: Journal, nodes: int) -> None:
        self.sim = sim
        self.chance = chance
        self.journal = journal
        self.nodes = nodes
        self._active: set[str] = set()
        self._leaving: set[int] = set()
        self._ends: list[tuple[type[Died | Paused | Resumed], float, int]] = []

    # Nodes.

    @property
    def everybody(self) -> range:
        """All indexes."""
        return range(self.nodes)

    def able(self) -> list[int]:
        """Nodes through which calls can be made: members that run and do not leave."""
        return [index for index in self.everybody if index not in self._leaving and self.runs(index)]

    def runs(self, index: int) -> bool:
        """Whether a node is a member and its process runs."""
        return self.sim.is_member(index) and self.sim._nodes[index].process.state is RUNNING

    def cluster(self, index: int) -> Cluster:
        """The node's `Cluster`, for callers outside of its process."""
        return self.sim.node(index)

    def sides(self) -> tuple[list[int], list[int]]:
        """Some nodes, fewer than half or as many, and the others."""
        nodes = self.chance.sample(self.everybody, self.nodes)
        size = self.chance.randint(1, self.nodes // 2)
        return nodes[:size], nodes[size:]

    def sees_up(self, index: int, other: int) -> bool:
        """Whether a node sees another one up; True if it cannot be asked."""
        if not self.runs(index):
            return True
        return self.sim.members_seen_by(index).get(other) is MemberStatus.UP

    async def noticed(self, nodes: Collection[int], others: Collection[int], within_s: float = NOTICED_S) -> bool:
        """Waits until each of `nodes` sees none of `others` up. Returns whether that happened."""
        try:
            await self.sim.until(
                lambda: not any(self.sees_up(index, other) for index in nodes for other in others), within_s
            )
        except OutOfTime:
            return False
        return True

    async def wait(self, least_s: float, most_s: float) -> None:
        """Lets time pass."""
        await asyncio.sleep(self.chance.uniform(least_s, most_s))

    # Links and hosts.

    def split(self, side: Collection[int]) -> None:
        """Cuts all links between these nodes and the others."""
        self._fault("split", True)
        self.sim.partition(set(side), set(self.everybody) - set(side))

    def cut(self, source: int, targets: Collection[int]) -> None:
        """Nothing of `source` reaches these nodes."""
        self._fault("cut", True)
        for target in targets:
            self.sim.cut(source, target)

    def heal(self) -> None:
        """Ends all splits and cuts."""
        self.sim.heal()
        self._fault("split", False)
        self._fault("cut", False)

    def slow(self, index: int, extra_s: float) -> None:
        """Adds to every delay from and to a node; 0 ends it."""
        self.sim.slow(index, extra_s)
        self._fault(f"slow {index}", extra_s > 0)

    def lose_control(self, share: float) -> None:
        """Loses this share of the control messages; 0 ends it."""
        self.sim.faults = Faults(control_loss=share, control_repeat=0.1, control_reorder=0.1)
        self._fault("loss", share > 0)

    def storage_faults(self, faults: StorageFaults | None) -> None:
        """Replaces the faults of the storage; None puts back those of the swarm."""
        storage = self.sim.storage
        assert isinstance(storage, FaultyStorage)
        storage.faults = self.usual_faults if faults is None else faults

    @property
    def usual_faults(self) -> StorageFaults:
        """Of the storage, outside of episodes."""
        raise NotImplementedError

    # Processes.

    def crash(self, index: int, *, silent: bool = False) -> None:
        """Kills a process, unless it is dead."""
        if self.sim._nodes[index].process.state is DEAD:
            return
        self._fault(f"crash {index}", True)
        self._fault(f"pause {index}", False)
        self._mark(Died, index)
        self._leaving.discard(index)
        self.sim.crash(index, silent=silent)

    def crash_all(self, indexes: Collection[int]) -> None:
        """Ends these processes, each with or without closing its connections."""
        for index in indexes:
            self.crash(index, silent=self.chance.random() < 0.5)

    def restart(self, index: int) -> None:
        """Starts a dead process again; its crash is over when it is a member."""
        if self.sim._nodes[index].process.state is not DEAD:
            return
        self.sim.restart(index)
        node = self.sim._nodes[index]

        def is_back() -> bool:
            return self.sim._nodes[index] is not node or node.is_member

        async def back() -> None:
            await self.sim.until(is_back, BACK_S)
            if self.sim._nodes[index] is node and node.is_member:
                self._fault(f"crash {index}", False)

        self.sim._loop.create_task(back())

    def leave(self, index: int) -> None:
        """Lets a node leave, if it can: no fault."""
        if index in self._leaving or not self.runs(index):
            return
        self._leaving.add(index)
        node, number = self.sim._nodes[index], self._process(index)
        self.sim.leave(index)

        async def gone() -> None:
            await self.sim.until(lambda: node.process.state is DEAD, BACK_S)
            if self.sim._nodes[index] is node and index in self._leaving:
                self._ends.append((Died, self.sim.time, number))
                self._leaving.discard(index)

        self.sim._loop.create_task(gone())

    async def left(self, index: int) -> None:
        """Waits until a node that leaves has ended."""
        await self.sim.until(lambda: self.sim._nodes[index].process.state is DEAD, BACK_S)
        await asyncio.sleep(0.02)

    def pause(self, index: int) -> None:
        """Stops a process."""
        if self.runs(index):
            self._fault(f"pause {index}", True)
            self._mark(Paused, index)
            self.sim.pause(index)

    def resume(self, index: int) -> None:
        """Continues a process."""
        if f"pause {index}" in self._active:
            self._fault(f"pause {index}", False)
            self._mark(Resumed, index)
            self.sim.resume(index)

    async def end_faults(self) -> None:
        """Ends all faults, and starts dead processes again."""
        self.heal()
        self.storage_faults(None)
        self.sim.faults = Faults()
        self._fault("loss", False)
        for index in self.everybody:
            self.resume(index)
            if f"slow {index}" in self._active:
                self.slow(index, 0.0)
        await self.sim.until(lambda: not self._leaving, BACK_S)
        for index in self.everybody:
            self.restart(index)
        await self.sim.until(lambda: all(map(self.sim.is_member, self.everybody)), BACK_S)

    # The history.

    def ends(self, names: Mapping[int, str]) -> list[Record]:
        """Deaths and pauses. `names`: node ids by the number of the process."""
        return [record(at=at, node=names.get(number, f"process {number}")) for record, at, number in self._ends]

    def _mark(self, record: type[Died | Paused | Resumed], index: int) -> None:
        self._ends.append((record, self.sim.time, self._process(index)))

    def _process(self, index: int) -> int:
        """Number of the process that a node runs in, as in `SimEvent.process`."""
        return int(self.sim._nodes[index].process.name.rpartition(" ")[2])

    def _fault(self, what: str, active: bool) -> None:
        if active is not (what in self._active):
            self.journal.write(Fault(at=self.journal.now(), what=what, active=active))
        if active:
            self._active.add(what)
        else:
            self._active.discard(what)


class LoadedCourse(FaultyCourse, ABC):
    """The interface for episodes: faults and calls.

    Attributes:
        loaded: whether the load calls cells; an episode may stop it for a while.
    """

    loaded: bool

    @abstractmethod
    async def call_all(self, through: Iterable[int], what: str, share: float = 1.0) -> int:
        """Calls cells at once, each through one of the nodes in `through`. Returns how many calls were answered.

        Args:
            through: indexes of nodes.
            what: a method of `Cell`.
            share: part of the cells, drawn one by one.
        """
