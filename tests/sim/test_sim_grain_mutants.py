"""The checkers of grains catch what they are for: nodes with one rule broken fail, the others pass the same seeds.

Each mutant names the promise that it breaks. The histories are those of `test_sim_swarm.py`, up to the first seed that
is caught. The search begins with the seed that was the first when the mutant was written down, and goes through all
200.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inaho.errors import StateMissing
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.activation.state import States
from inaho.runtime.placement.taking_over import TakingOver
from inaho.storage import memory as memory_module
from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_swarm import GrainSwarm

SEEDS = range(200)

Patch = Callable[[pytest.MonkeyPatch], None]


def no_check_in_the_storage(patch: pytest.MonkeyPatch) -> None:
    """Neither versions nor epochs. Without the epochs alone versions keep order: see the tests of the storages."""
    patch.setattr(memory_module, "conflict_of", lambda *arguments, **numbers: None)


def acknowledged_before_saved(patch: pytest.MonkeyPatch) -> None:
    right = States.save

    async def save_later(self: States, host: Any, grain: Any, record: Any) -> None:
        async def save() -> None:
            try:
                await right(self, host, grain, record)
            except Exception:
                host.local.log.debug("nobody hears of it", exc_info=True)

        host.local.spawn(save(), name="mutant-save")

    patch.setattr(States, "save", save_later)


def hand_off_without_waiting(patch: pytest.MonkeyPatch) -> None:
    async def at_once(self: TakingOver, kind: str, key: str, askers: Any = None) -> ActivationRecord:
        return ActivationRecord(False)

    patch.setattr(TakingOver, "take_over", at_once)


MUTANTS: list[tuple[Patch, str, dict[str, Any], int]] = [
    (no_check_in_the_storage, "fenced_commits", {}, 4),
    (acknowledged_before_saved, "nothing_lost", {}, 4),
    (hand_off_without_waiting, "one_activation", {"orderly": True}, 0),
]


def broken_by(seed: int, options: dict[str, Any]) -> set[str]:
    """Names of the promises that the history of that seed breaks."""
    swarm = GrainSwarm(seed, **options)
    found: set[str] = set()
    with swarm.sim:
        try:
            swarm.run()
        except StateMissing:  # inaho has noticed by itself that a version went back; the checkers are to, too
            return found
        for promise in swarm.judge():
            try:
                promise()
            except PromiseBroken as broken:
                found.add(broken.promise)
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mutant", "promise", "options", "first"), MUTANTS, ids=[mutant.__name__ for mutant, *_ in MUTANTS]
)
def test_a_mutant_breaks_its_promise(mutant: Patch, promise: str, options: dict[str, Any], first: int) -> None:
    for seed in (*SEEDS[first:], *SEEDS[:first]):
        with pytest.MonkeyPatch.context() as patch:
            mutant(patch)
            found = broken_by(seed, options)
        if promise in found:
            assert promise not in broken_by(seed, options), "the original keeps it"
            return
    pytest.fail(f"no seed below {SEEDS.stop} makes {promise} catch {mutant.__name__}")
