"""Builds those rooms of a node whose parts only know each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.runtime.calls.call_order import CallOrder
from inaho.runtime.calls.cluster_context import ClusterContext
from inaho.runtime.calls.failures import CallFailures
from inaho.runtime.calls.resolver import Resolver
from inaho.runtime.calls.retrying import Retrying
from inaho.runtime.calls.stream_calls import StreamCalls

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node

__all__ = ["make_context"]


def make_context(node: Node) -> ClusterContext:
    """The caller's side of a node whose lower rooms are there."""
    local, topology, chains = node.local, node.topology, node.runner.chains
    resolver = Resolver(local, topology, node.pid_cache, node.peers, node.leases, node.locator)
    order = CallOrder(local, topology, node.hosts, node.pid_cache, node.peers, node.placement_calls, resolver)
    retrying = Retrying(local, chains, resolver, node.retry_warnings)
    streams = StreamCalls(local, topology, chains, resolver, retrying)
    return ClusterContext(local, topology, node.runner, resolver, order, retrying, streams, CallFailures(local))
