"""Each rule of a provider that is the membership is needed: without it a node breaks what these stories expect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inaho.core.node.provider_overlay import ProviderOverlay
from inaho.events import SelfRemoved
from inaho.types import Member, MemberStatus
from support.provider_members import ProviderWorld

Story = Callable[[], bool]
Patch = Callable[[pytest.MonkeyPatch], None]


def split() -> bool:
    """Whether a split network with a common provider changes nothing."""
    world = ProviderWorld(1)
    members = world.cluster(5)
    world.simulation.partition(members[:2], members[2:])
    world.run(20.0)
    return not world.simulation.effects(SelfRemoved) and all(world.up(each) == members for each in members)


def late_joiner() -> bool:
    """Whether a node that joins on one side of a split is a member on both."""
    world = ProviderWorld(1)
    members = world.cluster(4)
    late = world.authority(4)
    world.simulation.partition(members[:2], [*members[2:], late])
    world.run(2.0)
    world.start(4)
    return world.until(lambda: all(late in world.up(each) for each in members), 10.0)


def cut_off_from_the_back_end() -> bool:
    """Whether a member that is listed no more ends its activations although it cannot read that."""
    world = ProviderWorld(1)
    members = world.cluster(5)
    world.away[members[4]] = None
    return world.until(lambda: world.stopped(members[4]) == 1, 8.0)


def not_registered() -> bool:
    """Whether a node that is not registered stays outside."""
    world = ProviderWorld(1)
    world.cluster(3)
    world.away[world.authority(3)] = None
    world.simulation.start(world.authority(3), [world.authority(0)])
    world.run(5.0)
    return world.joined(world.authority(3)) == 0


def gossip_removes_who_is_listed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ProviderOverlay, "lists", lambda self, node_id: False)


def the_dropped_are_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ProviderOverlay, "has_dropped", lambda self, node_id: False)


def all_may_join(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ProviderOverlay, "may_join", lambda self, node_id: True)


def unreachable_as_gossip_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ProviderOverlay, "_as_listed", lambda self, member: member)


def only_those_that_gossip_knows(patch: pytest.MonkeyPatch) -> None:
    def known(self: ProviderOverlay, member: Member, removed: Callable[[str, int], bool]) -> bool:
        return member.status is MemberStatus.REMOVED

    patch.setattr(ProviderOverlay, "_is_new", known)


MUTANTS: tuple[tuple[Patch, Story], ...] = (
    (gossip_removes_who_is_listed, split),
    (unreachable_as_gossip_says, split),
    (only_those_that_gossip_knows, late_joiner),
    (the_dropped_are_not_told, cut_off_from_the_back_end),
    (all_may_join, not_registered),
)


@pytest.mark.parametrize(("mutant", "story"), MUTANTS, ids=lambda value: value.__name__)
def test_a_rule_that_is_left_out_is_missed(mutant: Patch, story: Story) -> None:
    assert story()
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        try:
            kept = story()
        except AssertionError:  # a rule of every step
            kept = False
        assert not kept
