"""Topics under crashes, cuts, pauses, restarts and storage outages by chance: they keep their promises.

What happens is in `inaho.testing.histories.topic_swarm`, what must hold of it in `inaho.testing.topic_checkers`.
`INAHO_TEST_SEEDS=1000` runs a thousand seeds.
"""

from __future__ import annotations

import os

import pytest

from inaho.testing.histories.topic_swarm import FAULT_KINDS, LOOSE, TopicSwarm

FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("INAHO_TEST_SEEDS", "12")))

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("seed", SEEDS)
def test_topics_keep_their_promises_through_misfortunes(seed: int):
    swarm = TopicSwarm(seed, topics=(LOOSE,))
    with swarm.sim:
        swarm.run()
        swarm.check()
        assert swarm.published[LOOSE] > 50


@pytest.mark.parametrize("seed", [28, 67, 87, 172])
def test_topics_keep_their_promises_in_histories_that_once_broke_them(seed: int):
    """A publisher that others did not wait for; confirmations for a link that was made anew; a member that forgot."""
    swarm = TopicSwarm(seed, topics=(LOOSE,))
    with swarm.sim:
        swarm.run()
        swarm.check()


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_topics_keep_their_promises_through_one_kind_of_fault(kind: str):
    swarm = TopicSwarm(FAULT_KINDS.index(kind) + 1000 + FIRST, kinds=(kind,), topics=(LOOSE,))
    with swarm.sim:
        swarm.run()
        swarm.check()


def test_an_undisturbed_cluster_loses_and_repeats_nothing():
    swarm = TopicSwarm(1 + FIRST, kinds=(), topics=(LOOSE,))
    with swarm.sim:
        swarm.run()
        delivered, ordered, losses, *_ = swarm.check()
    assert losses["missed"] == losses["unknown"] == 0
    assert losses["delivered"] == delivered == ordered > 500
