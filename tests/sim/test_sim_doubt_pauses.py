"""The age of answers of a process that was stopped, case by case (docs/decisions/0030)."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from inaho import Grain, Struct
from inaho.runtime.freshness import proofs
from inaho.testing import SimCluster


class Text(Struct):
    value: str = ""


class Cell(Grain[Text]):
    """One value; its timer notes what it sees."""

    ticked: ClassVar[list[tuple[str, str]]] = []

    async def put(self, value: str) -> None:
        self.state.value = value
        await self.save()

    async def get(self) -> str:
        return self.state.value

    async def start_ticking(self) -> None:
        self.timer(self.tick, 0.5)

    async def tick(self) -> None:
        self.ticked.append((self.cluster.authority, self.state.value))


def keys_on(sim: SimCluster, index: int) -> list[str]:
    lookup = sim.node(0).runtime.topology.lookup
    return [key for key in map(str, range(200)) if lookup.owner("Cell", key).authority == sim.authority(index)]


@pytest.mark.parametrize("phase", range(4))
@pytest.mark.parametrize("way", ["tick", "call"])
def test_what_was_proved_before_a_short_pause_is_not_answered_after_it(simulation_seed: int, way: str, phase: int):
    """The pause is too short for the cluster to notice, and longer than a proof holds."""
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Cell]) as sim:
        key = keys_on(sim, 1)[0]
        sim.run(sim.node(1).grain(Cell, key).put("old"))
        sim.run(sim.node(1).grain(Cell, key).start_ticking())
        sim.partition({0}, {1, 2})
        sim.run_for(15.0 + 0.15 * phase)  # at any time between two ticks, and between two proofs
        assert sim.run(sim.node(2).grain(Cell, key).get()) == "old"
        Cell.ticked.clear()
        sim.pause(1, 1.6)
        sim.run(sim.node(0).grain(Cell, key).put("new"))
        sim.run_for(1.2)  # longer than `activation.freshness_s` and one read
        answer = None
        if way == "call":
            answer = sim.run(sim.node(2).grain(Cell, key).get())  # its frame waits in the socket
        sim.run_for(3.0)
        ticked = [value for authority, value in Cell.ticked if authority == sim.authority(1)]
        assert answer in (None, "new") and set(ticked) <= {"new"}


@pytest.mark.parametrize("near", [False, True])
def test_a_node_with_many_activations_proves_all_of_them_after_a_pause(
    simulation_seed: int, near: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(proofs, "HOLD_SLICE", 1)
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Cell]) as sim:
        keys = keys_on(sim, 0)
        home, caller = sim.node(0), sim.node(0) if near else sim.client()
        for key in keys:
            sim.run(home.grain(Cell, key).put("old"))
        sim.run(caller.grain(Cell, keys[0]).get())
        ready, answers = asyncio.Event(), []

        async def read() -> None:
            await ready.wait()
            answers.append(await caller.grain(Cell, keys[0], timeout=60.0).get())

        reading = caller._node.local.loop.create_task(read())
        sim.run_for(1.0)
        if not near:
            sim.cut(1, caller)
            sim.cut(2, caller)
        sim.pause(0, 40.0)
        sim.run_for(20.0)
        sim.run(sim.node(1).grain(Cell, keys[0]).put("new"))
        sim.run_for(15.0)
        ready.set()  # the call of the client waits in the socket
        sim.run_for(10.0)
        assert reading.done() and answers == ["new"]
