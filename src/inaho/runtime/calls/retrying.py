"""Decides whether, when and until when a call or the opening of a stream is tried again (SPEC VA-3).

A refused call (not the owner, leaving, unreachable, not sent) has certainly not run, so it is retried until the
deadline, after a pause that ends early when a new topology arrives. A call that may have run is repeated only if its
method is idempotent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from inaho.core.rpc.retry import RetryPolicy, Tries, may_retry
from inaho.errors import InahoError, Quarantined, Timeout
from inaho.events import CallFailed
from inaho.runtime.calls.request import Request
from inaho.runtime.connections.outgoing import STREAM_TIMEOUT_S
from inaho.types import ClusterIdentity
from inaho.wire.frames import pack_fields

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.calls.request import Callee
    from inaho.runtime.calls.resolver import Resolver
    from inaho.runtime.grains.activation import Scope, Turn
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.warnings import RetryWarnings
    from inaho.runtime.turns.call_chain import CallChains

__all__ = ["Retrying", "passed", "within"]


class Retrying:
    """The retry policy of one node, and its counts.

    Args:
        local: this node.
        chains: which turn waits for which.
        resolver: drops entries of refused calls.
        warnings: logs retries.

    Attributes:
        retries: number of retries.
    """

    def __init__(self, local: LocalNode, chains: CallChains, resolver: Resolver, warnings: RetryWarnings) -> None:
        self.retries = 0
        self._local = local
        self._chains = chains
        self._resolver = resolver
        self._warnings = warnings
        rpc = local.config.rpc
        self._policy = RetryPolicy(
            attempts=rpc.retry_attempts,
            base_s=rpc.retry_base_s,
            max_s=rpc.retry_max_s,
            moving_max_s=rpc.retry_moving_max_s,
        )

    def begin(
        self, callee: Callee, method: GrainMethod, arguments: tuple[Any, ...], scope: Scope | Turn | None
    ) -> Request:
        """The request for a new call. Arguments are those of `Request`.

        Raises:
            Timeout: it inherits a deadline that has passed.
        """
        return Request(callee, method, arguments, scope, self._deadline(callee, method, scope))

    def _deadline(self, callee: Callee, method: GrainMethod, scope: Scope | Turn | None) -> float:
        """The deadline of a call: its own time-out, or an inherited deadline if that is sooner."""
        timeout_s = callee._inaho_timeout_s or method.timeout_s
        if timeout_s is None:
            timeout_s = STREAM_TIMEOUT_S if method.stream else self._local.timeout_s
        now = self._local.loop.time()
        if scope is None or scope.deadline >= now + timeout_s:
            return now + timeout_s
        if scope.deadline <= now:
            raise passed(callee._inaho_host, callee._inaho_key)
        return scope.deadline

    def judge(self, request: Request, error: InahoError, tries: Tries) -> float:
        """Counts a failed attempt; returns the pause before the next one in seconds, or raises `error` for good."""
        tries.count(error)
        kind, key, method = request.host.name, request.key, request.method
        retriable = request.retry and may_retry(error, method.idempotent)
        if isinstance(error, Quarantined):  # it lasts longer than a call: the caller gets the error at once (CL-4.2)
            retriable = False
        if self._local.closing:  # for good: this node has no other way
            retriable = False
        if retriable and error.maybe_executed and tries.in_doubt >= self._policy.attempts:
            retriable = False
        now = self._local.loop.time()
        pause_s = self._policy.delay_s(tries.failed, self._local.entropy.random.random(), error.code)
        if not retriable or now + pause_s >= request.deadline:
            error.identity = error.identity or request.identity
            if self._local.events_wanted(CallFailed):
                identity = ClusterIdentity(kind, key)
                self._local.publish(
                    CallFailed(identity=identity, method=method.name, code=error.code, reason=error.reason)
                )
            try:
                raise error
            finally:
                del error  # its traceback has this frame
        self._resolver.forget(kind, key, error.code)
        self.retries += 1
        self._warnings.retrying(kind, key, method.name, error, tries.failed, pause_s)
        return pause_s

    def fields(self, request: Request, deadline: float, now: float) -> tuple[int, bytes]:
        """Optional fields of an attempt: an inherited or explicit deadline, and the turns that wait for this call."""
        method, scope = request.method, request.scope
        usual_s = method.timeout_s or (STREAM_TIMEOUT_S if method.stream else self._local.timeout_s)
        left_s = deadline - now
        deadline_ms = None if abs(left_s - usual_s) < 0.001 else int(left_s * 1000)
        turn = None if scope is None else scope.turn
        if turn is None:
            return (0, b"") if deadline_ms is None else pack_fields(deadline_ms, (), "")
        self._chains.check_depth(turn, f"{method.kind}.{method.name}")
        return pack_fields(deadline_ms, self._chains.of(turn), turn.trace)


T = TypeVar("T")


async def within(deadline: float, waiting: Awaitable[T]) -> T:
    """Waits for a step before a call, which has not run if this takes too long.

    Args:
        deadline: of the call, seconds of the loop's clock.
        waiting: the step before it.

    Raises:
        Timeout: the deadline passed.
    """
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            return await waiting
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise Timeout("no connection to the owner before the deadline", maybe_executed=False) from error


def passed(host: KindHost, key: str) -> Timeout:
    """The error for a call whose inherited deadline has passed before it was made."""
    return Timeout("the inherited deadline has passed already", identity=f"{host.name}/{key}", maybe_executed=False)
