"""Runs whole nodes under load with one fault scenario from a seed, and checks the freshness rule.

    swarm = FreshnessSwarm(7)
    with swarm.sim:
        swarm.run()
        swarm.check()

A seed chooses the episode (`freshness_episodes`), the number of nodes, the placements, what a failing turn does, and
the storage. Before the episode every cell is saved; after it everything is healed and restarted, and every node is
asked for every cell.

Why episodes and not only chance, as in `grain_swarm`: an old answer needs a save on one side of a split, a saver that
ends before other nodes know of that save, and a call of the other side's activation, in this order. Chance alone finds
one such history in a hundred.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from typing import Final

from inaho.config import ActivationConfig, ClusterConfig
from inaho.core.detection.bound import detection_bound_s
from inaho.events import (
    ActivationStarted,
    MemberReachable,
    MemberUnreachable,
    MemberUp,
    NodePaused,
    SelfRemoved,
    TopologyChanged,
)
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.histories.freshness_checker import Bounds, current_answers, fresh_answers
from inaho.testing.histories.freshness_episodes import EPISODES, LATER
from inaho.testing.histories.freshness_faults import LoadedCourse
from inaho.testing.histories.freshness_history import EVERYBODY, Doubted, Observed
from inaho.testing.histories.freshness_storage import STORAGES, CellStorage
from inaho.testing.histories.freshness_workload import BUSY_KEY, PLACEMENTS, ROLE, CellCaller, cell_kinds, content_of
from inaho.testing.histories.grain_history import Journal, Record, Viewed
from inaho.testing.histories.grain_workload import view_of
from inaho.testing.storage.faults import StorageFaults
from inaho.types import ClusterIdentity

__all__ = ["FreshnessSwarm"]

LOAD: Final = {
    "read": 8.0,
    "look": 8.0,
    "put": 3.0,
    "put_then_fail": 0.5,
    "fail": 0.5,
    "wipe": 0.5,
    "rest": 0.5,
    "follow": 1.0,
}
"""How often the load calls each method, relative to the others."""

WRITES: Final = ("put", "put_then_fail", "fail", "wipe", "rest")
"""What the load does to `BUSY_KEY` only."""

POLICIES: Final = ("keep", "reset", "stop")

SETTLE_S: Final = 5.0
"""Seconds from agreement until a held turn, its hand-off and a proof have ended."""

FINISH_S: Final = 60.0
"""Seconds within which a healed cluster agrees."""

PAUSE_S: Final = 3.0
"""How long a node that was paused is held to doubt everybody. It may have been confirmed to it sooner that nobody took
anything over; then nothing that it has is old."""

EPSILON_S: Final = 0.005
"""For what takes time beside the storage: callbacks of one instant of virtual time."""


class _RoleCluster(SimCluster):
    """A cluster in which some nodes do not have the role of `RoleCell`."""

    without_role: frozenset[int] = frozenset()

    def _node_config(self, index: int) -> ClusterConfig:
        config = super()._node_config(index)
        return config if index in self.without_role else config.replace(roles=(ROLE,))


class FreshnessSwarm(LoadedCourse):
    """One history: make it, `run` it, `check` it.

    Args:
        seed: of everything.
        episode: its name, one of `freshness_episodes.EPISODES`; empty lets the seed choose.
        storage: a name of `freshness_storage.STORAGES`; empty lets the seed choose.
        keys: cells of each kind.

    Attributes:
        sim: the cluster; alive within `with`.
        journal: the history.
        episode, storage_name: what was chosen.
        storage: of all nodes.
        kinds: classes of cells.
        cells: all cells, as pairs of class and key.
        loaded: whether the load calls cells; an episode may stop it for a while.
    """

    def __init__(self, seed: int, *, episode: str = "", storage: str = "", keys: int = 3) -> None:
        chance = random.Random(f"{seed}/freshness")
        self.seed = seed
        first = [name for name in EPISODES if name not in LATER]
        drawn = chance.choice(first), chance.choice(list(STORAGES))
        if (later := random.Random(f"{seed}/later")).random() < len(LATER) / len(EPISODES):
            drawn = later.choice(LATER), drawn[1]
        self.episode, self.storage_name = episode or drawn[0], storage or drawn[1]
        self.journal = Journal(lambda: self.sim.time)
        names = chance.sample(list(PLACEMENTS), chance.choice([2, 3, 4]))
        policies = {name: chance.choice(POLICIES) for name in names}
        tick_s, remind_s = chance.choice([0.0, 0.7]), chance.choice([0.0, 0.0, 1.5])
        inside = random.Random(f"{seed}/cells")
        self.kinds = cell_kinds(self.journal, inside, policies, tick_s=tick_s, remind_s=remind_s)
        self.cells = [(kind, f"key-{number}") for kind in self.kinds for number in range(keys)]
        nodes = chance.choice([3, 4])
        config = ClusterConfig(activation=ActivationConfig(partitions=64, reminder_shards=2))
        storage_faults = STORAGES[self.storage_name]
        self.storage = CellStorage(self.journal, self.storage_name, seed)
        sim = _RoleCluster(nodes, seed, self.kinds, config, storage=self.storage)
        sim.without_role = frozenset(chance.sample(range(nodes), 1))
        super().__init__(sim, chance, self.journal, nodes)
        self.callers = [CellCaller(self.journal, f"c{number}") for number in range(4)]
        self.loaded = True
        self.answers: dict[str, list[Observed]] = {}
        self.stored: dict[str, str] = {}
        self.bounds = Bounds(
            freshness_s=getattr(config.activation, "freshness_s", 1.0),
            read_s=storage_faults.slow_s + EPSILON_S,
            detection_s=detection_bound_s(config, nodes),
            settle_s=SETTLE_S + storage_faults.slow_s,
        )

    # The course.

    def run(self) -> None:
        """Runs the episode under load, heals everything, and asks every node for every cell at the end."""
        try:
            self.sim.run(self._course())
            self.sim.check()
        finally:
            self.storage.discard()

    async def _course(self) -> None:
        sim = self.sim
        await self.call_all(range(self.nodes), "put")
        if self.kinds[0].remind_s:
            await self.call_all([0], "remember")
        loads = [asyncio.create_task(self._load(caller)) for caller in self.callers[1:]]
        await EPISODES[self.episode](self)
        await self.end_faults()
        await sim.until(sim.converged, FINISH_S)
        await asyncio.sleep(self.bounds.settle_s + 2.0)
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        for kind in self.kinds:
            kind.tick_saves = 0.0
        await asyncio.sleep(1.0)
        await self._ask_everywhere()

    async def _load(self, caller: CellCaller) -> None:
        """Calls cells until the run ends; failures do not stop it."""
        chance = self.chance
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.3))
            able = self.able()
            if not able or not self.loaded:
                continue
            kind, key = chance.choice(self.cells)
            what = chance.choices(list(LOAD), list(LOAD.values()))[0]
            if what in WRITES:
                key = BUSY_KEY
            hold_s = chance.uniform(0.2, 1.5) if what == "put" and chance.random() < 0.05 else 0.0
            await caller.call(self.cluster(chance.choice(able)), kind, key, what, hold_s=hold_s)

    async def call_all(self, through: Iterable[int], what: str, share: float = 1.0) -> int:
        able = [index for index in through if index in self.able()]
        if not able:
            return 0
        calls = [
            self.callers[0].call(self.cluster(self.chance.choice(able)), kind, key, what)
            for kind, key in self.cells
            if share >= 1.0 or self.chance.random() < share
        ]
        return sum(await asyncio.gather(*calls))

    async def _ask_everywhere(self) -> None:
        """Asks for every cell through every node, and reads the storage."""
        since = len(self.journal.records)
        for kind, key in self.cells:
            for index in range(self.nodes):
                await self.callers[0].call(self.cluster(index), kind, key, "read")
            await self.callers[0].call(self.cluster(self.chance.randrange(self.nodes)), kind, key, "look")
            cell = f"{kind.__name__}/{key}"
            self.answers[cell] = []
            found = await self.storage.inner.load(ClusterIdentity(kind.__name__, key))
            self.stored[cell] = content_of(None if found is None else found.data)
        for record in self.journal.records[since:]:
            if isinstance(record, Observed) and record.way in ("read", "look"):
                self.answers[record.cell].append(record)

    # The check.

    def history(self) -> list[Record]:
        """The records of cells, callers, storage and node events, in the order of their times."""
        names: dict[int, str] = {}
        for happened in self.sim.events:
            if isinstance(happened.event, ActivationStarted):
                names[happened.process] = happened.event.pid.node_id
        records: list[Record] = [*self.journal.records, *self.ends(names)]
        doubted: dict[str, set[str]] = {}
        for happened in self.sim.events:
            node, event, at = names.get(happened.process, f"process {happened.process}"), happened.event, happened.at
            if isinstance(event, TopologyChanged):
                records.append(Viewed(at=at, node=node, view=view_of(event.snapshot)))
            elif isinstance(event, MemberUnreachable):
                if event.authority in (known := doubted.setdefault(node, set())):
                    continue
                known.add(event.authority)
                records.append(Doubted(at=at, node=node, member=event.authority, active=True))
            elif isinstance(event, MemberReachable | MemberUp | SelfRemoved):
                known = doubted.get(node, set())
                over = sorted(known) if isinstance(event, SelfRemoved) else sorted(known & {event.authority})
                known.difference_update(over)
                records += [Doubted(at=at, node=node, member=member, active=False) for member in over]
            elif isinstance(event, NodePaused):
                records.append(Doubted(at=at, node=node, member=EVERYBODY, active=True))
                records.append(Doubted(at=at + PAUSE_S, node=node, member=EVERYBODY, active=False))
        records.sort(key=lambda record: record.at)
        return records

    def check(self) -> Counter[str]:
        """What was judged, see `fresh_answers`. Raises `PromiseBroken` at the first answer that is too old."""
        judged = fresh_answers(self.history(), self.bounds)
        judged["current"] = current_answers(self.answers, self.stored)
        return judged

    @property
    def usual_faults(self) -> StorageFaults:
        return STORAGES[self.storage_name]

    @property
    def calls_answered(self) -> int:
        """Calls that were answered."""
        return sum(caller.answered for caller in self.callers)
