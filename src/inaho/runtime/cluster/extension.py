"""Installs the cluster on an actor system (SPEC BS-1.1).

`ActorSystem("shop", extensions=[ClusterExtension(config, grains=[Cart])])` starts the cluster before the user's actors
and ends it after them. `join` and `connect` do the same with a system of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from inaho.errors import BridgeCreateFailed, InahoError, InvalidConfig, InvalidGrain, StatusStore
from inaho.errors.inspection import add_note, describe
from inaho.events import ConnectionRefused
from inaho.providers.store import FileProviderStore
from inaho.runtime.cluster.bootstrap_status import (
    BootstrapState,
    BootstrapStatus,
    BootstrapStatusStore,
    MemoryStatusStore,
)
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.cluster.provisioning import attach_providers
from inaho.runtime.grains.grain import Grain, GrainKind
from inaho.runtime.local.clock import Entropy, SystemEntropy
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.node.node import Node
from inaho.runtime.operators.attached import attach_operators
from inaho.runtime.placement.partition_bridge import PartitionBridge
from inaho.runtime.telemetry.node_metrics import NodeMetrics
from inaho.runtime.transport.transport import TcpTransport, Transport
from inaho.storage import MemoryStorage, SqliteStorage, Storage
from inaho.storage.urls import storage_from_url

if TYPE_CHECKING:
    from inaho.actor import ActorSystem
    from inaho.config import ClusterConfig, ProviderDescriptor
    from inaho.providers.base import TopologyProvider
    from inaho.providers.registered import DefinitionStore

__all__ = ["ClusterExtension"]


class ClusterExtension:
    """The cluster as an extension of an actor system.

    Args:
        config: settings; `authority` is required unless `client`.
        grains: classes that this node hosts.
        storage: see `join`.
        transport: TCP unless given.
        entropy: the operating system's unless given.
        providers: see `join`; those of the configuration unless given.
        client: only calls grains, hosts none.
        enabled: if False, no node is made and the actor system stays as it is (SPEC BS-1.4).
        status_store: stores the result of the start (SPEC BS-1.5); in memory unless given.
        bridge: makes the partition bridge, such as a subclass of `PartitionBridge`; called with the arguments of that
            class.

    Attributes:
        status: the last written status; None before the first.
        status_before: the status of the previous start in the store; None if there is none.

    Raises:
        InvalidGrain: an item of `grains` is no grain class.
        InvalidConfig: two kinds have the same name.
    """

    name = "cluster"

    def __init__(
        self,
        config: ClusterConfig,
        *,
        grains: Iterable[type[Grain[Any]]] = (),
        storage: Storage | str | None = None,
        transport: Transport | None = None,
        entropy: Entropy | None = None,
        providers: Sequence[str | ProviderDescriptor | TopologyProvider] | None = None,
        client: bool = False,
        enabled: bool = True,
        status_store: BootstrapStatusStore | None = None,
        bridge: Callable[..., PartitionBridge] = PartitionBridge,
    ) -> None:
        self.status: BootstrapStatus | None = None
        self.status_before: BootstrapStatus | None = None
        self._enabled = enabled
        self._status_store = status_store or MemoryStatusStore()
        self._config = config
        self._kinds = [_kind_of(cls) for cls in grains]
        self._storage = storage
        self._transport = transport
        self._entropy = entropy or SystemEntropy()
        self._client = client
        self._providers = config.providers if providers is None else tuple(providers)
        self._bridge = bridge
        self._cluster: Cluster | None = None
        self._node: Node | None = None

    @property
    def cluster(self) -> Cluster:
        """The `Cluster`; available once the extension is installed, before the actor system runs (SPEC BS-1.1).

        Raises:
            InvalidConfig: the actor system has not started, or the extension is not enabled.
        """
        if not self._enabled:
            raise InvalidConfig("the cluster is disabled: ClusterExtension(enabled=False)")
        if self._cluster is None:
            raise InvalidConfig("the cluster exists only after the actor system has started")
        return self._cluster

    async def install(self, system: ActorSystem) -> None:
        """Starts the node and joins. If it fails, it stops all that it has started.

        Raises:
            StatusStore: the status cannot be read, or written after the start.
            BridgeCreateFailed: the bridge factory failed, or made no `PartitionBridge` (SPEC BS-1.a).
            InahoError: as `join`.
        """
        self.status_before = await self._read_status()
        if not self._enabled:
            await self._write_status(BootstrapState.DISABLED, system, "enabled=False")
            return
        try:
            node = await self._start(system)
        except Exception as error:
            try:
                await self._write_status(BootstrapState.ERROR, system, _reason_of(error))
            except StatusStore as unwritten:
                add_note(error, f"and the status could not be written: {unwritten}")
            self._cluster = self._node = None
            raise
        try:
            await self._write_status(BootstrapState.READY, system)
        except BaseException:
            try:
                await node.shutdown.leave()
            finally:  # also when this is cancelled
                await node.lifecycle.stop()
                self._cluster = self._node = None
            raise

    async def _start(self, system: ActorSystem) -> Node:
        config = self._config
        transport = self._transport or TcpTransport(
            config.transport,
            config.tls,
            authenticated=bool(config.secret),
            insecure=config.insecure,
            rejected=lambda address, error: system.events.publish(
                ConnectionRefused(authority=address, code=error.code, reason=error.reason)
            ),
        )
        storage = storage_of(self._storage, config)
        local = self._make_local(system, isinstance(storage, MemoryStorage) and storage is not self._storage)
        node = Node(
            local,
            self._kinds,
            transport=transport,
            storage=storage,
            system=system,
            handle=lambda: self.cluster,
            make_bridge=self._make_bridge,
        )
        metrics = NodeMetrics(node)
        metrics.counts.follow(node.history)
        node.lifecycle.attach(tick=metrics.tick, close=metrics.close)
        provisioning = attach_providers(node, self._providers, self._definition_store())
        self._cluster = Cluster(node, system, attach_operators(node), metrics, provisioning)
        self._node = node
        try:
            if self._client:
                await node.lifecycle.start_client()
            else:
                await node.lifecycle.start_member()
        except BaseException:
            await node.lifecycle.stop()
            raise
        if config.metrics.enabled:
            metrics.export()
        return node

    def _make_bridge(self, *parts: Any, **named: Any) -> PartitionBridge:
        """Makes the bridge with the factory. Raises `BridgeCreateFailed`."""
        try:
            bridge = cast(object, self._bridge(*parts, **named))  # the program may not use a type checker
        except Exception as error:
            raise BridgeCreateFailed(f"the bridge factory failed: {_reason_of(error)}") from error
        if not isinstance(bridge, PartitionBridge):
            raise BridgeCreateFailed(f"the bridge factory made {bridge!r}, which is no PartitionBridge")
        return bridge

    def _definition_store(self) -> DefinitionStore | None:
        """Keeps the providers that are added while the node runs. A simulation has no files."""
        return None if self._client else FileProviderStore(Path(self._config.data_dir) / "providers.jsonl")

    def _make_local(self, system: ActorSystem, storage_is_private: bool) -> LocalNode:
        """What all parts of the node share. A simulation passes its own loop and clocks."""
        return LocalNode(
            self._config,
            events=system.events,
            entropy=self._entropy,
            loop=asyncio.get_running_loop(),
            client=self._client,
            storage_is_private=storage_is_private,
            unix_time=system.clock,
        )

    async def stop(self) -> None:
        """Leaves the cluster, closes everything and writes the status (SPEC BS-3.5).

        If it is cancelled while it leaves, as at the time limit of the actor system, it still closes everything.
        """
        if self._node is not None and self._cluster is not None:
            try:
                await self._node.shutdown.leave()
            finally:
                await self._node.lifecycle.stop()
            await self._write_status(BootstrapState.DISABLED, self._cluster.system, "the node has left")

    async def _read_status(self) -> BootstrapStatus | None:
        try:
            return await self._status_store.read()
        except StatusStore:
            raise
        except Exception as error:
            raise StatusStore(f"the bootstrap status cannot be read: {_reason_of(error)}") from error

    async def _write_status(self, state: BootstrapState, system: ActorSystem, reason: str = "") -> None:
        authority = "" if self._node is None else self._node.local.authority
        status = BootstrapStatus(state, reason, authority, system.clock())
        try:
            await self._status_store.write(status)
        except StatusStore:
            raise
        except Exception as error:
            raise StatusStore(f"the bootstrap status cannot be written: {_reason_of(error)}") from error
        self.status = status


def _reason_of(error: Exception) -> str:
    return f"{error.code}: {error}" if isinstance(error, InahoError) else describe(error)


def _kind_of(cls: Any) -> GrainKind:
    kind = getattr(cls, "inaho_kind", None)
    if not isinstance(kind, GrainKind):
        raise InvalidGrain(f"{cls!r} in grains is not a Grain class")
    return kind


def storage_of(storage: Storage | str | None, config: ClusterConfig) -> Storage:
    """The storage for a `storage=` argument.

    Raises:
        InvalidConfig: the text names no storage, or its package is not installed.
    """
    if isinstance(storage, Storage):
        return storage
    if storage is None:
        return SqliteStorage(Path(config.data_dir) / "state.sqlite", config=config.storage)
    return storage_from_url(storage, config.storage)
