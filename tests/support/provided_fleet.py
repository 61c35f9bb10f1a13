"""Members and clients of one cluster that find each other through a provider in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import inaho
from inaho import ActivationConfig, Cluster, ClusterConfig, GossipConfig, MembershipConfig, RpcConfig
from inaho.config import ProvisioningConfig
from inaho.core.provisioning.snapshot import ProviderSnapshot
from inaho.events import Event
from inaho.providers.base import TopologyProvider
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.runtime.cluster.provisioning import NodeProvisioning
from support.fleet import up
from support.waiting import until

__all__ = ["ProvidedFleet", "Where"]


class Where(inaho.Grain):
    async def authority(self) -> str:
        return self.cluster.authority


class ProvidedFleet:
    """Members and clients of one cluster, over TCP on loopback.

    Attributes:
        topology: the back end that they share.
        clusters: all that were started.
    """

    def __init__(self) -> None:
        self.topology = MemoryTopology()
        self.clusters: list[Cluster] = []
        self.config = ClusterConfig(
            name="shop",
            secret="s3cret",
            membership=MembershipConfig(found_after_s=0.05, update_period_s=0.01),
            gossip=GossipConfig(interval_s=0.02),
            rpc=RpcConfig(timeout_s=8.0, retry_base_s=0.01),
            activation=ActivationConfig(drain_s=0.5, partitions=256),
            provisioning=ProvisioningConfig(
                timeout_s=1.0, read_period_s=0.2, read_pause_s=0.01, cool_down_s=0.3, retry_s=0.02, ttl_s=1.5,
                back_off_min_s=0.05, back_off_max_s=0.2,
            ),
        )  # fmt: skip

    def provider(self, name: str = "memory") -> MemoryProvider:
        """A provider of the shared topology."""
        return MemoryProvider(name, self.topology)

    async def member(
        self,
        *grains: type[inaho.Grain[Any]],
        providers: Sequence[TopologyProvider] | None = None,
        config: ClusterConfig | None = None,
    ) -> Cluster:
        """Starts a member that hosts `Where` and these."""
        given = [self.provider()] if providers is None else providers
        cluster = await inaho.join(
            "127.0.0.1:0", providers=given, grains=[Where, *grains], storage="memory", config=config or self.config
        )
        self.clusters.append(cluster)
        return cluster

    async def client(self) -> Cluster:
        """Connects a client."""
        cluster = await inaho.connect(providers=[self.provider()], config=self.config)
        self.clusters.append(cluster)
        return cluster

    def provisioning(self, cluster: Cluster) -> NodeProvisioning:
        """The providers of a member or client."""
        found = cluster.runtime.lifecycle.provisioning
        assert isinstance(found, NodeProvisioning)
        return found

    def snapshot(self, cluster: Cluster) -> ProviderSnapshot:
        """The newest snapshot of a node."""
        found = self.provisioning(cluster).service.feed.last
        assert found is not None
        return found

    async def settled(self, *clusters: Cluster) -> None:
        """Waits until each of them knows the others as up, and all are listed as admitted."""

        def complete(cluster: Cluster) -> bool:
            admitted = [member for member in self.snapshot(cluster).members if member.incarnation]
            return len(up(cluster)) == len(admitted) == len(clusters)

        await until(lambda: all(map(complete, clusters)))

    def events(self, cluster: Cluster, *kinds: type[Event]) -> list[Any]:
        """The events of these kinds from now on, in a list that grows."""
        found: list[Any] = []
        for kind in kinds:
            cluster.system.events.subscribe_callback(kind, found.append)
        return found

    async def answers(self, cluster: Cluster, keys: int = 40, key: Callable[[int], str] = "key-{}".format) -> set[str]:
        """The authorities that answer calls of many identities."""
        return {await cluster.grain(Where, key(number)).authority() for number in range(keys)}

    async def close(self) -> None:
        """Ends everything, clients first."""
        for cluster in reversed(self.clusters):
            await cluster.close()
