"""Messages between actors of whole nodes in virtual time: order and accounts through cuts, pauses and crashes."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from inaho import Actor, ClusterConfig, DeliveryConfig, Props
from inaho.actor import MailboxConfig, StopReason
from inaho.errors import InahoError
from inaho.events import DeadLetter, MessageInDoubt
from inaho.testing import SimCluster

NODES = 3

NARROW = ClusterConfig(
    delivery=DeliveryConfig(
        queue_messages_max=30,
        queue_age_s=1.0,
        unacknowledged_max=20,
        failures_max=4,
        quarantine_s=3.0,
    )
)
"""Everything is soon full, old or quarantined."""


class Notes:
    """What was told, and what became of it, over all nodes."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, int]] = []
        self.got: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.doubtful: set[tuple[int, int, int]] = set()
        self.dead: set[tuple[int, int, int]] = set()
        self.next: dict[tuple[int, int], int] = defaultdict(int)

    def check_order(self) -> None:
        for pair, numbers in self.got.items():
            assert numbers == sorted(set(numbers)), f"node {pair[0]} to node {pair[1]}: {numbers}"

    def received(self) -> set[tuple[int, int, int]]:
        return {(source, target, number) for (source, target), all_ in self.got.items() for number in all_}


class Recorder(Actor):
    """Writes down what comes."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    async def receive(self, message: Any) -> None:
        source, target, number = message
        self.notes.got[source, target].append(number)


def populate(sim: SimCluster, index: int, notes: Notes) -> None:
    """An actor on the node, and an ear for what its messages come to."""

    async def spawn() -> None:
        system = sim.node(index).system
        system.spawn(Props(lambda: Recorder(notes), mailbox=MailboxConfig(capacity=1 << 20)), "recorder")
        system.events.subscribe_callback(MessageInDoubt, lambda event: notes.doubtful.add(tuple(event.message)))
        system.events.subscribe_callback(DeadLetter, lambda event: notes.dead.add(tuple(event.message)))

    sim.run(spawn())


def tell(sim: SimCluster, source: int, target: int, count: int, notes: Notes) -> None:
    """Tells some numbers from one node to another; a refusal is not told."""

    async def send() -> None:
        cluster = sim.node(source)
        try:
            remote = cluster.actor(f"inaho://inaho@{sim.authority(target)}/user/recorder")
            for _ in range(count):
                number = notes.next[source, target]
                notes.next[source, target] += 1
                remote.tell([source, target, number])
                notes.told.append((source, target, number))
        except InahoError:
            return  # the target is unreachable or quarantined, and the sender knows

    sim.run(send())


def disturbances(chance: random.Random, sim: SimCluster) -> Iterator[None]:
    """Endless trouble that no node deserves."""
    while True:
        source, target = chance.sample(range(NODES), 2)
        match chance.choice(["cut", "reset", "heal", "pause", "nothing"]):
            case "cut":
                sim.cut(source, target)
            case "reset":
                sim.network.reset(sim.authority(source), sim.authority(target))
            case "heal":
                sim.heal()
            case "pause":
                sim.pause(source, chance.uniform(0.1, 1.0))
            case _:
                pass
        yield


@pytest.mark.parametrize("config", [ClusterConfig(), NARROW], ids=["defaults", "narrow"])
def test_no_inversion_no_duplicate_and_the_law_holds_whatever_happens(simulation_seed: int, config: ClusterConfig):
    chance = random.Random(simulation_seed)
    notes = Notes()
    with SimCluster(nodes=NODES, seed=simulation_seed, config=config) as sim:
        for index in range(NODES):
            populate(sim, index, notes)
        trouble = disturbances(chance, sim)
        for _ in range(60):
            source, target = chance.sample(range(NODES), 2)
            tell(sim, source, target, chance.randrange(1, 40), notes)
            sim.run_for(chance.choice([0.01, 0.1, 0.3, 1.5]))
            next(trouble)
            notes.check_order()
            for index in range(NODES):
                sim.node(index)._node.remoting.check()
                sim.node(index)._node.associations.machine.check()
        sim.heal()
        sim.run_for(40.0)
        notes.check_order()
        for index in range(NODES):
            counts = sim.node(index).delivery_counts()
            assert (counts.waiting, counts.unacknowledged) == (0, 0)
            assert counts.accepted == counts.delivered + counts.dead_lettered + counts.in_doubt
    lost = set(notes.told) - notes.received() - notes.doubtful - notes.dead
    assert not lost, f"nobody knows what became of {sorted(lost)[:10]}"
    assert notes.received()


def test_a_crash_ends_watches_and_the_successor_is_another(simulation_seed: int):
    notes = Notes()
    with SimCluster(nodes=NODES, seed=simulation_seed) as sim:
        populate(sim, 1, notes)

        async def watch() -> Any:
            remote = sim.node(0).actor(f"inaho://inaho@{sim.authority(1)}/user/recorder")
            remote.tell([0, 1, 0])
            return remote

        remote = sim.run(watch())
        sim.run_for(0.5)
        ends: list[Any] = []

        class Ear:
            def watched_terminated(self, terminated: Any) -> None:
                ends.append(terminated)

        remote.target.add_watcher(Ear())
        sim.run_for(0.5)
        assert ends == []
        sim.crash(1)
        sim.run_for(30.0)
        assert [(end.reason, end.exists) for end in ends] == [(StopReason.NODE_REMOVED, True)]
        sim.restart(1)
        populate(sim, 1, notes)
        sim.wait_converged()

        async def tell_both() -> None:
            remote.tell([0, 1, 1])
            sim.node(0).actor(f"inaho://inaho@{sim.authority(1)}/user/recorder").tell([0, 1, 2])

        sim.run(tell_both())
        sim.run_for(1.0)
    assert notes.got[0, 1] == [0, 2]
    assert len(ends) == 1
