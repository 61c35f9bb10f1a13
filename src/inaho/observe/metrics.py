"""Exports the metrics of a node as OpenTelemetry instruments, read when an exporter asks (DESIGN section 8).

The call path adds to plain integers. All instruments here are *observable*: the SDK calls back when it collects, and
gets the present values of the integers. Without a collector the cost is only these additions, and with the API alone,
or no SDK configured, all of this does nothing.

OpenTelemetry has no observable histogram, and a synchronous one would cost more per call than a call on this node
takes. So a latency is exported as the parts of a histogram: one counter per bucket, cumulative, with the upper bound in
`le`, as `histogram_quantile` of Prometheus expects it. Computed percentiles are exported as gauges, over the window of
the alerts. Replaying bucket counts into a synchronous histogram was turned down: its time is proportional to the number
of calls, at once, on the thread that collects.

Names follow the conventions of OpenTelemetry: singular subjects with dots, units in UCUM, `error.type` and
`network.io.direction` where they exist. `rpc.client.call.duration` itself is not used, since the conventions make it a
histogram. Every label has a bound; keys of grains and texts of errors are in none.

A process may have several nodes. Instruments are made once per meter provider, and each value has the label
`inaho.node`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider, Observation

__all__ = ["INSTRUMENTS", "NODE_LABEL", "Instrument", "MetricSource", "Sample", "export_metrics"]

NODE_LABEL: Final = "inaho.node"
"""Tells nodes of one process apart: the authority of a member, `client-1` and so on for clients."""

Sample: TypeAlias = tuple[tuple[str, ...], float]
"""One value: values of the instrument's labels, in their order, and the number."""

Kind: TypeAlias = Literal["counter", "updown", "gauge"]


class Instrument(NamedTuple):
    """One row of the table of metrics.

    Attributes:
        name: of the instrument.
        kind: a `counter` only grows; an `updown` is an amount that can be summed over nodes; a `gauge` cannot.
        unit: in UCUM.
        labels: names of the attributes of every value, besides `inaho.node`.
        description: one sentence.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    description: str


KIND: Final = "inaho.kind"
_CODE: Final = "error.type"
_REASON: Final = "inaho.reason"
_SIDE: Final = "inaho.direction"
_PROVIDER: Final = "inaho.provider"
_TOPIC: Final = "inaho.topic"

# fmt: off
INSTRUMENTS: Final = (
    # Calls of grains, as the callers on this node see them.
    Instrument("inaho.rpc.client.calls", "counter", "{call}", (KIND,),
        "Calls begun, streams included"),
    Instrument("inaho.rpc.client.failures", "counter", "{call}", (KIND, _CODE),
        "Calls that failed, by error code; `_OTHER`: exceptions that are not registered, cancelled calls"),
    Instrument("inaho.rpc.client.exceptions", "counter", "{call}", (KIND, _CODE),
        "Calls that ended with an exception that the program has registered, by its name; not among the failures"),
    Instrument("inaho.rpc.client.timeouts", "counter", "{call}", (KIND,),
        "Calls whose deadline passed, part of the failures. Timeouts inside a method on the same node are not counted"),
    Instrument("inaho.rpc.client.call.duration.bucket", "counter", "{call}", (KIND, "le"),
        "Successful calls that took at most `le` seconds, cumulative"),
    Instrument("inaho.rpc.client.call.duration.quantile", "gauge", "s", (KIND, "quantile"),
        "Duration of successful calls within `alerts.window_s`"),
    Instrument("inaho.rpc.client.retries", "counter", "{retry}", (KIND,),
        "Attempts after the first"),
    Instrument("inaho.rpc.client.retry_warnings.suppressed", "counter", "{warning}", (KIND,),
        "Retries that were not logged, because many were (`rpc.retry_warnings_max`)"),
    Instrument("inaho.rpc.client.pending", "updown", "{call}", (),
        "Calls to other nodes that wait for an answer"),
    Instrument("inaho.rpc.client.unresolved", "counter", "{call}", (),
        "Attempts for which there was no owner"),
    Instrument("inaho.rpc.client.resolve.duration.bucket", "counter", "{resolution}", ("le",),
        "Resolutions on a miss of the PidCache that took at most `le` seconds, a dial included, cumulative"),
    Instrument("inaho.rpc.serialization.failures", "counter", "{message}", (_SIDE,),
        "Messages not decoded (`in`) or encoded (`out`) on this node, and calls that failed for this reason (`call`)"),
    Instrument("inaho.alerts.active", "updown", "{alert}", (KIND, "inaho.measure"),
        "1 while a kind exceeds a threshold of the group `alerts`"),
    Instrument("inaho.alerts.raised", "counter", "{alert}", (KIND, "inaho.measure"),
        "Alerts raised"),
    # Calls of grains, as this node runs them.
    Instrument("inaho.rpc.server.turns", "counter", "{turn}", (),
        "Turns begun for callers on other nodes, or after waiting in a queue"),
    Instrument("inaho.rpc.server.turns.suspended", "counter", "{turn}", (),
        "Turns that did not end in their first step"),
    Instrument("inaho.rpc.server.turns.running", "updown", "{turn}", (KIND,),
        "Turns that have begun and not ended, of all callers"),
    Instrument("inaho.rpc.server.turns.waiting", "updown", "{turn}", (KIND,),
        "Turns in the queues of busy activations, of all callers (`activation.queue_depth` bounds each queue)"),
    Instrument("inaho.rpc.server.turns.refused", "counter", "{turn}", (),
        "Turns refused or dropped by a full queue (`activation.queue_depth`)"),
    Instrument("inaho.rpc.server.turns.expired", "counter", "{turn}", (),
        "Turns of other nodes whose deadline passed here"),
    # Activations.
    Instrument("inaho.activations", "updown", "{activation}", (KIND,),
        "Activations on this node"),
    Instrument("inaho.activations.started", "counter", "{activation}", (KIND,),
        "Activations that started"),
    Instrument("inaho.activations.failed", "counter", "{activation}", (KIND,),
        "Activations that did not start"),
    Instrument("inaho.activations.ended", "counter", "{activation}", (KIND, _REASON),
        "Activations that ended"),
    Instrument("inaho.activations.passivated", "counter", "{activation}", (KIND,),
        "Activations unloaded when idle; if most of them are soon called again, raise `activation.idle_ttl_s`"),
    Instrument("inaho.activations.returned", "counter", "{activation}", (KIND,),
        "Unloaded activations that were called again within their time to live"),
    Instrument("inaho.handoffs", "counter", "{activation}", (KIND, "inaho.outcome"),
        "Activations taken over from another node: `taken`, or `failed` because their state was missing"),
    Instrument("inaho.leases.ended", "counter", "{lease}", ("inaho.outcome",),
        "Requests and leases that went wrong: `refused`, `timed_out` or `revoked`"),
    Instrument("inaho.pid_cache.entries", "updown", "{entry}", (),
        "Entries of the PidCache"),
    Instrument("inaho.pid_cache.hits", "counter", "{lookup}", (),
        "Look-ups that the PidCache answered"),
    Instrument("inaho.pid_cache.misses", "counter", "{lookup}", (),
        "Look-ups that it did not answer"),
    Instrument("inaho.pid_cache.invalidations", "counter", "{entry}", (),
        "Entries dropped because a change made them wrong"),
    Instrument("inaho.pid_cache.evictions", "counter", "{entry}", (),
        "Entries dropped to make room for others (`activation.pid_cache_size`)"),
    Instrument("inaho.pid_cache.expirations", "counter", "{entry}", (),
        "Entries found too old (`activation.pid_cache_ttl_s`)"),
    Instrument("inaho.storage.loads", "counter", "{operation}", (),
        "Loads of state, of all nodes that share the storage object"),
    Instrument("inaho.storage.saves", "counter", "{operation}", (),
        "Saves and deletions that were acknowledged, likewise"),
    Instrument("inaho.storage.conflicts", "counter", "{operation}", (),
        "Saves refused because another activation had saved, likewise"),
    Instrument("inaho.storage.failures", "counter", "{operation}", (),
        "Operations that the storage failed, likewise"),
    Instrument("inaho.storage.log.appends", "counter", "{operation}", (),
        "Appends to logs of topics that were acknowledged, of all nodes that share the storage object"),
    Instrument("inaho.storage.log.records", "counter", "{record}", (),
        "Records in them"),
    Instrument("inaho.storage.log.reads", "counter", "{operation}", (),
        "Reads of logs"),
    Instrument("inaho.storage.log.conflicts", "counter", "{operation}", (),
        "Operations on logs refused because another keeper had opened the log, or had appended"),
    Instrument("inaho.storage.log.failures", "counter", "{operation}", (),
        "Operations on logs that the storage failed"),
    # Topics. Those beyond `pubsub.labels_max` count as `other`.
    Instrument("inaho.topic.published", "counter", "{message}", (_TOPIC,),
        "Messages published by this node; at least once, those that are stored"),
    Instrument("inaho.topic.received", "counter", "{message}", (_TOPIC,),
        "Messages that have come to this node for its subscribers"),
    Instrument("inaho.topic.delivered", "counter", "{message}", (_TOPIC,),
        "Messages given to subscribers on this node, each subscriber counted"),
    Instrument("inaho.topic.redelivered", "counter", "{message}", (_TOPIC,),
        "Deliveries after the first one that have come to this node, at least once"),
    Instrument("inaho.topic.dead_lettered", "counter", "{message}", (_TOPIC,),
        "Messages given up by a subscription, as the keepers on this node say"),
    Instrument("inaho.topic.dropped", "counter", "{message}", (_TOPIC, _REASON),
        "Messages dropped by this node, once for each node or subscriber that did not get them"),
    Instrument("inaho.topic.lag", "updown", "{message}", (_TOPIC,),
        "Messages in the partitions kept on this node that the slowest subscription has not settled"),
    Instrument("inaho.topic.missed", "counter", "{message}", (_TOPIC,),
        "Messages at most once that were published for this node and have not come"),
    Instrument("inaho.topic.latency.quantile", "gauge", "s", (_TOPIC, "quantile"),
        "Time from `publish` to the arrival at this node, of the newest batches; clocks of machines may differ"),
    Instrument("inaho.topic.bottleneck", "gauge", "1", (_TOPIC, "inaho.stage"),
        "1 for what limited a topic within the last second: `publisher`, `network`, `log` or `subscriber`; else 0"),
    # Durable sends.
    Instrument("inaho.sends.stored", "counter", "{call}", (),
        "Durable sends that were stored by the keepers of this node"),
    Instrument("inaho.sends.calls", "counter", "{call}", ("inaho.outcome",),
        "Calls that these keepers made: `ran`, `failed`, or `refused` (they certainly did not run)"),
    Instrument("inaho.sends.given_up", "counter", "{call}", (),
        "Durable sends that were given up after failures"),
    Instrument("inaho.sends.pending", "updown", "{call}", (),
        "Durable sends that have not ended, of the partitions kept here, dead letters included"),
    Instrument("inaho.sends.dead", "updown", "{call}", (),
        "Dead letters among them"),
    # Messages between actors.
    Instrument("inaho.messages.accepted", "counter", "{message}", (),
        "Messages to actors of other nodes accepted for sending"),
    Instrument("inaho.messages.ended", "counter", "{message}", ("inaho.outcome",),
        "Accepted messages whose outcome is known: `delivered`, `dead_lettered` or `in_doubt`"),
    Instrument("inaho.messages.refused", "counter", "{message}", (),
        "Messages that were not accepted"),
    Instrument("inaho.messages.drained", "counter", "{message}", (),
        "Messages that had waited for a connection and were sent"),
    Instrument("inaho.messages.waiting", "updown", "{message}", (),
        "Messages in the delay queues"),
    Instrument("inaho.messages.unacknowledged", "updown", "{message}", (),
        "Messages sent and not acknowledged"),
    Instrument("inaho.messages.received", "counter", "{message}", (),
        "Messages received from other nodes"),
    Instrument("inaho.messages.stale", "counter", "{message}", (),
        "Received messages dropped because a newer connection had replaced theirs"),
    Instrument("inaho.messages.unserializable", "counter", "{message}", (),
        "Messages that were not sent or delivered because they could not be encoded or decoded"),
    Instrument("inaho.dead_letters", "counter", "{message}", (_REASON,),
        "Messages that reached no actor, local ones included"),
    # Peers.
    Instrument("inaho.connections", "updown", "{connection}", (_SIDE,),
        "Open connections, accepted (`in`) and dialled (`out`)"),
    Instrument("inaho.connections.opened", "counter", "{connection}", (_SIDE,),
        "Connections opened"),
    Instrument("inaho.connections.refused", "counter", "{connection}", (_CODE,),
        "Handshakes that failed, in either direction, by error code"),
    Instrument("inaho.network.io", "counter", "By", ("network.io.direction",),
        "Bytes of frames sent (`transmit`) and received (`receive`)"),
    Instrument("inaho.authorities.quarantined", "updown", "{authority}", (),
        "Authorities to which nothing is sent now"),
    Instrument("inaho.quarantines", "counter", "{quarantine}", (),
        "Quarantines begun"),
    Instrument("inaho.quarantines.ended", "counter", "{quarantine}", (),
        "Quarantines ended"),
    Instrument("inaho.reconnections", "counter", "{connection}", (),
        "Authorities reached again after they could not be reached"),
    # Membership.
    Instrument("inaho.members", "gauge", "{member}", ("inaho.member.status",),
        "Members as this node sees them"),
    Instrument("inaho.members.events", "counter", "{event}", ("inaho.event",),
        "Events of members, by class"),
    Instrument("inaho.topology.version", "gauge", "1", (),
        "Version of the topology in force"),
    Instrument("inaho.block_list.size", "gauge", "{authority}", (),
        "Authorities that may hold no activation"),
    Instrument("inaho.gossip.convergence.time", "gauge", "s", (),
        "Time from a change until the tables were equal, as last measured on this node"),
    Instrument("inaho.gossip.convergences", "counter", "{convergence}", (),
        "Times that the tables became equal"),
    Instrument("inaho.gossip.convergences.delayed", "counter", "{convergence}", (),
        "Times that this took longer than `gossip.convergence_s`"),
    Instrument("inaho.gossip.control.dropped", "counter", "{message}", (),
        "Control messages dropped because there was no connection, or its buffer was full"),
    Instrument("inaho.views.refused", "counter", "{view}", ("inaho.view", "inaho.rule"),
        "Conflicts of views that were settled: which view was refused, by which rule"),
    Instrument("inaho.views.conflicts", "counter", "{conflict}", (),
        "Conflicts of views that an operator must settle"),
    # Providers of topology.
    Instrument("inaho.provider.state", "gauge", "1", (_PROVIDER, "inaho.state"),
        "1 for the state of a provider: `starting`, `up`, `degraded` or `down`; 0 for the others"),
    Instrument("inaho.provider.active", "gauge", "1", (_PROVIDER,),
        "1 for the provider whose snapshots are used"),
    Instrument("inaho.provider.last_answer.age", "gauge", "s", (_PROVIDER,),
        "Time since a provider has answered"),
    Instrument("inaho.provider.snapshot.delay", "gauge", "s", (_PROVIDER,),
        "How long the newest read of all entries took"),
    Instrument("inaho.provider.snapshot.seq_no", "gauge", "1", (_PROVIDER,),
        "Number of the newest snapshot of a provider"),
    Instrument("inaho.provider.interruptions", "counter", "{interruption}", (_PROVIDER,),
        "Times that a provider began to fail"),
    Instrument("inaho.provider.fail_overs", "counter", "{change}", (),
        "Changes from one provider to another because of their health"),
    Instrument("inaho.provider.remotes", "gauge", "1", ("inaho.remote", "inaho.state"),
        "1 for the state of a listed member: `up`, `degraded` or `blocked`; members beyond 256 are summed as `other`"),
    Instrument("inaho.provider.remotes.last_update.age", "gauge", "s", (),
        "Time since the newest snapshot was applied"),
    # The process.
    Instrument("inaho.loop.lag", "gauge", "s", (),
        "Largest delay of the event loop within the last second"),
    Instrument("inaho.pauses", "counter", "{pause}", (),
        "Times that the process did not run"),
    Instrument("inaho.events.callback_failures", "counter", "{failure}", (),
        "Exceptions raised by subscribers of events"),
)
# fmt: on
"""Every metric of a node, in the order of `docs/metrics.md`."""


class MetricSource(Protocol):
    """A node whose metrics are exported. `samples` is called on the thread that collects."""

    def samples(self, name: str) -> Sequence[Sample]:
        """The present values of one instrument; empty when there are none. Must not raise."""
        ...

    @property
    def node_label(self) -> str:
        """The label of the node, or empty for a client."""
        ...


class _Exporter:
    """The instruments of one meter provider, and the nodes that they read.

    Nodes are referenced weakly: instruments cannot be unregistered, and a node that was dropped without a stop must not
    be kept alive.
    """

    def __init__(self, provider: MeterProvider | None) -> None:
        from opentelemetry.metrics import get_meter

        self._lock = Lock()
        self._sources: dict[int, ref[MetricSource]] = {}
        meter = get_meter("inaho", meter_provider=provider)
        makers = {
            "counter": meter.create_observable_counter,
            "updown": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }
        for instrument in INSTRUMENTS:
            makers[instrument.kind](
                instrument.name,
                callbacks=[self._callback(instrument)],
                unit=instrument.unit,
                description=instrument.description,
            )

    def add(self, source: MetricSource) -> None:
        """Begins to read `source`. Its number, and with it a client's label, is the lowest free one."""
        with self._lock:
            known = {number: held for number, held in self._sources.items() if held() is not None}
            if any(held() is source for held in known.values()):
                return
            number = next(number for number in range(1, len(known) + 2) if number not in known)
            self._sources = {**known, number: ref(source)}

    def remove(self, source: MetricSource) -> None:
        """Ends reading `source`."""
        with self._lock:
            self._sources = {number: held for number, held in self._sources.items() if held() not in (None, source)}

    def _callback(self, instrument: Instrument) -> Any:
        from opentelemetry.metrics import Observation

        def observe(_options: object) -> Iterable[Observation]:
            found: list[Observation] = []
            for number, held in self._sources.items():  # never changed, only replaced
                source = held()
                if source is None:
                    continue
                node = source.node_label or f"client-{number}"
                for labels, value in source.samples(instrument.name):
                    attributes = dict(zip(instrument.labels, labels, strict=True))
                    attributes[NODE_LABEL] = node
                    found.append(Observation(value, attributes))
            return found

        return observe


_exporters: Final[WeakKeyDictionary[Any, _Exporter]] = WeakKeyDictionary()
_default: list[_Exporter] = []
_making: Final = Lock()


def export_metrics(source: MetricSource, provider: MeterProvider | None = None) -> Any:
    """Exports the metrics of `source` to a meter provider, until the returned function is called.

    Args:
        source: referenced weakly.
        provider: None for the global one, which may also be set later.
    """
    exporter = _exporter_of(provider)
    exporter.add(source)
    held = ref(source)

    def stop() -> None:
        known = held()
        if known is not None:
            exporter.remove(known)

    return stop


def _exporter_of(provider: MeterProvider | None) -> _Exporter:
    """One per provider. The global one may be a proxy now and another object later, so it has a place of its own."""
    from opentelemetry.metrics import get_meter_provider

    with _making:
        if provider is None or provider is get_meter_provider():
            if not _default:
                _default.append(_Exporter(None))
            return _default[0]
        exporter = _exporters.get(provider)
        if exporter is None:
            exporter = _exporters[provider] = _Exporter(provider)
        return exporter
