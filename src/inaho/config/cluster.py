"""`ClusterConfig`: all settings of one node in one object."""

from __future__ import annotations

from typing import Any

from inaho.config.activation import ActivationConfig
from inaho.config.base import Group
from inaho.config.delivery import DeliveryConfig
from inaho.config.detection import DetectionConfig
from inaho.config.gossip import GossipConfig
from inaho.config.membership import MembershipConfig
from inaho.config.metrics import AlertsConfig, MetricsConfig
from inaho.config.provisioning import ProviderDescriptor, ProvisioningConfig
from inaho.config.pubsub import PubSubConfig
from inaho.config.rpc import RpcConfig
from inaho.config.storage import StorageConfig
from inaho.config.transport import TlsConfig, TransportConfig

__all__ = ["ClusterConfig"]


class ClusterConfig(Group, frozen=True, kw_only=True):
    """All settings of a node.

    Attributes:
        authority: `host:port` at which others reach this node, and the address it binds if `bind` is not given; port 0
            takes a free one. Empty for a client.
        bind: `host:port` to bind where that differs from `authority`, such as `0.0.0.0:7700` or `[::]:7700` in a
            container. With port 0 in both, one free port serves for both.
        seeds: authorities to join through. None, or only this node's own: this node founds the cluster.
        providers: where this node finds its cluster, beside the seeds; see `docs/providers.md`.
        name: of the cluster; nodes of another name are refused.
        secret: shared by all nodes, proven and never sent. Empty: no authentication, on loopback only.
        tls: mutual TLS instead of the secret, or together with it.
        insecure: allows a bind beyond loopback without authentication. It must be set explicitly.
        data_dir: folder for files of this node (state in SQLite by default).
        weight: see `Member.weight`.
        roles: see `Member.roles`.
        membership, gossip, detection, transport, delivery, rpc, activation, storage, provisioning, pubsub, metrics,
        alerts: groups of settings, each documented in the module of that name in `inaho.config` (`alerts` in
            `metrics`).
    """

    authority: str = ""
    bind: str = ""
    seeds: tuple[str, ...] = ()
    providers: tuple[ProviderDescriptor, ...] = ()
    name: str = "inaho"
    secret: str = ""
    tls: TlsConfig | None = None
    insecure: bool = False
    data_dir: str = ".inaho"
    weight: float = 1.0
    roles: tuple[str, ...] = ()
    membership: MembershipConfig = MembershipConfig()
    gossip: GossipConfig = GossipConfig()
    detection: DetectionConfig = DetectionConfig()
    transport: TransportConfig = TransportConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    rpc: RpcConfig = RpcConfig()
    activation: ActivationConfig = ActivationConfig()
    storage: StorageConfig = StorageConfig()
    provisioning: ProvisioningConfig = ProvisioningConfig()
    pubsub: PubSubConfig = PubSubConfig()
    metrics: MetricsConfig = MetricsConfig()
    alerts: AlertsConfig = AlertsConfig()

    def __repr__(self) -> str:
        return f"ClusterConfig({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name == "secret" and value else value) for name, value in shown]
