"""Counters that no part of a node keeps itself: by label, of events, and of the traffic of connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from inaho.core.rpc.throttle import OTHER
from inaho.events import (
    AlertRaised,
    AuthorityConnected,
    AuthorityQuarantined,
    AuthorityReleased,
    ConnectionOpened,
    ConnectionRefused,
    ConvergenceDelayed,
    ConvergenceReached,
    Event,
    HandOffFailed,
    MemberEvent,
    MessageDeadLettered,
    MessagesDropped,
    NodePaused,
    SerializationFailure,
    ViewConflict,
    ViewRefused,
)
from inaho.observe.alerts import Alerts, KindTotals
from inaho.runtime.local.labelled_counter import LabelledCounter

if TYPE_CHECKING:
    from inaho.actor import EventStream
    from inaho.observe.metrics import Sample
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.local.history import ActivationHistory
    from inaho.runtime.node.node import Node

__all__ = ["EventCounts", "KindLabels", "NodeCounts", "Traffic"]


class KindLabels:
    """Decides which kinds have labels of their own: the first `kinds_max` kinds, for as long as the node runs."""

    def __init__(self, kinds_max: int) -> None:
        self._kinds_max = kinds_max
        self._labels: dict[str, str] = {}

    def of(self, kind: str) -> str:
        """The label of a kind: its name, or `other`."""
        label = self._labels.get(kind)
        if label is not None:
            return label
        if len(self._labels) >= self._kinds_max:
            return OTHER
        self._labels[kind] = kind
        return kind

    def merged(self, samples: list[Sample]) -> list[Sample]:
        """Renames the first label, a kind, with `of`, and adds up the samples that get the same labels."""
        merged: dict[tuple[str, ...], float] = {}
        for labels, value in samples:
            named = (self.of(labels[0]), *labels[1:])
            merged[named] = merged.get(named, 0) + value
        return list(merged.items())


class Traffic:
    """Counts opened connections, and the bytes of all connections, closed ones included.

    A connection counts its own bytes. `Traffic` keeps it until it is closed, then adds its bytes to the sums.

    Attributes:
        opened: connections so far, by direction.
    """

    def __init__(self, node: Node) -> None:
        self.opened = {"in": 0, "out": 0}
        self._node = node
        self._known: dict[Connection, None] = {}
        self._sent = 0
        self._received = 0

    def announced(self, authority: str) -> None:
        """Adds the connection just opened to or by `authority`. At the next sweep it may be closed already."""
        node = self._node
        accepted = next(reversed(node.acceptor.connections), None)
        if accepted is not None:
            self._meet(accepted, "in")
        dialled = node.peers.connections.get(authority)
        if dialled is not None:
            self._meet(dialled, "out")

    def sweep(self) -> None:
        """Removes closed connections, and adds their bytes to the sums."""
        for connection in [known for known in self._known if known.closed]:
            del self._known[connection]
            self._sent += connection.bytes_sent
            self._received += connection.bytes_received

    def totals(self) -> tuple[int, int]:
        """Bytes sent and received so far."""
        known = self._known
        return (
            self._sent + sum(connection.bytes_sent for connection in known),
            self._received + sum(connection.bytes_received for connection in known),
        )

    def _meet(self, connection: Connection, direction: str) -> None:
        if connection not in self._known and not connection.closed:
            self._known[connection] = None
            self.opened[direction] += 1


class EventCounts:
    """Counts events of the event stream. None of them is published on the path of a call.

    Attributes:
        convergence_s: the last measured convergence time; None before the first.
    """

    def __init__(self, events: EventStream, traffic: Traffic) -> None:
        self.convergence_s: float | None = None
        self._traffic = traffic
        self._counters: dict[str, LabelledCounter] = {}
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            AlertRaised: lambda event: self._add("alerts", event.kind, event.measure),
            AuthorityConnected: self._connected,
            AuthorityQuarantined: lambda _: self._add("quarantines"),
            AuthorityReleased: lambda _: self._add("released"),
            ConnectionOpened: lambda event: self._traffic.announced(event.authority),
            ConnectionRefused: lambda event: self._add("refused", event.code),
            ConvergenceDelayed: lambda _: self._add("delayed"),
            ConvergenceReached: self._converged,
            HandOffFailed: lambda event: self._add("handoffs", event.identity.kind, "failed"),
            MessageDeadLettered: lambda event: self._add("dead_lettered", event.topic),
            MessagesDropped: self._dropped,
            NodePaused: lambda _: self._add("pauses"),
            SerializationFailure: lambda event: self._add("serialization", event.direction),
            ViewConflict: lambda _: self._add("conflicts"),
            ViewRefused: lambda event: self._add("views", event.refused, event.rule),
        }
        self.close = events.subscribe_callback((MemberEvent, *self._handlers), self._count)

    def samples(self, name: str) -> list[Sample]:
        """The counts of one name, by their labels."""
        counter = self._counters.get(name)
        return [] if counter is None else counter.samples

    def total(self, name: str) -> int:
        """The count of a name without labels."""
        counter = self._counters.get(name)
        return 0 if counter is None else counter.get()

    def _count(self, event: Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)
        else:
            self._add("members", type(event).__name__)

    def _add(self, name: str, *labels: str, count: int = 1) -> None:
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = LabelledCounter()
        counter.add(*labels, count=count)

    def _connected(self, event: AuthorityConnected) -> None:
        if event.reconnected:
            self._add("reconnections")

    def _dropped(self, event: MessagesDropped) -> None:
        if event.reason == "backlog":  # the others are counted where they are dropped
            self._add("backlog", event.topic, count=event.count)

    def _converged(self, event: ConvergenceReached) -> None:
        self.convergence_s = event.elapsed_s
        self._add("convergences")


class NodeCounts:
    """The counters of one node that none of its parts keeps itself.

    Args:
        node: whose kinds and connections are counted.

    Attributes:
        labels: the labels of kinds.
        alerts: finds kinds that are too slow or fail too often.
        lag_s: the greatest lag of the loop within the last second or two.
        started, ended, failed, taken: activations by kind; `ended` by reason too.
        traffic: connections and their bytes.
        events: counters of events; None when metrics are off.
    """

    def __init__(self, node: Node) -> None:
        config = node.local.config
        self.labels = KindLabels(config.metrics.kinds_max)
        self.alerts = Alerts(config.alerts)
        self.lag_s = 0.0
        self.started = LabelledCounter()
        self.ended = LabelledCounter()
        self.failed = LabelledCounter()
        self.taken = LabelledCounter()
        self.traffic = Traffic(node)
        self.events = EventCounts(node.local.events, self.traffic) if config.metrics.enabled else None
        self._node = node

    def follow(self, history: ActivationHistory) -> None:
        """Counts what becomes of activations from now on."""
        history.observe("started", lambda kind, _key, _reason: self.started.add(kind))
        history.observe("failed", lambda kind, _key, _reason: self.failed.add(kind))
        history.observe("took_over", lambda kind, _key, _reason: self.taken.add(kind, "taken"))
        history.observe("ended", lambda kind, _key, reason: self.ended.add(kind, reason))

    def totals(self) -> dict[str, KindTotals]:
        """Latencies and failures of each kind that was called, for the alerts."""
        totals: dict[str, KindTotals] = {}
        for host in list(self._node.hosts.values()):
            if host.system or not host.calls:
                continue
            label = self.labels.of(host.name)
            found = KindTotals(tuple(host.latency), host.failures, host.exceptions)
            totals[label] = totals[label] + found if label in totals else found
        return totals

    def check(self) -> None:
        """Asserts the invariants."""
        self.alerts.check()
        for counter in (self.started, self.ended, self.failed, self.taken):
            counter.check()
