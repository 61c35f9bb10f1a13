"""The freshness rule over whole nodes: what happens is in `freshness_episodes`, what must hold in `freshness_checker`.

`INAHO_TEST_SEEDS=1000` runs a thousand seeds; `python scripts/freshness_seeds.py` runs them faster, in two processes.
"""

from __future__ import annotations

import os

import pytest

from inaho.testing.histories.freshness_episodes import EPISODES
from inaho.testing.histories.freshness_storage import STORAGES
from inaho.testing.histories.freshness_swarm import FreshnessSwarm

FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("INAHO_TEST_SEEDS", "40")))
CALM_SEEDS = range(FIRST, FIRST + max(4, len(SEEDS) // 10))


def run(seed: int, **options: str) -> dict[str, int]:
    """What was judged in the history of a seed."""
    swarm = FreshnessSwarm(seed, **options)
    with swarm.sim:
        swarm.run()
        judged = swarm.check()
    assert swarm.calls_answered > 50
    return judged


@pytest.mark.simulation
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_fresh_whatever_happens(seed: int):
    run(seed)


@pytest.mark.simulation
@pytest.mark.parametrize("seed", CALM_SEEDS)
def test_answers_are_fresh_where_nodes_leave_in_order(seed: int):
    judged = run(seed, episode="calm")
    assert judged["calm"] > 30
    assert not judged["doubted"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("episode", [name for name in EPISODES if name != "calm"])
def test_each_episode_with_each_storage(episode: str, storage: str):
    judged = run(7, episode=episode, storage=storage)
    assert judged["current"] > 0


def test_all_are_proved_again_where_a_proof_is_the_first_read_after_an_outage():
    """In this history the storage answers a proof before the markers are read; one activation waited for those."""
    run(5017)


def test_the_load_meets_what_it_is_to_meet():
    """A swarm in which nothing was judged would pass, so a few histories together have every way to see a value."""
    judged: dict[str, int] = {}
    for seed in range(6):
        swarm = FreshnessSwarm(seed, episode="calm")
        with swarm.sim:
            swarm.run()
            for name, count in swarm.check().items():
                judged[name] = judged.get(name, 0) + count
    assert all(judged.get(f"calm {way}", 0) > 20 for way in ("read", "look", "tick", "reminder", "item", "local"))


def test_one_seed_is_one_history():
    hashes: list[str] = []
    for _ in range(2):
        swarm = FreshnessSwarm(3, episode="calm")
        with swarm.sim as sim:
            swarm.run()
            hashes.append(sim.trace_hash())
    assert hashes[0] == hashes[1]
