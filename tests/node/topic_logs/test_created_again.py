"""A topic that is created again at once after it was deleted: nothing of the new one goes to keepers of the old one."""

from __future__ import annotations

import asyncio

from inaho.core.pubsub.definition import TopicDefinition
from inaho.runtime.topics.registry import Logs, TopicRegistry
from inaho.runtime.topics.shard import REGISTRY
from inaho.testing.cluster.sim_cluster import SimCluster
from support.topic_logs import Idle, check_keepers, topic


class Late:
    """Removes logs a moment later, as where keepers are far away."""

    def __init__(self, logs: Logs, pause_s: float) -> None:
        self.logs = logs
        self.pause_s = pause_s

    async def remove(self, definition: TopicDefinition) -> None:
        await asyncio.sleep(self.pause_s)
        await self.logs.remove(definition)


def test_what_is_published_to_a_topic_that_is_created_again_stays():
    with SimCluster(grains=(Idle,), nodes=2, seed=1) as sim:

        async def story() -> None:
            old = await topic(sim, 0)
            await old.publish("old", key="a")
            for index in range(2):
                for registry in sim.node(index)._node.hosts[REGISTRY].activations.values():
                    assert isinstance(registry, TopicRegistry)
                    registry._logs = Late(registry._logs, 0.5)
            await sim.node(0).delete_topic("orders")
            new = await topic(sim, 1)
            await new.publish("new", key="a")
            await asyncio.sleep(5.0)
            assert [message.value async for message in new.replay("earliest")] == ["new"]

        sim.run(story())
        check_keepers(sim)
