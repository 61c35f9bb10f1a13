"""Topics under crashes, cuts, pauses, restarts and storage outages by chance: they keep their promises.

What happens is in `inaho.testing.histories.topic_swarm`, what must hold of it in `inaho.testing.topic_checkers`.
`INAHO_TEST_SEEDS=1000` runs a thousand seeds.
"""

from __future__ import annotations

import os

import pytest

from inaho.testing.histories.topic_swarm import FAULT_KINDS, KEPT, LOOSE, TopicSwarm

FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("INAHO_TEST_SEEDS", "12")))

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("seed", SEEDS)
def test_topics_keep_their_promises_through_misfortunes(seed: int):
    swarm = TopicSwarm(seed)
    with swarm.sim:
        swarm.run()
        swarm.check()
        assert swarm.published[LOOSE] > 50
        assert swarm.published[KEPT] > 50


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_topics_keep_their_promises_through_one_kind_of_fault(kind: str):
    swarm = TopicSwarm(FAULT_KINDS.index(kind) + 1000 + FIRST, kinds=(kind,))
    with swarm.sim:
        swarm.run()
        swarm.check()


def test_an_undisturbed_cluster_loses_and_repeats_nothing():
    swarm = TopicSwarm(1 + FIRST, kinds=())
    with swarm.sim:
        swarm.run()
        delivered, _, losses, handled, logged, ordered, again = swarm.check()
    assert losses["missed"] == losses["unknown"] == 0
    assert losses["delivered"] > 500
    assert handled == 2 * swarm.published[KEPT]
    assert logged == swarm.published[KEPT]
    assert ordered > 100
    assert delivered >= losses["delivered"] + handled
    assert again["handled again"] == 0
