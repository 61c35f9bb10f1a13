"""References: what `cluster.grain(Kind, key)` returns, and the path of one call.

A reference has the methods of the grain's class, with their signatures, and nothing else: our own attributes begin with
an underscore. Each method calls `invoke`, which takes one of three paths:

- The activation is on this node and idle: its coroutine takes its first step at once, in the Task of a worker that is
  entered in place of the caller's, with arguments that cannot change or that were copied. Most turns end there: no
  socket, no codec, no new Task, no queue. One that suspends has a future, like a call to another node.
- The PidCache knows a node with an open connection: one frame, one future.
- Everything else (unknown owner, no connection, contention, a refusal) goes through `ClusterContext.request`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from inaho.errors import InahoError
from inaho.events import CallSucceeded
from inaho.runtime.calls.first_calls import begin_first_call, end_first_call
from inaho.runtime.calls.request import Request
from inaho.runtime.calls.retrying import passed
from inaho.runtime.grains.activation import CURRENT, Turn
from inaho.runtime.turns.inherited import inherited
from inaho.runtime.turns.inline import SUSPENDED, first_step, wait_for_turn
from inaho.types import ClusterIdentity

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.grains.method import GrainMethod

__all__ = ["Reference", "invoke", "invoke_stream", "make_class", "make_reference", "tell_success"]

GrainType = TypeVar("GrainType")

FAIRNESS_MASK: Final = 0x3FF
"""After this number of calls on this node that did not suspend, the loop runs: probes must be answered."""


class _Missing:
    """Stands for a name of the grain's class that cannot be called from outside; its error says why.

    Why not `__getattr__`: in a class that has one every attribute access takes twice as long, in every call.
    """

    __slots__ = ("_kind", "_name")

    def __init__(self, kind: GrainKind, name: str) -> None:
        self._kind = kind
        self._name = name

    def __get__(self, reference: object, cls: type | None = None) -> Any:
        raise AttributeError(self._kind.explain_missing(self._name))


class Reference:
    """Base of reference classes, one of which is made per kind."""

    __slots__ = ("_inaho_context", "_inaho_host", "_inaho_key", "_inaho_retry", "_inaho_timeout_s")

    _inaho_context: ClusterContext
    _inaho_host: KindHost
    _inaho_key: str
    _inaho_timeout_s: float | None
    _inaho_retry: bool

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if name.startswith("_")] + list(self._inaho_host.kind.methods)

    def __repr__(self) -> str:
        return f"<reference to {self._inaho_host.name}/{self._inaho_key}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reference):
            return NotImplemented
        return self._inaho_host is other._inaho_host and self._inaho_key == other._inaho_key

    def __hash__(self) -> int:
        return hash((self._inaho_host.name, self._inaho_key))


def make_reference(context: ClusterContext, host: KindHost, key: str, *, timeout_s: float | None, retry: bool) -> Any:
    """A reference to one identity; its class is made with the first reference of the kind."""
    kind = host.kind
    cls = kind.proxy_class
    if cls is None:
        cls = kind.proxy_class = make_class(kind, invoke, invoke_stream)
    reference = object.__new__(cls)
    reference._inaho_context = context
    reference._inaho_host = host
    reference._inaho_key = key
    reference._inaho_timeout_s = timeout_s
    reference._inaho_retry = retry
    return reference


def make_class(kind: GrainKind, call: Callable[..., Any], stream: Callable[..., Any]) -> type[Reference]:
    """A class of references to grains of that kind; `call` and `stream` get what `invoke` gets."""
    members: dict[str, Any] = {"__slots__": (), "__module__": kind.cls.__module__, "__doc__": kind.cls.__doc__}
    for name in kind.uncallable():
        members[name] = _Missing(kind, name)
    for name, method in kind.methods.items():
        way = stream if method.stream else _named_invoke(method) if call is invoke else call
        members[name] = method.make_caller(way)
    return type(f"{kind.cls.__name__}Reference", (Reference,), members)


def invoke(
    reference: Reference, method: GrainMethod, arguments: tuple[Any, ...], plain: bool
) -> Coroutine[Any, Any, Any]:
    """One call. `plain`: every argument is of a class that cannot change, so it needs no copy on this node.

    The path is chosen now and checked when the call is awaited: one coroutine per call in each case.
    """
    if reference._inaho_key in reference._inaho_host.activations:
        return _call_here(reference, method, arguments, plain)
    return _call_there(reference, method, arguments)


def _named_invoke(method: GrainMethod) -> Callable[..., Any]:
    """`invoke` with coroutines that have the name of the user's method.

    Python's warning about a coroutine that was never awaited has this name. Setting the name of each coroutine would
    cost every call something; a function of its own per method costs nothing.
    """
    here, there = (
        FunctionType(way.__code__.replace(), way.__globals__, method.name) for way in (_call_here, _call_there)
    )
    here.__qualname__ = there.__qualname__ = f"{method.kind}.{method.name}"
    scope = {"_call_here": here, "_call_there": there}
    return FunctionType(invoke.__code__.replace(), scope, invoke.__name__)


async def _call_here(reference: Reference, method: GrainMethod, arguments: tuple[Any, ...], plain: bool) -> Any:
    """A call of an activation on this node, which runs at once if it is idle."""
    host = reference._inaho_host
    key = reference._inaho_key
    local = host.local
    scope = CURRENT.get()
    if scope is not None:
        scope = inherited(scope)
    clock_ns = local.clock_ns
    started = clock_ns()
    host.calls = calls = host.calls + 1
    try:
        now = local.loop.time()  # `local.now` may be as old as the last stall of the process
        if now > local.pauses.late_at:
            await local.pauses.noticed()
        grain = host.activations.get(key)
        if grain is None or grain._inaho_turn is not None or method.attempt_timeout_s or host.lines:
            result = await reference._inaho_context.request(reference, method, arguments, scope)
        else:
            deadline = now + (reference._inaho_timeout_s or method.timeout_s or local.timeout_s)
            if scope is not None and scope.deadline < deadline:
                deadline = scope.deadline
                if deadline <= now:
                    raise passed(host, key)
            try:
                own = arguments if plain else method.copy_arguments(arguments, key, host)
                turn = Turn(method, grain, own, None, 0, deadline)
                if scope is not None:
                    outer = scope if isinstance(scope, Turn) else scope.turn  # see `inherited`
                    if outer is not None:
                        reference._inaho_context.chains.extend(turn, outer)
                grain._inaho_turn = turn
                grain._inaho_touched = local.now
                result = first_step(reference._inaho_context.runner, turn)
                if result is SUSPENDED:
                    result = await wait_for_turn(reference._inaho_context.runner, turn)
                elif result.__class__ not in method.plain_results and not method.is_plain_result(result):
                    result = method.copy_result(result, key, host)
            except InahoError as error:
                request = Request(reference, method, arguments, scope, deadline)
                result = await reference._inaho_context.retry(request, error, None)
        if not calls & FAIRNESS_MASK:  # after the call, so that later ones do not overtake it
            await asyncio.sleep(0)
    except BaseException as error:
        reference._inaho_context.failures.count(host, key, method, error)
        if not calls & FAIRNESS_MASK and isinstance(error, Exception):
            await asyncio.sleep(0)
        raise
    host.latency[(clock_ns() - started >> 10).bit_length()] += 1
    if local.successes_wanted:
        tell_success(reference, method, started)
    return result


async def _call_there(reference: Reference, method: GrainMethod, arguments: tuple[Any, ...]) -> Any:
    """A call of an activation elsewhere; one frame and one future if its node is known."""
    host = reference._inaho_host
    key = reference._inaho_key
    local = host.local
    context = reference._inaho_context
    resolver = context.resolver
    scope = CURRENT.get()
    if scope is not None:
        scope = inherited(scope)
    clock_ns = local.clock_ns
    started = clock_ns()
    host.calls += 1
    try:
        if not host.spread:
            connection = resolver.connection_for(host.name, key)
        elif scope is None and not reference._inaho_timeout_s and not method.attempt_timeout_s:
            connection = resolver.next_connection(host, method)
        else:  # `request` takes the next member, and each call takes one only
            connection = None
        known = connection is not None
        if connection is None:
            connection = resolver.connection_to_owner(host, key)
        if (
            connection is None
            or scope is not None
            or connection.paused
            or reference._inaho_timeout_s
            or method.attempt_timeout_s
        ):
            result = await context.request(reference, method, arguments, scope)
        else:
            now = local.loop.time()
            deadline = now + (method.timeout_s or local.timeout_s)
            future: asyncio.Future[Any] = local.loop.create_future()
            correlation = connection.call(method, key, arguments, future, deadline, now)
            if not known:
                begin_first_call(host, key, connection)
            try:
                result = await future
            except InahoError as error:
                del future  # it has the error, and the error's traceback has this frame: break the reference cycle
                request = Request(reference, method, arguments, scope, deadline)
                result = await context.retry(request, error, connection)
            except BaseException as error:
                del future
                if isinstance(error, asyncio.CancelledError):
                    connection.cancel(correlation)
                raise
            else:
                if not known:
                    resolver.learn(connection, host, key)
            finally:
                if not known:
                    end_first_call(host, key)
    except BaseException as error:
        context.failures.count(host, key, method, error)
        raise
    host.latency[(clock_ns() - started >> 10).bit_length()] += 1
    if local.successes_wanted:
        tell_success(reference, method, started)
    return result


def tell_success(reference: Reference, method: GrainMethod, started: int) -> None:
    """Publishes `CallSucceeded` for a call that began at `started`, in nanoseconds of `LocalNode.clock_ns`."""
    host = reference._inaho_host
    local = host.local
    local.publish(
        CallSucceeded(
            identity=ClusterIdentity(host.name, reference._inaho_key),
            method=method.name,
            duration_s=(local.clock_ns() - started) / 1e9,
        )
    )


async def invoke_stream(
    reference: Reference, method: GrainMethod, arguments: tuple[Any, ...], plain: bool
) -> AsyncGenerator[Any]:
    """One stream. Opening it is retried like a call until the first items have arrived."""
    host = reference._inaho_host
    host.calls += 1
    scope = CURRENT.get()
    if scope is not None:
        scope = inherited(scope)
    context, local = reference._inaho_context, host.local
    started = local.clock_ns()
    try:
        receiver, chunk = await context.streams.open(reference, method, arguments, scope)
    except BaseException as error:
        context.failures.count(host, reference._inaho_key, method, error)
        raise
    try:
        while chunk:
            for item in chunk:
                yield item
            receiver.acknowledge(len(chunk))
            chunk = await receiver.next_chunk()
        if local.successes_wanted:
            tell_success(reference, method, started)
    except InahoError as error:
        context.failures.count(host, reference._inaho_key, method, error)
        raise
    finally:
        receiver.close()
