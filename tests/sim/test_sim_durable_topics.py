"""Topics at least once keep their promises, whatever dies, moves or is cut off. In virtual time.

`INAHO_TEST_SEEDS=100` runs a hundred seeds of each story.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from inaho.testing import topic_checkers as promises
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.storage.fault_path import StorageFaults
from support.topic_story import TopicStory

Start = Callable[..., TopicStory]


@pytest.fixture
def start() -> Generator[Start]:
    """A story on a simulated cluster of three."""
    sims: list[SimCluster] = []

    def begin(seed: int, **options: Any) -> TopicStory:
        sim = SimCluster(nodes=3, seed=seed, **options)
        sims.append(sim)
        sim.__enter__()
        return TopicStory(sim, seed)

    yield begin
    for sim in sims:
        sim.__exit__(None, None, None)


def check(story: TopicStory) -> None:
    assert len(story.acknowledged) > 100, f"only {len(story.acknowledged)} were acknowledged: {story.failed[-3:]}"
    judged = promises.nothing_unhandled(story.history)
    assert judged == 2 * len(story.acknowledged)
    assert promises.one_log(story.history) >= len(story.acknowledged)
    promises.keys_in_order(story.history)
    promises.only_to_subscribers(story.history)


def test_nothing_acknowledged_is_lost_or_out_of_order(start: Start, simulation_seed: int):
    story = start(simulation_seed)
    story.play(40.0)
    check(story)


def test_nothing_is_lost_through_splits(start: Start, simulation_seed: int):
    story = start(simulation_seed)
    story.play(40.0, splits=True)
    check(story)


def test_nothing_is_lost_through_errors_of_the_storage(start: Start, simulation_seed: int):
    faults = StorageFaults(refuse=0.02, lose_request=0.01, lose_answer=0.02, repeat=0.02, slow=0.1, slow_s=0.2)
    story = start(simulation_seed, storage_faults=faults)
    story.play(40.0)
    check(story)
