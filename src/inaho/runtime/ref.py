"""References: what `cluster.grain(Kind, key)` gives, and the way of one call.

A reference has the methods of the grain's class, with their signatures, and nothing else: what is ours lies behind
underscored slots. Each method goes straight into `invoke`, which takes one of three ways:

- the activation is on this node and idle: its coroutine runs at once, inside the caller's Task but in a context of its
  own, with arguments that nobody can change or that were copied. No socket, no codec, no Task, no queue.
- the PidCache knows a node that we are connected to: one frame, one future.
- anything else (unknown owner, no connection, contention, a refusal) goes through `ClusterContext.request`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import copy_context
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from inaho.errors import InahoError, Timeout
from inaho.runtime.turn import CURRENT, Turn, as_answer, begin, resume

if TYPE_CHECKING:
    from inaho.runtime.grain import Grain, GrainKind
    from inaho.runtime.kind import KindHost
    from inaho.runtime.method import GrainMethod

__all__ = ["make_reference"]

GrainType = TypeVar("GrainType")

FAIRNESS_MASK = 0x3FF
"""After so many calls on this node that did not suspend, the loop gets a turn: probes must be answered."""


class Reference:
    """Base of reference classes, one of which is made per kind."""

    __slots__ = ("_inaho_host", "_inaho_key", "_inaho_retry", "_inaho_timeout_s")

    _inaho_host: KindHost
    _inaho_key: str
    _inaho_timeout_s: float | None
    _inaho_retry: bool

    def __repr__(self) -> str:
        return f"<reference to {self._inaho_host.name}/{self._inaho_key}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reference):
            return NotImplemented
        return self._inaho_host is other._inaho_host and self._inaho_key == other._inaho_key

    def __hash__(self) -> int:
        return hash((self._inaho_host.name, self._inaho_key))


def make_reference(host: KindHost, key: str, *, timeout_s: float | None, retry: bool) -> Any:
    """A reference to one identity; its class is made with the first reference of the kind."""
    kind = host.kind
    cls = kind.proxy_class
    if cls is None:
        cls = kind.proxy_class = _make_class(kind)
    reference = object.__new__(cls)
    reference._inaho_host = host
    reference._inaho_key = key
    reference._inaho_timeout_s = timeout_s
    reference._inaho_retry = retry
    return reference


def _make_class(kind: GrainKind) -> type[Reference]:
    members: dict[str, Any] = {"__slots__": (), "__module__": kind.cls.__module__, "__doc__": kind.cls.__doc__}
    for name, method in kind.methods.items():
        members[name] = method.make_caller(invoke_stream if method.stream else invoke)
    return type(f"{kind.cls.__name__}Reference", (Reference,), members)


async def invoke(reference: Reference, method: GrainMethod, arguments: tuple[Any, ...], plain: bool) -> Any:
    """One call. `plain`: every argument is of a class that nobody can change, so it needs no copy on this node."""
    host = reference._inaho_host
    key = reference._inaho_key
    node = host.node
    scope = CURRENT.get()
    started = perf_counter()
    host.calls += 1
    try:
        grain = host.activations.get(key)
        if grain is not None:
            if grain._turn is None:
                result = await _call_idle(reference, method, arguments, plain, host, key, grain, scope)
            else:
                result = await node.context.request(reference, method, arguments, scope)
        else:
            context = node.context
            connection = context.connection_for(host.name, key)
            if connection is not None and scope is None and not connection.paused and not reference._inaho_timeout_s:
                loop = node.loop
                now = loop.time()
                deadline = now + (method.timeout_s or node.timeout_s)
                future: asyncio.Future[Any] = loop.create_future()
                correlation = connection.call(method, key, arguments, future, deadline, now)
                try:
                    result = await future
                except asyncio.CancelledError:
                    connection.cancel(correlation)
                    raise
                except InahoError as error:
                    result = await context.retry(reference, method, arguments, scope, error, deadline)
            else:
                result = await node.context.request(reference, method, arguments, scope)
    except BaseException:
        host.failures += 1
        raise
    host.latency[int((perf_counter() - started) * 1e6).bit_length()] += 1
    return result


async def _call_idle(
    reference: Reference,
    method: GrainMethod,
    arguments: tuple[Any, ...],
    plain: bool,
    host: KindHost,
    key: str,
    grain: Grain[Any],
    scope: Any,
) -> Any:
    """Runs a turn of an idle activation on this node, here and now."""
    node = host.node
    if not plain:
        arguments = method.copy_arguments(arguments, key)
    node.inline_calls += 1
    if not node.inline_calls & FAIRNESS_MASK:
        await asyncio.sleep(0)
        if grain._turn is not None or host.activations.get(key) is not grain:
            return await node.context.request(reference, method, arguments, scope)
    now = node.now
    deadline = now + (reference._inaho_timeout_s or method.timeout_s or node.timeout_s)
    if scope is not None and scope.deadline < deadline:
        deadline = scope.deadline
    turn = Turn(method, grain, arguments, None, 0, deadline)
    if scope is not None and scope.turn is not None:
        node.runner.chains.extend(turn, scope.turn)
    grain._turn = turn
    grain._touched = now
    return await run_here(turn)


async def run_here(turn: Turn) -> Any:
    """Runs a turn in the caller's Task; it is marked as running at its activation already.

    Raises what a call from another node would raise.
    """
    grain = turn.grain
    method = turn.method
    context = copy_context()
    try:
        coroutine = method.call(grain, turn.arguments)
        awaited = context.run(begin, turn, coroutine)
    except StopIteration as stop:
        result = stop.value
    except BaseException as error:
        seen = _seen(turn, error)
        raise seen from seen.__cause__
    else:
        result = await _see_through(turn, coroutine, context, awaited)
    finally:
        if grain._turn is turn:
            grain._turn = None
        else:
            grain._host.node.runner.release(turn)
    if result.__class__ in method.plain_results:
        return result
    return method.copy_result(result, grain._key)


async def _see_through(turn: Turn, coroutine: Any, context: Any, awaited: Any) -> Any:
    """Waits for a turn that suspended, within its deadline."""
    host = turn.grain._host
    task = asyncio.current_task()
    cancelling = 0 if task is None else task.cancelling() - getattr(task, "_must_cancel", False)
    limit = asyncio.timeout_at(max(turn.deadline, host.node.loop.time()))
    try:
        async with limit:
            return await resume(coroutine, context, awaited)
    except BaseException as error:
        if task is not None and task.cancelling() > cancelling:
            raise  # the caller is cancelled, and so is the turn
        if isinstance(error, TimeoutError) and limit.expired():
            raise Timeout(
                "the deadline passed while the method ran",
                identity=f"{host.name}/{turn.grain._key}",
                authority=host.authority,
            ) from error
        seen = _seen(turn, error)
        raise seen from seen.__cause__


def _seen(turn: Turn, error: BaseException) -> BaseException:
    """What the caller gets for what the user's code raised."""
    host = turn.grain._host
    return as_answer(error, turn.method.name, identity=f"{host.name}/{turn.grain._key}", authority=host.authority)


async def invoke_stream(
    reference: Reference, method: GrainMethod, arguments: tuple[Any, ...], plain: bool
) -> AsyncIterator[Any]:
    """One stream. Opening it is retried like a call as long as nothing has come."""
    host = reference._inaho_host
    host.calls += 1
    receiver, chunk = await host.node.context.open_stream(reference, method, arguments, CURRENT.get())
    try:
        while chunk:
            for item in chunk:
                yield item
            receiver.acknowledge(len(chunk))
            chunk = await receiver.next_chunk()
    except InahoError:
        host.failures += 1
        raise
    finally:
        receiver.close()
