"""`SimCluster`: a cluster of whole nodes, user grains included, in one thread and in virtual time.

    with SimCluster(nodes=3, seed=7, grains=[Cart]) as sim:
        cart = sim.node(0).grain(Cart, "alice")
        sim.run(cart.add("apple"))
        sim.partition({0, 1}, {2})
        sim.run_for(10.0)
        sim.heal()
        sim.wait_converged()

The nodes are the real ones: their handshake, codec, control plane, turns and storage run as in production. What is
simulated is underneath: the loop (`virtual_loop`), the network (`simulated_network`) and the processes
(`simulated_process`). One seed makes one history; `trace_hash` says whether two runs were the same.

Why whole nodes, when the control plane alone runs a thousand times faster (`testing.control_plane`): the bugs that
users meet are between the parts.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from inaho.config import ClusterConfig
from inaho.events import Event
from inaho.providers.base import TopologyProvider
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.grains.grain import Grain
from inaho.storage import MemoryStorage, Storage
from inaho.testing.cluster.simulated_node import SimulatedNode
from inaho.testing.cluster.virtual_storage import check_storage
from inaho.testing.simulation.errors import NotConverged, OutOfTime, SimulationFailed
from inaho.testing.simulation.link_faults import LinkFaults
from inaho.testing.simulation.simulated_network import Faults, SimulatedNetwork
from inaho.testing.simulation.simulated_process import DEAD, PAUSED, RUNNING, SimulatedProcess
from inaho.testing.storage.faults import FaultyStorage, StorageFaults
from inaho.types import MemberStatus

__all__ = ["Faults", "SimCluster", "SimEvent"]

T = TypeVar("T")


PORT: Final = 7700
SEEDS_MAX: Final = 3
EVENTS_MAX: Final = 100_000


class SimEvent(msgspec.Struct, frozen=True):
    """An event and the node that published it.

    Attributes:
        at: virtual seconds since the start.
        node: index of the node; clients count from -1 downwards.
        process: number of the process, 1 for the first that was started: distinguishes processes of one node.
        event: as published.
    """

    at: float
    node: int
    process: int
    event: Event


class SimCluster(LinkFaults):
    """A simulated cluster. Use it with `with`; at the start all nodes are up and agree.

    Inside a coroutine of `run` you may call the methods that make faults. They do not wait there; use
    `await sim.until(…)` to wait.

    Args:
        nodes: their number, at least 1; indexes count from 0.
        seed: of everything that is random. One seed gives one history.
        grains: classes that every node hosts.
        config: settings of every node; the simulation sets authority and seeds.
        faults: of the network, see `Faults`. May be replaced later through the attribute.
        storage: durable state that all nodes share and that no crash affects; in memory unless given. It must work
            without threads and sockets, since their answers do not come in virtual time.
        providers: makes the providers of one process, such as `lambda: [MemoryProvider("memory", topology)]`; nodes and
            clients then have no seeds.
        storage_faults: faults of that storage, drawn from the seed; `sim.storage` is then a `FaultyStorage`.
        within_s: virtual seconds after which `run` gives up, unless told otherwise.
        real_limit_s: seconds of the wall clock after which a run gives up; None never. A callback that does not
            return is not interrupted.
        show_system: whether the report of a failure includes system grains, such as the keepers of reminders.

    Attributes:
        events: the events that nodes published, oldest first; the last `EVENTS_MAX`.
        storage: the shared storage.
        network: for faults that the methods here do not offer.

    Raises:
        ValueError: there is no node.
        InvalidConfig: the storage needs threads or a server.
    """

    def __init__(
        self,
        nodes: int = 3,
        seed: int = 0,
        grains: Iterable[type[Grain[Any]]] = (),
        config: ClusterConfig | None = None,
        faults: Faults | None = None,
        *,
        storage: Storage | None = None,
        providers: Callable[[], Sequence[TopologyProvider]] | None = None,
        storage_faults: StorageFaults | None = None,
        within_s: float = 600.0,
        real_limit_s: float | None = None,
        show_system: bool = False,
    ) -> None:
        if nodes < 1:
            raise ValueError(f"a cluster has at least 1 node, not {nodes}")
        check_storage(storage)
        super().__init__(seed, within_s=within_s, real_limit_s=real_limit_s, show_system=show_system)
        self.events: deque[SimEvent] = deque(maxlen=EVENTS_MAX)
        self._config = config or ClusterConfig()
        self._grains = tuple(grains)
        self._make_providers = providers
        self._random = random.Random(f"{seed}/processes")
        self.network = SimulatedNetwork(
            self._loop,
            faults or Faults(),
            seed=seed,
            trace=self._trace,
            dial_timeout_s=self._config.transport.dial_timeout_s,
        )
        self.storage: Storage = MemoryStorage(self._config.storage) if storage is None else storage
        if storage_faults is not None:
            self.storage = FaultyStorage(
                self.storage, storage_faults, seed, observe=lambda fault, name: self._note("storage", fault, name)
            )
        self._first_nodes = nodes
        self._nodes: list[SimulatedNode] = []
        self._clients: list[SimulatedNode] = []
        self._indexes: dict[str, int] = {}
        self._boots = 0

    def _begin(self) -> None:
        for _ in range(self._first_nodes):
            self._add()
        self.run(self._all_started())
        self.wait_converged(within_s=self._config.membership.join_timeout_s)

    def run(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        on: SimulatedProcess | int | None = None,
        within_s: float | None = None,
    ) -> T:
        """As `Simulation.run`; `on` may be the index of a node."""
        process: SimulatedProcess | None = None
        if on is not None and asyncio.iscoroutine(coroutine):
            with self._accepted(coroutine):
                process = on if isinstance(on, SimulatedProcess) else self._node(on).process
        return super().run(coroutine, on=process, within_s=within_s)

    # Nodes.

    def node(self, index: int) -> Cluster:
        """The `Cluster` of the process of node `index`, as from `inaho.join`: `sim.node(0).grain(Cart, "alice")`.

        Raises:
            SimulationFailed: the node has crashed, left or not joined yet, or the simulation has not begun.
            IndexError, TypeError: there is no such node; all methods that take an index raise these.
        """
        node = self._node(index)
        if not node.is_member:
            raise SimulationFailed(f"node {index} is {node.process.state} and no member at {self.time:.3f} s")
        return node.cluster

    def add(self) -> int:
        """Starts one more node and waits until it has joined; returns its index.

        Inside a coroutine it does not wait: `await sim.until(lambda: sim.is_member(index))`.
        """
        waits = self._may_wait()
        index = self._add()
        if waits:
            self._wait_started(self._nodes[index])
        return index

    def client(self) -> Cluster:
        """A new client, connected through any member, in a process of its own.

        Inside a coroutine it returns at once. Calls through it wait until it is connected.
        """
        waits = self._may_wait()
        address = self.network.client_name()
        config = self._config.replace(authority="", seeds=self._seeds())
        client = self._boot(config, address, -1 - len(self._clients))
        self._clients.append(client)
        if waits:
            self._wait_started(client)
        else:
            self._loop.step_first(client.starting)
        return client.cluster

    def crash(self, index: int, *, silent: bool = False) -> None:
        """Kills the process of a node as SIGKILL does. The storage keeps saved states.

        Args:
            index: of the node.
            silent: the machine fails, too: no connection is reset.
        """
        node = self._node(index)
        self._note("crash", index)
        main = self._loop.main
        if main is not None and main in node.process.tasks:
            self._loop.abort(SimulationFailed(f"node {index} crashed, and with it the coroutine that ran on it"))
        node.crash(self.network, silent=silent)

    def restart(self, index: int) -> None:
        """Starts a new process at the authority of a node that has crashed or left. Waits until it has joined.

        Inside a coroutine it does not wait: `await sim.until(lambda: sim.is_member(index))`.
        """
        if self._node(index).process.state is not DEAD:
            raise SimulationFailed(f"node {index} is {self._node(index).process.state}; crash it first")
        waits = self._may_wait()
        self._note("restart", index)
        self._nodes[index] = self._boot(self._node_config(index), self.authority(index), index)
        if waits:
            self._wait_started(self._nodes[index])

    def leave(self, index: int) -> None:
        """Makes a node leave and end as `cluster.close()` does. Waits; inside a coroutine it only begins."""
        node, waits = self._node(index), self._may_wait()
        self._note("leave", index)
        stopping = self._loop.create_task(node.stop(), name=f"node {index} leaves")
        if waits:
            self.run(asyncio.wait_for(stopping, None))

    def pause(self, index: int, seconds: float | None = None) -> None:
        """Stops a process as SIGSTOP does; returns at once.

        Args:
            index: of the node.
            seconds: after which it continues; None: until `resume`.
        """
        node = self._node(index)
        self._note("pause", index)
        node.process.pause()
        if seconds is not None:
            self.network.later(seconds, self._resume, index, node)

    def resume(self, index: int) -> None:
        """Ends a pause: callbacks that were due meanwhile run now."""
        self._resume(index, self._node(index))

    def is_member(self, index: int) -> bool:
        """Whether the node is alive and its `join` has returned."""
        return self._node(index).is_member

    def authority(self, index: int) -> str:
        """`host:port` of a node."""
        return f"node-{index}:{PORT}"

    # Results.

    def members_seen_by(self, index: int) -> dict[int, MemberStatus]:
        """The members that node `index` knows of: status by index, in order of the indexes."""
        seen = {self._indexes[member.authority]: member.status for member in self.node(index).members()}
        return dict(sorted(seen.items()))

    def converged(self, among: Iterable[int] | None = None) -> bool:
        """Whether every one of these nodes sees exactly them as up, under their present ids and one topology.

        Args:
            among: indexes, such as one side of a partition; None: all nodes whose processes run.
        """
        return not self._disagreement(among)

    def wait_converged(self, within_s: float = 30.0, among: Iterable[int] | None = None) -> float:
        """Lets time pass until `converged`. Returns the virtual seconds that it took.

        Raises:
            NotConverged: they did not agree within `within_s`; the message has what each node sees.
        """
        try:
            return self.wait_until(lambda: self.converged(among), within_s)
        except OutOfTime:
            raise NotConverged(f"after {within_s} s: {self._disagreement(among)}") from None

    def check(self) -> None:
        """Checks the invariants of every living process: of its control plane, and of its messages to others.

        One of them: every message that a node has accepted for sending is exactly one of delivered, a dead letter, in
        doubt, waiting, or not yet acknowledged (SPEC CL-3).
        """
        for node in (*self._nodes, *self._clients):
            if not node.is_member:
                continue
            if node.node.control.driver is not None:
                node.node.control.driver.control.check()
            node.node.associations.machine.check()
            node.node.remoting.check()

    # Inside.

    def _add(self) -> int:
        index = len(self._nodes)
        self._indexes[self.authority(index)] = index
        self._nodes.append(self._boot(self._node_config(index), self.authority(index), index))
        return index

    def _boot(self, config: ClusterConfig, address: str, index: int) -> SimulatedNode:
        self._boots = boot = self._boots + 1
        process = SimulatedProcess(self._loop, f"{'client' if index < 0 else 'node'} {index}, process {boot}")
        self._processes.append(process)
        self.network.processes[address] = process
        return SimulatedNode(
            process,
            config,
            self.network,
            address,
            grains=() if index < 0 else self._grains,
            storage=self.storage,
            providers=None if self._make_providers is None else self._make_providers(),
            seed=self._random.getrandbits(64),
            clock=self.unix_time,
            observe=lambda event: self._observe(index, boot, event),
        )

    def _observe(self, index: int, boot: int, event: Event) -> None:
        self.events.append(SimEvent(self.time, index, boot, event))
        self._trace.add_event(f"node {index}", event)

    def _node_config(self, index: int) -> ClusterConfig:
        return self._config.replace(authority=self.authority(index), seeds=self._seeds())

    def _seeds(self) -> tuple[str, ...]:
        if self._make_providers is not None:
            return ()
        return tuple(self.authority(index) for index in range(min(self._first_nodes, SEEDS_MAX)))

    async def _all_started(self) -> None:
        for node in self._nodes:
            await asyncio.shield(node.starting)

    def _wait_started(self, node: SimulatedNode) -> None:
        async def started() -> None:
            await asyncio.shield(node.starting)

        self.run(started())

    def _node(self, index: int) -> SimulatedNode:
        self._check_begun()
        if not isinstance(index, int):  # pyright: ignore[reportUnnecessaryIsInstance]  tests may be untyped
            raise TypeError(f"a node is named by its index, such as 0, not by {index!r}")
        if not 0 <= index < len(self._nodes):
            raise IndexError(f"there is no node {index}; there are {len(self._nodes)}")
        return self._nodes[index]

    def _resume(self, index: int, node: SimulatedNode) -> None:
        if node.process.state is PAUSED:
            self._note("resume", index)
            node.process.resume()

    def _address(self, node: int | Cluster) -> str:
        if not isinstance(node, Cluster):
            return self._node(node).address
        for known in (*self._nodes, *self._clients):
            if known.is_member and known.cluster is node:
                return known.address
        raise SimulationFailed(f"{node!r} is not of this simulation, or has ended")

    def _disagreement(self, among: Iterable[int] | None) -> str:
        """Why these nodes have not converged; empty when they have."""
        running = [index for index, node in enumerate(self._nodes) if node.process.state is RUNNING]
        asked = running if among is None else sorted(set(among))
        missing = [index for index in asked if index not in running or not self._nodes[index].is_member]
        if missing:
            return f"nodes {missing} are not running members"
        wanted = {self.authority(index): self._nodes[index].node.local.node_id for index in asked}
        hashes: dict[int, list[int]] = {}
        for index in asked:
            topology = self._nodes[index].node.topology.snapshot
            members = () if topology is None else topology.members
            up = {member.authority: member.node_id for member in members if member.status is MemberStatus.UP}
            if up != wanted or len(members) != len(wanted):
                return "; ".join(f"node {each} sees {self._view(each)}" for each in asked)
            hashes.setdefault(0 if topology is None else topology.hash, []).append(index)
        return "" if len(hashes) == 1 else f"the topology hashes differ: {hashes}"

    def _view(self, index: int) -> str:
        seen = self.members_seen_by(index)
        return "{" + ", ".join(f"{each}: {status.name}" for each, status in seen.items()) + "}"
