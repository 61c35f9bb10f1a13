"""inaho: clustered virtual actors (grains) on asyncio.

Write a class, call it by key from any process of the cluster. The cluster keeps it active in one place, moves it when a
node dies, and unloads it when it is idle.

    async with inaho.join("127.0.0.1:7700", grains=[Cart]) as cluster:
        await cluster.grain(Cart, "alice").add("apple", 2)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from inaho.actor import Actor, ActorRef, ActorSystem, PoisonPill, Props, Terminated
    from inaho.config import (
        ActivationConfig,
        AlertsConfig,
        ClusterConfig,
        DeliveryConfig,
        DetectionConfig,
        GossipConfig,
        MembershipConfig,
        MetricsConfig,
        ProviderDescriptor,
        ProvisioningConfig,
        PubSubConfig,
        RpcConfig,
        SecretReference,
        StorageConfig,
        TlsConfig,
        TransportConfig,
    )
    from inaho.config.sources import load_config
    from inaho.core.activation.reminders import Reminder
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.core.pubsub.message import Message
    from inaho.core.pubsub.send_records import DurableSend
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
        InvalidPid,
        JoinRefused,
        NoSuchKind,
        NoSuchMethod,
        Overloaded,
        OwnershipChanged,
        Quarantined,
        RemoteError,
        SchemaMismatch,
        SerializationFailed,
        SettingsMismatch,
        ShuttingDown,
        StateConflict,
        StateMissing,
        StorageFailed,
        Timeout,
        TopologyUnavailable,
        Unreachable,
        VersionMismatch,
        WrongCluster,
    )
    from inaho.runtime.calls.resuming import resuming
    from inaho.runtime.cluster.cluster import Cluster
    from inaho.runtime.cluster.extension import ClusterExtension
    from inaho.runtime.cluster.join import connect, join
    from inaho.runtime.cluster.provider_check import check_provider
    from inaho.runtime.grains.grain import CallContext, Grain, method
    from inaho.runtime.grains.stateless import stateless
    from inaho.runtime.grains.subscribing import subscribe
    from inaho.runtime.grains.timer import Timer
    from inaho.runtime.topic_logs.subscription import Subscription
    from inaho.runtime.topics.topic import Topic
    from inaho.runtime.turns.inherited import deadline
    from inaho.storage import MemoryStorage, SqliteStorage, Storage
    from inaho.types import ClusterIdentity, Member, MemberStatus, Pid, Struct, TopologySnapshot
    from inaho.wire.exceptions import GrainError, register_exception
    from inaho.wire.letters import register_message

__version__ = "0.2.0.dev0"

_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "inaho.actor": ("Actor", "ActorRef", "ActorSystem", "PoisonPill", "Props", "Terminated"),
    "inaho.config": (
        "ActivationConfig",
        "AlertsConfig",
        "ClusterConfig",
        "DeliveryConfig",
        "DetectionConfig",
        "GossipConfig",
        "MembershipConfig",
        "MetricsConfig",
        "ProviderDescriptor",
        "ProvisioningConfig",
        "PubSubConfig",
        "RpcConfig",
        "SecretReference",
        "StorageConfig",
        "TlsConfig",
        "TransportConfig",
    ),
    "inaho.config.sources": ("load_config",),
    "inaho.core.activation.reminders": ("Reminder",),
    "inaho.core.pubsub.definition": ("TopicDefinition",),
    "inaho.core.pubsub.message": ("Message",),
    "inaho.core.pubsub.send_records": ("DurableSend",),
    "inaho.errors": (
        "ActivationFailed",
        "AuthenticationFailed",
        "AuthorityInUse",
        "CallCycle",
        "FrameTooLarge",
        "InahoError",
        "InvalidArguments",
        "InvalidConfig",
        "InvalidGrain",
        "InvalidPid",
        "JoinRefused",
        "NoSuchKind",
        "NoSuchMethod",
        "Overloaded",
        "OwnershipChanged",
        "Quarantined",
        "RemoteError",
        "SchemaMismatch",
        "SerializationFailed",
        "SettingsMismatch",
        "ShuttingDown",
        "StateConflict",
        "StateMissing",
        "StorageFailed",
        "Timeout",
        "TopologyUnavailable",
        "Unreachable",
        "VersionMismatch",
        "WrongCluster",
    ),
    "inaho.runtime.cluster.extension": ("ClusterExtension",),
    "inaho.runtime.cluster.cluster": ("Cluster",),
    "inaho.runtime.cluster.join": ("connect", "join"),
    "inaho.runtime.cluster.provider_check": ("check_provider",),
    "inaho.runtime.calls.resuming": ("resuming",),
    "inaho.runtime.grains.stateless": ("stateless",),
    "inaho.runtime.grains.subscribing": ("subscribe",),
    "inaho.runtime.grains.timer": ("Timer",),
    "inaho.runtime.topic_logs.subscription": ("Subscription",),
    "inaho.runtime.topics.topic": ("Topic",),
    "inaho.runtime.turns.inherited": ("deadline",),
    "inaho.runtime.grains.grain": ("CallContext", "Grain", "method"),
    "inaho.storage": ("MemoryStorage", "SqliteStorage", "Storage"),
    "inaho.types": ("ClusterIdentity", "Member", "MemberStatus", "Pid", "Struct", "TopologySnapshot"),
    "inaho.wire.exceptions": ("GrainError", "register_exception"),
    "inaho.wire.letters": ("register_message",),
}
"""Where each public name lives. Modules are imported at first use, so that tools and test runs that merely have inaho
installed do not pay for the runtime."""

_MODULE_OF: Final = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})


__all__ = [
    "ActivationConfig",
    "ActivationFailed",
    "Actor",
    "ActorRef",
    "ActorSystem",
    "AlertsConfig",
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
    "DurableSend",
    "FrameTooLarge",
    "GossipConfig",
    "Grain",
    "GrainError",
    "InahoError",
    "InvalidArguments",
    "InvalidConfig",
    "InvalidGrain",
    "InvalidPid",
    "JoinRefused",
    "Member",
    "MemberStatus",
    "MembershipConfig",
    "MemoryStorage",
    "Message",
    "MetricsConfig",
    "NoSuchKind",
    "NoSuchMethod",
    "Overloaded",
    "OwnershipChanged",
    "Pid",
    "PoisonPill",
    "Props",
    "ProviderDescriptor",
    "ProvisioningConfig",
    "PubSubConfig",
    "Quarantined",
    "Reminder",
    "RemoteError",
    "RpcConfig",
    "SchemaMismatch",
    "SecretReference",
    "SerializationFailed",
    "SettingsMismatch",
    "ShuttingDown",
    "SqliteStorage",
    "StateConflict",
    "StateMissing",
    "Storage",
    "StorageConfig",
    "StorageFailed",
    "Struct",
    "Subscription",
    "Terminated",
    "Timeout",
    "Timer",
    "TlsConfig",
    "Topic",
    "TopicDefinition",
    "TopologySnapshot",
    "TopologyUnavailable",
    "TransportConfig",
    "Unreachable",
    "VersionMismatch",
    "WrongCluster",
    "check_provider",
    "connect",
    "deadline",
    "join",
    "load_config",
    "method",
    "register_exception",
    "register_message",
    "resuming",
    "stateless",
    "subscribe",
]
