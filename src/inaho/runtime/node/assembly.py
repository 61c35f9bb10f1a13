"""Builds rooms of a node from the parts that exist already."""

from __future__ import annotations

from collections.abc import Callable
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

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubts
    from inaho.runtime.freshness.proved_kinds import ProvedKinds
    from inaho.runtime.node.parts import NodeParts

__all__ = ["make_context", "make_freshness", "make_surroundings"]


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
