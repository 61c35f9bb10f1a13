"""How streams end when their grain moves, or its node leaves, is blocked or removed. In virtual time."""

from __future__ import annotations

import pytest

from inaho import OwnershipChanged, ShuttingDown
from inaho.testing.cluster.sim_cluster import SimCluster
from support.streams import LOG, PLACES, Ticker, follow, key_at


@pytest.fixture(autouse=True)
def empty() -> None:
    LOG.clear()


def test_a_grain_that_moves_takes_no_stream_along_and_leaves_none_behind():
    with SimCluster(nodes=2, seed=1, grains=[Ticker]) as sim:
        keys = [str(number) for number in range(40)]
        consumers = {key: follow(sim, Ticker, key) for key in keys}
        sim.add()
        sim.wait_converged()
        sim.run_for(5.0)
        moved = [key for key in keys if sim.node(2)._node.leases.owns("Ticker", key)]
        assert 3 <= len(moved) <= 37
        for key, consumer in consumers.items():
            assert isinstance(consumer.error, OwnershipChanged) == consumer.over == (key in moved)
        assert LOG.count("closed") == LOG.count("moved") == len(moved)
        assert sim.run(sim.node(0).grain(Ticker, moved[0]).add()) == 1
        again = follow(sim, Ticker, moved[0])
        assert again.items[-1] == 1


@PLACES
def test_a_node_that_leaves_ends_its_streams(place: int):
    with SimCluster(nodes=3, seed=1, grains=[Ticker]) as sim:
        consumer = follow(sim, Ticker, key_at(sim, place, Ticker))
        sim.leave(place)
        sim.run_for(5.0)
        if place:  # else the consumer has gone with its node
            assert isinstance(consumer.error, ShuttingDown) and consumer.error.maybe_executed
        assert LOG == ["begun", "closed", "shutdown"]


def test_a_blocked_node_ends_its_streams():
    with SimCluster(nodes=2, seed=1, grains=[Ticker]) as sim:
        consumer = follow(sim, Ticker, key_at(sim, 1, Ticker))
        sim.run(sim.node(0).block(sim.authority(1)))
        sim.run_for(5.0)
        assert isinstance(consumer.error, OwnershipChanged) and consumer.error.maybe_executed
        assert LOG == ["begun", "closed", "moved"]


def test_a_node_that_was_removed_by_others_ends_its_streams():
    with SimCluster(nodes=1, seed=1, grains=[Ticker]) as sim:
        consumer = follow(sim, Ticker, "a")
        sim.node(0)._node.topology_changes.stop_activations("others have removed it")
        sim.run_for(5.0)
        assert isinstance(consumer.error, OwnershipChanged) and "others have removed it" in consumer.error.reason
        assert LOG == ["begun", "closed", "others have removed it"]
