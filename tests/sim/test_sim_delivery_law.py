"""`SimCluster.check` has the law of conservation: no message is lost to the accounts of the node that took it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from inaho import Actor, Cluster, ClusterConfig, DeliveryConfig, Props
from inaho.errors import InahoError
from inaho.testing import SimCluster

TIGHT = ClusterConfig(delivery=DeliveryConfig(queue_messages_max=20, queue_age_s=1.0, unacknowledged_max=8))


class Sink(Actor):
    async def receive(self, message: Any) -> None:
        """Takes everything."""


def sinks_of(sim: SimCluster, index: int) -> str:
    """Spawns a sink on a node; its path for the others."""

    async def spawn() -> str:
        cluster = sim.node(index)
        cluster.system.spawn(Props(Sink), "sink")
        return f"inaho://{cluster.config.name}@{cluster.authority}/user/sink"

    return sim.run(spawn(), on=index)


def tell_all(sender: Cluster, paths: list[str], message: int) -> None:
    """Tells every one of them that the sender may still tell."""
    for path in paths:
        with contextlib.suppress(InahoError):  # unreachable, gone or full: it is not taken, and so in no account
            sender.actor(path).tell(message)


def test_the_law_holds_at_every_step_through_cuts_and_crashes():
    with SimCluster(nodes=3, seed=11, config=TIGHT) as sim:
        client = sim.client()
        paths = [sinks_of(sim, index) for index in range(3)]
        others = {sim.node(0): paths[1:], sim.node(1): paths[2:], client: paths}
        for step in range(120):
            if step == 20:
                sim.partition({0}, {1, 2})
            elif step == 50:
                sim.heal()
            elif step == 80:
                sim.crash(2)
            for sender, told in others.items():
                tell_all(sender, told, step)
            sim.run_for(0.05)
            sim.check()
        sim.run_for(20.0)
        sim.check()
        counts = [sender.delivery_counts() for sender in others]
        assert all(count.accepted > 50 for count in counts), counts
        assert sum(count.dead_lettered for count in counts) > 0
        assert sum(count.in_doubt for count in counts) > 0, counts
        for count in counts:
            assert count.waiting == count.unacknowledged == 0
            assert count.accepted == count.delivered + count.dead_lettered + count.in_doubt


@pytest.mark.parametrize("account", ["accepted", "delivered", "in_doubt"])
def test_an_account_that_does_not_add_up_is_found(account: str):
    with SimCluster(nodes=2, seed=3) as sim:
        ref = sim.node(0).actor(sinks_of(sim, 1))
        ref.tell(1)
        sim.run_for(1.0)
        sim.check()
        [channel] = sim.node(0)._node.remoting._channels.values()
        honest = getattr(channel.queue, account)
        setattr(channel.queue, account, honest + 1)
        with pytest.raises(AssertionError):
            sim.check()
        setattr(channel.queue, account, honest)
        sim.check()


def test_the_accounts_of_clients_are_checked_too():
    with SimCluster(nodes=1, seed=4) as sim:
        client = sim.client()
        client.actor(sinks_of(sim, 0)).tell(1)
        sim.run_for(1.0)
        client._node.remoting._past["accepted"] += 1
        with pytest.raises(AssertionError):
            sim.check()
        client._node.remoting._past["accepted"] -= 1
