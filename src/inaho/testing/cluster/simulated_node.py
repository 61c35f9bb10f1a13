"""One node of a simulation, from boot to end: a real node with a simulated process, network and seed.

Nothing of the node is replaced. It gets the same four things that a program may inject (transport, entropy, storage,
the clock of its events) and the loop of its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from inaho.actor import ActorSystem
from inaho.errors import Unreachable
from inaho.events import Event
from inaho.providers.base import TopologyProvider
from inaho.runtime.cluster.extension import ClusterExtension
from inaho.runtime.local.clock import SeededEntropy
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.turns.streams import StreamReceiver
from inaho.testing.cluster.process_cluster import SimulatedCluster
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from inaho.testing.simulation.simulated_process import DEAD, SimulatedProcess

if TYPE_CHECKING:
    from inaho.config import ClusterConfig
    from inaho.runtime.cluster.cluster import Cluster
    from inaho.runtime.grains.grain import Grain
    from inaho.runtime.node.node import Node
    from inaho.storage import Storage

__all__ = ["SimulatedNode"]


class SimulatedNode:
    """A node or client in a process of its own.

    Args:
        process: that it runs in; new.
        config: its settings; `authority` is empty for a client.
        network: the network of the simulation.
        address: its address in the network.
        grains: classes that it hosts.
        storage: durable state, which outlives it.
        providers: where it finds its cluster; None for seeds only.
        seed: of its entropy.
        clock: Unix seconds, for its events.
        observe: called with each event that it publishes.

    Attributes:
        process: as given.
        address: as given.
        starting: done when it is a member, or failed.
    """

    def __init__(
        self,
        process: SimulatedProcess,
        config: ClusterConfig,
        network: MemoryNetwork,
        address: str,
        *,
        grains: Iterable[type[Grain[Any]]],
        storage: Storage,
        providers: Sequence[TopologyProvider] | None,
        seed: int,
        clock: Callable[[], float],
        observe: Callable[[Event], None],
    ) -> None:
        self.process = process
        self.address = address
        self._cluster: SimulatedCluster | None = None
        self._extension = _Extension(
            process,
            config,
            grains=grains,
            storage=storage,
            transport=MemoryTransport(network, address),
            entropy=SeededEntropy(seed),
            providers=providers,
            client=not config.authority,
        )
        self._system = ActorSystem("inaho", extensions=[self._extension], clock=clock, seed=seed)
        self._stop_observing = self._system.events.subscribe_callback(Event, observe)
        start = self._system.start()
        self.starting: asyncio.Task[None] = process.loop.create_task(start, name=f"{process.name} starts")
        # A failed start is raised to callers of the node; there may be none.
        self.starting.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def node(self) -> Node:
        """The runtime; there is one as soon as the process has run its first step."""
        node = self._extension._node
        assert node is not None, f"{self.process.name} has not started to run"
        return node

    @property
    def cluster(self) -> Cluster:
        """The `Cluster` of the process, for callers outside of it."""
        if self._cluster is None:
            self._cluster = SimulatedCluster(self._extension.cluster, self.process, self.starting)
        return self._cluster

    @property
    def is_member(self) -> bool:
        """Whether it runs, or is paused, and has joined."""
        return self.process.state is not DEAD and self.starting.done() and self.starting.exception() is None

    async def stop(self) -> None:
        """Leaves the cluster and ends, in its own process."""
        await self.process.loop.create_task(self.cluster.close(), name=f"{self.process.name} leaves")
        self._stop_observing()
        self.process.kill("left")

    def crash(self, network: MemoryNetwork, *, silent: bool) -> None:
        """Ends the process without any clean-up."""
        self._stop_observing()
        self.process.kill()
        network.crash(self.address, silent=silent)
        self._release_callers()

    def _release_callers(self) -> None:
        """Ends calls that code outside made through references that grains gave it."""
        node = self._extension._node
        if node is None:
            return
        node.local.closing = node.local.shutting_down = True
        for host in node.hosts.values():
            for _ in host.show_all():
                pass
            host.activations.clear()
        for connection in node.peers.connections.values():
            for entry in connection.wheel.drain():
                lost = Unreachable("the node through which the call was made has crashed", authority=self.address)
                if isinstance(entry, StreamReceiver):
                    entry.fail(lost)
                elif not entry.done():
                    entry.set_exception(lost)
                    entry.exception()  # waiting callers get the error; without callers it is not needed
        node.peers.connections.clear()


class _Extension(ClusterExtension):
    """Gives its node the loop and the clocks of a simulated process: the node's callbacks belong to that process."""

    def __init__(self, process: SimulatedProcess, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._process = process

    def _definition_store(self) -> None:
        """A simulation keeps no files."""

    def _make_local(self, system: ActorSystem, storage_is_private: bool) -> LocalNode:
        loop = self._process.loop
        return LocalNode(
            self._config,
            events=system.events,
            entropy=self._entropy,
            loop=cast(asyncio.AbstractEventLoop, loop),
            client=self._client,
            storage_is_private=storage_is_private,
            boot_time=loop.time,
            unix_time=system.clock,
            clock_ns=lambda: int(loop.time() * 1e9),  # real time must not be a part of the history
        )
