"""Checkers catch what they are for: control planes with one rule broken fail, those without pass the same seeds.

Each mutant names its checker, which watches alone; the original is watched by all of them, over the same seeds. The
histories are those of `test_control_swarm.py`, up to the first seed that is caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from inaho.core.detection.detector import Detector
from inaho.core.membership import table as table_module
from inaho.core.membership.delta import Applied
from inaho.core.membership.table import Credible, MembershipTable
from inaho.core.membership.tombstones import Tombstones
from inaho.core.messages import Entry
from inaho.core.node.lifecycle import Lifecycle
from inaho.testing.control_plane.checkers import (
    Checker,
    CheckFailed,
    MonotonicViews,
    NoFalseRemoval,
    NoReturn,
    StopsBeforeReturn,
    TwoSources,
)
from inaho.testing.control_plane.scenarios import Scenario
from inaho.types import Member, MemberStatus

SEEDS = range(200)
SAFETY_S = 20.0

Patch = Callable[[pytest.MonkeyPatch], None]


def refutation_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifecycle, "_refute", lambda self, now, reason: None)


def tombstones_dropped(patch: pytest.MonkeyPatch) -> None:
    def forget_at_once(self: Tombstones, now: float) -> list[str]:
        gone = list(self._stones)
        self._stones.clear()
        return gone

    patch.setattr(Tombstones, "expire", forget_at_once)
    patch.setattr(Tombstones, "next_deadline", lambda self: min((s.since for s in self._stones.values()), default=None))


def single_source_removal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Detector, "sources_needed", lambda self, authority: 1)


def severity_order_swapped(patch: pytest.MonkeyPatch) -> None:
    """Merging takes the milder of two records of one incarnation; authors still say what they may."""
    merge, right = MembershipTable._merge, table_module.stronger

    def swapped(challenger: Member, holder: Member) -> bool:
        if challenger.incarnation == holder.incarnation and MemberStatus.REMOVED not in (
            challenger.status,
            holder.status,
        ):
            return challenger.status < holder.status
        return right(challenger, holder)

    def swapped_merge(self: MembershipTable, now: float, entry: Entry, applied: Applied, credible: Credible) -> bool:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(table_module, "stronger", swapped)
            return merge(self, now, entry, applied, credible)

    patch.setattr(MembershipTable, "_merge", swapped_merge)


def removal_outdone_by_refutation(patch: pytest.MonkeyPatch) -> None:
    """The merge rule as it once was: a refutation that is on its way undoes a removal."""

    def incarnation_first(member: Member) -> tuple[int, int, str]:
        return (member.incarnation, int(member.status), member.node_id)

    patch.setattr(table_module, "stronger", lambda a, b: incarnation_first(a) > incarnation_first(b))


def activations_not_stopped(patch: pytest.MonkeyPatch) -> None:
    right = Lifecycle.lose_place

    def silently(self: Lifecycle, now: float, record: Member, reason: str, towards: str = "") -> None:
        right(self, now, record, reason, towards)
        self._outbox._effects = [e for e in self._outbox._effects if type(e).__name__ != "StopActivations"]

    patch.setattr(Lifecycle, "lose_place", silently)


MUTANTS: list[tuple[Patch, type[Checker]]] = [
    (refutation_dropped, NoFalseRemoval),
    (tombstones_dropped, NoReturn),
    (single_source_removal, TwoSources),
    (severity_order_swapped, MonotonicViews),
    (removal_outdone_by_refutation, NoReturn),
    (activations_not_stopped, StopsBeforeReturn),
]


@contextmanager
def mutated(mutant: Patch) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        yield


def caught(seed: int, mutant: Patch, checker: type[Checker]) -> bool:
    """Whether the history of that seed, watched by that checker alone, fails by its claim."""
    try:
        with mutated(mutant):
            Scenario(seed, checkers=[checker()], safety_s=SAFETY_S).run()
    except CheckFailed as failure:
        return failure.checker == checker.name
    return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("mutant", "checker"), MUTANTS, ids=lambda value: value.__name__)
def test_a_mutant_is_caught_by_its_checker_and_the_original_is_not(mutant: Patch, checker: type[Checker]) -> None:
    for seed in SEEDS:
        found = caught(seed, mutant, checker)
        Scenario(seed, safety_s=SAFETY_S).run()
        if found:
            return
    pytest.fail(f"no seed below {SEEDS.stop} makes {checker.__name__} catch {mutant.__name__}")
