"""Runs whole nodes with grains under load and faults from a seed, and records one history to check.

A seed first decides which kinds of faults there are at all (swarm testing, Groce and others, ISSTA 2012: leaving
some out finds more than having all of them every time). Histories without deaths, cuts and pauses are *orderly*: in
those an overlap of activations must have begun while the views of their nodes disagreed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

from inaho.config import ActivationConfig, ClusterConfig, MembershipConfig
from inaho.events import ActivationStarted, TopologyChanged
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.histories.grain_checkers import (
    epochs_in_order,
    epochs_of_their_own,
    fenced_commits,
    fresh_reads,
    growing_counts,
    nothing_lost,
    one_activation,
    settled,
)
from inaho.testing.histories.grain_history import Died, Journal, Paused, Record, Resumed, Viewed
from inaho.testing.histories.grain_workload import Caller, RecordingStorage, register_with, stored_elements, view_of
from inaho.testing.simulation.simulated_network import Faults
from inaho.testing.simulation.simulated_process import DEAD
from inaho.types import ClusterIdentity

__all__ = ["FAULT_KINDS", "GrainSwarm"]

FAULT_KINDS: Final = ("leave", "noise", "crash", "partition", "cut", "pause")
"""Kinds of faults. `leave` and `noise` are orderly. `noise` delays, repeats and reorders control messages; if the
history need not be orderly, it also loses them: a node may then assume that others are dead, or found a cluster."""

LAPSES: Final = ("lapse", "back end away")
"""Kinds of faults of a provider: a registration is lost while its node lives; no request is answered for a while."""

ORDERLY: Final = frozenset(FAULT_KINDS[:2])

AWAY_MAX: Final = 2
"""Nodes that are down at one time."""

HOLD_S: Final = (0.2, 2.5)
"""Least and greatest duration of long turns, seconds."""

SETTLE_S: Final = 4.0
"""Seconds from agreement until a held turn, `on_deactivate` and a hand-off have ended."""


class GrainSwarm:
    """One history: make it, `run` it, `check` it.

    Args:
        seed: of everything.
        nodes, keys, callers, steps: sizes.
        orderly: whether only orderly faults happen; None lets the seed decide, one time in four.
        by_provider: whether the membership is that of a memory back end, whose registrations may lapse, too.

    Attributes:
        sim: the cluster; alive within `with`.
        journal: the history.
        kinds: of faults that this seed has.
        topology: the memory back end; None beside gossip.
    """

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 5,
        keys: int = 8,
        callers: int = 3,
        steps: int = 10,
        orderly: bool | None = None,
        by_provider: bool = False,
    ) -> None:
        self.random = random.Random(f"{seed}/swarm")
        chosen = self.random.random() < 0.25
        self.orderly = chosen if orderly is None else orderly
        allowed = sorted(ORDERLY) if self.orderly else list(FAULT_KINDS)
        self.kinds: list[str] = [*([kind for kind in allowed if self.random.random() < 0.6] or allowed)]
        self.orderly = ORDERLY.issuperset(self.kinds)
        self.keys = [f"key-{number}" for number in range(keys)]
        self.journal = Journal(lambda: self.sim.time)
        self.kind = register_with(self.journal, last_words_s=self.random.choice([0.0, 0.05, 0.5]))
        storage = RecordingStorage(self.journal, random.Random(f"{seed}/storage"))
        # Fewer partitions than by default: eight keys do not need more, and tables of owners took a third of the time.
        config = ClusterConfig(activation=ActivationConfig(partitions=256))
        self.topology = MemoryTopology() if by_provider else None
        if by_provider:
            config = config.replace(membership=MembershipConfig(source="provider"))
            self.kinds.extend(LAPSES)
            self.orderly = False
        self.sim = SimCluster(
            nodes=nodes,
            seed=seed,
            grains=[self.kind],
            config=config,
            storage=storage,
            providers=self._providers if by_provider else None,
        )
        self.nodes = nodes
        self.callers = [Caller(self.journal, f"c{number}", number * 1_000_000) for number in range(callers + 1)]
        self.where: dict[str, set[str]] = {}
        self._steps = steps
        self._down: set[int] = set()
        self._leaving: set[int] = set()
        self._ends: dict[int, float] = {}
        self._pauses: list[tuple[float, int, float]] = []

    def _providers(self) -> list[MemoryProvider]:
        return [MemoryProvider("memory", self.topology)]

    # The course.

    def run(self) -> None:
        """Runs load and faults, heals everything, and asks every node for every key at the end."""
        sim = self.sim
        sim.run(self._make_faults())
        sim.wait_converged(within_s=40.0)
        sim.run_for(SETTLE_S + 1.0)
        sim.run(self._ask_everywhere())
        sim.check()

    async def _make_faults(self) -> None:
        sim, chance = self.sim, self.random
        loads = [asyncio.create_task(self._load(caller)) for caller in self.callers[1:]]
        for _ in range(self._steps):
            await asyncio.sleep(chance.uniform(0.5, 4.0))
            self._make_fault(chance.choice([*self.kinds, "relief"]))
        sim.heal()
        sim.faults = Faults()
        if self.topology is not None:
            self.topology.resume()
        await sim.until(lambda: not self._leaving, 30.0)
        for index in sorted(self._down):
            self._restart(index)
        await sim.until(lambda: all(map(self._has_started, range(self.nodes))), 30.0)
        for index in range(self.nodes):
            if self._has_given_up(index):
                sim.crash(index)
                self._restart(index)
        await sim.until(lambda: all(map(sim.is_member, range(self.nodes))), 30.0)
        await asyncio.sleep(SETTLE_S)
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    async def _load(self, caller: Caller) -> None:
        """Makes calls until the run ends; failures do not stop it."""
        chance = self.random
        while True:
            await asyncio.sleep(chance.uniform(0.02, 0.2))
            able = [index for index in range(self.nodes) if index not in self._leaving and self.sim.is_member(index)]
            cluster, key = self.sim.node(chance.choice(able)), chance.choice(self.keys)
            what = chance.choices(["add", "put", "read", "rest"], [10, 4, 6, 1])[0]
            hold_s = chance.uniform(*HOLD_S) if what == "add" and chance.random() < 0.06 else 0.0
            await caller.call(cluster, self.kind, key, what, hold_s=hold_s, timeout=hold_s + 1.0)

    def _make_fault(self, kind: str) -> None:
        chance, sim = self.random, self.sim
        one, other = chance.sample(range(self.nodes), 2)
        up = one not in self._down and sim.is_member(one)
        if kind in ("leave", "crash") and up and len(self._down) < AWAY_MAX:
            self._down.add(one)
            if kind == "leave":
                self._leave(one)
            else:
                sim.crash(one, silent=chance.random() < 0.5)
                self._ends[self._process(one)] = sim.time
        elif kind == "partition":
            side = set(chance.sample(range(self.nodes), chance.randint(1, 2)))
            sim.partition(side, set(range(self.nodes)) - side)
        elif kind == "cut":
            sim.cut(one, other)
        elif kind == "pause" and up:
            seconds = chance.uniform(0.5, 8.0)
            self._pauses.append((sim.time, self._process(one), seconds))
            sim.pause(one, seconds)
        elif kind == "noise":
            sim.faults = Faults(
                control_loss=0.0 if self.orderly else chance.choice([0.0, 0.1, 0.3]),
                control_repeat=chance.choice([0.0, 0.2]),
                control_reorder=chance.choice([0.0, 0.3]),
                delay_most_s=chance.choice([0.002, 0.05]),
            )
        elif kind in LAPSES:
            self._make_lapse(kind)
        elif kind in ("leave", "crash", "relief"):
            sim.heal()
            back = sorted(self._down - self._leaving)
            if back:
                self._restart(chance.choice(back))

    def _make_lapse(self, kind: str) -> None:
        assert self.topology is not None
        entries = [authority for authority, _ in self.topology.members()]
        if kind == "lapse" and entries:
            self.topology.expire(self.random.choice(entries))
        elif kind != "lapse":
            self.topology.pause()
            self.sim.network.later(self.random.uniform(0.5, 20.0), self.topology.resume)

    def _leave(self, index: int) -> None:
        self._leaving.add(index)
        number, process = self._process(index), self.sim._nodes[index].process
        self.sim.leave(index)

        async def gone() -> None:
            await self.sim.until(lambda: process.state is DEAD, 60.0)
            self._ends[number] = self.sim.time
            self._leaving.discard(index)

        self.sim._loop.create_task(gone())

    def _restart(self, index: int) -> None:
        self._down.discard(index)
        self.sim.restart(index)

    def _has_started(self, index: int) -> bool:
        return self.sim.is_member(index) or self._has_given_up(index)

    def _has_given_up(self, index: int) -> bool:
        """Whether the node found no cluster while the back end was away: a supervisor starts it again."""
        starting = self.sim._nodes[index].starting
        return starting.done() and starting.exception() is not None

    def _process(self, index: int) -> int:
        """Number of the process that a node runs in, as in `SimEvent.process`."""
        return int(self.sim._nodes[index].process.name.rpartition(" ")[2])

    async def _ask_everywhere(self) -> None:
        """Every node asks for every key: where it is, and what is in it."""
        for key in self.keys:
            answers = [await self.sim.node(index).grain(self.kind, key).where() for index in range(self.nodes)]
            self.where[key] = set(answers)
            for index in range(self.nodes):
                await self.callers[0].call(self.sim.node(index), self.kind, key, "read")

    @property
    def callers_answered(self) -> int:
        """Calls that were answered."""
        return sum(caller.answered for caller in self.callers)

    # The check.

    def history(self) -> list[Record]:
        """The records of grains, storage and callers, and the views of nodes, in the order of their times."""
        names = {
            happened.process: happened.event.pid.node_id
            for happened in self.sim.events
            if isinstance(happened.event, ActivationStarted)
        }
        records = list(self.journal.records)
        for happened in self.sim.events:
            if isinstance(happened.event, TopologyChanged):
                node = names.get(happened.process, f"process {happened.process}")
                records.append(Viewed(at=happened.at, node=node, view=view_of(happened.event.snapshot)))
        for process, at in self._ends.items():
            records.append(Died(at=at, node=names.get(process, f"process {process}")))
        for at, process, seconds in self._pauses:
            node = names.get(process, f"process {process}")
            records += [Paused(at=at, node=node), Resumed(at=at + seconds, node=node)]
        records.sort(key=lambda record: record.at)
        return records

    async def stored(self) -> dict[str, list[str]]:
        """The elements of every key, from the storage."""
        storage = self.sim.storage
        found = {key: await storage.load(ClusterIdentity("Register", key)) for key in self.keys}
        return {key: stored_elements(None if each is None else each.data) for key, each in found.items()}

    def judge(self) -> list[Callable[[], Any]]:
        """The promises, each to be called; they raise `PromiseBroken`."""
        history = self.history()
        stored = self.sim.run(self.stored())
        return [
            lambda: one_activation(history, SETTLE_S, orderly=self.orderly),
            lambda: fenced_commits(history),
            lambda: epochs_of_their_own(history),
            lambda: epochs_in_order(history, stored),
            lambda: nothing_lost(history, stored),
            lambda: growing_counts(history),
            lambda: fresh_reads(history, SETTLE_S),
            lambda: settled(history, self.where),
        ]

    def check(self) -> None:
        """Raises `PromiseBroken`, with the replay command, for the first broken promise."""
        for promise in self.judge():
            promise()
