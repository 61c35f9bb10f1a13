"""Installing the cluster on an actor system (SPEC BS-1.1).

`ActorSystem("shop", extensions=[ClusterExtension(config, grains=[Cart])])` starts the cluster before the user's actors
and ends it after them. `join` and `connect` do the same with a system of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inaho.errors import InvalidConfig, InvalidGrain
from inaho.events import ConnectionRefused
from inaho.runtime.clock import Entropy, SystemEntropy
from inaho.runtime.cluster import Cluster
from inaho.runtime.grain import Grain, GrainKind
from inaho.runtime.node import Node
from inaho.runtime.transport import TcpTransport, Transport
from inaho.storage import MemoryStorage, SqliteStorage, Storage
from inaho.storage.urls import storage_from_url

if TYPE_CHECKING:
    from inaho.actor import ActorSystem
    from inaho.config import ClusterConfig

__all__ = ["ClusterExtension"]


class ClusterExtension:
    """The cluster as an extension of an actor system.

    Args:
        config: settings; `authority` is required unless `client`.
        grains: classes that this node hosts.
        storage: see `join`.
        transport: TCP unless given.
        entropy: the operating system's unless given.
        client: call grains only.

    Raises:
        InvalidGrain: something in `grains` is no grain class.
        InvalidConfig: two kinds of one name.
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
        client: bool = False,
    ) -> None:
        self._config = config
        self._kinds = [_kind_of(cls) for cls in grains]
        self._storage = storage
        self._transport = transport
        self._entropy = entropy or SystemEntropy()
        self._client = client
        self._cluster: Cluster | None = None
        self._node: Node | None = None

    @property
    def cluster(self) -> Cluster:
        """The handle.

        Raises:
            InvalidConfig: the actor system has not started.
        """
        if self._cluster is None:
            raise InvalidConfig("the cluster is there once the actor system has started")
        return self._cluster

    async def install(self, system: ActorSystem) -> None:
        """Starts the node and joins; nothing is left behind when that fails."""
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
        node = Node(
            config,
            self._kinds,
            events=system.events,
            transport=transport,
            storage=storage,
            entropy=self._entropy,
            client=self._client,
            clock=system.clock,
        )
        node.storage_is_private = isinstance(storage, MemoryStorage) and storage is not self._storage
        self._cluster = Cluster(node, system)
        self._node = node
        try:
            if self._client:
                await node.start_client()
            else:
                await node.start_member()
        except BaseException:
            await node.stop()
            raise
        if config.metrics.enabled:
            node.measures.export()

    async def stop(self) -> None:
        """Leaves the cluster and closes everything."""
        if self._node is not None:
            await self._node.leave()
            await self._node.stop()


def _kind_of(cls: Any) -> GrainKind:
    kind = getattr(cls, "inaho_kind", None)
    if not isinstance(kind, GrainKind):
        raise InvalidGrain(f"{cls!r} in grains is not a Grain class")
    return kind


def storage_of(storage: Storage | str | None, config: ClusterConfig) -> Storage:
    """The storage that a `storage=` argument means.

    Raises:
        InvalidConfig: a text that names none, or one whose package is not installed.
    """
    if isinstance(storage, Storage):
        return storage
    if storage is None:
        return SqliteStorage(Path(config.data_dir) / "state.sqlite", config=config.storage)
    return storage_from_url(storage, config.storage)
