"""Resolving and retrying: what a call does when the short way is not open (SPEC VA-3).

The PidCache is asked first; on a miss the owner by partition, which is one hop away and activates by itself. A refusal
(not the owner, leaving, unreachable, not sent) is certain not to have run, so it is tried again until the deadline,
after a pause that a new topology cuts short. A call that may have run is repeated only if its method is idempotent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from inaho.core.rpc.retry import RetryPolicy, Tries, may_retry
from inaho.errors import InahoError, Quarantined, SerializationFailed, Timeout
from inaho.events import CallFailed
from inaho.runtime.calls.call_order import CallOrder, Waiting
from inaho.runtime.calls.reference import Reference, passed
from inaho.runtime.calls.stream_calls import StreamCalls
from inaho.runtime.connections.outgoing import STREAM_TIMEOUT_S, Outgoing
from inaho.runtime.grains.turn import ONE_WAY, Scope, Turn
from inaho.runtime.local.tally import Tally
from inaho.runtime.local.warnings import RetryWarnings
from inaho.runtime.turns.inline import run_here, see_through
from inaho.types import ClusterIdentity, Member, Pid
from inaho.wire.exceptions import exception_name, is_expected
from inaho.wire.frames import pack_fields

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.grains.grain import Grain
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.node.node import Node

__all__ = ["ClusterContext"]


class ClusterContext:
    """The way of calls that need more than one step.

    Attributes:
        retries: calls tried again.
        unresolved: calls for which no owner was found.
        failure_codes: calls that failed here for good, by kind and code of the error.
        exceptions: calls that ended with an exception that the program has registered, by kind and its name.
        resolve_latency: as `KindHost.latency`, of resolutions that the PidCache could not answer.
        warnings: what the log is told of retries.
        streams: opens streams.
        order: keeps calls of one identity in order where they cannot be sent at once.
    """

    def __init__(self, node: Node) -> None:
        self.retries = 0
        self.unresolved = 0
        self.failure_codes: dict[tuple[str, str], int] = {}
        self.exceptions = Tally()
        self.resolve_latency = [0] * 42
        self.warnings = RetryWarnings(node.local)
        self.streams = StreamCalls(node, self)
        self.order = CallOrder(node)
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self._pids = node.pid_cache
        self._connections = node.peers.connections
        rpc = node.local.config.rpc
        node.runner.chains.depth_max = rpc.call_chain_max
        self._policy = RetryPolicy(
            attempts=rpc.retry_attempts,
            base_s=rpc.retry_base_s,
            max_s=rpc.retry_max_s,
            moving_max_s=rpc.retry_moving_max_s,
        )

    def connection_for(self, kind: str, key: str) -> Outgoing | None:
        """The open connection to where the identity was last reached; None when there is none."""
        pid = self._pids.get(kind, key, self._local.now)
        if pid is None:
            return None
        connection = self._connections.get(pid.authority)
        if connection is None or connection.peer.node_id != pid.node_id:
            return None
        return connection

    def next_connection(self, host: KindHost, method: GrainMethod) -> Outgoing | None:
        """The open connection to a member that hosts a stateless kind, the next one with each call; None without one.

        Each method has its own turn: with one for all, of two methods that are called alternately each would always
        meet the same members. Members without a connection are dialled in the background, and have their turn when
        there is one.
        """
        members = self._topology.lookup.hosts(host.name)
        turn = host.turns.get(method.name, len(host.turns))
        for _ in members:
            turn += 1
            member = members[turn % len(members)]
            connection = self._connections.get(member.authority)
            if connection is None:
                self._node.peers.dial_in_background(member.authority)
            elif connection.peer.node_id == member.node_id and not connection.paused:
                host.turns[method.name] = turn
                return connection
        return None

    def connection_to_owner(self, host: KindHost, key: str) -> Outgoing | None:
        """The open connection to the owner; None when there is none, or this node is the owner, or nobody is.

        None too where the owner is not whom to call (`KindHost.apart`).
        """
        if host.apart or (host.lines and key in host.lines):
            return None
        if host.first_calls and (calls := host.first_calls.get(key)) is not None and not calls.connection.ending:
            return calls.connection
        try:
            owner = self._topology.lookup.owner(host.name, key)
        except InahoError:
            return None  # `request` meets it again, and says so
        connection = self._connections.get(owner.authority)
        return connection if connection is not None and connection.peer.node_id == owner.node_id else None

    def learn(self, connection: Outgoing, kind: str, key: str) -> None:
        """The identity has answered on this connection; later calls go there unless some wait (`call_order`)."""
        host = self._node.hosts[kind]
        if host.spread or key in host.lines:
            return
        pid = Pid(connection.peer.authority, connection.peer.node_id, ClusterIdentity(kind, key))
        for event in self._pids.put(pid, self._local.now):
            self._local.publish(event)

    def deadline(self, reference: Reference, method: GrainMethod, scope: Scope | Turn | None) -> float:
        """When the call fails: its own time-out, or what it inherits if that is sooner.

        Raises:
            Timeout: it inherits a deadline that has passed.
        """
        timeout_s = reference._inaho_timeout_s or method.timeout_s
        if timeout_s is None:
            timeout_s = STREAM_TIMEOUT_S if method.stream else self._local.timeout_s
        now = self._local.loop.time()
        if scope is None or scope.deadline >= now + timeout_s:
            return now + timeout_s
        if scope.deadline <= now:
            raise passed(reference._inaho_host, reference._inaho_key)
        return scope.deadline

    async def request(
        self, reference: Reference, method: GrainMethod, arguments: tuple[Any, ...], scope: Scope | Turn | None
    ) -> Any:
        """One call, however many attempts it takes.

        Raises:
            InahoError: what the last attempt failed with.
            Exception: what the method raised.
        """
        return await self._perform(reference, method, arguments, scope, self.deadline(reference, method, scope))

    def count_failure(self, reference: Reference, method: GrainMethod, error: BaseException) -> None:
        """A call or stream of this node has failed for good. What the user's code raised has no code of ours."""
        host = reference._inaho_host
        if is_expected(error):
            host.exceptions += 1
            if not host.system:
                self.exceptions.add(host.name, exception_name(type(error)))
            return
        host.failures += 1
        if isinstance(error, InahoError):
            counted = (host.name, error.code)
            self.failure_codes[counted] = self.failure_codes.get(counted, 0) + 1
        if isinstance(error, SerializationFailed):  # the other side has told its own events (SPEC CL-6.4)
            self._local.serialization_failed(host.name, reference._inaho_key, method.name, "call", error.reason)

    async def retry(
        self,
        reference: Reference,
        method: GrainMethod,
        arguments: tuple[Any, ...],
        scope: Scope | Turn | None,
        error: InahoError,
        deadline: float,
        former: Outgoing,
    ) -> Any:
        """Goes on after a first attempt, made on the connection `former`, that failed with `error`."""
        return await self._perform(reference, method, arguments, scope, deadline, error, former)

    async def _perform(
        self,
        reference: Reference,
        method: GrainMethod,
        arguments: tuple[Any, ...],
        scope: Scope | Turn | None,
        deadline: float,
        error: InahoError | None = None,
        former: Outgoing | None = None,
    ) -> Any:
        """Attempts, in the order of the calls of the identity (`call_order`), until one is not refused."""
        host, key = reference._inaho_host, reference._inaho_key
        tries = Tries()
        ordered = self.order.applies(host, key, scope)
        waiting: Waiting | None = None
        refusal: InahoError | None = None
        try:
            while True:
                pause_s = 0.0
                if error is not None:
                    refusal, error = error, None
                    pause_s = self.judge(reference, method, refusal, tries, deadline)
                    if not ordered:
                        await self._topology.wait(pause_s)
                again = tries.failed > 0
                before, former = former, None
                try:
                    in_line = ordered and (again or key in host.lines)
                    ready, connection = (False, None) if in_line else self._at_once(host, key, method, again=again)
                    if not ready and ordered:
                        waiting = waiting or Waiting()
                        waiting.pause_s = pause_s
                        connection = await self.order.place(waiting, host, key, deadline, refused=again, former=before)
                    elif not ready:
                        connection = await self.within(deadline, self.reach(host, key, again=again))
                except InahoError as another:
                    late = refusal is not None and self._local.loop.time() >= deadline
                    error = refusal if late else another  # why it was refused says more than that time is up
                    continue
                former = connection
                try:
                    return await self._attempt(connection, waiting, reference, method, arguments, scope, deadline)
                except InahoError as another:
                    error = another
        finally:
            error = refusal = None  # their tracebacks have this frame

    def judge(
        self, reference: Reference, method: GrainMethod, error: InahoError, tries: Tries, deadline: float
    ) -> float:
        """Counts a failed attempt; gives the pause before the next one in seconds, or raises `error` for good."""
        tries.count(error)
        kind, key = reference._inaho_host.name, reference._inaho_key
        retriable = reference._inaho_retry and may_retry(error, method.idempotent)
        if isinstance(error, Quarantined):  # it lasts longer than a call, so its caller hears at once (SPEC CL-4.2)
            retriable = False
        if self._local.closing:  # for good: there is no other way from here
            retriable = False
        if retriable and error.maybe_executed and tries.in_doubt >= self._policy.attempts:
            retriable = False
        now = self._local.loop.time()
        pause_s = self._policy.delay_s(tries.failed, self._local.entropy.random.random(), error.code)
        if not retriable or now + pause_s >= deadline:
            error.identity = error.identity or f"{kind}/{key}"
            if self._local.events_wanted(CallFailed):
                identity = ClusterIdentity(kind, key)
                self._local.publish(
                    CallFailed(identity=identity, method=method.name, code=error.code, reason=error.reason)
                )
            try:
                raise error
            finally:
                del error  # its traceback has this frame
        for event in self._pids.invalidate(kind, key, error.code):
            self._local.publish(event)
        self.retries += 1
        self.warnings.retrying(kind, key, method.name, error, tries.failed, pause_s)
        return pause_s

    async def _attempt(
        self,
        connection: Outgoing | None,
        waiting: Waiting | None,
        reference: Reference,
        method: GrainMethod,
        arguments: tuple[Any, ...],
        scope: Scope | Turn | None,
        deadline: float,
    ) -> Any:
        """One attempt, on that connection or on this node; it is sent, or has its place here, before it waits."""
        host, key = reference._inaho_host, reference._inaho_key
        if method.attempt_timeout_s is not None:
            deadline = min(deadline, self._local.loop.time() + method.attempt_timeout_s)
        if connection is not None:
            return await self._call(connection, waiting, method, key, arguments, scope, deadline)
        grain = host.activations.get(key)
        if grain is None:
            grain = host.activate(key)
        return await self._here(grain, method, method.copy_arguments(arguments, key, host), scope, deadline)

    def _at_once(self, host: KindHost, key: str, method: GrainMethod, *, again: bool) -> tuple[bool, Outgoing | None]:
        """Whether it is known at once where to send, and the connection; None for this node. Raises as `owner`."""
        if key in host.activations:
            return True, None
        node = self._node
        connection = self.next_connection(host, method) if host.spread else self.connection_for(host.name, key)
        if connection is None:
            if host.pool is not None and node.leases.open:
                return True, None
            calls = host.first_calls.get(key)
            if calls is not None and not calls.connection.ending:
                return not calls.connection.paused, calls.connection
            if host.kind.placed or (again and host.kind.is_unknown):
                return False, None
            try:
                owner = self._topology.lookup.owner(host.name, key)
            except InahoError:
                self.unresolved += 1
                raise
            if owner.node_id == self._local.node_id:
                return True, None
            connection = self._connections.get(owner.authority)
            if connection is None or connection.peer.node_id != owner.node_id:
                return False, None
            self.resolve_latency[0] += 1
        return not connection.paused, connection

    async def reach(self, host: KindHost, key: str, *, again: bool) -> Outgoing | None:
        """A connection to where the identity is, with room to send; None when it is, or is to be, on this node.

        Raises:
            InahoError: nobody owns it, or whoever does cannot be reached. Nothing of a call has run.
        """
        if key in host.activations:
            return None
        connection = self.connection_for(host.name, key)
        if connection is None:
            clock = self._local.loop.time
            began = clock()
            connection = await self._resolve(host, key, again)
            took = int((clock() - began) * 1e9) >> 10
            self.resolve_latency[min(took.bit_length(), len(self.resolve_latency) - 1)] += 1
            if connection is None:
                return None
        if connection.paused:
            await connection.room()
        return connection

    async def _resolve(self, host: KindHost, key: str, again: bool) -> Outgoing | None:
        """A connection to who is to be called, dialled if need be; None when that is this node."""
        node = self._node
        if host.pool is not None and node.leases.open:
            return None
        target: Member | Pid
        try:
            if host.kind.placed or (again and host.kind.is_unknown):
                target = await node.locator.find(host.name, key, verify=again)
            else:
                target = self._topology.lookup.owner(host.name, key)
        except InahoError:
            self.unresolved += 1
            raise
        if target.node_id == self._local.node_id:
            return None
        connection = self._connections.get(target.authority)
        if connection is None or connection.peer.node_id != target.node_id:
            connection = await node.peers.connect(target.authority, target.node_id)
        return connection

    async def within(self, deadline: float, waiting: Any) -> Any:
        """Waits for something that precedes the call, which has not run if this takes too long."""
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                return await waiting
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Timeout("no connection to the owner before the deadline", maybe_executed=False) from error

    async def _call(
        self,
        connection: Outgoing,
        waiting: Waiting | None,
        method: GrainMethod,
        key: str,
        arguments: tuple[Any, ...],
        scope: Scope | Turn | None,
        deadline: float,
    ) -> Any:
        now = self._local.loop.time()
        flags, fields = self.fields(scope, deadline, now, method)
        future = self._local.loop.create_future()
        correlation = connection.call(method, key, arguments, future, deadline, now, flags, fields)
        host = self._node.hosts[method.kind]
        first = waiting is None and self._pids.peek(host.name, key) is None
        if first:
            self.order.begin(host, key, connection)
        elif waiting is not None:
            waiting.sent = True
        try:
            result = await future
            self.learn(connection, host.name, key)
            return result
        except asyncio.CancelledError:
            connection.cancel(correlation)
            raise
        finally:
            if first:
                self.order.ended(host, key)
            del future  # a failed one has the error, and the error's traceback this frame

    def fields(self, scope: Scope | Turn | None, deadline: float, now: float, method: GrainMethod) -> tuple[int, bytes]:
        """Optional fields: an inherited or explicit deadline, and who waits for this call."""
        usual_s = method.timeout_s or (STREAM_TIMEOUT_S if method.stream else self._local.timeout_s)
        left_s = deadline - now
        deadline_ms = None if abs(left_s - usual_s) < 0.001 else int(left_s * 1000)
        turn = None if scope is None else scope.turn
        if turn is None:
            return (0, b"") if deadline_ms is None else pack_fields(deadline_ms, (), "")
        chains = self._node.runner.chains
        chains.check_depth(turn, f"{method.kind}.{method.name}")
        return pack_fields(deadline_ms, chains.of(turn), turn.trace)

    # On this node.

    async def _here(
        self,
        grain: Grain[Any],
        method: GrainMethod,
        arguments: tuple[Any, ...],
        scope: Scope | Turn | None,
        deadline: float,
    ) -> Any:
        """A call of an activation on this node that may be busy or coming up."""
        runner = self._node.runner
        pool = grain._inaho_host.pool
        turn = Turn(method, grain, arguments, None, 0, deadline)
        if scope is ONE_WAY:
            turn.future = self._local.loop.create_future()
            runner.submit_soon(turn)
            return await see_through(turn)
        if scope is not None and scope.turn is not None:
            self._node.runner.chains.extend(turn, scope.turn)
        if pool is not None and grain._inaho_turn is not None:
            grain = turn.grain = pool.pick(grain, turn)
        if grain._inaho_turn is None:
            grain._inaho_turn = turn
            return await run_here(turn)
        if runner.enqueue(turn):
            if not runner.has_ready:
                return await run_here(turn)
            runner.run_soon(turn)
        turn.future = self._local.loop.create_future()
        return await see_through(turn)
