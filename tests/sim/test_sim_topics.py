"""Topics under crashes, cuts, pauses, restarts and storage outages by chance: they keep their promises.

What happens is in `inaho.testing.histories.topic_swarm`, what must hold of it in `inaho.testing.topic_checkers`.
`INAHO_TEST_SEEDS=1000` runs a thousand seeds.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import pytest

from inaho.runtime.topics.grain_dispatch import LoggedDispatch
from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.topic_grains import KEPT_NAME
from inaho.testing.histories.topic_swarm import FAULT_KINDS, KEPT, LOOSE, TopicSwarm

FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("INAHO_TEST_SEEDS", "2")))

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("seed", SEEDS)
def test_topics_keep_their_promises_through_misfortunes(seed: int):
    swarm = TopicSwarm(seed, grains=True, clients=1)
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
    swarm = TopicSwarm(FAULT_KINDS.index(kind) + 1000 + FIRST, kinds=(kind,), grains=True, clients=1, steps=4)
    with swarm.sim:
        swarm.run()
        swarm.check()


def test_an_undisturbed_cluster_loses_and_repeats_nothing():
    swarm = TopicSwarm(1 + FIRST, kinds=(), grains=True, clients=1)
    with swarm.sim:
        swarm.run()
        delivered, ordered, losses, handled, logged, keyed, again, grains = swarm.check()
    assert losses["missed"] == losses["unknown"] == again["handled again"] == grains["told"] == 0
    assert losses["delivered"] + grains["delivered"] == ordered > 500
    assert grains["delivered"] > 500
    assert handled == 3 * swarm.published[KEPT] > 500
    assert logged == swarm.published[KEPT]
    assert keyed > 100
    assert delivered == ordered + handled + again["again"]


def test_a_message_that_is_acknowledged_before_its_grain_has_handled_it_is_found(monkeypatch: pytest.MonkeyPatch):
    right = LoggedDispatch.handle

    async def handle(self: LoggedDispatch, held: Any) -> None:
        with suppress(ValueError):  # the grain could not handle it; an ordinary node has it delivered again
            await right(self, held)

    monkeypatch.setattr(LoggedDispatch, "handle", handle)
    swarm = TopicSwarm(2, kinds=(), grains=True, topics=(KEPT,), nodes=2, steps=1, failing=0.2)
    with swarm.sim:
        swarm.run()
        with pytest.raises(PromiseBroken, match=f"nothing_unhandled: group {KEPT_NAME} has not handled"):
            swarm.check()
