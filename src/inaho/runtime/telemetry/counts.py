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
    NodePaused,
    SerializationFailure,
    ViewConflict,
    ViewRefused,
)
from inaho.observe.alerts import Alerts, KindTotals
from inaho.runtime.local.tally import Tally

if TYPE_CHECKING:
    from inaho.actor import EventStream
    from inaho.observe.metrics import Sample
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.node.node import Node

__all__ = ["EventCounts", "KindLabels", "NodeCounts", "Traffic"]


class KindLabels:
    """Which kinds have figures of their own: the first `kinds_max` that were met, for as long as the node lives."""

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
        """Samples whose first label is a kind, those of the kinds without a label of their own added up."""
        merged: dict[tuple[str, ...], float] = {}
        for labels, value in samples:
            named = (self.of(labels[0]), *labels[1:])
            merged[named] = merged.get(named, 0) + value
        return list(merged.items())


class Traffic:
    """Connections that were opened, and the bytes of all, those that are closed included.

    A connection counts its own bytes. It is remembered here until it is closed, and its sums then go to the others.

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
        """A connection has just been opened to or by `authority`: met now, since it may be closed at the next sweep."""
        node = self._node
        accepted = next(reversed(node.acceptor.connections), None)
        if accepted is not None:
            self._meet(accepted, "in")
        dialled = node.peers.connections.get(authority)
        if dialled is not None:
            self._meet(dialled, "out")

    def sweep(self) -> None:
        """Lets go of what is closed."""
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
    """What is counted from the event stream. None of it is on the path of a call.

    Attributes:
        convergence_s: as last measured; None before.
    """

    def __init__(self, events: EventStream, traffic: Traffic) -> None:
        self.convergence_s: float | None = None
        self._traffic = traffic
        self._tallies: dict[str, Tally] = {}
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
            NodePaused: lambda _: self._add("pauses"),
            SerializationFailure: lambda event: self._add("serialization", event.direction),
            ViewConflict: lambda _: self._add("conflicts"),
            ViewRefused: lambda event: self._add("views", event.refused, event.rule),
        }
        self.close = events.subscribe_callback((MemberEvent, *self._handlers), self._count)

    def samples(self, name: str) -> list[Sample]:
        """The counts of one name, by their labels."""
        tally = self._tallies.get(name)
        return [] if tally is None else tally.samples

    def total(self, name: str) -> int:
        """The count of a name without labels."""
        tally = self._tallies.get(name)
        return 0 if tally is None else tally.get()

    def _count(self, event: Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)
        else:
            self._add("members", type(event).__name__)

    def _add(self, name: str, *labels: str) -> None:
        tally = self._tallies.get(name)
        if tally is None:
            tally = self._tallies[name] = Tally()
        tally.add(*labels)

    def _connected(self, event: AuthorityConnected) -> None:
        if event.reconnected:
            self._add("reconnections")

    def _converged(self, event: ConvergenceReached) -> None:
        self.convergence_s = event.elapsed_s
        self._add("convergences")


class NodeCounts:
    """What one node counts for its metrics beside what its parts count for themselves.

    Args:
        node: whose kinds and connections are counted.

    Attributes:
        labels: the kinds that have figures of their own.
        alerts: what is too slow or fails too often.
        lag_s: the greatest lag of the loop within the last second or two.
        started, ended, failed, taken: activations by kind, the ended ones by reason too.
        traffic: connections and their bytes.
        events: what was counted from the event stream; None when metrics are off.
    """

    def __init__(self, node: Node) -> None:
        config = node.local.config
        self.labels = KindLabels(config.metrics.kinds_max)
        self.alerts = Alerts(config.alerts)
        self.lag_s = 0.0
        self.started = Tally()
        self.ended = Tally()
        self.failed = Tally()
        self.taken = Tally()
        self.traffic = Traffic(node)
        self.events = EventCounts(node.local.events, self.traffic) if config.metrics.enabled else None
        self._node = node

    def noted(self, kind: str, _key: str, what: str, reason: str) -> None:
        """Something became of an activation; `what` as in `HistoryEntry`."""
        if what == "ended":
            self.ended.add(kind, reason)
        elif what == "started":
            self.started.add(kind)
        elif what == "failed":
            self.failed.add(kind)
        elif what == "took_over":
            self.taken.add(kind, "taken")

    def totals(self) -> dict[str, KindTotals]:
        """What the alerts are fed: of each kind that was called."""
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
        for tally in (self.started, self.ended, self.failed, self.taken):
            tally.check()
