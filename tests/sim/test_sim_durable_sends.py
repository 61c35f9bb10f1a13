"""What was acknowledged as a durable send reaches its grain, in order, whatever dies. In virtual time.

Each sender waits for each acknowledgement. `INAHO_TEST_SEEDS=100` runs a hundred seeds of each story.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator

import pytest

from inaho.core.pubsub.send_history import SendHistory
from inaho.core.pubsub.send_lines import PendingSend, SendLines
from inaho.runtime.topic_logs.send_keeper import SendKeeper
from inaho.runtime.topic_logs.send_partition import KEEPER
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.simulation.errors import OutOfTime
from inaho.testing.storage.fault_path import StorageFaults
from support.durable_sends import FAIL, SIM, Senders, begin

KEYS = 12


def story(
    sim: SimCluster, seed: int, *, seconds: float = 45.0, splits: bool = False, patience_s: float = 200.0
) -> Senders:
    """Kills, restarts, leaves, pauses and splits at random; in the end everything lives.

    What is missing then has `patience_s` seconds to arrive.
    """
    chance = random.Random(f"durable sends {seed}")
    senders = Senders(sim, KEYS)

    async def play() -> None:
        load = asyncio.ensure_future(senders.run())
        until = sim.time + seconds
        while sim.time < until:
            await asyncio.sleep(chance.uniform(1.0, 6.0))
            up = [index for index in range(len(sim._nodes)) if sim.is_member(index)]
            what = chance.choice(["crash", "crash", "leave", "pause", "fail", *(["split"] if splits else [])])
            if what == "fail":
                for _ in range(20):
                    FAIL[str(chance.randrange(300))] = chance.randrange(3)
            elif what == "pause":
                sim.pause(chance.choice(up), chance.uniform(0.5, 8.0))
            elif what == "split" and len(up) == len(sim._nodes):
                alone = chance.choice(up)
                sim.partition({alone}, set(up) - {alone})
                await asyncio.sleep(chance.uniform(2.0, 20.0))
                sim.heal()
            elif len(up) > 1:
                victim = chance.choice(up)
                if what == "crash":
                    sim.crash(victim, silent=chance.random() < 0.5)
                else:
                    sim.leave(victim)
                await asyncio.sleep(chance.uniform(0.5, 10.0))
                if not sim.is_member(victim):
                    sim.restart(victim)
        senders.end()
        await load
        for index in range(len(sim._nodes)):
            if not sim.is_member(index):
                sim.restart(index)

    sim.run(play(), within_s=seconds + 100.0 + patience_s)
    sim.wait_converged(60.0)
    sim.wait_until(lambda: not senders.missing(), patience_s)
    return senders


def check(sim: SimCluster, senders: Senders) -> None:
    senders.check()
    acknowledged = sum(map(len, senders.stored.values()))
    assert acknowledged > 20 * KEYS, f"only {acknowledged} sends were acknowledged: {senders.failed[-3:]}"
    for index in range(len(sim._nodes)):
        for keeper in sim.node(index)._node.hosts[KEEPER].activations.values():
            if hasattr(keeper, "_sends"):  # it has started
                keeper._sends.check()


@pytest.fixture
def start() -> Generator[Callable[..., SimCluster]]:
    yield begin
    for sim in SIM:
        sim.__exit__(None, None, None)
    SIM.clear()


def test_nothing_acknowledged_is_lost_or_overtaken(start: Callable[..., SimCluster], simulation_seed: int):
    sim = start(seed=simulation_seed)
    check(sim, story(sim, simulation_seed))


def test_nothing_is_lost_through_splits(start: Callable[..., SimCluster], simulation_seed: int):
    sim = start(seed=simulation_seed)
    check(sim, story(sim, simulation_seed, splits=True))


def test_nothing_is_lost_through_errors_of_the_storage(start: Callable[..., SimCluster], simulation_seed: int):
    faults = StorageFaults(refuse=0.02, lose_request=0.01, lose_answer=0.02, repeat=0.02, slow=0.1, slow_s=0.2)
    sim = start(seed=simulation_seed, storage_faults=faults)
    check(sim, story(sim, simulation_seed))


# The checkers find what they are for.


def acknowledges_before_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    async def at_once(self: SendKeeper, records: list[object]) -> None:
        asyncio.get_running_loop().call_later(1.0, lambda: self._over or self._append(records))  # type: ignore[arg-type]

    patch.setattr(SendKeeper, "_log", at_once)


def calls_two_of_one_grain_at_once(patch: pytest.MonkeyPatch) -> None:
    right = SendLines.leave

    def put_off(self: SendLines, entry: PendingSend, until: float) -> None:
        right(self, entry)
        self.enter(entry)

    patch.setattr(SendLines, "put_off", put_off)


def the_next_keeper_reads_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SendHistory, "add", lambda self, offset, record: None)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("mutant", "seconds", "first"),
    [
        (acknowledges_before_it_is_stored, 15.0, 0),
        (calls_two_of_one_grain_at_once, 25.0, 1),
        (the_next_keeper_reads_nothing, 45.0, 0),
    ],
)
def test_a_keeper_that_breaks_its_promise_is_found(
    start: Callable[..., SimCluster],
    monkeypatch: pytest.MonkeyPatch,
    mutant: Callable[[pytest.MonkeyPatch], None],
    seconds: float,
    first: int,
):
    """The search begins with the seed that was the first when the mutant was written down."""

    def is_found(seed: int) -> bool:
        sim = start(seed=seed)
        try:
            check(sim, story(sim, seed, seconds=seconds, patience_s=30.0))
        except (AssertionError, OutOfTime):
            return True
        return False

    for seed in range(first, first + 6):
        with monkeypatch.context() as patch:
            mutant(patch)
            found = is_found(seed)
        if found:
            assert not is_found(seed), "the keeper as it is keeps its promise"
            return
    pytest.fail("no checker finds it")
