"""One member lies in everybody's name: nobody else loses its place by it, and who really dies is still removed.

`INAHO_TEST_SEEDS` times 5 histories, from `INAHO_TEST_FIRST_SEED` on; the mutants must be caught within 40 seeds.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from inaho.core.detection.detector import Detector
from inaho.core.membership.table import Credible
from inaho.core.messages import Accusation
from inaho.core.node import corroboration
from inaho.core.node import exchange as conversation
from inaho.testing.control_plane.checker import CheckFailed
from inaho.testing.control_plane.liar import LiarScenario, NobodyByALie

HISTORIES_EACH = 5
FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
CHUNKS = [FIRST + HISTORIES_EACH * turn for turn in range(int(os.environ.get("INAHO_TEST_SEEDS", "2")))]

Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.simulation
@pytest.mark.parametrize("first", CHUNKS)
def test_a_lying_member_takes_nobodys_place(first: int) -> None:
    for seed in range(first, first + HISTORIES_EACH):
        scenario = LiarScenario(seed)
        try:
            scenario.run()
        except CheckFailed as failure:
            told = "\n".join(f"{at - 1000.0:8.3f}  {lie}" for at, lie in scenario.liar.told[-20:])
            pytest.fail(f"seed {seed}: {failure!r}\n{told}")


def statements_believed(patch: pytest.MonkeyPatch) -> None:
    def judge(self: corroboration.Corroboration, now: float, sender: str) -> Credible:
        return lambda before, entry: True

    patch.setattr(corroboration.Corroboration, "judge", judge)


def one_source_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(corroboration, "SOURCES_NEEDED", 1)


def hearsay_counts(patch: pytest.MonkeyPatch) -> None:
    right = Detector.on_accusation

    def believing(self: Detector, now: float, accusation: Accusation, heard: bool) -> None:
        right(self, now, accusation, heard=True)

    patch.setattr(Detector, "on_accusation", believing)


def one_verdict_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conversation, "SOURCES_NEEDED", 1)


@pytest.mark.parametrize(
    "mutant",
    [statements_believed, one_source_enough, hearsay_counts, one_verdict_enough],
    ids=lambda mutant: mutant.__name__,
)
def test_a_lie_that_is_believed_is_noticed(mutant: Patch) -> None:
    for seed in range(40):
        with pytest.MonkeyPatch.context() as patch:
            mutant(patch)
            try:
                LiarScenario(seed).run()
            except CheckFailed as failure:
                assert failure.checker == NobodyByALie.name
                return
    pytest.fail("no seed below 40 shows it")
