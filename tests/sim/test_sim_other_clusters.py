"""What it costs to have a marker of a live member in the storage: one write when its author goes, and none else."""

from __future__ import annotations

import pytest

from inaho import Grain, Struct
from inaho.testing import SimCluster


class Note(Struct):
    text: str = ""


class Cell(Grain[Note]):
    async def put(self, text: str) -> None:
        self.state.text = text
        await self.save()


class Plain(Grain):
    async def hi(self) -> str:
        return "hi"


def writes(sim: SimCluster, *indices: int) -> list[int]:
    return [sim.node(index).runtime.freshness.others._record.writes for index in indices]


def reads(sim: SimCluster, *indices: int) -> list[int]:
    return [sim.node(index).runtime.freshness.reads for index in indices]


@pytest.mark.parametrize("seed", range(3))
def test_one_write_when_the_author_leaves_and_one_read_when_another_does(seed: int):
    with SimCluster(nodes=5, seed=seed, grains=[Cell]) as sim:
        assert writes(sim, 0, 1, 2, 3, 4) == [1, 0, 0, 0, 0]
        before = reads(sim, 0, 1, 2, 3)
        sim.leave(4)
        sim.run_for(5.0)
        assert writes(sim, 0, 1, 2, 3) == [1, 0, 0, 0]
        after = reads(sim, 0, 1, 2, 3)
        assert after[1:] == before[1:] and after[0] - before[0] <= 2
        sim.leave(0)
        sim.run_for(5.0)
        assert writes(sim, 1, 2, 3) == [1, 0, 0]
        sim.leave(1)
        sim.leave(2)
        sim.run_for(5.0)
        assert writes(sim, 3) == [1]


@pytest.mark.parametrize("seed", range(3))
def test_one_write_when_the_author_was_removed(seed: int):
    with SimCluster(nodes=3, seed=seed, grains=[Cell]) as sim:
        sim.crash(0)
        sim.run_for(30.0)
        assert writes(sim, 1, 2) == [1, 0]


def test_nothing_is_written_where_no_kind_has_state():
    with SimCluster(nodes=3, grains=[Plain]) as sim:
        sim.leave(0)
        sim.run_for(5.0)
        assert writes(sim, 1, 2) == reads(sim, 1, 2) == [0, 0]
