"""Nodes that look for their cluster through a record: every read, dial and write is one step, in any order.

The back end is linearizable; a registration is kept until its process is dead and `expire` is called. A process can be
killed, started again on its port, and paused; a write can be applied or not without an answer; two nodes can be cut off
from each other. `TwoClusters` is raised when a cluster is founded while a member of another one lives.
"""

from __future__ import annotations

import random
from collections.abc import Generator

from inaho.core.provisioning.founding import ClusterRecord, Contact, Found, FoundingRule, Join
from inaho.core.provisioning.snapshot import ProviderMember

__all__ = ["NODES", "FoundingModel", "TwoClusters", "one_cluster", "play"]

NODES = 4


class TwoClusters(AssertionError):  # noqa: N818  what a person says
    """Two clusters live at the same time."""


class Process:
    """One boot of one node. `cluster` is the number of the cluster of which it is a member; 0 for none."""

    def __init__(self, model: FoundingModel, index: int, boot: int) -> None:
        self.model = model
        self.index = index
        self.me = ProviderMember(f"10.0.0.1:{index + 1}", f"{index}.{boot}")
        self.cluster = 0
        self.paused = False
        self.write = "answered"
        self.steps = self.run()

    def run(self) -> Generator[None]:
        """The life of a process up to its membership; each `yield` ends one step."""
        model = self.model
        rule = FoundingRule(self.me, f"{self.index:016x}")
        while not self.cluster:
            model.registered[self.me.authority] = self.me
            yield
            record, version = model.record, model.version
            yield
            registered = tuple(model.registered[authority] for authority in sorted(model.registered))
            yield
            contacts: dict[str, Contact] = {}
            founder = () if record is None else (record.authority,)
            for authority in dict.fromkeys((*founder, *(other.authority for other in registered))):
                if authority != self.me.authority:
                    contacts[authority] = model.dial(self, authority)
                    yield
            step = rule.decide(record, registered, contacts)
            if isinstance(step, Found):
                write, self.write = self.write, "answered"
                applied = write != "lost" and model.write(step.record, version)
                yield
                if applied and write == "answered":
                    model.found(self)
            elif isinstance(step, Join):
                for authority in step.authorities:
                    yield
                    model.join(self, authority)


class FoundingModel:
    """The back end and the processes. Steps that make no sense now do nothing."""

    def __init__(self, nodes: int) -> None:
        self.record: ClusterRecord | None = None
        self.version = 0
        self.registered: dict[str, ProviderMember] = {}
        self.processes: list[Process | None] = [None] * nodes
        self.cuts: set[frozenset[int]] = set()
        self.clusters = 0
        self._boots = 0

    # What nodes do.

    def write(self, record: ClusterRecord, version: int) -> bool:
        if version != self.version:
            return False
        self.record, self.version = record, version + 1
        return True

    def dial(self, one: Process, authority: str) -> Contact:
        index = int(authority.rpartition(":")[2]) - 1
        other = self.processes[index]
        if frozenset((one.index, index)) in self.cuts or (other is not None and other.paused):
            return Contact.SILENT
        if other is None:
            return Contact.REFUSES
        return Contact.MEMBER if other.cluster else Contact.STARTING

    def found(self, one: Process) -> None:
        living = [other.me.node_id for other in self.processes if other is not None and other.cluster]
        if living:
            raise TwoClusters(f"{one.me.node_id} founds a cluster while {', '.join(living)} are members of another one")
        self.clusters += 1
        one.cluster = self.clusters

    def join(self, one: Process, authority: str) -> None:
        if not one.cluster and self.dial(one, authority) is Contact.MEMBER:
            other = self.processes[int(authority.rpartition(":")[2]) - 1]
            assert other is not None
            one.cluster = other.cluster

    # What happens to them.

    def start(self, index: int) -> None:
        if self.processes[index] is None:
            self._boots += 1
            self.processes[index] = Process(self, index, self._boots)

    def kill(self, index: int) -> None:
        self.processes[index] = None

    def step(self, index: int) -> None:
        process = self.processes[index]
        if process is not None and not process.paused:
            next(process.steps, None)

    def pause(self, index: int, paused: bool) -> None:
        process = self.processes[index]
        if process is not None:
            process.paused = paused

    def lose_answer(self, index: int, applied: bool) -> None:
        """The next write of that node is applied or not, and it does not hear which."""
        process = self.processes[index]
        if process is not None:
            process.write = "applied" if applied else "lost"

    def lose_place(self, index: int) -> None:
        """The other members have removed it; the process looks for its cluster again."""
        process = self.processes[index]
        others = [one for one in self.processes if one is not None and one is not process and one.cluster]
        if process is not None and process.cluster and others:
            process.cluster = 0
            process.steps = process.run()

    def expire(self, index: int) -> None:
        """The registration of a process that is dead runs out."""
        entry = self.registered.get(f"10.0.0.1:{index + 1}")
        process = self.processes[index]
        if entry is not None and (process is None or process.me.node_id != entry.node_id):
            del self.registered[entry.authority]

    def heal(self) -> None:
        """Nothing is paused or cut any more."""
        self.cuts.clear()
        for index in range(len(self.processes)):
            self.pause(index, False)

    def settle(self) -> None:
        """All processes run in turn, long enough to find each other."""
        for _ in range(100 * len(self.processes)):
            for index in range(len(self.processes)):
                self.step(index)


def one_cluster(model: FoundingModel) -> None:
    """After all faults the living are members of one cluster. One node stays dead and listed; its port refuses."""
    model.heal()
    model.kill(0)
    for index in range(1, NODES):
        model.start(index)
    model.settle()
    clusters = [process.cluster for process in model.processes if process is not None]
    assert all(clusters), "each node finds a cluster"
    assert len(set(clusters)) == 1, "there is one cluster"


def play(seed: int, steps: int) -> FoundingModel:
    """One history in which nodes mostly run, and now and then something happens to one of them."""
    chance, model = random.Random(seed), FoundingModel(NODES)
    for _ in range(steps):
        index, event = chance.randrange(NODES), chance.random()
        if event < 0.88:
            model.step(index)
        elif event < 0.93:
            model.start(index)
        elif event < 0.96:
            model.kill(index)
        elif event < 0.97:
            model.pause(index, chance.random() < 0.5)
        elif event < 0.98:
            model.lose_answer(index, chance.random() < 0.5)
        elif event < 0.99:
            model.expire(index)
        else:
            model.lose_place(index)
    return model
