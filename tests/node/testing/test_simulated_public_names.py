"""Every public name of `Cluster` works for a test that stands outside of the node's process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.metrics import get_meter_provider

from inaho import Cluster, Member, ProviderDescriptor
from inaho.actor import ActorRef
from inaho.errors import IllegalTransition
from inaho.testing import SimCluster
from support.local_grain import Local

OTHER = "node-0:7700"


def nobody(cluster: Cluster) -> ActorRef:
    return cluster.actor(f"inaho://{cluster.config.name}@{OTHER}/user/nobody")


def release(cluster: Cluster) -> None:
    with pytest.raises(IllegalTransition):
        cluster.release(OTHER)


async def add_and_remove(cluster: Cluster) -> None:
    await cluster.add_provider("memory://uses")
    await cluster.remove_provider("memory")


async def add_and_remove_at(cluster: Cluster, other: Member) -> None:
    await cluster.add_provider_at(other, ProviderDescriptor(name="memory", url="memory://uses"))
    await cluster.remove_provider_at(other, "memory")


async def make_and_delete_topic(cluster: Cluster) -> None:
    await cluster.topic("prices", str)
    await cluster.delete_topic("prices")


async def send_and_cancel(cluster: Cluster) -> None:
    send = await cluster.send(cluster.grain(Local, "k").add, 1, durable=True, after=100.0)
    assert await cluster.cancel_send(send)
    assert not await cluster.send_again(send)


USES: dict[str, Callable[[Cluster, Any], Any]] = {
    "accept_storage": lambda cluster, _: cluster.accept_storage(),
    "actor": lambda cluster, _: nobody(cluster),
    "add_provider": lambda cluster, _: cluster.add_provider("memory://uses"),
    "add_provider_at": add_and_remove_at,
    "authority": lambda cluster, _: cluster.authority,
    "block": lambda cluster, _: cluster.block("nobody:1"),
    "blocked": lambda cluster, _: cluster.blocked(),
    "bottlenecks": lambda cluster, _: cluster.bottlenecks("nothing"),
    "call": lambda cluster, _: cluster.call("Local", "k", "get"),
    "cancel_send": lambda cluster, _: send_and_cancel(cluster),
    "close": lambda cluster, _: cluster.close(),
    "config": lambda cluster, _: cluster.config,
    "context": lambda cluster, _: cluster.context,
    "delivery_counts": lambda cluster, _: cluster.delivery_counts(),
    "drain_at": lambda cluster, other: cluster.drain_at(other, drain_s=0.1),
    "dead_sends": lambda cluster, _: cluster.dead_sends(),
    "delete_topic": lambda cluster, _: make_and_delete_topic(cluster),
    "durable_sends": lambda cluster, _: cluster.durable_sends(Local, "k"),
    "events": lambda cluster, _: cluster.events(),
    "events_at": lambda cluster, other: cluster.events_at(other),
    "export_metrics": lambda cluster, _: cluster.export_metrics(get_meter_provider()),
    "grain": lambda cluster, _: cluster.grain(Local, "k").get(),
    "grains": lambda cluster, _: cluster.grains(Local),
    "leave": lambda cluster, _: cluster.leave(),
    "members": lambda cluster, _: cluster.members(),
    "metrics": lambda cluster, _: cluster.metrics(),
    "partition_bridge": lambda cluster, _: cluster.partition_bridge,
    "pid": lambda cluster, _: cluster.pid(nobody(cluster)),
    "providers": lambda cluster, _: cluster.providers(),
    "providers_at": lambda cluster, other: cluster.providers_at(other),
    "quarantine": lambda cluster, _: cluster.quarantine(),
    "quarantine_at": lambda cluster, other: cluster.quarantine_at(other),
    "ready": lambda cluster, _: cluster.ready,
    "release": lambda cluster, _: release(cluster),
    "release_at": lambda cluster, other: cluster.release_at(other, "nobody:1"),
    "remove_provider": lambda cluster, _: add_and_remove(cluster),
    "remove_provider_at": add_and_remove_at,
    "resolve_conflict_at": lambda cluster, other: cluster.resolve_conflict_at(other, OTHER, keep=True),
    "room": lambda cluster, _: cluster.room(nobody(cluster)),
    "runtime": lambda cluster, _: cluster.runtime,
    "self": lambda cluster, _: cluster.self,
    "send": lambda cluster, _: cluster.send(cluster.grain(Local, "k").add, 1),
    "send_again": lambda cluster, _: send_and_cancel(cluster),
    "storages": lambda cluster, _: cluster.storages(),
    "stream": lambda cluster, _: cluster.stream("Local", "k", "lines"),
    "system": lambda cluster, _: cluster.system,
    "topic": lambda cluster, _: cluster.topic("prices", str),
    "topics": lambda cluster, _: cluster.topics(),
    "unblock": lambda cluster, _: cluster.unblock("nobody:1"),
    "wait_gone": lambda cluster, other: cluster.wait_gone(other, 0.1),
    "wait_left": lambda cluster, _: cluster.wait_left(),
    "where": lambda cluster, _: cluster.where(Local, "k"),
}
"""A use of every public name of `Cluster`, with another member: what it is, or what is to be waited for."""


def test_there_is_a_use_of_every_public_name():
    assert sorted(USES) == [name for name in dir(Cluster) if not name.startswith("_")]


@pytest.mark.parametrize("name", USES)
def test_every_public_name_works_for_those_outside(name: str):
    with SimCluster(nodes=3, seed=1, grains=[Local]) as sim:
        cluster, other = sim.node(1), sim.node(2).self
        used: Any = USES[name](cluster, other)

        async def wait() -> None:
            tasks: list[asyncio.Future[Any]]
            if inspect.iscoroutine(used):
                tasks = [asyncio.ensure_future(used)]
            elif hasattr(used, "__anext__"):
                tasks = [asyncio.ensure_future(anext(used))]
                await asyncio.sleep(0.1)
                sim.leave(0)  # it is told
            else:
                return
            if name == "wait_left":
                tasks.append(asyncio.ensure_future(cluster.leave()))
            await asyncio.gather(*tasks)

        sim.run(wait(), within_s=30.0)
