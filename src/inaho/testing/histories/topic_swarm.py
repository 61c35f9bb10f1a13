"""Runs whole nodes with topics under load and faults from a seed, and records one history to check.

Every node publishes to a topic at most once and to one at least once, reads the first, and is a member of two groups of
the second. If asked, a kind of grain is subscribed to both topics, and clients publish and read as nodes do. A seed
decides which kinds of faults there are, and the policies of the topics. At the end everything is healed, publishers
stop, and the groups catch up.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from inaho.config import ActivationConfig, ClusterConfig
from inaho.core.pubsub.message import Message
from inaho.errors import InahoError
from inaho.events import ConnectionRefused
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.topics.topic import Topic
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.cluster.simulated_node import SimulatedNode
from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_history import Died, Journal, Record
from inaho.testing.histories.topic_checkers import (
    in_publishing_order,
    keys_in_order,
    losses_told,
    nothing_unhandled,
    one_log,
    only_to_subscribers,
    repeated,
)
from inaho.testing.histories.topic_grain_checkers import grain_losses_told
from inaho.testing.histories.topic_grains import KEPT, LOOSE, LOOSE_NAME, HostedByOddNodes, grain_of, listener_with
from inaho.testing.histories.topic_history import Leaving, record_of
from inaho.testing.histories.topic_workload import TopicPublisher, TopicReader
from inaho.testing.simulation.simulated_network import Faults
from inaho.testing.simulation.simulated_process import DEAD
from inaho.testing.storage.faults import FaultyStorage, StorageFaults

__all__ = ["FAULT_KINDS", "KEPT", "LOOSE", "TopicSwarm"]

FAULT_KINDS: Final = ("leave", "noise", "crash", "partition", "cut", "pause", "storage")
"""Kinds of faults. `leave` is orderly; `storage` refuses everything for a while, or loses answers."""

GROUPS: Final = ("one", "two")

AWAY_MAX: Final = 2
"""Nodes that are down at one time."""

TOLD_S: Final = 30.0
"""Seconds in which a node learns what it missed: the detection of a lost member, and a few tails."""

CAUGHT_UP_S: Final = 240.0
"""Seconds from the last fault until the groups have handled everything, pauses before redeliveries included."""

POLL_S: Final = 2.0

OUTAGE: Final = StorageFaults(refuse=1.0)
UNSURE: Final = StorageFaults(refuse=0.1, lose_request=0.1, lose_answer=0.2, repeat=0.1)


class TopicSwarm:
    """One history: make it, `run` it, `check` it.

    Args:
        seed: of everything.
        nodes, keys, steps: sizes.
        kinds: of faults; None lets the seed choose.
        topics: names of the topics that there are.
        grains: `TopicListener` is subscribed; every second node hosts it.
        clients: so many.
        failing: share of the messages at least once that are given back; None lets the seed choose.

    Attributes:
        sim: the cluster; alive within `with`.
        journal: the history of publishers and readers.
        kinds: of faults that this seed has.
        published: publishes that succeeded, by topic.
    """

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 4,
        keys: int = 6,
        steps: int = 8,
        kinds: tuple[str, ...] | None = None,
        topics: tuple[str, ...] = (LOOSE, KEPT),
        grains: bool = False,
        clients: int = 0,
        failing: float | None = None,
    ) -> None:
        self.topics = topics
        self.grains = grains
        self.random = chance = random.Random(f"{seed}/topics")
        chosen = [kind for kind in FAULT_KINDS if chance.random() < 0.5]
        self.kinds = list(chosen if kinds is None else kinds)
        self.journal = Journal(lambda: self.sim.time)
        self.policies: dict[str, dict[str, Any]] = {
            LOOSE: {
                "delivery": "at_most_once",
                "when_cut_off": chance.choice(["drop", "queue"]),
                "allow_no_subscribers": True,
            },
            KEPT: {
                "delivery": "at_least_once",
                "when_cut_off": chance.choice(["drop", "queue"]),
                "partitions": 3,
                "attempts_max": 100_000,
                "ack_timeout_s": 5.0,
                "retry_base_s": 0.1,
                "retry_max_s": 2.0,
            },
        }
        config = ClusterConfig(activation=ActivationConfig(partitions=256))
        kinds_of_grains = [listener_with(self.journal, self._handle)] if grains else []
        kind_of_cluster = HostedByOddNodes if grains else SimCluster
        self.sim = kind_of_cluster(
            nodes=nodes, seed=seed, grains=kinds_of_grains, config=config, storage_faults=StorageFaults()
        )
        self.nodes = nodes
        self.keys = ["", *(f"key-{number}" for number in range(keys - 1))]
        self.published: Counter[str] = Counter()
        self._steps = steps
        self._clients: list[SimulatedNode | None] = [None] * clients
        self._client_chance = random.Random(f"{seed}/clients")
        chosen_share = chance.choice([0.0, 0.05])
        self._failing = chosen_share if failing is None else failing
        self._ending = False
        self._node_ids: dict[int, str] = {}
        self._down: set[int] = set()
        self._leaving: set[int] = set()

    # The course.

    def run(self) -> None:
        """Runs load and faults, heals everything, and lets the groups catch up."""
        self.sim.run(self._course(), within_s=3000.0)
        self.sim.check()

    async def _course(self) -> None:
        sim, chance = self.sim, self.random
        for index in range(self.nodes):
            self._begin_load(index)
        for number in range(len(self._clients)):
            self._begin_client(number)
        await asyncio.sleep(2.0)
        for _ in range(self._steps):
            await asyncio.sleep(chance.uniform(0.5, 4.0))
            kind = chance.choice([*self.kinds, "relief"])
            self._make_fault(kind)
            for number in range(len(self._clients)):
                self._make_client_fault(kind, number)
        await asyncio.sleep(chance.uniform(0.0, 10.0))
        self._heal()
        await sim.until(lambda: not self._leaving, 60.0)
        for index in sorted(self._down):
            self._restart(index)
        await sim.until(lambda: all(map(sim.is_member, range(self.nodes))) and sim.converged(), 60.0)
        await asyncio.sleep(5.0)
        self._ending = True
        await asyncio.sleep(TOLD_S + 10.0)
        for _ in range(int(CAUGHT_UP_S / POLL_S)):
            if self._caught_up():
                return
            await asyncio.sleep(POLL_S)

    def _caught_up(self) -> bool:
        try:
            nothing_unhandled(self.journal.records)
        except PromiseBroken:
            return False
        return True

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
                self._note_end(one)
        elif kind == "partition":
            side = set(chance.sample(range(self.nodes), chance.randint(1, 2)))
            sim.partition(side, set(range(self.nodes)) - side)
        elif kind == "cut":
            sim.cut(one, other)
        elif kind == "pause" and up:
            sim.pause(one, chance.uniform(0.5, 8.0))
        elif kind == "noise":
            sim.faults = Faults(
                control_loss=chance.choice([0.0, 0.1, 0.3]),
                control_repeat=chance.choice([0.0, 0.2]),
                control_reorder=chance.choice([0.0, 0.3]),
                delay_most_s=chance.choice([0.002, 0.05]),
            )
        elif kind == "storage":
            self._fail_storage(chance.choice([OUTAGE, UNSURE]))
        elif kind in ("leave", "crash", "relief"):
            self._heal()
            back = sorted(self._down - self._leaving)
            if back:
                self._restart(chance.choice(back))

    def _make_client_fault(self, kind: str, number: int) -> None:
        chance, client = self._client_chance, self._clients[number]
        if client is None or not client.is_member or chance.random() < 0.5:
            return
        if kind == "crash":
            client.crash(self.sim.network, silent=chance.random() < 0.5)
            self._note_process_end(_number_of(client))
            self._begin_client(number)
        elif kind in ("cut", "partition"):
            others = chance.sample(range(self.nodes), chance.randint(1, self.nodes - 1))
            for other in others:
                self.sim.network.cut(client.address, self.sim.authority(other))
                if kind == "partition":
                    self.sim.network.cut(self.sim.authority(other), client.address)

    def _begin_client(self, number: int) -> None:
        self.sim.client()
        client = self._clients[number] = self.sim._clients[-1]
        self._begin_load_of(client, -1)

    def _heal(self) -> None:
        self.sim.heal()
        self.sim.faults = Faults()
        self._fail_storage(StorageFaults())

    def _fail_storage(self, faults: StorageFaults) -> None:
        storage = self.sim.storage
        assert isinstance(storage, FaultyStorage)
        storage.faults = faults

    def _leave(self, index: int) -> None:
        self._leaving.add(index)
        node_id = self._node_ids.get(self._process(index))
        if node_id is not None:
            self.journal.write(Leaving(at=self.sim.time, node=node_id))
        process = self.sim._nodes[index].process
        self.sim.leave(index)

        async def gone() -> None:
            await self.sim.until(lambda: process.state is DEAD, 120.0)
            self._note_end(index)
            self._leaving.discard(index)

        self.sim._loop.create_task(gone())

    def _restart(self, index: int) -> None:
        self._down.discard(index)
        self.sim.restart(index)
        self._begin_load(index)

    def _note_end(self, index: int) -> None:
        self._note_process_end(self._process(index))

    def _note_process_end(self, process: int) -> None:
        node_id = self._node_ids.get(process)
        if node_id is not None:
            self.journal.write(Died(at=self.sim.time, node=node_id))

    def _process(self, index: int) -> int:
        """Number of the process that a node runs in, as in `SimEvent.process`."""
        return _number_of(self.sim._nodes[index])

    # The load: tasks of the process, which end with it.

    def _begin_load(self, index: int) -> None:
        self._begin_load_of(self.sim._nodes[index], index)

    def _begin_load_of(self, node: SimulatedNode, index: int) -> None:
        """The load of a node, or of a client, which has no index."""
        process, client = _number_of(node), index < 0

        async def work() -> None:
            await asyncio.shield(node.starting)
            cluster = node._extension.cluster
            self._node_ids[process] = node_id = cluster.runtime.local.node_id
            for name in self.topics:
                topic = await self._topic(cluster, name)
                for group in ("",) if name == LOOSE else GROUPS:
                    handle = self._handle if group else None
                    reader = TopicReader(
                        self.journal, topic, node_id, f"{process}-{name}{group}", group=group, handle=handle,
                        client=client,
                    )  # fmt: skip
                    begin(reader.run())
                publisher = TopicPublisher(self.journal, topic, node_id, f"{process}-{name}", client=client)
                begin(self._publish(publisher, name, index))

        def begin(coroutine: Any) -> None:
            node.process.loop.create_task(coroutine)

        begin(work())

    async def _topic(self, cluster: Cluster, name: str) -> Topic[str]:
        while True:
            try:
                topic: Topic[str] = await cluster.topic(name, str, **self.policies[name])
            except InahoError:
                await asyncio.sleep(0.5)
            else:
                return topic

    async def _publish(self, publisher: TopicPublisher, name: str, index: int) -> None:
        chance = self.random
        while not self._ending and index not in self._leaving:
            await asyncio.sleep(chance.uniform(0.02, 0.4))
            for _ in range(chance.choice([1, 1, 1, 5])):
                if await publisher.publish(chance.choice(self.keys)) is None:
                    self.published[name] += 1

    async def _handle(self, message: Message[str]) -> bool:
        chance = self.random
        if chance.random() < 0.1:
            await asyncio.sleep(chance.uniform(0.0, 1.0))
        return chance.random() >= self._failing

    # The check.

    def history(self) -> list[Record]:
        """The records of publishers and readers, and what nodes told of losses, in the order of their times."""
        records = list(self.journal.records)
        for happened in self.sim.events:
            node = self._node_ids.get(happened.process, f"process {happened.process}")
            record = record_of(happened.event, node=node, at=happened.at)
            if record is not None:
                records.append(record)
        records.sort(key=lambda record: record.at)
        return records

    def judge(self) -> list[Callable[[], Any]]:
        """The promises, each to be called; they raise `PromiseBroken`."""
        history, until = self.history(), self.sim.time
        return [
            lambda: only_to_subscribers(history, grain_of),
            lambda: in_publishing_order(history),
            lambda: losses_told(history, TOLD_S, until=until),
            lambda: nothing_unhandled(history),
            lambda: one_log(history),
            lambda: keys_in_order(history),
            lambda: repeated(history, orderly=not self.kinds),
            lambda: grain_losses_told(history, TOLD_S, methods=[LOOSE_NAME] if self.grains else [], until=until),
        ]

    def check(self) -> list[Any]:
        """What each promise judged. Raises `PromiseBroken` for the first one that is broken."""
        for happened in self.sim.events:
            event = happened.event
            if isinstance(event, ConnectionRefused) and event.code == "protocol_violation":
                raise PromiseBroken("protocol", f"a node of one's own breaks it: {event}")
        return [promise() for promise in self.judge()]


def _number_of(node: SimulatedNode) -> int:
    return int(node.process.name.rpartition(" ")[2])
