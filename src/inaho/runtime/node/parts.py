"""The parts of one node, by name: what `Node` makes, and what the modules beside it work with.

The modules of this room know the parts from here and not from `Node`, which knows them. So there is one list of parts,
and no circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inaho.actor import ActorSystem
    from inaho.core.identity.pid_cache import PidCache
    from inaho.runtime.activation.activation_count import ActivationCount
    from inaho.runtime.activation.all_activations import AllActivations
    from inaho.runtime.activation.fencing import Fencing
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.calls.ended_pids import EndedPids
    from inaho.runtime.calls.moved_pids import MovedPids
    from inaho.runtime.connections.acceptor import Acceptor
    from inaho.runtime.connections.associations import Associations
    from inaho.runtime.connections.peer_connections import PeerConnections
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.connections.ports import PeerEvents
    from inaho.runtime.control.block_list import BlockList
    from inaho.runtime.control.control_plane import ControlPlane
    from inaho.runtime.control.gateway import Gateway
    from inaho.runtime.control.join_watch import JoinWatch
    from inaho.runtime.control.loop_reports import LoopReports
    from inaho.runtime.control.membership_log import MembershipLog
    from inaho.runtime.control.ports import TopologyEffects
    from inaho.runtime.control.shutdown import Shutdown
    from inaho.runtime.freshness.doubts import Freshness
    from inaho.runtime.freshness.proofs import Proofs
    from inaho.runtime.freshness.reconciliation import Reconciliation
    from inaho.runtime.freshness.reconciliation_answers import ReconciliationAnswers
    from inaho.runtime.freshness.unknown import UnknownFreshness
    from inaho.runtime.local.history import ActivationHistory, OwnershipHistory
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.program_end import ProgramEnd
    from inaho.runtime.local.storage_access import StorageAccess
    from inaho.runtime.local.ticker import Ticker
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.local.warnings import ActivationWarnings, RetryWarnings, WaitingWarnings
    from inaho.runtime.messages.remoting import Remoting
    from inaho.runtime.placement.caching_callers import CachingCallers
    from inaho.runtime.placement.directory import Directory
    from inaho.runtime.placement.known_kinds import KnownKinds
    from inaho.runtime.placement.loads import Loads
    from inaho.runtime.placement.locator import Locator
    from inaho.runtime.placement.partition_bridge import PartitionBridge
    from inaho.runtime.placement.placed_activations import PlacedActivations
    from inaho.runtime.placement.recalls import Recalls
    from inaho.runtime.placement.saved_versions import SavedVersions
    from inaho.runtime.placement.survey import Survey
    from inaho.runtime.placement.system_calls import SystemCalls
    from inaho.runtime.reminders.keeper_calls import KeeperCalls
    from inaho.runtime.reminders.reminder_calls import GrainReminders
    from inaho.runtime.topic_logs.send_calls import SendCalls
    from inaho.runtime.topics.topics import Topics
    from inaho.runtime.transport.transport import Transport
    from inaho.runtime.turns.runner import TurnRunner

__all__ = ["NodeParts"]


class NodeParts:
    """The parts of one member or client. Each is described by its class.

    Attributes:
        hosts: kinds by name.
        control: of a member; takes inputs without effect on a client.
        gateway: of a client; None on a member.
        membership_log: of a member; None on a client.
    """

    local: LocalNode
    transport: Transport
    control: ControlPlane
    activations: ActivationCount
    system: ActorSystem
    hosts: dict[str, KindHost]
    known_kinds: KnownKinds
    topology: Topology
    pid_cache: PidCache
    runner: TurnRunner
    reports: LoopReports
    ticker: Ticker
    associations: Associations
    acceptor: Acceptor
    peers: Peers
    connections: PeerConnections
    remoting: Remoting
    storage_access: StorageAccess
    leases: Leases
    placement_calls: SystemCalls
    saved_versions: SavedVersions
    activation_warnings: ActivationWarnings
    waiting_warnings: WaitingWarnings
    fencing: Fencing
    unknown_freshness: UnknownFreshness
    proofs: Proofs
    reconciliation: Reconciliation
    freshness: Freshness
    reconciliation_answers: ReconciliationAnswers
    bridge: PartitionBridge
    caching_callers: CachingCallers
    placed_activations: PlacedActivations
    recalls: Recalls
    survey: Survey
    loads: Loads
    directory: Directory
    locator: Locator
    moved_pids: MovedPids
    ended_pids: EndedPids
    retry_warnings: RetryWarnings
    context: ClusterContext
    block_list: BlockList
    history: ActivationHistory
    ownership: OwnershipHistory
    reminders: GrainReminders
    keeper_calls: KeeperCalls
    topics: Topics
    send_calls: SendCalls
    join_watch: JoinWatch
    all_activations: AllActivations
    shutdown: Shutdown
    topology_changes: TopologyEffects
    gateway: Gateway | None
    membership_log: MembershipLog | None
    peer_events: PeerEvents
    program_end: ProgramEnd
