"""inaho: clustered virtual actors (grains) on asyncio.

Write a class, call it by key from any process of the cluster. The cluster keeps it active in one place, moves it when a
node dies, and unloads it when it is idle.

    async with inaho.join("127.0.0.1:7700", grains=[Cart]) as cluster:
        await cluster.grain(Cart, "alice").add("apple", 2)
"""

from __future__ import annotations

from inaho.actor import Actor, ActorRef, ActorSystem, PoisonPill, Props, Terminated
from inaho.config import (
    ActivationConfig,
    ClusterConfig,
    DeliveryConfig,
    DetectionConfig,
    GossipConfig,
    MembershipConfig,
    RpcConfig,
    StorageConfig,
    TlsConfig,
    TransportConfig,
)
from inaho.config_sources import load_config
from inaho.errors import (
    ActivationFailed,
    AuthenticationFailed,
    AuthorityInUse,
    CallCycle,
    FrameTooLarge,
    InahoError,
    InvalidArguments,
    InvalidConfig,
    InvalidGrain,
    JoinRefused,
    NoSuchKind,
    NoSuchMethod,
    Overloaded,
    OwnershipChanged,
    Quarantined,
    RemoteError,
    SchemaMismatch,
    SerializationFailed,
    ShuttingDown,
    StateConflict,
    StorageFailed,
    Timeout,
    TopologyUnavailable,
    Unreachable,
    WrongCluster,
)
from inaho.runtime.bootstrap import ClusterExtension
from inaho.runtime.cluster import Cluster, connect, deadline, join
from inaho.runtime.grain import CallContext, Grain, method
from inaho.storage import MemoryStorage, SqliteStorage, Storage
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid, Struct, TopologySnapshot
from inaho.wire.exceptions import GrainError, register_exception
from inaho.wire.letters import register_message

__version__ = "0.1.0"

__all__ = [
    "ActivationConfig",
    "ActivationFailed",
    "Actor",
    "ActorRef",
    "ActorSystem",
    "AuthenticationFailed",
    "AuthorityInUse",
    "CallContext",
    "CallCycle",
    "Cluster",
    "ClusterConfig",
    "ClusterExtension",
    "ClusterIdentity",
    "DeliveryConfig",
    "DetectionConfig",
    "FrameTooLarge",
    "GossipConfig",
    "Grain",
    "GrainError",
    "InahoError",
    "InvalidArguments",
    "InvalidConfig",
    "InvalidGrain",
    "JoinRefused",
    "Member",
    "MemberStatus",
    "MembershipConfig",
    "MemoryStorage",
    "NoSuchKind",
    "NoSuchMethod",
    "Overloaded",
    "OwnershipChanged",
    "Pid",
    "PoisonPill",
    "Props",
    "Quarantined",
    "RemoteError",
    "RpcConfig",
    "SchemaMismatch",
    "SerializationFailed",
    "ShuttingDown",
    "SqliteStorage",
    "StateConflict",
    "Storage",
    "StorageConfig",
    "StorageFailed",
    "Struct",
    "Terminated",
    "Timeout",
    "TlsConfig",
    "TopologySnapshot",
    "TopologyUnavailable",
    "TransportConfig",
    "Unreachable",
    "WrongCluster",
    "connect",
    "deadline",
    "join",
    "load_config",
    "method",
    "register_exception",
    "register_message",
]
