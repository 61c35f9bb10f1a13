"""Keeps the order of the calls that one node makes to one identity when they cannot be sent at once.

Calls on one connection arrive in their order, and an activation runs them in that order. The order would be lost when
calls are refused because the identity moves: each would pause and retry by itself, and a newer call would overtake. So
the first call that cannot be sent opens a *line* for its identity. Refused calls come first in it, in the order of
their refusals, which is the order of sending; calls made meanwhile come behind them. A Task of the line finds out where
to send. It sends the first call alone, and when that is not refused on arrival, it sends all others. If there is no
line, a call is sent at once, and nothing here runs.

Two facts must be known: that all calls on their way to the previous owner have been refused, and that the first one was
not refused by the new owner. For this the Task asks that node a trivial question on the same connection
(`CallOrder._passed`): its answer comes behind the answers to all frames before it.

Why not numbers on calls that the callee sorts: it would have to wait for numbers that never come.

The order ends: when a connection breaks with calls on their way (their outcome is unknown); when an operator blocks the
node where calls wait (it may stand still, so its refusals are not waited for); when a node does not answer for
`PASSED_S`; when an entry of a full PidCache is dropped while its calls are on their way; when a placed activation ends
and begins again on the same node while calls of a caller are on their way to it: those in between are refused and come
again, behind those that were received later; for a call made by a turn that
was itself called by a turn (others in the line may wait for it; a send before it does wait in line); when a turn that
runs at the callee waits for a call, which may go ahead of the queue there. Stateless kinds and streams have no order.
Turns that an activation runs together (read-only, reentrant) begin in order and then run concurrently. A one-way call
(`sends`) has its place among the calls of its sender.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from inaho.errors import InahoError, Timeout, error_from_code
from inaho.runtime.activation.kind_host import host_of
from inaho.runtime.calls.first_calls import first_calls_of
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.types import MemberStatus

if TYPE_CHECKING:
    from inaho.core.identity.pid_cache import PidCache
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.calls.resolver import Resolver
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.grains.activation import Scope, Turn
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.placement.system_calls import SystemCalls
    from inaho.types import Pid

__all__ = ["CallOrder", "Line", "Waiting"]

PASSED_S: Final = 1.0
"""How long a node may take to answer the question behind earlier frames; then the line continues without its answer."""

ENDING_S: Final = 0.05
"""How long to wait for refusals of a node that has said goodbye and answers no question."""


class Waiting:
    """One call in a line.

    Attributes:
        place: resolved with the connection on which to send, or None for this node; or with the error if there is none.
        number: among calls of this node that were sent and may come back, in the order of their sending; kept from the
            first refusal on. 0 for one that was not sent.
        pause_s: how long its line waits before it continues.
        sent: it has been sent elsewhere.
    """

    __slots__ = ("number", "pause_s", "place", "sent")

    def __init__(self) -> None:
        self.place: asyncio.Future[Outgoing | None]
        self.number = 0
        self.pause_s = 0.0
        self.sent = False


class Line:
    """The calls of one identity that wait to be sent.

    Attributes:
        returned: refused calls, a heap by number; before all others.
        joined: calls that were made since.
        former: connections on which calls of the identity may be on their way.
        refusals: number of refused calls. Once there are any, the known owner must be verified.
    """

    __slots__ = ("former", "joined", "refusals", "returned")

    def __init__(self) -> None:
        self.returned: list[tuple[int, Waiting]] = []
        self.joined: deque[Waiting] = deque()
        self.former: list[Outgoing] = []
        self.refusals = 0

    def __len__(self) -> int:
        return len(self.returned) + len(self.joined)

    def first(self) -> Waiting:
        """The first of them, which stays; it may wait no more."""
        return self.returned[0][1] if self.returned else self.joined[0]

    def take(self) -> Waiting | None:
        """The first call that still waits; None when there is none."""
        while self.returned or self.joined:
            waiting = heapq.heappop(self.returned)[1] if self.returned else self.joined.popleft()
            if not waiting.place.done():
                return waiting
        return None


class CallOrder:
    """The lines of one node.

    Args:
        local: this node.
        topology: of this node.
        hosts: kinds of this node, by name.
        pid_cache: where identities were reached last.
        peers: give the connections.
        calls: of placement actors, for the question that comes behind all frames before it.
        resolver: finds out where the calls of a line go.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        hosts: Mapping[str, KindHost],
        pid_cache: PidCache,
        peers: Peers,
        calls: SystemCalls,
        resolver: Resolver,
    ) -> None:
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._pid_cache = pid_cache
        self._peers = peers
        self._calls = calls
        self._resolver = resolver
        self._numbers = 0

    @staticmethod
    def applies(host: KindHost, key: str, scope: Scope | Turn | None) -> bool:
        """Whether a call keeps the order: not of a stateless kind, nor if a turn that waits for it may be ahead."""
        if host.kind.stateless_max or host.system:
            return False
        turn = None if scope is None else scope.turn
        if turn is None:
            return True
        return not turn.depth and not (turn.grain._inaho_host is host and turn.grain._inaho_key == key)

    def hold(self, host: KindHost, key: str, former: Outgoing | None = None) -> Line:
        """The line of an identity, opened if there is none: from now on no call overtakes refused ones."""
        line = host.lines.get(key)
        if not isinstance(line, Line):  # there is none
            line = host.lines[key] = Line()
            self._local.spawn(self._run(host, key, line), name=f"inaho-order-{host.name}")
        if former is not None and former not in line.former:
            line.former.append(former)
        self._resolver.forget(host.name, key, "calls wait in line")
        return line

    async def place(
        self, waiting: Waiting, host: KindHost, key: str, deadline: float, *, refused: bool, former: Outgoing | None
    ) -> Outgoing | None:
        """Waits in line.

        Args:
            waiting: the call, the same object each time.
            host, key: the identity.
            deadline: of the call, seconds of the loop's clock.
            refused: the call was sent before and refused.
            former: the connection that the call was refused on.

        Returns:
            The connection on which to send in the same step of the loop, or None for this node.

        Raises:
            Timeout: the deadline passed. The call has not run.
            InahoError: why it cannot be sent. The call has not run.
        """
        line = self.hold(host, key, former)
        waiting.place = self._local.loop.create_future()
        waiting.sent = False
        if refused:
            line.refusals += 1
            waiting.number = waiting.number or self._next_number()
            heapq.heappush(line.returned, (waiting.number, waiting))
        else:
            line.joined.append(waiting)
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                return await waiting.place
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Timeout("no connection to the owner before the deadline", maybe_executed=False) from error

    def refused_here(self, turn: Turn) -> None:
        """A call that waited on this node is refused; no call made before its caller learns of it overtakes it."""
        if turn.future is not None:
            self.hold(host_of(turn.grain), turn.grain._inaho_key)

    def came_here(self, kind: str, key: str) -> None:
        """An activation was made here. Calls may be on their way to the previous owner, and come first."""
        host = self._hosts[kind]
        if host.system:
            return
        calls = first_calls_of(host, key) if host.first_calls else None
        pid = self._pid_cache.peek(host.name, key)
        if calls is not None:
            self.hold(host, key, calls.connection)
        elif pid is not None and pid.node_id != self._local.node_id:
            connection = self._peers.connections.get(pid.authority)
            if connection is not None and connection.peer.node_id == pid.node_id and connection.used_lately:
                self.hold(host, key, connection)

    def still_there(self, keep: Callable[[Pid], bool]) -> Callable[[Pid], bool]:
        """`keep`, and entries of the PidCache to whose nodes calls may be on their way: the next call goes there too.

        It is refused there, behind those before it, and joins their line. A node that may not answer is not asked.
        """
        topology = self._topology.snapshot
        blocked = () if topology is None else topology.blocked
        alive = {
            member.node_id
            for member in (() if topology is None else topology.members)
            if member.status < MemberStatus.UNREACHABLE and member.authority not in blocked
        }
        busy = {
            connection.peer.node_id
            for connection in self._peers.connections.values()
            if connection.peer.node_id in alive and connection.used_lately
        }
        for host in self._hosts.values():
            for key in [*host.first_calls] if host.first_calls else ():
                calls = first_calls_of(host, key)
                if calls is not None and calls.connection.peer.node_id not in alive:
                    del host.first_calls[key]
        return (lambda pid: pid.node_id in busy or keep(pid)) if busy else keep

    # The Task of a line.

    async def _run(self, host: KindHost, key: str, line: Line) -> None:
        connection: Outgoing | None = None
        try:
            while True:
                await asyncio.sleep(0)  # calls that were woken wait again, or have been sent
                while line.former:
                    await self._passed(line.former.pop())
                if not len(line):
                    break
                first = line.first()
                pause_s, first.pause_s = first.pause_s, 0.0
                if pause_s:
                    await self._topology.wait(pause_s)
                try:
                    connection = await self._resolver.reach(host, key, again=line.refusals > 0)
                    if connection is None:
                        await self._up(host, key)
                except InahoError as error:
                    self._fail(line, error)
                    continue
                if not len(line.former):
                    await self._send(line, connection)
        finally:
            if host.lines.get(key) is line:
                del host.lines[key]
            if connection is not None and not connection.ending:
                self._resolver.learn(connection, host, key)
            self._fail(line, error_from_code("shutting_down", "this node closes", authority=self._local.authority))

    async def _up(self, host: KindHost, key: str) -> None:
        """Returns when the activation on this node has started; its previous owner has then refused waiting calls."""
        grain = host.activations.get(key)
        if grain is None:
            grain = host.activate(key)
        if host.lifecycle.is_changing(grain) and not host.lifecycle.reason_of(grain):
            await host.gates.wait(key)

    async def _send(self, line: Line, connection: Outgoing | None) -> None:
        """Releases all calls, in order; elsewhere only the first one until it is known not to be refused on arrival."""
        refusals = line.refusals
        if connection is not None:
            first = None
            while first is None or not first.sent:  # a call that was cancelled, or has an invalid argument, is not sent
                if connection.ending or line.refusals != refusals:
                    return  # the call is in the line again, and needs another connection
                first = line.take()
                if first is None:
                    return
                self._let_go(first, connection)
                await asyncio.sleep(0)
            await self._passed(connection)
        while line.refusals == refusals and not line.former and (connection is None or not connection.ending):
            waiting = line.take()
            if waiting is None:
                return
            self._let_go(waiting, connection)
            if connection is not None and connection.paused:
                await connection.room()

    def _let_go(self, waiting: Waiting, connection: Outgoing | None) -> None:
        waiting.number = waiting.number or self._next_number()
        waiting.place.set_result(connection)

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _fail(self, line: Line, error: InahoError) -> None:
        """Fails all calls with the error; those that may be retried wait again, in order."""
        waiting = [*(one for _, one in sorted(line.returned)), *line.joined]
        line.returned.clear()
        line.joined.clear()
        for one in waiting:
            if not one.place.done():
                one.place.set_exception(
                    error_from_code(
                        error.code,
                        error.reason,
                        identity=error.identity,
                        authority=error.authority,
                        maybe_executed=False,
                    )
                )

    async def _passed(self, connection: Outgoing) -> None:
        """Returns when that node has answered, or refused, all frames that it had to refuse on arrival."""
        if connection.closed:
            return
        if connection.ending:
            await self._topology.wait(ENDING_S)
            return
        try:
            future, correlation = self._calls.send(connection, PlacementActor.through, "", [], 0, within_s=PASSED_S)
        except InahoError:
            return
        try:
            await asyncio.wait((future,), timeout=PASSED_S)
        finally:
            if not future.done():
                connection.cancel(correlation)
            elif not future.cancelled():
                future.exception()  # any answer is enough
