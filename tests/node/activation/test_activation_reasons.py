"""Where calls go that wait for an activation which ends, for each reason, against the table. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from inaho import Grain
from inaho.core.activation.life import REASONS
from inaho.errors import InahoError
from inaho.testing import SimCluster

KEYS = [f"k{number}" for number in range(24)]

GATE: list[asyncio.Event] = []


class Where(Grain):
    """Says on which node it runs. Its first call waits until the test goes on."""

    async def hold(self) -> None:
        await GATE[0].wait()

    async def where(self) -> str:
        return self._inaho_host.authority


def end_here(sim: SimCluster, reason: str) -> None:
    host = sim.node(0)._node.hosts["Where"]
    for key in KEYS:
        if key in host.activations:
            host.deactivate_soon(host.activations[key], reason)


def removed(sim: SimCluster) -> None:
    sim.node(0)._node.topology_changes.stop_activations("the others have removed this node")


ENDS: dict[str, Callable[[SimCluster], object]] = {
    "idle": lambda sim: end_here(sim, "idle"),
    "requested": lambda sim: end_here(sim, "requested"),
    "failed": lambda sim: end_here(sim, "failed"),
    "stale": lambda sim: end_here(sim, "stale"),
    "moved": lambda sim: sim.add(),
    "shutdown": lambda sim: sim.leave(0),
    "removed": removed,
}


def test_every_reason_is_tried() -> None:
    assert set(ENDS) == set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_waiting_calls_go_where_the_table_says(reason: str, simulation_seed: int) -> None:
    """Those that go elsewhere are refused without having run, and nobody tries them again here."""
    with SimCluster(nodes=2, seed=simulation_seed, grains=[Where]) as sim:
        node = sim.node(0)._node
        client = sim.client()
        here = [key for key in KEYS if node.leases.owns("Where", key)]
        assert here

        async def scenario() -> list[Any]:
            GATE[:] = [asyncio.Event()]
            running = [asyncio.ensure_future(client.grain(Where, key).hold()) for key in here]
            await sim.until(lambda: node.activations.count == len(here))
            waiting = [asyncio.ensure_future(client.grain(Where, key, retry=False).where()) for key in here]
            await asyncio.sleep(0.5)
            ENDS[reason](sim)
            await asyncio.sleep(2.0)
            assert not any(call.done() for call in waiting), "a running call has not ended"
            GATE[0].set()
            await asyncio.gather(*running)
            return await asyncio.gather(*waiting, return_exceptions=True)

        answers = sim.run(scenario())
        moved = [key for key in here if not node.leases.owns("Where", key)] if reason == "moved" else here
        for key, answer in zip(here, answers, strict=True):
            if REASONS[reason].waiting == "elsewhere" and key in moved:
                assert isinstance(answer, InahoError) and not answer.maybe_executed
            else:
                assert answer == sim.authority(0)
        assert moved
