"""Whole members and clients of one cluster in one process, and a check of what they leave behind."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import inaho
from inaho import (
    ActivationConfig,
    Cluster,
    ClusterConfig,
    GossipConfig,
    MembershipConfig,
    MemoryStorage,
    PubSubConfig,
    RpcConfig,
    TransportConfig,
)
from inaho.runtime.grains.activation import ActivationTurns
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from support.waiting import until


class Fleet:
    """Members and clients of one cluster, in memory or over TCP on loopback.

    Attributes:
        storage: shared by all members, as a database is.
        clusters: everything that was started, in that order.
    """

    def __init__(self, over: str = "memory") -> None:
        self.over = over
        self.storage = MemoryStorage()
        self.network = MemoryNetwork()
        self.clusters: list[Cluster] = []
        self.settle = True
        self._ports = itertools.count(7700)

    def config(self, **groups: Any) -> ClusterConfig:
        """Short timings; a keyword is a group of settings (`rpc={...}`) that differ from them."""
        base: dict[str, Any] = {
            "membership": MembershipConfig(update_period_s=0.01, join_retry_s=0.02, found_after_s=0.02),
            "gossip": GossipConfig(interval_s=0.02),
            "activation": ActivationConfig(drain_s=2.0, partitions=256),
            "rpc": RpcConfig(timeout_s=8.0, retry_base_s=0.01),
            "transport": TransportConfig(redial_s=0.01),
            "pubsub": PubSubConfig(),
        }
        return ClusterConfig(
            **{
                name: group.replace(**groups.get(name, {})) if isinstance(groups.get(name, {}), dict) else groups[name]
                for name, group in base.items()
            }
        )

    async def member(self, *grains: Any, storage: Any = None, **groups: Any) -> Cluster:
        """Starts a member that joins through the first one."""
        seeds = [next(cluster.authority for cluster in self.clusters if cluster.authority)] if self.clusters else None
        cluster = await inaho.join(
            "127.0.0.1:0" if self.over == "tcp" else f"127.0.0.1:{next(self._ports)}",
            seeds=seeds,
            grains=grains,
            storage=storage or self.storage,
            config=self.config(**groups),
            transport=None if self.over == "tcp" else MemoryTransport(self.network),
        )
        self.clusters.append(cluster)
        return cluster

    async def members(self, count: int, *grains: Any, **groups: Any) -> list[Cluster]:
        """Starts some members, each of which knows all."""
        started = [await self.member(*grains, **groups) for _ in range(count)]
        await until(lambda: all(len(up(cluster)) == count for cluster in started))
        return started

    async def client(self, **groups: Any) -> Cluster:
        """Connects a client."""
        cluster = await inaho.connect(
            [cluster.authority for cluster in self.clusters if cluster.authority],
            config=self.config(**groups),
            transport=None if self.over == "tcp" else MemoryTransport(self.network),
        )
        self.clusters.append(cluster)
        return cluster

    def key_at(self, cluster: Cluster, kind: type[Any], prefix: str = "k") -> str:
        """A key of `kind` that `cluster` owns."""
        name = kind.inaho_kind.name
        return next(
            key for key in (f"{prefix}{number}" for number in itertools.count()) if cluster._node.leases.owns(name, key)
        )

    def activation(self, kind: type[Any], key: str) -> Any:
        """The activation wherever it is; None when there is none."""
        found = [
            grain
            for cluster in self.clusters
            if (host := cluster._node.hosts.get(kind.inaho_kind.name)) is not None
            and (grain := host.activations.get(key)) is not None
        ]
        assert len(found) <= 1, "an identity is active twice"
        return found[0] if found else None

    def at_rest(self) -> bool:
        """Nothing runs: every activation is free, every worker waits, nothing is remembered of past calls."""
        return all(_at_rest(cluster._node) for cluster in self.clusters)

    def check(self) -> None:
        """Asserts the invariants of all turn queues and of the tables of calls."""
        for cluster in self.clusters:
            node = cluster._node
            for host in node.hosts.values():
                if host.pool is not None:
                    host.pool.check()
                for grain in (*host.activations.values(), *(host.pool or ())):
                    if isinstance(grain._inaho_turn, ActivationTurns):
                        grain._inaho_turn.check()
            for connection in node.peers.connections.values():
                connection.wheel.check()

    async def close(self) -> None:
        """Ends everything, clients first, and asserts that no Task is left."""
        self.check()
        if self.settle:
            await until(self.at_rest)
        for cluster in reversed(self.clusters):
            await cluster.close()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


def up(cluster: Cluster) -> list[Any]:
    """The members that can own identities, as one node sees them."""
    return [member for member in cluster.members() if member.status == inaho.MemberStatus.UP]


def _is_free(grain: Any) -> bool:
    """Nothing runs or waits. What has come up in doubt is held for a proof, which comes with its next call."""
    return not grain._inaho_host.lifecycle.is_in_use(grain)


def _at_rest(node: Any) -> bool:
    if node.local.closing:
        return True
    workers = {task for task in node.local.tasks.running if task.get_name() == "inaho-worker"}
    hosts = [host for host in node.hosts.values() if not host.system]
    return (
        all(_is_free(grain) for host in hosts for grain in (*host.activations.values(), *(host.pool or ())))
        and not any(len(host.streams) or len(host.gates) for host in hosts)
        and not any(connection.running or connection.streams for connection in node.acceptor.connections)
        and not any(len(connection.wheel) for connection in node.peers.connections.values())
        and workers == {worker.task for worker in node.runner.idle}
        and node.activations.count == sum(len(host.activations) + len(host.pool or ()) for host in hosts)
    )
