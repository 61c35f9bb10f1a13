"""What a test can do wrong with a `SimCluster`: it is refused in words, and nothing has happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inaho import Grain, MemoryStorage, SqliteStorage
from inaho.errors import InvalidConfig
from inaho.testing import FaultyStorage, SimCluster, SimulationFailed, StorageFaults


class Counter(Grain):
    async def inc(self) -> int:
        return 1

    async def stream(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number


@pytest.fixture(scope="module")
def sim() -> Iterator[Any]:
    """Untyped: most of what is done to it here is what a type checker would refuse."""
    with SimCluster(nodes=3, grains=[Counter]) as sim:
        yield sim


def test_what_is_no_coroutine_is_refused_with_what_to_do(sim: Any):
    counter = sim.node(0).grain(Counter, "a")
    with pytest.raises(TypeError, match=r"call it: sim\.run\(inc\("):
        sim.run(counter.inc)
    with pytest.raises(TypeError, match="iterate a stream inside of a coroutine"):
        sim.run(counter.stream(3))
    with pytest.raises(TypeError, match="run takes a coroutine, not None"):
        sim.run(None)
    with pytest.raises(TypeError, match="await it inside of a coroutine"):
        sim.run(sim._loop.create_future())
    assert sim.run(counter.inc()) == 1


@pytest.mark.parametrize("wait", ["add", "client", "restart", "leave"])
def test_a_start_that_would_have_to_wait_inside_of_a_foreign_loop_starts_nothing(sim: Any, wait: str):
    async def inside() -> None:
        with pytest.raises(SimulationFailed, match="while a loop runs"):
            getattr(sim, wait)(*([0] if wait == "leave" else [3] if wait == "restart" else []))

    index = sim.add() if wait == "restart" else None
    if index is not None:
        sim.crash(index)
    processes = len(sim._processes)
    asyncio.run(inside())
    assert len(sim._processes) == processes
    assert sim.members_seen_by(0).keys() >= {0, 1, 2}
    sim.run_for(10.0)


def test_one_node_alone_is_not_healed(sim: Any):
    sim.cut(0, 1)
    with pytest.raises(TypeError, match=r"between two nodes, heal\(0, 1\)"):
        sim.heal(0)
    with pytest.raises(TypeError, match="between two nodes"):
        sim.heal(other=1)
    assert sim.network.is_cut(sim.authority(0), sim.authority(1))
    sim.heal()


def test_the_sides_of_a_partition_have_nobody_in_common(sim: Any):
    with pytest.raises(ValueError, match="node-1:7700 cannot be on two sides"):
        sim.partition({0, 1}, {1, 2})
    assert not sim.network.is_cut(sim.authority(0), sim.authority(2))


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda sim: sim.partition(0, 1), r"takes groups of nodes, such as partition\(\{0, 1\}, \{2\}\), not 0"),
        (lambda sim: sim.partition("0", "1"), "takes groups of nodes"),
        (lambda sim: sim.partition(["0"], ["1"]), "by its index, such as 0, not by '0'"),
        (lambda sim: sim.node("0"), "by its index"),
        (lambda sim: sim.crash("0"), "by its index"),
        (lambda sim: sim.cut("0", 1), "by its index"),
        (lambda sim: sim.is_member(None), "by its index"),
        (lambda sim: sim.crash(sim.node(0)), "by its index"),
        (lambda sim: sim.run(asyncio.sleep(0), on="0"), "by its index"),
    ],
)
def test_who_is_not_named_by_index_is_nobody(sim: Any, mistake: Callable[[Any], object], words: str):
    with pytest.raises(TypeError, match=words):
        mistake(sim)
    assert sim.converged()


@pytest.mark.parametrize(
    "use",
    [
        lambda sim: sim.node(0),
        lambda sim: sim.add(),
        lambda sim: sim.client(),
        lambda sim: sim.run_for(1.0),
        lambda sim: sim.wait_converged(),
        lambda sim: sim.partition({0}, {1}),
    ],
)
def test_before_its_with_block_there_is_no_cluster(use: Callable[[SimCluster], object]):
    sim = SimCluster(nodes=2)
    with pytest.raises(SimulationFailed, match=r"has not begun: use it with `with SimCluster\(\.\.\.\) as sim:`"):
        use(sim)
    assert not sim._processes
    sim.close()


def test_a_storage_with_threads_is_refused(tmp_path: Path):
    file = SqliteStorage(tmp_path / "states.sqlite")
    faulty = FaultyStorage(file, StorageFaults())
    for storage in (file, faulty):
        with pytest.raises(InvalidConfig, match=r"SqliteStorage answers from a thread.* MemoryStorage, or a Faulty"):
            SimCluster(nodes=1, storage=storage)
    SimCluster(nodes=1, storage=FaultyStorage(MemoryStorage(), StorageFaults())).close()


def test_a_storage_on_a_server_is_refused():
    redis = pytest.importorskip("redis")
    assert redis
    from inaho.storage.redis import RedisStorage

    with pytest.raises(InvalidConfig, match="RedisStorage"):
        SimCluster(nodes=1, storage=RedisStorage("redis://127.0.0.1:1"))
