"""One node: builds all parts of a member or client and connects them.

A member listens, hosts grains and runs the control plane. A client has the same data plane and none of that: the member
to which it is connected sends it topologies. `Node` owns the parts and connects them; their work is in their own
modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inaho.core.activation.doubt import Doubts
from inaho.core.identity.pid_cache import PidCache
from inaho.errors import InvalidConfig
from inaho.runtime.activation.activation_count import ActivationCount
from inaho.runtime.activation.all_activations import AllActivations
from inaho.runtime.activation.fencing import Fencing
from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.activation.leases import Leases
from inaho.runtime.calls.ended_pids import EndedPids
from inaho.runtime.calls.moved_pids import MovedPids
from inaho.runtime.connections.acceptor import Acceptor
from inaho.runtime.connections.associations import Associations
from inaho.runtime.connections.own_handshake import OwnHandshake
from inaho.runtime.connections.peer_connections import PeerConnections
from inaho.runtime.connections.peers import Peers
from inaho.runtime.connections.serving import Serving
from inaho.runtime.control.block_list import BlockList
from inaho.runtime.control.connection_evidence import ClientPeerEvents, MemberPeerEvents
from inaho.runtime.control.control_plane import ControlPlane
from inaho.runtime.control.gateway import Gateway
from inaho.runtime.control.join_watch import JoinWatch
from inaho.runtime.control.loop_reports import LoopReports
from inaho.runtime.control.membership_log import MembershipLog
from inaho.runtime.control.shutdown import Shutdown
from inaho.runtime.freshness.proofs import Proofs
from inaho.runtime.freshness.proved_kinds import ProvedKinds
from inaho.runtime.freshness.reconciliation import Reconciliation
from inaho.runtime.freshness.reconciliation_answers import ReconciliationAnswers
from inaho.runtime.freshness.unknown import UnknownFreshness
from inaho.runtime.local.history import ActivationHistory, OwnershipHistory
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.program_end import ProgramEnd
from inaho.runtime.local.storage_access import StorageAccess
from inaho.runtime.local.topology import Topology
from inaho.runtime.local.warnings import ActivationWarnings, RetryWarnings, WaitingWarnings
from inaho.runtime.messages.remoting import Remoting
from inaho.runtime.node.assembly import make_context, make_freshness, make_kinds, make_surroundings, make_topics
from inaho.runtime.node.hand_over import HandOver
from inaho.runtime.node.node_lifecycle import NodeLifecycle
from inaho.runtime.node.parts import NodeParts
from inaho.runtime.node.storage_losses import StorageLosses
from inaho.runtime.node.ticks import make_ticker
from inaho.runtime.node.topology_changes import TopologyChanges
from inaho.runtime.node.wiring import NodeAssociationEffects, NodeCachedActivations, NodeMessageParts, NodePeerEvents
from inaho.runtime.placement.caching_callers import CachingCallers
from inaho.runtime.placement.directory import Directory
from inaho.runtime.placement.known_kinds import KnownKinds
from inaho.runtime.placement.loads import Loads
from inaho.runtime.placement.locator import Locator
from inaho.runtime.placement.partition_bridge import PartitionBridge
from inaho.runtime.placement.placed_activations import PlacedActivations
from inaho.runtime.placement.placement_actor import PLACEMENT_KEY, PlacementActor
from inaho.runtime.placement.placing import Placing
from inaho.runtime.placement.recalls import Recalls
from inaho.runtime.placement.saved_versions import SavedVersions
from inaho.runtime.placement.survey import Survey
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.runtime.reminders.keeper_calls import KeeperCalls
from inaho.runtime.reminders.reminder_calls import GrainReminders
from inaho.runtime.topic_logs.send_calls import SendCalls
from inaho.runtime.turns.runner import TurnRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from inaho.actor import ActorSystem
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.transport.transport import Transport
    from inaho.storage import Storage

__all__ = ["Node"]


class Node(NodeParts):
    """The runtime of one member or client.

    Args:
        local: settings, loop, clocks, events and the other things that all parts share.
        kinds: grain kinds that this node hosts.
        transport: how it reaches others.
        storage: durable state of its grains.
        system: the actor system that it is installed on.
        make_bridge: makes the partition bridge of a node.
        handle: returns what grains see as `self.cluster`; called when a grain reads it.

    Its attributes are those of `NodeParts`.
    """

    def __init__(
        self,
        local: LocalNode,
        kinds: Iterable[GrainKind],
        *,
        transport: Transport,
        storage: Storage,
        system: ActorSystem,
        handle: Callable[[], Any],
        make_bridge: Callable[..., PartitionBridge] = PartitionBridge,
    ) -> None:
        config = local.config
        self.local = local
        self.transport = transport
        self.control = ControlPlane()
        self.activations = ActivationCount(local.loop)
        self.system = system
        self._handle = handle
        self.hosts = {}
        self.known_kinds = KnownKinds(local, self.hosts)
        self.topology = Topology(local, self.known_kinds.described)
        self.pid_cache = PidCache(config.activation.pid_cache_size, config.activation.pid_cache_ttl_s)
        self.runner = TurnRunner(
            local.loop,
            local.tasks,
            depth=config.activation.queue_depth,
            drop_oldest=config.activation.queue_policy == "drop_oldest",
            node_id=lambda: local.node_id,
            call_chain_max=config.rpc.call_chain_max,
        )
        self.reports = LoopReports(self.control.feed, self.activations)
        self.ticker = make_ticker(self)
        events, messages, cached = NodePeerEvents(self), NodeMessageParts(self), NodeCachedActivations(self)
        handshake = OwnHandshake(local, lambda: self.control.incarnation)
        serving = Serving(local, self.hosts, self.runner, events=events, messages=messages, cached=cached)
        self.associations = Associations(local, self.topology, NodeAssociationEffects(self))
        self.acceptor = Acceptor(local, self.topology, transport, handshake, self.associations, serving)
        self.peers = Peers(
            local, transport, handshake, self.associations, events=events, messages=messages, cached=cached
        )
        self.connections = PeerConnections(self.peers, self.acceptor, self.associations)
        self.remoting = Remoting(local, system, self.associations, self.peers)
        losses = StorageLosses(self)
        self.storage_access = StorageAccess(local, storage, lost=losses.found, accepted=losses.accepted)
        self.history = ActivationHistory(config.activation.history_max, local.loop.time)
        self.leases = Leases(local, self.topology, self.history)
        self.placement_calls = SystemCalls(local, self.peers, self.hosts, PlacementActor, PLACEMENT_KEY)
        self.saved_versions = SavedVersions(local, self.topology, self.hosts, self.placement_calls)
        self.activation_warnings = ActivationWarnings(local)
        self.waiting_warnings = WaitingWarnings(local)
        self.fencing = Fencing(local, self.topology, self.hosts, self.leases.ledger)
        doubts = Doubts(local.node_id, config.membership.tombstone_s, config.membership.members_max)
        proved = ProvedKinds(local, self.hosts)
        self.unknown_freshness = UnknownFreshness(local, doubts)
        self.proofs = Proofs(
            local, self.topology, proved, self.storage_access.opened, self.saved_versions, self.unknown_freshness
        )
        self.reconciliation = Reconciliation(local, self.topology, doubts, self.placement_calls)
        self.freshness = make_freshness(self, doubts, proved)
        self.reconciliation_answers = ReconciliationAnswers(local, self.topology, self.hosts, self.freshness)
        self.ownership = OwnershipHistory(config.activation.partitions)
        self.bridge = make_bridge(
            local, self.topology, self.hosts, self.leases, self.fencing, self.ownership, self.waiting_warnings,
            self.placement_calls,
        )  # fmt: skip
        self.caching_callers = CachingCallers(local, self.hosts, self.acceptor.callers)
        self.placed_activations = PlacedActivations(
            local, self.topology, self.hosts, self.leases, self.caching_callers, self.placement_calls,
            self.waiting_warnings,
        )  # fmt: skip
        self.recalls = Recalls(self.topology, self.leases, self.placement_calls, self.waiting_warnings)
        self.survey = Survey(
            local, self.topology, self.hosts, self.leases, self.recalls, self.placement_calls, self.waiting_warnings
        )
        self.loads = Loads(local, self.activations, self.control.loads)
        placing = Placing(
            local, self.topology, self.leases, self.loads, self.recalls, self.placed_activations, self.placement_calls,
            self.freshness.before_activation,
        )  # fmt: skip
        self.directory = Directory(
            local, self.hosts, self.leases, self.survey, placing, self.loads, cached, self.placement_calls
        )
        self.locator = Locator(local, self.topology, self.hosts, self.leases, self.placement_calls, self.directory)
        self.retry_warnings = RetryWarnings(local)
        self.context = make_context(self)
        self.moved_pids = MovedPids(local, self.topology, self.pid_cache, self.context.order, self.locator.still_there)
        self.ended_pids = EndedPids(local, self.hosts, self.pid_cache, self.peers.connections, self.context.order)
        self.block_list = BlockList(local, self.topology, self.control, self.pid_cache)
        self.reminders = GrainReminders(local, handle)
        self.keeper_calls = KeeperCalls(local, self.context, self.hosts, self._learn)
        self.topics = make_topics(self, self._learn)
        self.send_calls = SendCalls(local, self.context, self.hosts, self._learn)
        self.join_watch = JoinWatch(local)
        self.all_activations = AllActivations(
            local, self.hosts, self.activations, self.leases, self.runner, self.survey.look_into
        )
        self.shutdown = Shutdown(
            local,
            self.topology,
            self.control,
            self.all_activations,
            hand_over=HandOver(local, self.saved_versions, self.bridge, self.topics, self.remoting).run,
            farewell=self.acceptor.farewell,
        )
        self.topology_changes = TopologyChanges(self)
        self.gateway = None
        self.membership_log = None
        if local.client:
            self.gateway = Gateway(local, self.topology, self.peers, self.topology_changes)
            self.peer_events = ClientPeerEvents(self.gateway, self.peers, self.join_watch)
        else:
            self.membership_log = MembershipLog(local, self.control, lambda: len(doubts.open()))
            self.peer_events = MemberPeerEvents(local, self.control, self.peers, self.connections, self.join_watch)
        self.lifecycle = NodeLifecycle(self)
        self.program_end = ProgramEnd(local, self.lifecycle.stop_now)
        self._around = make_surroundings(self, handle)
        self._add_kinds(kinds)

    @property
    def cluster(self) -> Any:
        """What grains and tools see of this node."""
        return self._handle()

    def _add_kinds(self, kinds: Iterable[GrainKind]) -> None:
        """Adds the kinds of the user, then those of the runtime."""
        for kind in kinds:
            self.add_kind(kind, hosted=not kind.role or kind.role in self.local.config.roles)
        if self.local.client:
            return
        for kind, parts, key in make_kinds(self):
            host = self.add_kind(kind, parts=parts)
            if key:
                host.install(key)

    def _learn(self, kind: GrainKind) -> KindHost:
        return self.add_kind(kind, hosted=False)

    def add_kind(self, kind: GrainKind, *, hosted: bool = True, parts: tuple[Any, ...] = ()) -> KindHost:
        """Makes a kind known here. Raises `InvalidConfig` when another class has its name."""
        host = self.hosts.get(kind.name)
        if host is None:
            host = self.hosts[kind.name] = KindHost(self._around, kind, hosted=hosted, parts=parts)
        elif host.kind is not kind:
            raise InvalidConfig(
                f"two grain classes are named {kind.name!r}: {host.kind.cls!r} and {kind.cls!r}; "
                "give one another name with class X(Grain, name='…')"
            )
        return host
