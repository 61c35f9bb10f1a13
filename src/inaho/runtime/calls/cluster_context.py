"""Makes a call that the short path cannot make: attempts, in order, until one is not refused (SPEC VA-3).

`Resolver` finds the connection, `CallOrder` keeps the order of calls of one identity, `Retrying` decides about the next
attempt. This module makes the attempts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from inaho.core.rpc.retry import Tries
from inaho.errors import InahoError
from inaho.runtime.calls.call_order import Waiting
from inaho.runtime.calls.first_calls import begin_first_call, end_first_call
from inaho.runtime.calls.retrying import within
from inaho.runtime.grains.activation import ONE_WAY, Scope, Turn
from inaho.runtime.turns.inline import run_here, wait_for_turn

if TYPE_CHECKING:
    from inaho.runtime.calls.call_order import CallOrder
    from inaho.runtime.calls.failures import CallFailures
    from inaho.runtime.calls.request import Callee, Request
    from inaho.runtime.calls.resolver import Resolver
    from inaho.runtime.calls.retrying import Retrying
    from inaho.runtime.calls.stream_calls import StreamCalls
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.turns.runner import TurnRunner

__all__ = ["ClusterContext"]


class ClusterContext:
    """The caller's side of one node: references call it.

    Args:
        local: this node.
        topology: of this node.
        runner: runs the turns of activations on this node.
        resolver: finds connections.
        order: keeps calls of one identity in order where they cannot be sent at once.
        retrying: decides about the next attempt.
        streams: opens streams.
        failures: calls that failed for good.

    Attributes:
        resolver, order, runner, streams, failures: see above.
        chains: which turn waits for which.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        runner: TurnRunner,
        resolver: Resolver,
        order: CallOrder,
        retrying: Retrying,
        streams: StreamCalls,
        failures: CallFailures,
    ) -> None:
        self.resolver = resolver
        self.order = order
        self.streams = streams
        self.failures = failures
        self.chains = runner.chains
        self._local = local
        self._topology = topology
        self.runner = runner
        self._retrying = retrying

    @property
    def retries(self) -> int:
        """Number of retries."""
        return self._retrying.retries

    async def request(
        self, callee: Callee, method: GrainMethod, arguments: tuple[Any, ...], scope: Scope | Turn | None
    ) -> Any:
        """Makes one call, with as many attempts as it takes.

        Raises:
            InahoError: the error of the last attempt.
            Exception: what the method raised.
        """
        return await self._perform(self._retrying.begin(callee, method, arguments, scope))

    async def retry(self, request: Request, error: InahoError, former: Outgoing | None) -> Any:
        """Continues after a first attempt that failed with `error`; `former` is its connection, None for this node."""
        return await self._perform(request, error, former)

    async def _perform(self, request: Request, error: InahoError | None = None, former: Outgoing | None = None) -> Any:
        """Makes attempts, in the order of the calls of the identity (`call_order`), until one is not refused."""
        host, key, deadline = request.host, request.key, request.deadline
        tries = Tries()
        ordered = self.order.applies(host, key, request.scope)
        waiting: Waiting | None = None
        refusal: InahoError | None = None
        try:
            while True:
                pause_s = 0.0
                if error is not None:
                    refusal, error = error, None
                    pause_s = self._retrying.judge(request, refusal, tries)
                    if not ordered:
                        await self._topology.wait(pause_s)
                again = tries.failed > 0
                before, former = former, None
                try:
                    ready, connection = False, None
                    if not ordered or not (again or key in host.lines):
                        ready, connection = self.resolver.at_once(host, key, request.method, again=again)
                    if not ready and ordered:
                        waiting = waiting or Waiting()
                        waiting.pause_s = pause_s
                        connection = await self.order.place(waiting, host, key, deadline, refused=again, former=before)
                    elif not ready:
                        connection = await within(deadline, self.resolver.reach(host, key, again=again))
                except InahoError as another:
                    late = refusal is not None and self._local.loop.time() >= deadline
                    error = refusal if late else another  # the reason of the refusal says more than the time-out
                    continue
                former = connection
                try:
                    return await self._attempt(connection, waiting, request)
                except InahoError as another:
                    error = another
        finally:
            error = refusal = None  # their tracebacks have this frame

    async def _attempt(self, connection: Outgoing | None, waiting: Waiting | None, request: Request) -> Any:
        """One attempt, on that connection or on this node; it is sent, or queued here, before it waits."""
        host, key, method, deadline = request.host, request.key, request.method, request.deadline
        if method.attempt_timeout_s is not None:
            deadline = min(deadline, self._local.loop.time() + method.attempt_timeout_s)
        if connection is not None:
            return await self._call(connection, waiting, request, deadline)
        grain = host.activations.get(key)
        if grain is None:
            grain = host.activate(key)
        turn = Turn(method, grain, method.copy_arguments(request.arguments, key, host), None, 0, deadline)
        return await self._here(grain, turn, request.scope)

    async def _call(self, connection: Outgoing, waiting: Waiting | None, request: Request, deadline: float) -> Any:
        host, key = request.host, request.key
        now = self._local.loop.time()
        flags, fields = self._retrying.fields(request, deadline, now)
        future = self._local.loop.create_future()
        correlation = connection.call(request.method, key, request.arguments, future, deadline, now, flags, fields)
        first = waiting is None and not self.resolver.knows(host, key)
        if first:
            begin_first_call(host, key, connection)
        elif waiting is not None:
            waiting.sent = True
        try:
            result = await future
            self.resolver.learn(connection, host, key)
            return result
        except asyncio.CancelledError:
            connection.cancel(correlation)
            raise
        finally:
            if first:
                end_first_call(host, key)
            del future  # a failed one has the error, and the error's traceback this frame

    async def _here(self, grain: Activation, turn: Turn, scope: Scope | Turn | None) -> Any:
        """A call of an activation on this node that may be busy or starting."""
        runner = self.runner
        pool = grain._inaho_host.pool
        if scope is ONE_WAY:
            turn.future = self._local.loop.create_future()
            runner.submit_soon(turn)
            return await wait_for_turn(runner, turn)
        if scope is not None and scope.turn is not None:
            self.chains.extend(turn, scope.turn)
        if pool is not None and grain._inaho_turn is not None:
            grain = turn.grain = pool.pick(grain, turn)
        if grain._inaho_turn is None:
            grain._inaho_turn = turn
            return await run_here(runner, turn)
        if runner.enqueue(turn):
            if not runner.has_ready:
                return await run_here(runner, turn)
            runner.run_soon(turn)
        turn.future = self._local.loop.create_future()
        return await wait_for_turn(runner, turn)
