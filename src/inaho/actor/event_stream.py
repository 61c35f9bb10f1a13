"""Publish and subscribe within one process, by the class of the event.

Publishing is synchronous and never waits. Each subscriber has a bounded buffer; a slow subscriber loses its oldest
events, and a counter shows how many. So a forgotten subscription cannot slow down the node.

The subscribers of a class are searched once and remembered; publishing an event without subscribers is one dictionary
look-up. Why not one queue for all: the slowest reader would decide for the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, Self, TypeVar, cast, overload

import msgspec

from inaho.actor.raise_soon import raise_soon
from inaho.errors import IllegalTransition, InvalidConfig, Overloaded
from inaho.events import Event

__all__ = ["EventStream", "Subscription"]

_logger = logging.getLogger("inaho.actor")

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
E_contra = TypeVar("E_contra", contravariant=True)

_ROUTES_MAX = 4096  # classes of events remembered; a program has fewer, unless it makes classes in a loop


class _Sink(Protocol):
    types: tuple[type[Any], ...]

    def offer(self, event: Any) -> None: ...


class Subscription(Generic[E_co]):
    """The events of one subscriber: an async iterator, to be closed (`with`, `async with` or `close()`).

    Only one task may iterate at a time. After `close()` the iteration gives what is buffered and ends.

    Attributes:
        dropped: events that were lost because this subscriber was slow.
    """

    def __init__(
        self, types: tuple[type[Any], ...], capacity: int, on_close: Callable[[Subscription[Any]], None]
    ) -> None:
        if capacity < 1:
            raise InvalidConfig(f"the capacity of a subscription must be above 0, not {capacity}")
        self.types = types
        self.dropped = 0
        self._capacity = capacity
        self._buffer: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._on_close = on_close
        self._closed = False

    def __len__(self) -> int:
        """Events that are buffered."""
        return len(self._buffer)

    @property
    def closed(self) -> bool:
        """Whether no further event will arrive."""
        return self._closed

    def offer(self, event: Any) -> None:
        """Buffers `event`; called by the stream."""
        if len(self._buffer) >= self._capacity:
            self._buffer.popleft()
            self.dropped += 1
        self._buffer.append(event)
        self._wake()

    def drain(self) -> list[E_co]:
        """Takes all that is buffered, without waiting."""
        events = list(self._buffer)
        self._buffer.clear()
        return events

    def close(self) -> None:
        """Ends the subscription. May be called again."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E_co:
        while not self._buffer:
            if self._closed:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise IllegalTransition("another task iterates this subscription; subscribe once for each")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return cast(E_co, self._buffer.popleft())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Callback(Generic[E_contra]):
    def __init__(self, stream: EventStream, types: tuple[type[Any], ...], call: Callable[[E_contra], object]) -> None:
        self.types = types
        self._stream = stream
        self._call = call

    def offer(self, event: E_contra) -> None:
        try:
            self._call(event)
        except (KeyboardInterrupt, SystemExit) as error:
            raise_soon(error)
        except BaseException:
            # An error of a subscriber must reach neither the publisher nor other subscribers.
            self._stream.callback_errors += 1
            _logger.exception("a subscriber's callback failed on %s", type(event).__name__)


class EventStream:
    """The event stream of one actor system.

    Args:
        capacity: events buffered for a subscription that names no other bound.
        subscribers_max: subscriptions and callbacks at once; one more raises `Overloaded`.
        clock: Unix seconds; stamps `Event.at`.

    Attributes:
        callback_errors: calls of callbacks that raised.
    """

    def __init__(
        self, *, capacity: int = 1024, subscribers_max: int = 1024, clock: Callable[[], float] = time.time
    ) -> None:
        if capacity < 1 or subscribers_max < 1:
            raise InvalidConfig("the bounds of an event stream must be above 0")
        self.callback_errors = 0
        self._capacity = capacity
        self._subscribers_max = subscribers_max
        self._clock = clock
        self._sinks: dict[_Sink, None] = {}
        self._routes: dict[type[Any], tuple[_Sink, ...]] = {}
        self._watches: list[tuple[type[Any], Callable[[bool], None]]] = []
        self._closed = False

    def publish(self, event: object) -> None:
        """Passes `event` to every subscriber of its class or of a base of it. Never waits, never raises their errors.

        An event whose class is `by_name_only` goes to subscribers that name such a class.
        """
        sinks = self._sinks_for(type(event))
        if sinks:
            event = self.stamp(event)
            for sink in sinks:
                sink.offer(event)

    def wants(self, kind: type[Any]) -> bool:
        """Whether anybody subscribes to events of `kind`; lets a publisher on a hot path skip making them."""
        return bool(self._sinks_for(kind))

    def watch_interest(self, kind: type[Any], changed: Callable[[bool], None]) -> None:
        """Calls `changed` with what `wants(kind)` is, now and whenever subscriptions begin or end.

        For a publisher on a path that is so hot that it cannot even ask `wants`.
        """
        self._watches.append((kind, changed))
        changed(self.wants(kind))

    def stamp(self, event: E) -> E:
        """`event` with the time in `at`, if it is an `inaho.events.Event` that has none."""
        if isinstance(event, Event) and event.at == 0:
            return msgspec.structs.replace(event, at=self._clock())
        return event

    @overload
    def subscribe(self, *, capacity: int | None = None) -> Subscription[Any]: ...
    @overload
    def subscribe(self, *types: type[E], capacity: int | None = None) -> Subscription[E]: ...
    def subscribe(self, *types: type[Any], capacity: int | None = None) -> Subscription[Any]:
        """Subscribes to classes of events, their subclasses included; without a class, to all that need not be named.

        Args:
            types: classes of events.
            capacity: events buffered; when a further one comes the oldest is dropped and counted.

        Raises:
            Overloaded: there are `subscribers_max` subscribers.
            InvalidConfig: a capacity below 1.
            IllegalTransition: the stream is closed.
        """
        bound = self._capacity if capacity is None else capacity
        subscription: Subscription[Any] = Subscription(types or (object,), bound, self._remove)
        self._add(subscription)
        return subscription

    def subscribe_callback(self, types: type[E] | Iterable[type[E]], call: Callable[[E], object]) -> Callable[[], None]:
        """Calls `call` with each event of `types`, within `publish`. It must be quick and must not wait.

        Returns:
            A function that ends the subscription; it may be called again.

        Raises:
            Overloaded: there are `subscribers_max` subscribers.
            IllegalTransition: the stream is closed.
        """
        wanted = (types,) if isinstance(types, type) else tuple(types)
        sink = _Callback(self, wanted, call)
        self._add(sink)
        return lambda: self._remove(sink)

    def close(self) -> None:
        """Ends all subscriptions; their readers still get what is buffered. What is published after goes nowhere."""
        self._closed = True
        for sink in list(self._sinks):
            if isinstance(sink, Subscription):
                sink.close()
        self._sinks.clear()
        self._subscriptions_changed()

    def _add(self, sink: _Sink) -> None:
        if self._closed:
            raise IllegalTransition("the event stream is closed")
        if len(self._sinks) >= self._subscribers_max:
            raise Overloaded(f"there are {len(self._sinks)} subscribers (subscribers_max)")
        self._sinks[sink] = None
        self._subscriptions_changed()

    def _remove(self, sink: _Sink) -> None:
        if sink in self._sinks:
            del self._sinks[sink]
            self._subscriptions_changed()

    def _subscriptions_changed(self) -> None:
        self._routes.clear()
        for kind, changed in self._watches:
            changed(self.wants(kind))

    def _sinks_for(self, kind: type[Any]) -> tuple[_Sink, ...]:
        if not self._sinks:
            return ()
        sinks = self._routes.get(kind)
        return self._route(kind) if sinks is None else sinks

    def _route(self, kind: type[Any]) -> tuple[_Sink, ...]:
        if len(self._routes) >= _ROUTES_MAX:
            self._routes.clear()
        # A copy: a finalizer that the garbage collector runs in between may close a subscription.
        sinks = tuple([sink for sink in list(self._sinks) if _is_wanted(kind, sink.types)])
        self._routes[kind] = sinks
        return sinks


def _is_wanted(kind: type[Any], types: tuple[type[Any], ...]) -> bool:
    """Whether a subscriber to `types` gets events of `kind`; see `Event.by_name_only`."""
    if issubclass(kind, Event) and kind.by_name_only:
        types = tuple(wanted for wanted in types if issubclass(wanted, Event) and wanted.by_name_only)
    return issubclass(kind, types)
