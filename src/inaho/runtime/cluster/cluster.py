"""`Cluster`: the interface of a process to its cluster."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar, overload

from inaho.actor import ActorRef, ActorSystem, Subscription
from inaho.actor.uninterrupted import uninterrupted
from inaho.config import CALL_TIMEOUT_MAX_S, ClusterConfig
from inaho.core.identity.identity import validate_key, validate_kind
from inaho.errors import InvalidArguments, InvalidConfig, InvalidGrain
from inaho.events import Event
from inaho.runtime.calls.reference import make_reference
from inaho.runtime.calls.sends import Sends
from inaho.runtime.grains.grain import Grain, GrainKind, unknown_kind
from inaho.runtime.grains.method import GrainMethod
from inaho.runtime.operators.operations import Operations
from inaho.runtime.operators.operator_actor import OPERATOR_KEY, OperatorActor
from inaho.runtime.operators.provider_operations import PROVIDERS_KEY, OfProviders, ProviderActor
from inaho.runtime.operators.terminations import Terminations
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.runtime.telemetry.node_metrics import NodeMetrics
from inaho.runtime.topic_logs.durable_sends import DurableSends
from inaho.runtime.topic_logs.of_sends import OfSends
from inaho.runtime.topics.of_topics import OfTopics
from inaho.types import Member, Pid

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from inaho.core.delivery.associations import Association
    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.messages.accounts import DeliveryCounts
    from inaho.runtime.node.node import Node
    from inaho.runtime.placement.partition_bridge import PartitionBridge
    from inaho.runtime.provisioning.ports import ProviderOperations

__all__ = ["Cluster"]

G = TypeVar("G", bound=Grain[Any])
E = TypeVar("E", bound=Event)


class Cluster(Operations, OfProviders, OfTopics, OfSends):
    """The interface of one process to its cluster. Made by `join`, `connect` or `ClusterExtension`.

    Args:
        node: the runtime.
        system: the actor system that it is installed on.
        terminations: ends of activations, here and elsewhere.
        metrics: of the node.
        providers: of the node.
    """

    def __init__(
        self,
        node: Node,
        system: ActorSystem,
        terminations: Terminations,
        metrics: NodeMetrics,
        providers: ProviderOperations,
    ) -> None:
        self._node = node
        self._system = system
        self._sends = Sends(node.local, node.runner, node.context)
        self._durable = DurableSends(node.local, node.send_calls)
        self._terminations = terminations
        self._metrics = metrics
        self._operators = SystemCalls(node.local, node.peers, node.hosts, OperatorActor, OPERATOR_KEY)
        self._topics = node.topics
        self._provider_operations = providers
        self._provider_calls = SystemCalls(node.local, node.peers, node.hosts, ProviderActor, PROVIDERS_KEY)

    _closing: asyncio.Task[None] | None = None
    """The Task of `close`, which all its callers share."""

    @property
    def system(self) -> ActorSystem:
        """The actor system, for local actors."""
        return self._system

    @property
    def runtime(self) -> Node:
        """The runtime of this node. For tools; may change between releases (SPEC BS-1.3)."""
        return self._node

    @property
    def context(self) -> ClusterContext:
        """Resolves and retries calls, and counts them. For tools; may change between releases."""
        return self._node.context

    @property
    def partition_bridge(self) -> PartitionBridge:
        """The hand-off of partitions between nodes. For tools; may change between releases."""
        return self._node.bridge

    @property
    def config(self) -> ClusterConfig:
        """The settings in force."""
        return self._node.local.config

    @property
    def authority(self) -> str:
        """`host:port` of this node, with the real port; empty for a client."""
        return self._node.local.authority

    @property
    def self(self) -> Member:
        """This node as a member.

        Raises:
            InvalidConfig: this is a client.
        """
        driver = self._node.control.driver
        if driver is None:
            raise InvalidConfig("a client is no member of the cluster")
        return driver.control.member

    def grain(self, kind: type[G], key: str, *, timeout: float | None = None, retry: bool = True) -> G:
        """A reference to the grain of that kind and key, on any node. Sends no message; the grain need not exist.

        Args:
            kind: class of the grain. This process need not host it.
            key: 1 to 1,024 bytes of text.
            timeout: seconds for every call of this reference, above 0, at most 1,000,000; None takes the method's or
                `rpc.timeout_s`.
            retry: whether calls that were refused before they ran are tried again until their deadline.

        Returns:
            A reference typed as the class: its methods run on the grain.

        Raises:
            InvalidGrain: `kind` is not a grain class.
            InvalidPid: the key is invalid.
            InvalidArguments: the time-out is out of range.
        """
        described = getattr(kind, "inaho_kind", None)
        if not isinstance(described, GrainKind):
            raise InvalidGrain(f"{kind!r} is not a Grain class")
        validate_key(key)
        _check_timeout(timeout)
        host = self._node.hosts.get(described.name)
        if host is not None and host.kind.cls is Grain:
            host.kind = described  # until now it was known by name only
        if host is None or host.kind is not described:
            host = self._node.add_kind(described, hosted=False)
        reference: G = make_reference(self._node.context, host, key, timeout_s=timeout, retry=retry)
        return reference

    async def call(
        self,
        kind: str,
        key: str,
        method: str,
        *arguments: Any,
        timeout: float | None = None,  # noqa: ASYNC109  it travels with the call, which asyncio.timeout does not
    ) -> Any:
        """Calls a method by its name, for tools that do not have the class. Arguments are positional and plain data.

        If the class is unknown here, the call always goes to the owner, even for a stateless kind.

        Raises:
            NoSuchKind, NoSuchMethod, SchemaMismatch: raised by the node that hosts the kind.
            InahoError: as any call.
        """
        reference, described, arguments = self._by_name(kind, key, method, arguments, timeout, stream=False)
        from inaho.runtime.calls.reference import invoke

        return await invoke(reference, described, arguments, plain=False)

    def stream(
        self, kind: str, key: str, method: str, *arguments: Any, timeout: float | None = None
    ) -> AsyncIterator[Any]:
        """As `call`, for a method that is a stream."""
        reference, described, arguments = self._by_name(kind, key, method, arguments, timeout, stream=True)
        from inaho.runtime.calls.reference import invoke_stream

        return invoke_stream(reference, described, arguments, plain=False)

    def _by_name(
        self, kind: str, key: str, method: str, arguments: tuple[Any, ...], timeout: float | None, *, stream: bool
    ) -> tuple[Any, GrainMethod, tuple[Any, ...]]:
        """Returns reference, method and arguments. A node that hosts the kind checks the call, which may run here."""
        validate_kind(kind)
        validate_key(key)
        _check_timeout(timeout)
        host = self._node.hosts.get(kind)
        if host is None:
            host = self._node.add_kind(unknown_kind(kind), hosted=False)
        reference = make_reference(self._node.context, host, key, timeout_s=timeout, retry=True)
        if host.hosted:
            known = host.kind.find(method, stream=stream)
            return reference, known, known.complete(arguments)
        declared = host.kind.methods.get(method)
        if declared is not None and declared.arity == len(arguments) and declared.stream == stream:
            return reference, declared, arguments  # the class is known here, and so are the types
        return reference, GrainMethod.untyped(kind, method, len(arguments), stream=stream), arguments

    @overload
    def events(self, *, capacity: int = ...) -> AsyncIterator[Event]: ...

    @overload
    def events(self, *types: type[E], capacity: int = ...) -> AsyncIterator[E]: ...

    def events(self, *types: type[Any], capacity: int = 1024) -> AsyncIterator[Any]:
        """Events of these classes and their subclasses, or all events. They are buffered from this call on.

        Args:
            types: classes of `inaho.events`.
            capacity: events that may wait; beyond it the oldest are dropped.
        """
        subscription = self._system.events.subscribe(*(types or (Event,)), capacity=capacity)
        iterator = _events_of(subscription)
        # An iterator that nobody has begun to use closes nothing itself.
        weakref.finalize(iterator, _close_on, self._node.local.loop, subscription).atexit = False
        return iterator

    def actor(self, where: Pid | str) -> ActorRef:
        """A reference to an actor of an actor system of the cluster, for `tell`, `ask` and `watch` (SPEC CL-2).

        Sends no message; the actor need not exist. Messages arrive in the order in which they were sent while its node
        is connected, and wait in a bounded queue while it is not. They must be builtin values, or of classes that are
        registered with `inaho.register_message` on both sides. Pass Pids in messages, not references.

        Args:
            where: its Pid, or its canonical path, `inaho://cluster@host:port/user/name`. Without `#node_id` at the end,
                the path means the process that is at `host:port` now.

        Raises:
            InvalidPid: `where` is malformed or names another cluster.
            Unreachable: the node is no member, is unreachable, or was restarted.
            Quarantined: nothing is sent to the node.
        """
        return self._node.remoting.actor(where)

    def pid(self, ref: ActorRef) -> Pid:
        """The Pid by which other nodes reach that actor.

        Raises:
            InvalidPid: this is a client, which other nodes cannot reach, or the path of the actor is too long for a
                Pid.
        """
        return self._node.remoting.pid(ref)

    async def room(self, ref: ActorRef) -> None:
        """Waits until the queue to that node has room, for senders that are faster than the actor.

        Returns at once for an actor of this node, whose mailbox has its own policy.
        """
        await self._node.remoting.room(ref)

    def delivery_counts(self) -> DeliveryCounts:
        """Counts of the messages that this node has sent and received, by outcome."""
        return self._node.remoting.counts()

    def metrics(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """The metrics of this node now: values by name of the metric, each with its labels (`docs/metrics.md`).

        Needs no OpenTelemetry SDK. Counters count since the node was made.

        Raises:
            MetricsOff: `metrics.enabled` is off (SPEC CL-10.4).
        """
        return self._metrics.snapshot()

    def export_metrics(self, provider: MeterProvider) -> None:
        """Exports the metrics to a further meter provider until this node stops; the global one has them anyway.

        Raises:
            MetricsOff: as `metrics`.
        """
        self._metrics.export(provider)

    def quarantine(self) -> tuple[Association, ...]:
        """The authorities to which nothing is sent and from which nothing is accepted, sorted, each with its reason."""
        return self._node.associations.quarantined()

    def release(self, authority: str) -> None:
        """Ends a quarantine at once (SPEC CL-4.4).

        Raises:
            IllegalTransition: that authority is not quarantined.
        """
        self._node.associations.release(authority)

    async def leave(self) -> None:
        """Hands over all activations and leaves the cluster; `close` is still needed. May be repeated.

        If the caller is cancelled, the leave continues.
        """
        await self._node.shutdown.leave()

    async def close(self) -> None:
        """Leaves, and stops everything that `join` or `connect` started. May be repeated.

        It always ends: turns get `activation.drain_s`, then they are interrupted; connections get
        `transport.goodbye_timeout_s`, then they are aborted. If the caller is cancelled, the rest continues in the
        background; the address is free, and no connection is open, when that is complete.
        """
        if self._closing is None or self._closing.cancelled():  # cancelled with all Tasks of the loop
            self._closing = self._node.local.loop.create_task(self._close(), name="inaho-close", context=Context())
        await uninterrupted(self._closing, self._node.local.log)

    async def _close(self) -> None:
        await self._node.shutdown.leave()
        await self._system.stop()

    def __repr__(self) -> str:
        return f"<Cluster {self._node.local.config.name!r} at {self._node.local.authority or 'client'}>"


async def _events_of(subscription: Subscription[Any]) -> AsyncIterator[Any]:
    with subscription:
        async for event in subscription:
            yield event


def _close_on(loop: asyncio.AbstractEventLoop, subscription: Subscription[Any]) -> None:
    """Closes it from the loop: the garbage collector calls this in any thread, and while code publishes an event."""
    try:
        loop.call_soon_threadsafe(subscription.close)
    except RuntimeError:  # the loop is closed
        subscription.close()


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and not 0 < timeout <= CALL_TIMEOUT_MAX_S:
        raise InvalidArguments(f"timeout must be above 0 and at most {CALL_TIMEOUT_MAX_S:.0f} seconds, not {timeout}")
