"""Placed kinds under everything at once: what holds for kinds that live at their owners holds for these too."""

from __future__ import annotations

import os
from typing import Any

import pytest

from inaho.runtime.placement.placed_activations import PlacedActivations
from inaho.runtime.placement.survey import KnownKind, Survey
from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_swarm import GrainSwarm

FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("INAHO_TEST_SEEDS", "15")))


class PlacedSwarm(GrainSwarm):
    """A `GrainSwarm` whose registers are of a placed kind."""

    def __init__(self, seed: int, placement: str, **sizes: Any) -> None:
        super().__init__(seed, **sizes)
        body = {"__module__": __name__}
        self.kind = type("Register", (self.kind,), body, placement=placement)  # type: ignore[call-overload]
        self.sim._grains = (self.kind,)


@pytest.mark.simulation
@pytest.mark.parametrize("placement", ["prefer_local", "least_loaded"])
@pytest.mark.parametrize("seed", SEEDS)
def test_placed_registers_keep_their_promises(seed: int, placement: str):
    swarm = PlacedSwarm(seed, placement)
    with swarm.sim:
        swarm.run()
        swarm.check()
        for node in swarm.sim._nodes:
            node.node.directory.check()
            node.node.leases.ledger.check()
    answered = sum(caller.answered for caller in swarm.callers)
    assert answered > 100, f"seed {seed}: only {answered} calls were answered"


@pytest.mark.simulation
def test_an_owner_that_asks_nobody_is_caught(monkeypatch: pytest.MonkeyPatch):
    """A mutant: new owners place as if nothing were anywhere, and holders do not tell them."""

    async def blind(survey: Survey, known: KnownKind) -> None:
        known.synced = True

    monkeypatch.setattr(Survey, "_sync", blind)
    monkeypatch.setattr(PlacedActivations, "look", lambda *arguments: None)

    def judge() -> None:
        for seed in range(10):
            swarm = PlacedSwarm(seed, "prefer_local")
            with swarm.sim:
                swarm.run()
                swarm.check()

    with pytest.raises(PromiseBroken):
        judge()
