"""Reads the values of all instruments from the parts of a node: one function per group, run on the node's loop.

Every instrument of the table is in the result, even without values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from inaho.observe.alerts import bucket_bound_s, quantile_s
from inaho.observe.metrics import INSTRUMENTS, Sample
from inaho.runtime.telemetry.topic_values import topic_values
from inaho.types import MemberStatus

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node
    from inaho.runtime.telemetry.counts import EventCounts, NodeCounts

__all__ = ["read_metrics"]

Values: TypeAlias = Iterator[tuple[str, Sequence[Sample]]]
"""Names of instruments, each with its values."""

BUCKETS: Final = tuple((index, f"{bucket_bound_s(index):.4g}") for index in range(6, 25))
"""The latency buckets that are exported, from 66 us to 17 s, with their labels. Shorter calls count in the first."""

UNCODED: Final = "_OTHER"
"""OpenTelemetry's label for failures without an error code: exceptions of users, and calls cancelled by callers."""

QUANTILES: Final = ((0.5, "0.5"), (0.99, "0.99"))

_STATUSES: Final = tuple(status for status in MemberStatus if status is not MemberStatus.REMOVED)


def read_metrics(node: Node, counts: NodeCounts) -> dict[str, Sequence[Sample]]:
    """The values of all instruments, by name."""
    values: dict[str, Sequence[Sample]] = {instrument.name: () for instrument in INSTRUMENTS}
    values.update(_calls(node, counts))
    values.update(_activations(node, counts))
    values.update(_plain(node))
    values.update(_logs(node))
    values.update(_durable_sends(node))
    values.update(_messages(node))
    values.update(_peers(node, counts))
    values.update(_membership(node))
    values.update(topic_values(node.topics.load, counts.events))
    if node.lifecycle.provisioning is not None:
        values.update(node.lifecycle.provisioning.metric_values())
    if counts.events is not None:
        values.update(_events(counts.events))
    values["inaho.loop.lag"] = _one(max(counts.lag_s, 0.0))
    return values


def _one(value: float) -> list[Sample]:
    return [((), value)]


def _buckets(labels: tuple[str, ...], latency: Sequence[int]) -> Iterator[Sample]:
    """Cumulative counts up to each bound."""
    total, begin = 0, 0
    for index, bound in BUCKETS:
        total += sum(latency[begin : index + 1])
        begin = index + 1
        yield (*labels, bound), total
    yield (*labels, "+Inf"), total + sum(latency[begin:])


def _calls(node: Node, counts: NodeCounts) -> Values:
    labels = counts.labels
    context = node.context
    hosts = [host for host in node.hosts.values() if not host.system and host.calls]
    coded: dict[str, int] = {}
    failures: list[Sample] = []
    for (kind, code), count in context.failures.codes.items():
        coded[kind] = coded.get(kind, 0) + count
        failures.append(((kind, code), count))
    failures += [((host.name, UNCODED), host.failures - coded.get(host.name, 0)) for host in hosts]
    yield "inaho.rpc.client.calls", labels.merged([((host.name,), host.calls) for host in hosts])
    yield "inaho.rpc.client.failures", labels.merged(failures)
    yield "inaho.rpc.client.exceptions", labels.merged(context.failures.exceptions.samples)
    yield (
        "inaho.rpc.client.timeouts",
        labels.merged([((host.name,), context.failures.codes.get((host.name, "timeout"), 0)) for host in hosts]),
    )
    yield (
        "inaho.rpc.client.call.duration.bucket",
        labels.merged([sample for host in hosts for sample in _buckets((host.name,), host.latency)]),
    )
    quantiles: list[Sample] = []
    for kind in dict.fromkeys(labels.of(host.name) for host in hosts):
        latency = counts.alerts.recent(kind).latency
        for quantile, name in QUANTILES:
            if (duration_s := quantile_s(latency, quantile)) is not None:
                quantiles.append(((kind, name), duration_s))
    yield "inaho.rpc.client.call.duration.quantile", quantiles
    yield "inaho.rpc.client.retries", labels.merged(node.retry_warnings.retries.samples)
    yield "inaho.rpc.client.retry_warnings.suppressed", labels.merged(node.retry_warnings.suppressed.samples)
    yield "inaho.rpc.client.pending", _one(sum(len(known.wheel) for known in node.peers.connections.values()))
    yield "inaho.rpc.client.unresolved", _one(context.resolver.unresolved)
    yield "inaho.rpc.client.resolve.duration.bucket", list(_buckets((), context.resolver.latency))
    yield "inaho.alerts.active", [(labels_, 1) for labels_ in counts.alerts.active]


def _activations(node: Node, counts: NodeCounts) -> Values:
    labels = counts.labels
    hosts = [host for host in node.hosts.values() if host.listed]
    active: list[Sample] = [((host.name,), len(host.activations) + len(host.pool or ())) for host in hosts]
    yield "inaho.activations", labels.merged(active)
    load = node.runner.load
    for state, found in (("running", load.running()), ("waiting", load.waiting())):
        turns: list[Sample] = [((host.name,), found.get(host.name, 0)) for host in hosts]
        yield f"inaho.rpc.server.turns.{state}", labels.merged(turns)
    yield "inaho.activations.started", labels.merged(counts.started.samples)
    yield "inaho.activations.failed", labels.merged(counts.failed.samples)
    yield "inaho.activations.ended", labels.merged(counts.ended.samples)
    unloaded = [(host.name, host.passivation) for host in hosts if host.passivation is not None]
    yield "inaho.activations.passivated", labels.merged([((kind,), known.passivated) for kind, known in unloaded])
    yield "inaho.activations.returned", labels.merged([((kind,), known.returned) for kind, known in unloaded])
    failed = [] if counts.events is None else counts.events.samples("handoffs")
    yield "inaho.handoffs", labels.merged(counts.taken.samples + failed)
    ledger = node.leases.ledger
    outcomes = ("refused", "timed_out", "revoked")
    yield "inaho.leases.ended", [((outcome,), getattr(ledger, outcome)) for outcome in outcomes]


def _plain(node: Node) -> Values:
    """Instruments without labels, each one integer of one part."""
    runner, cache, storage = node.runner, node.pid_cache, node.storage_access.storage
    for name, value in (
        ("inaho.rpc.server.turns", runner.started),
        ("inaho.rpc.server.turns.suspended", runner.suspended),
        ("inaho.rpc.server.turns.refused", runner.refused),
        ("inaho.rpc.server.turns.expired", node.acceptor.turns_expired),
        ("inaho.pid_cache.entries", len(cache)),
        ("inaho.pid_cache.hits", cache.hits),
        ("inaho.pid_cache.misses", cache.misses),
        ("inaho.pid_cache.invalidations", cache.invalidations),
        ("inaho.pid_cache.evictions", cache.evictions),
        ("inaho.pid_cache.expirations", cache.expirations),
        ("inaho.storage.loads", storage.loads),
        ("inaho.storage.saves", storage.saves),
        ("inaho.storage.conflicts", storage.conflicts),
        ("inaho.storage.failures", storage.failures),
        ("inaho.gossip.control.dropped", node.peers.control_dropped),
        ("inaho.events.callback_failures", node.local.events.callback_errors),
    ):
        yield name, _one(value)


def _logs(node: Node) -> Values:
    log = node.storage_access.storage.log
    if log is not None:
        for name in ("appends", "records", "reads", "conflicts", "failures"):
            yield f"inaho.storage.log.{name}", _one(getattr(log, name))


def _durable_sends(node: Node) -> Values:
    counts = node.send_calls.counts
    yield "inaho.sends.stored", _one(counts.stored)
    yield "inaho.sends.calls", [((name,), getattr(counts, name)) for name in ("ran", "failed", "refused")]
    yield "inaho.sends.given_up", _one(counts.given_up)
    yield "inaho.sends.pending", _one(sum(sends.pending for sends in counts.keepers.values()))
    yield "inaho.sends.dead", _one(sum(sends.dead for sends in counts.keepers.values()))


def _messages(node: Node) -> Values:
    counts = node.remoting.counts()
    for name in ("accepted", "refused", "drained", "waiting", "unacknowledged", "received", "stale", "unserializable"):
        yield f"inaho.messages.{name}", _one(getattr(counts, name))
    outcomes = ("delivered", "dead_lettered", "in_doubt")
    yield "inaho.messages.ended", [((outcome,), getattr(counts, outcome)) for outcome in outcomes]
    dead = node.remoting.system.dead_letters.counts
    yield "inaho.dead_letters", [((reason,), count) for reason, count in dead.items()]


def _peers(node: Node, counts: NodeCounts) -> Values:
    traffic = counts.traffic
    accepted, dialled = len(node.acceptor.connections), len(node.peers.connections)
    yield "inaho.connections", [(("in",), accepted), (("out",), dialled)]
    yield "inaho.connections.opened", [((direction,), count) for direction, count in traffic.opened.items()]
    sent, received = traffic.totals()
    yield "inaho.network.io", [(("transmit",), sent), (("receive",), received)]
    yield "inaho.authorities.quarantined", _one(len(node.associations.quarantined()))


def _membership(node: Node) -> Values:
    topology = node.topology.snapshot
    if topology is None:
        return
    by_status: dict[MemberStatus, int] = dict.fromkeys(_STATUSES, 0)
    for member in topology.members:
        by_status[member.status] += 1
    yield "inaho.members", [((status.name.lower(),), count) for status, count in by_status.items()]
    yield "inaho.topology.version", _one(topology.version)
    yield "inaho.block_list.size", _one(len(topology.blocked))


def _events(events: EventCounts) -> Values:
    """Counters of events."""
    if events.convergence_s is not None:
        yield "inaho.gossip.convergence.time", _one(events.convergence_s)
    for name, counted in (
        ("inaho.rpc.serialization.failures", "serialization"),
        ("inaho.alerts.raised", "alerts"),
        ("inaho.connections.refused", "refused"),
        ("inaho.members.events", "members"),
        ("inaho.views.refused", "views"),
    ):
        yield name, events.samples(counted)
    for name, counted in (
        ("inaho.quarantines", "quarantines"),
        ("inaho.quarantines.ended", "released"),
        ("inaho.reconnections", "reconnections"),
        ("inaho.gossip.convergences", "convergences"),
        ("inaho.gossip.convergences.delayed", "delayed"),
        ("inaho.views.conflicts", "conflicts"),
        ("inaho.pauses", "pauses"),
    ):
        yield name, _one(events.total(counted))
