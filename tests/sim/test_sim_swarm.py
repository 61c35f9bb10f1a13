"""Everything at once, by chance: grains keep their promises, and a healed cluster comes to agree.

What happens is in `inaho.testing.histories.grain_swarm`, what must hold of it in
`inaho.testing.histories.grain_checkers`. `INAHO_TEST_SEEDS=1000` runs a thousand seeds.
"""

from __future__ import annotations

import os

import pytest

from inaho.events import MemberRemoved, MemberUp, SelfRemoved
from inaho.testing import SimCluster
from inaho.testing.histories.grain_swarm import GrainSwarm

FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("INAHO_TEST_SEEDS", "60")))


def no_incarnation_comes_back(sim: SimCluster) -> bool:
    """Whether no process saw an incarnation up that it had seen removed, unless it gave up its view in between."""
    gone: dict[int, set[tuple[str, int]]] = {}
    for happened in sim.events:
        event, removed = happened.event, gone.setdefault(happened.process, set())
        if isinstance(event, SelfRemoved):
            removed.clear()
        elif isinstance(event, MemberRemoved):
            removed.add((event.member.node_id, event.member.incarnation))
        elif isinstance(event, MemberUp) and (event.member.node_id, event.member.incarnation) in removed:
            return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_grains_keep_their_promises_through_misfortunes(seed: int):
    swarm = GrainSwarm(seed)
    with swarm.sim as sim:
        swarm.run()
        swarm.check()
        assert swarm.callers_answered > 50
        assert no_incarnation_comes_back(sim)


def test_the_load_meets_what_it_is_to_meet():
    """A swarm in which nothing was judged would pass."""
    swarm = GrainSwarm(10)
    with swarm.sim:
        swarm.run()
        _, _, _, ordered, acknowledged, _, reads, _ = [promise() for promise in swarm.judge()]
        assert acknowledged > 100
        assert reads > 40
        assert ordered > 100
