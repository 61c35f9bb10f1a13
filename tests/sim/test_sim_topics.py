"""Topics under crashes, cuts, pauses, restarts and storage outages by chance: they keep their promises.

What happens is in `inaho.testing.histories.topic_swarm`, what must hold of it in `inaho.testing.topic_checkers`.
`INAHO_TEST_SEEDS=1000` runs a thousand seeds.
"""

from __future__ import annotations

import os

import pytest

from inaho.testing.histories.topic_swarm import FAULT_KINDS, KEPT, LOOSE, TopicSwarm

FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("INAHO_TEST_SEEDS", "5")))

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("seed", SEEDS)
def test_topics_keep_their_promises_through_misfortunes(seed: int):
    swarm = TopicSwarm(seed)
    with swarm.sim:
        swarm.run()
        swarm.check()
        assert swarm.published[LOOSE] > 50
        assert swarm.published[KEPT] > 50


@pytest.mark.parametrize(("topic", "seed"), [(LOOSE, 28), (LOOSE, 67), (LOOSE, 87), (LOOSE, 172), (KEPT, 1), (KEPT, 3)])
def test_topics_keep_their_promises_in_histories_that_once_broke_them(topic: str, seed: int):
    """A publisher that others did not wait for; confirmations for a link that was made anew; a member that forgot.

    Of topics at least once: streams of an outdated keeper that were proved again and again; messages of one key that
    keeper and consumer sent to and fro.
    """
    swarm = TopicSwarm(seed, topics=(topic,))
    with swarm.sim:
        swarm.run()
        swarm.check()


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
        delivered, ordered, losses, handled, logged, keyed, again = swarm.check()
    assert losses["missed"] == losses["unknown"] == again["handled again"] == 0
    assert losses["delivered"] == ordered > 500
    assert handled == 2 * swarm.published[KEPT] > 500
    assert logged == swarm.published[KEPT]
    assert keyed > 100
    assert delivered == ordered + handled + again["again"]
