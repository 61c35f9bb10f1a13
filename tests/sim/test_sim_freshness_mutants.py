"""The checker of fresh answers catches what it is for: nodes with one decision broken fail, the others pass that seed.

Each mutant names the episodes in which its mistake matters. The histories are those of `test_sim_freshness.py`, up to
the first seed that is caught. The search begins with the seed that was the first when the mutant was written down, and
goes through all 200.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inaho.core.activation.doubt import Marker, Markers
from inaho.core.activation.life import ActivationState
from inaho.errors import InahoError
from inaho.events import BlockListChanged, Event, MemberRemoved
from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.activation.state import States
from inaho.runtime.freshness import proofs
from inaho.runtime.freshness.doubts import Freshness
from inaho.runtime.freshness.marker_reader import MarkerReader, live_members
from inaho.runtime.freshness.marker_record import MarkerRecord
from inaho.runtime.freshness.marking import Marking
from inaho.runtime.freshness.proofs import Proofs
from inaho.runtime.freshness.reconciliation_answers import ReconciliationAnswers
from inaho.runtime.grains.activation import ActivationTurns, Turn
from inaho.runtime.grains.reminder_delivery import REMIND
from inaho.runtime.grains.timer import Timer
from inaho.testing.histories.freshness_swarm import FreshnessSwarm
from inaho.testing.histories.grain_checkers import PromiseBroken

SEEDS = range(200)

Patch = Callable[[pytest.MonkeyPatch], None]


# Markers.


def no_marker_is_written(patch: pytest.MonkeyPatch) -> None:
    async def only_read(self: MarkerRecord, marker: Marker) -> Markers:
        return (await self.read())[0]

    patch.setattr(MarkerRecord, "add", only_read)


def activations_do_not_wait_for_the_marker(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Freshness) -> None: ...

    patch.setattr(Freshness, "before_activation", nothing)


def markers_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    right = MarkerReader.judge
    patch.setattr(MarkerReader, "judge", lambda self, began, read: right(self, began, Markers()))


def founder_writes_no_marker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Freshness, "founded", lambda self: None)


def what_began_before_the_others_noticed_is_not_proved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Proofs, "member_lost", lambda self: None)


# Doubts.


def nobody_is_doubted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Freshness, "_doubt", lambda self, member, incarnation, reason: None)


def who_was_away_doubts_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Freshness, "was_away", lambda self, reason: None)


def _unnoticed(patch: pytest.MonkeyPatch, skips: Callable[[Freshness, Event], bool]) -> None:
    right = Freshness.notice

    def notice(self: Freshness, event: Event) -> None:
        if not skips(self, event):
            right(self, event)

    patch.setattr(Freshness, "notice", notice)


def who_was_replaced_undoubted_is_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    _unnoticed(
        patch,
        lambda self, event: (
            isinstance(event, MemberRemoved)
            and event.reason == "replaced"
            and self.doubts.get(event.member.node_id) is None
        ),
    )


def who_was_blocked_doubts_nobody(patch: pytest.MonkeyPatch) -> None:
    _unnoticed(
        patch, lambda self, event: isinstance(event, BlockListChanged) and event.authority == self._local.authority
    )


def a_block_needs_no_marker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Marking, "_took_over", property(lambda self: False, lambda self, value: None), raising=False)


def doubt_is_over_when_a_member_is_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReconciliationAnswers, "asked", lambda self, node_id, incarnation: True)


# Proofs.


def no_proof_at_the_end_of_doubt(patch: pytest.MonkeyPatch) -> None:
    right = MarkerReader.judge

    def judge(self: MarkerReader, began: float, read: Markers) -> None:
        foreign = self._doubts.foreign(read.markers, set(live_members(self._topology).values()))
        if any(self._doubts.get(marker.node_id) is not None for marker in foreign):
            right(self, began, read)
            return
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self._proofs, "require_all", lambda: None)
            right(self, began, read)

    patch.setattr(MarkerReader, "judge", judge)


def proofs_are_not_repeated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Proofs, "_again_at", lambda self, since, grains: None)


def newer_versions_are_taken_for_equal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(proofs, "is_same", lambda version, epoch, stored: True)


def _unproved_turns_run(patch: pytest.MonkeyPatch, which: Callable[[Turn], bool]) -> None:
    right = ActivationTurns.compatible

    def compatible(self: ActivationTurns, turn: Turn, *, ahead: bool = False) -> bool:
        unproved = self.life is not None and self.life.state is ActivationState.UNPROVED
        return right(self, turn, ahead=ahead or (unproved and which(turn)))

    patch.setattr(ActivationTurns, "compatible", compatible)


def _is_tick(turn: Turn) -> bool:
    return bool(turn.arguments) and isinstance(turn.arguments[0], Timer)


def read_only_calls_need_no_proof(patch: pytest.MonkeyPatch) -> None:
    _unproved_turns_run(patch, lambda turn: turn.read_only)


def calls_on_the_same_node_need_no_proof(patch: pytest.MonkeyPatch) -> None:
    _unproved_turns_run(patch, lambda turn: turn.connection is None and not _is_tick(turn))


def ticks_need_no_proof(patch: pytest.MonkeyPatch) -> None:
    _unproved_turns_run(patch, _is_tick)


def reminders_need_no_proof(patch: pytest.MonkeyPatch) -> None:
    _unproved_turns_run(patch, lambda turn: turn.method.name == REMIND)


def stream_items_need_no_proof(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KindHost, "is_unproved", lambda self, grain: False)


def handed_snapshots_are_not_proved(patch: pytest.MonkeyPatch) -> None:
    async def proved(*arguments: Any) -> bool:
        return True

    patch.setattr(States, "_is_proved", proved)


SPLIT = ("split",)

MUTANTS: list[tuple[Patch, tuple[str, ...], int]] = [
    (no_marker_is_written, SPLIT, 0),
    (activations_do_not_wait_for_the_marker, ("outage",), 80),
    (markers_are_not_looked_at, SPLIT, 0),
    (founder_writes_no_marker, ("second_cluster",), 0),
    (what_began_before_the_others_noticed_is_not_proved, ("unnoticed",), 173),
    (nobody_is_doubted, SPLIT, 0),
    (who_was_away_doubts_nobody, ("slow", "pause"), 30),
    (who_was_replaced_undoubted_is_not_looked_for, ("restarted",), 0),
    (who_was_blocked_doubts_nobody, ("unheard_block",), 62),
    (a_block_needs_no_marker, ("unheard_block",), 4),
    (doubt_is_over_when_a_member_is_back, ("slow", "after_heal"), 30),
    (no_proof_at_the_end_of_doubt, ("replaced",), 2),
    (proofs_are_not_repeated, SPLIT, 0),
    (newer_versions_are_taken_for_equal, SPLIT, 0),
    (read_only_calls_need_no_proof, SPLIT, 8),
    (calls_on_the_same_node_need_no_proof, SPLIT, 2),
    (ticks_need_no_proof, SPLIT, 0),
    (reminders_need_no_proof, SPLIT, 2),
    (stream_items_need_no_proof, ("streams",), 1),
    (handed_snapshots_are_not_proved, ("replaced",), 9),
]


def broken_by(seed: int, episode: str) -> str:
    """The promise that the history of that seed breaks; empty if none."""
    swarm = FreshnessSwarm(seed, episode=episode)
    with swarm.sim:
        try:
            swarm.run()
        except InahoError:  # inaho has noticed by itself
            return ""
        try:
            swarm.check()
        except PromiseBroken as broken:
            return broken.promise
    return ""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("mutant", "episodes", "first"), MUTANTS, ids=[mutant.__name__ for mutant, *_ in MUTANTS])
def test_a_mutant_answers_too_old(mutant: Patch, episodes: tuple[str, ...], first: int) -> None:
    for seed in (*SEEDS[first:], *SEEDS[:first]):
        episode = episodes[seed % len(episodes)]
        with pytest.MonkeyPatch.context() as patch:
            mutant(patch)
            found = broken_by(seed, episode)
        if found:
            assert not broken_by(seed, episode), "the original keeps it"
            return
    pytest.fail(f"no seed below {SEEDS.stop} catches {mutant.__name__}")
