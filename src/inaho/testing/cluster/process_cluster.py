"""The `Cluster` of a simulated node for a test: its calls run in the process of that node.

A test is outside of the processes. If it called through the node's own `Cluster`, a call of an activation there would
run in the test's Task, and neither a pause nor the death of the process would stop it. So every coroutine and every
stream goes through `SimulatedProcess.enter`. Code of that process is called directly, and grains have the node's own
`Cluster`. Other methods run at once, in the test.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from inaho.runtime.calls.reference import Reference, invoke, invoke_stream, make_class
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.grains.grain import Grain
from inaho.testing.cluster.process_topic import SimulatedTopic
from inaho.testing.simulation.simulated_process import OWNER

if TYPE_CHECKING:
    from inaho.core.pubsub.send_records import DurableSend
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.topic_logs.send_options import SendOptions
    from inaho.runtime.topics.of_topics import TopicSettings
    from inaho.runtime.topics.topic import Topic
    from inaho.testing.simulation.simulated_process import SimulatedProcess

__all__ = ["SimulatedCluster"]

G = TypeVar("G", bound=Grain[Any])
T = TypeVar("T")


class SimulatedCluster(Cluster):
    """The `Cluster` of a node for callers outside of its process.

    Args:
        cluster: the node's own.
        process: the process of the node.
        starting: done when the node has started; earlier calls wait for that.
    """

    def __init__(self, cluster: Cluster, process: SimulatedProcess, starting: asyncio.Future[None]) -> None:
        self._node = cluster._node  # without `super().__init__`: grains keep the node's own `Cluster`
        self._system = cluster._system
        self._sends = cluster._sends
        self._durable = cluster._durable
        self._topics = cluster._topics
        self._operators = cluster._operators
        self._topics = cluster._topics
        self._provider_operations = cluster._provider_operations
        self._provider_calls = cluster._provider_calls
        self._metrics = cluster._metrics
        self._process = process
        self._starting = starting
        self._classes: dict[GrainKind, type[Reference]] = {}

    def _enter(self, start: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        """As `SimulatedProcess.enter`, once the node has started."""
        if self._starting.done():
            return self._process.enter(start)

        async def once_started() -> T:
            await asyncio.shield(self._starting)
            return await start()

        return self._process.enter(once_started)

    def _enter_stream(self, start: Callable[[], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """As `SimulatedProcess.enter_stream`, once the node has started."""
        if self._starting.done():
            return self._process.enter_stream(start)

        async def once_started() -> AsyncGenerator[T]:
            await asyncio.shield(self._starting)
            async with aclosing(start()) as items:
                async for item in items:
                    yield item

        return self._process.enter_stream(once_started)

    def grain(self, kind: type[G], key: str, *, timeout: float | None = None, retry: bool = True) -> G:
        """As `Cluster.grain`; its calls run in the process."""
        own: Any = super().grain(kind, key, timeout=timeout, retry=retry)
        described = kind.inaho_kind
        cls = self._classes.get(described)
        if cls is None:
            cls = self._classes[described] = make_class(
                described,
                lambda *call: self._enter(functools.partial(invoke, *call)),
                lambda *call: self._enter_stream(functools.partial(invoke_stream, *call)),
            )
        reference: Any = object.__new__(cls)
        for name in Reference.__slots__:
            setattr(reference, name, getattr(own, name))
        entering: G = reference
        return entering

    def _send(self, method: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """From outside, a Task of the process begins it, as for calls, and in order with them."""
        self._process.check_alive()
        self._sends.send(method, arguments, named, begun=OWNER.get() is self._process)

    def _send_durably(
        self, method: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any], options: SendOptions
    ) -> asyncio.Future[DurableSend]:
        """The future fails if the process dies."""
        self._process.check_alive()
        stored = super()._send_durably(method, arguments, named, options)

        async def wait() -> DurableSend:
            return await stored

        return asyncio.ensure_future(self._enter(wait))

    async def topic(self, name: str, message_type: Any = None, **settings: Unpack[TopicSettings]) -> Topic[Any]:
        """As `Cluster.topic`; what is done through the topic runs in the process."""
        find = functools.partial(super().topic, name, message_type, **settings)
        return SimulatedTopic(await self._enter(find), self._process)

    def stream(
        self, kind: str, key: str, method: str, *arguments: Any, timeout: float | None = None
    ) -> AsyncIterator[Any]:
        """As `Cluster.stream`, in the process."""
        items: Any = super().stream(kind, key, method, *arguments, timeout=timeout)
        return self._enter_stream(lambda: items)

    def events(self, *types: type[Any], capacity: int = 1024) -> AsyncIterator[Any]:
        """As `Cluster.events`, in the process; `SimCluster.events` has those of all nodes, and outlives them."""
        items: Any = super().events(*types, capacity=capacity)
        return self._enter_stream(lambda: items)


def _entering(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def enter(self: SimulatedCluster, *arguments: Any, **options: Any) -> Any:
        return await self._enter(functools.partial(method, self, *arguments, **options))

    return enter


def _entering_stream(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def enter(self: SimulatedCluster, *arguments: Any, **options: Any) -> Any:
        return self._enter_stream(functools.partial(method, self, *arguments, **options))

    return enter


for _name, _method in inspect.getmembers(Cluster, inspect.isfunction):
    if _name.startswith("_") or _name in vars(SimulatedCluster):
        continue
    if inspect.iscoroutinefunction(_method):
        setattr(SimulatedCluster, _name, _entering(_method))
    elif inspect.isasyncgenfunction(_method):
        setattr(SimulatedCluster, _name, _entering_stream(_method))
