"""One node: everything that a process of the cluster has, put together.

A member listens, hosts grains and runs the control plane. A client has the same data plane and none of that: it is
given topologies by the member that it is connected to. `Node` owns the parts and passes between them; what they do is
in their own modules.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from inaho.actor.uninterrupted import uninterrupted
from inaho.authority import own_addresses
from inaho.core.identity.pid_cache import PidCache
from inaho.core.inputs import Input, Start
from inaho.core.node import ControlNode
from inaho.errors import InvalidConfig, ShuttingDown
from inaho.events import TopologyChanged
from inaho.runtime.activation.activation_count import ActivationCount
from inaho.runtime.activation.fencing import Fencing
from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.activation.leases import Leases
from inaho.runtime.calls.cluster_context import ClusterContext
from inaho.runtime.connections.acceptor import Acceptor
from inaho.runtime.connections.associations import Associations
from inaho.runtime.connections.own_handshake import OwnHandshake
from inaho.runtime.connections.peer_connections import PeerConnections
from inaho.runtime.connections.peers import Peers
from inaho.runtime.connections.serving import Serving
from inaho.runtime.control.block_list import Blocking
from inaho.runtime.control.connection_evidence import Evidence
from inaho.runtime.control.driver import Driver
from inaho.runtime.control.gateway import Gateway
from inaho.runtime.control.join_watch import JoinWatch
from inaho.runtime.control.loop_reports import LoopReports
from inaho.runtime.control.membership_log import MembershipLog
from inaho.runtime.control.shutdown import Shutdown
from inaho.runtime.freshness.doubts import Freshness
from inaho.runtime.freshness.proofs import Proofs
from inaho.runtime.local.history import ActivationHistory, OwnershipHistory
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.storage_access import StorageAccess
from inaho.runtime.local.ticker import Ticker
from inaho.runtime.local.topology import Topology
from inaho.runtime.local.warnings import ActivationWarnings, WaitingWarnings
from inaho.runtime.messages.remoting import Remoting
from inaho.runtime.node.program_end import ProgramEnd
from inaho.runtime.node.wiring import NodeAssociationEffects, NodeMessageParts, NodePeerEvents
from inaho.runtime.placement.directory import Directory
from inaho.runtime.placement.known_kinds import KnownKinds
from inaho.runtime.placement.loads import Loads
from inaho.runtime.placement.locator import Locator
from inaho.runtime.placement.partition_bridge import PartitionBridge
from inaho.runtime.placement.placed_activations import Holdings
from inaho.runtime.placement.placement_actor import PLACEMENT_KEY, PlacementActor
from inaho.runtime.placement.placing import Placing
from inaho.runtime.placement.recalls import Recalls
from inaho.runtime.placement.saved_versions import SavedVersions
from inaho.runtime.placement.survey import Survey
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.runtime.reminders.keeper import KEEPER, ReminderKeeper, ReminderWatch
from inaho.runtime.turns.runner import STOP_ROUNDS, TurnRunner
from inaho.types import Member, MemberStatus, TopologySnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from inaho.actor import ActorSystem
    from inaho.runtime.cluster.cluster import Cluster
    from inaho.runtime.grains.grain import GrainKind
    from inaho.runtime.transport.transport import Transport
    from inaho.storage import Storage

__all__ = ["Node"]


class Node:
    """The runtime of one member or client.

    Args:
        local: settings, loop, clocks, events and what else all parts share.
        kinds: grain kinds that this node hosts.
        transport: how it reaches others.
        storage: durable state of its grains.
        system: the actor system that it is installed on.
        make_bridge: makes the partition bridge of a node.
        handle: what grains see as `self.cluster`; asked when a grain asks.

    Attributes:
        local: see `LocalNode`.
        topology: see `Topology`.
        activations: of all kinds on this node, counted.
        hosts: kinds by name.
        runner, peers, acceptor, connections, associations, remoting, pid_cache, context, leases, shutdown, bridge,
            directory, holdings, history, ownership, blocking, terminations, saved_versions, activation_warnings,
            waiting_log, fencing, proofs, freshness, evidence, join_watch, measures, ticker, program_end: see their
            classes.
        driver: of a member's control plane; None before the start, and for a client. So is `membership_log`.
        gateway: of a client; None before the start, and for a member.
    """

    def __init__(
        self,
        local: LocalNode,
        kinds: Iterable[GrainKind],
        *,
        transport: Transport,
        storage: Storage,
        system: ActorSystem,
        handle: Callable[[], Cluster],
        make_bridge: Callable[..., PartitionBridge] = PartitionBridge,
    ) -> None:
        config = local.config
        self.local = local
        self.transport = transport
        self.activations = ActivationCount(local.loop)
        self.system = system
        self._handle = handle
        self.hosts: dict[str, KindHost] = {}
        self.known_kinds = KnownKinds(local, self.hosts)
        self.topology = Topology(local, self.known_kinds.described)
        self.pid_cache = PidCache(config.activation.pid_cache_size, config.activation.pid_cache_ttl_s)
        self.runner = TurnRunner(
            local.loop,
            local.tasks,
            depth=config.activation.queue_depth,
            drop_oldest=config.activation.queue_policy == "drop_oldest",
            node_id=lambda: local.node_id,
        )
        self.reports = LoopReports(self._feed, self.activations)
        self.ticker = self._make_ticker()
        events, messages = NodePeerEvents(self), NodeMessageParts(self)
        handshake = OwnHandshake(local, self._incarnation)
        serving = Serving(local, self.hosts, self.runner, self.ticker, events=events, messages=messages)
        self.associations = Associations(local, self.topology, NodeAssociationEffects(self))
        self.acceptor = Acceptor(local, self.topology, transport, handshake, self.associations, serving)
        self.peers = Peers(local, transport, handshake, self.associations, events=events, messages=messages)
        self.connections = PeerConnections(self.peers, self.acceptor, self.associations)
        self.remoting = Remoting(self)
        self.context = ClusterContext(self)
        self.leases = Leases(self)
        self.shutdown = Shutdown(self)
        self.placement_calls = SystemCalls(local, self.peers, self.hosts, PlacementActor, PLACEMENT_KEY)
        self.saved_versions = SavedVersions(local, self.topology, self.hosts, self.placement_calls)
        self.activation_warnings = ActivationWarnings(local)
        self.waiting_warnings = WaitingWarnings(local)
        self.fencing = Fencing(self)
        self.proofs = Proofs(self)
        self.freshness = Freshness(self, self.proofs)
        self.bridge = make_bridge(self)
        self.holdings = Holdings(
            local, self.topology, self.hosts, self.leases, self.placement_calls, self.waiting_warnings
        )
        self.recalls = Recalls(self.topology, self.leases, self.placement_calls, self.waiting_warnings)
        self.survey = Survey(
            local, self.topology, self.hosts, self.leases, self.recalls, self.placement_calls, self.waiting_warnings
        )
        self.loads = Loads(local, self.activations, self._reported_loads)
        placing = Placing(
            local, self.topology, self.leases, self.loads, self.recalls, self.holdings, self.placement_calls,
            self.freshness.before_activation,
        )  # fmt: skip
        self.directory = Directory(
            local, self.hosts, self.leases, self.survey, placing, self.loads, self.pid_cache, self.placement_calls
        )
        self.locator = Locator(local, self.topology, self.hosts, self.leases, self.placement_calls, self.directory)
        self.blocking = Blocking(self)
        self.history = ActivationHistory(config.activation.history_max, local.loop.time)
        self.ownership = OwnershipHistory(config.activation.partitions)
        self.driver: Driver | None = None
        self._attached: list[Callable[[], None]] = []
        self._stopping: asyncio.Task[None] | None = None
        self.storage_access = StorageAccess(
            local, storage, lost=self.proofs.require_all, accepted=self._storage_accepted
        )
        self.evidence = Evidence(self)
        self.join_watch = JoinWatch(self)
        self.gateway: Gateway | None = None
        self.program_end = ProgramEnd(self)
        self.membership_log: MembershipLog | None = None
        self._add_kinds(kinds)

    @property
    def cluster(self) -> Cluster:
        """What grains and tools see of this node."""
        return self._handle()

    def _add_kinds(self, kinds: Iterable[GrainKind]) -> None:
        """The user's kinds, then those of the runtime."""
        for kind in kinds:
            self.add_kind(kind, hosted=not kind.role or kind.role in self.local.config.roles)
        if self.local.client:
            return
        parts = (
            self.bridge, self.saved_versions, self.freshness.reconciliation, self.directory, self.survey, self.holdings,
        )  # fmt: skip
        self.add_kind(PlacementActor.inaho_kind, parts=parts).install(PLACEMENT_KEY)
        if any(host.hosted and host.kind.reminded for host in self.hosts.values()):
            self.add_kind(ReminderKeeper.inaho_kind)

    def _incarnation(self) -> int:
        return 0 if self.driver is None else self.driver.control.member.incarnation

    def add_kind(self, kind: GrainKind, *, hosted: bool = True, parts: tuple[Any, ...] = ()) -> KindHost:
        """Makes a kind known here. Raises `InvalidConfig` when another class has its name."""
        host = self.hosts.get(kind.name)
        if host is None:
            host = self.hosts[kind.name] = KindHost(self, kind, hosted=hosted, parts=parts)
        elif host.kind is not kind:
            raise InvalidConfig(
                f"two grain classes are named {kind.name!r}: {host.kind.cls!r} and {kind.cls!r}; "
                "give one another name with class X(Grain, name='…')"
            )
        return host

    def attach(self, *, tick: Callable[[float, float], None], close: Callable[[], None] | None = None) -> None:
        """Adds a part from above, such as telemetry.

        Args:
            tick: called at each tick, see `Ticker.each`.
            close: called first when the node stops.
        """
        self.ticker.each(tick)
        if close is not None:
            self._attached.append(close)

    # Life.

    async def start_member(self) -> None:
        """Opens the storage if grains here will need it, binds, joins through the seeds; returns when this node is up.

        Raises:
            InvalidConfig: the storage cannot work as it is configured. One that is down may come up later.
            AuthorityInUse, InvalidConfig: it cannot bind.
            JoinRefused, TopologyUnavailable: the cluster did not admit it, or no seed answered.
            AuthenticationFailed, VersionMismatch, WrongCluster: all seeds refuse it for that reason.
        """
        if any(host.hosted and host.kind.state_type is not None for host in self.hosts.values()):
            await self.storage_access.open_early()
        if not self.local.config.authority.endswith(":0"):
            self.local.authority = self.local.config.authority  # a peer may dial before `listen` returns
        self.local.authority = await self.acceptor.listen(
            *own_addresses(self.local.config.authority, self.local.config.bind)
        )
        hosted = tuple(sorted(name for name, host in self.hosts.items() if host.hosted and not host.system))
        member = Member(
            authority=self.local.authority,
            node_id=self.local.node_id,
            incarnation=0,  # admission gives one
            status=MemberStatus.JOINING,
            kinds=hosted,
            weight=self.local.config.weight,
            roles=tuple(sorted(self.local.config.roles)),
        )
        self.membership_log = MembershipLog(self)
        self.driver = Driver(self, ControlNode(self.local.config, member, self.local.entropy.random))
        self.ticker.start()
        self.driver.feed(Start(self.local.config.seeds))
        with self.join_watch.searching(self.driver.control.seeds_told):
            await self.driver.joined
        self.program_end.watch()
        if KEEPER in self.hosts:
            self.local.spawn(ReminderWatch(self).run(), name="inaho-reminder-watch")

    async def start_client(self) -> None:
        """Connects to a member and returns when the topology is known. Raises as `Gateway.find`."""
        self.ticker.start()
        self.gateway = Gateway(self)
        with self.join_watch.searching(self.gateway.told_by_seeds):
            await self.gateway.find()
        self.program_end.watch()

    async def leave(self) -> None:
        """See `Shutdown`. Returns when it is over, whoever asked for it first."""
        await self.shutdown.leave()

    async def stop(self) -> None:
        """Closes everything. Call `leave` before it for a graceful end.

        A caller that is cancelled does not leave the node half closed: the rest goes on in the background, within
        `STOP_ROUNDS` seconds for turns that catch their cancellation.
        """
        if self._stopping is None or self._stopping.cancelled():  # with all Tasks of the loop
            self._stopping = self.local.loop.create_task(self._stop(STOP_ROUNDS), name="inaho-stop", context=Context())
        await uninterrupted(self._stopping, self.local.log)

    async def stop_now(self) -> None:
        """As `stop`, in the caller's own Task and with less patience, for when the program ends: all others are
        cancelled, a `stop` that is under way too."""
        await self._stop(1)

    async def _stop(self, rounds: int) -> None:
        """In the order of SPEC BS-3: gossip, turns, identity lookup, member list, connections, transport."""
        self.local.shutting_down = self.local.closing = True
        for close in self._attached:
            close()
        if self.membership_log is not None:
            self.membership_log.close()
        self.blocking.close()
        if self.driver is not None:
            self.driver.stop()
        self.ticker.stop()
        self.acceptor.stop_accepting()
        self.shutdown.stopped()
        await self.runner.stop(rounds)
        await asyncio.sleep(0)  # replies of the last turns
        self.topology.lookup.close()
        self.topology.close()
        self.remoting.close()
        self.acceptor.close_connections(ShuttingDown("the node is shutting down", authority=self.local.authority))
        await self.peers.close()
        await self.acceptor.wait_closed()
        self.transport.close()
        await self.storage_access.close()
        self.program_end.closed()

    def _storage_accepted(self) -> None:
        """An operator has accepted what the storage has: activations with a state begin again from it."""
        self.saved_versions.forget()
        for host in self.hosts.values():
            host.storage_accepted()

    def _make_ticker(self) -> Ticker:
        ticker = Ticker(self.local, self.reports.woke)
        ticker.each(self.reports.tick)
        ticker.each(lambda now, _: self.associations.tick(now))
        ticker.each(lambda now, _: self.remoting.tick(now))
        ticker.each(lambda now, _: self.peers.expire(now))
        ticker.each(lambda now, _: self.acceptor.expire(now))
        ticker.each(lambda *_: self.leases.expire())
        ticker.each(self._unload_idle)
        ticker.each(self._tick_rest)
        return ticker

    def _unload_idle(self, now: float, _lag_s: float) -> None:
        for host in self.hosts.values():
            if host.passivation is not None:
                host.passivation.step(now)

    def _tick_rest(self, now: float, _lag_s: float) -> None:
        for warnings in (self.context.warnings, self.activation_warnings, self.waiting_warnings, self.membership_log):
            if warnings is not None:
                warnings.tick(now)
        if self.gateway is not None:
            self.gateway.keep()

    def _reported_loads(self) -> Mapping[str, float]:
        return {} if self.driver is None else dict(self.driver.control.loads())

    def _feed(self, given: Input) -> None:
        if self.driver is not None:
            self.driver.feed(given)

    # Topology and ownership.

    def apply_topology(self, snapshot: TopologySnapshot) -> None:
        """Ownership by a new topology: leases and lookup, then what it takes away, then clients and waiters."""
        if self.topology.closed:
            return
        before, self.topology.snapshot = self.topology.snapshot, snapshot
        self.leases.apply_topology(before, snapshot)
        self.peers.topology_changed(before, snapshot)
        self.associations.apply_topology(snapshot)
        self.remoting.apply_topology(snapshot)
        self.known_kinds.apply_topology(before, snapshot)
        owners_changed = self.topology.lookup.update_topology(snapshot)
        there = {member.node_id for member in snapshot.members}
        for member in () if before is None else before.members:
            if member.node_id not in there:  # whether it still owned anything or not (SPEC VA-3.5)
                for event in self.pid_cache.invalidate_authority(member.authority, "the member is gone"):
                    self.local.publish(event)
        if self.survey.is_outdated(before, snapshot, owners_changed):
            self.loads.book.retain(member.node_id for member in snapshot.members)
            self.holdings.owners_changed()
            self.survey.begin_anew()
        if owners_changed:
            for event in self.pid_cache.retain(
                self.context.order.still_there(self.locator.still_there), "ownership changed"
            ):
                self.local.publish(event)
            if not self.local.client:
                self.ownership.topology_changed(self.local.unix_time(), before, snapshot)
                self.bridge.topology_changed(snapshot)
        elif not self.local.client:
            # Owners stay, but a member that no longer owned anything may be gone, and nobody can ask it any more.
            self.bridge.members_changed(snapshot)
            self.bridge.tell_drained()
        self.acceptor.push_topology(snapshot)
        self.topology.wake()
        if self.local.client:  # a member's control plane publishes it
            self.local.publish(TopologyChanged(snapshot=snapshot))
            self.blocking.told(before, snapshot)

    def stop_activations(self, reason: str) -> None:
        """Others may run what runs here: all leases end at once, and all activations with their running turns.

        Owners are unknown until the next topology, by which this node has just joined, and asks others first.
        """
        self.leases.revoke(self.local.node_id, reason)
        self.topology.forget_owners()
        for host in self.hosts.values():
            host.drop_all(reason)
