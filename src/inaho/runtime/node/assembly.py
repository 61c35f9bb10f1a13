"""Builds rooms of a node from the parts that exist already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from inaho.runtime.activation.activation_host import Surroundings
from inaho.runtime.activation.state import States
from inaho.runtime.calls.call_order import CallOrder
from inaho.runtime.calls.cluster_context import ClusterContext
from inaho.runtime.calls.failures import CallFailures
from inaho.runtime.calls.resolver import Resolver
from inaho.runtime.calls.retrying import Retrying
from inaho.runtime.calls.stream_calls import StreamCalls
from inaho.runtime.freshness.doubts import Freshness
from inaho.runtime.freshness.marker_reader import MarkerReader
from inaho.runtime.freshness.marker_record import MarkerRecord
from inaho.runtime.freshness.marking import Marking
from inaho.runtime.freshness.other_clusters import OtherClusters
from inaho.runtime.node.wiring import NodeFreshness, NodeOwnership, NodeServices
from inaho.runtime.placement.placement_actor import PLACEMENT_KEY, PlacementActor
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.runtime.reminders.keeper import ReminderKeeper
from inaho.runtime.topic_logs.at_least_once import AtLeastOnce
from inaho.runtime.topic_logs.keeper import TopicLogKeeper
from inaho.runtime.topic_logs.keeper_references import KeeperReferences
from inaho.runtime.topic_logs.lost_logs import LostLogs
from inaho.runtime.topic_logs.send_keeper import SendKeeper
from inaho.runtime.topic_logs.topic_counts import TopicCounts
from inaho.runtime.topics.at_most_once import AtMostOnce
from inaho.runtime.topics.client_delivery import ClientDelivery
from inaho.runtime.topics.definitions import TopicDefinitions
from inaho.runtime.topics.grain_subscriptions import GrainSubscriptions
from inaho.runtime.topics.news import TopicNews
from inaho.runtime.topics.registry import TopicRegistry
from inaho.runtime.topics.registry_calls import RegistryCalls
from inaho.runtime.topics.relay import Relay
from inaho.runtime.topics.topic_actor import TOPICS_KEY, TopicActor
from inaho.runtime.topics.topic_load import TopicLoad
from inaho.runtime.topics.topics import Topics

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubts
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.freshness.proved_kinds import ProvedKinds
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.node.parts import NodeParts

__all__ = ["make_context", "make_freshness", "make_kinds", "make_surroundings", "make_topics"]


def make_context(node: NodeParts) -> ClusterContext:
    """Makes the caller's side of a node whose lower rooms exist."""
    local, topology, chains = node.local, node.topology, node.runner.chains
    resolver = Resolver(local, topology, node.pid_cache, node.peers, node.leases, node.locator)
    order = CallOrder(local, topology, node.hosts, node.pid_cache, node.peers, node.placement_calls, resolver)
    retrying = Retrying(local, chains, resolver, node.retry_warnings)
    streams = StreamCalls(local, topology, chains, resolver, retrying)
    return ClusterContext(local, topology, node.runner, resolver, order, retrying, streams, CallFailures(local))


def make_freshness(node: NodeParts, doubts: Doubts, kinds: ProvedKinds) -> Freshness:
    """Makes the part that bounds the age of a node's answers. Its proofs exist already."""
    local, topology = node.local, node.topology
    record = MarkerRecord(local, node.storage_access.opened)
    marking = Marking(local, kinds, doubts, record)
    reader = MarkerReader(local, topology, doubts, record, marking, node.proofs, node.unknown_freshness)
    others = OtherClusters(local, topology, kinds, doubts, node.peers, record)
    return Freshness(local, topology, doubts, marking, reader, node.proofs, others, node.reconciliation)


def make_surroundings(node: NodeParts, handle: Callable[[], Any]) -> Surroundings:
    """Makes what the hosts of all kinds of a node share. `handle` returns what grains see as `self.cluster`."""
    ownership, freshness = NodeOwnership(node), NodeFreshness(node)
    states = States(node.local, node.storage_access.opened, node.leases, node.fencing, ownership, freshness)
    return Surroundings(
        node.local, node.runner, node.leases, node.activations, states, ownership, freshness, NodeServices(node, handle)
    )


def make_topics(node: NodeParts, learn: Callable[[GrainKind], KindHost]) -> Topics:
    """Makes the topics of a node. `learn` makes a kind known to this node that it does not host."""
    local = node.local
    calls = SystemCalls(local, node.peers, node.hosts, TopicActor, TOPICS_KEY)
    registry = RegistryCalls(local, node.context, node.hosts, learn)
    news = TopicNews(local, node.topology, calls)
    counts = TopicCounts(local.config.pubsub.labels_max)
    keepers = KeeperReferences(node.context, node.hosts, learn)
    at_least_once = AtLeastOnce(local, node.topology, keepers, counts)
    definitions = TopicDefinitions(local, registry)
    if local.client:
        delivery = ClientDelivery(local, node.topology, node.peers.connections, calls, counts)
        return Topics(
            local, definitions, news, TopicLoad(counts, None, at_least_once, node.hosts), delivery, at_least_once
        )
    at_most_once = AtMostOnce(local, node.peers.connections, node.peers, calls, counts)
    load = TopicLoad(counts, at_most_once, at_least_once, node.hosts)
    grains = GrainSubscriptions(local, node.context, node.hosts, definitions, at_most_once, at_least_once)
    relay = Relay(local, definitions, at_most_once)
    return Topics(local, definitions, news, load, at_most_once, at_least_once, grains, relay)


def make_kinds(node: NodeParts) -> Iterator[tuple[GrainKind, tuple[Any, ...], str]]:
    """The kinds that a member hosts for the runtime: each with its parts, and the key if it is a system actor."""
    local, topics = node.local, node.topics
    placement = (
        node.bridge.release, node.bridge.taking_over, node.saved_versions, node.reconciliation_answers,
        node.directory, node.survey, node.placed_activations,
    )  # fmt: skip
    yield PlacementActor.inaho_kind, placement, PLACEMENT_KEY
    yield TopicActor.inaho_kind, (topics.definitions, topics.at_most_once, topics.relay), TOPICS_KEY
    yield TopicRegistry.inaho_kind, (local, topics.news, topics.at_least_once.operations), ""
    keeper = (local, node.storage_access, node.leases, topics.definitions, topics.at_least_once.keepers, LostLogs())
    yield TopicLogKeeper.inaho_kind, keeper, ""
    yield SendKeeper.inaho_kind, (local, node.storage_access, node.leases, node.send_calls), ""
    if any(host.hosted and host.kind.reminded for host in node.hosts.values()):
        yield ReminderKeeper.inaho_kind, (local, node.topology, node.storage_access, node.keeper_calls), ""
