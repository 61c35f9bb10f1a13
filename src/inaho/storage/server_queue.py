"""Queues requests to a storage server; the next free connection takes all that have gathered.

A lane is one connection and its present work. Requests that arrive in one loop iteration leave together, in one write
if the protocol allows it; while every lane waits for its server, the next requests gather. So an idle storage answers a
single save at once, and a busy one shares round trips and disk flushes among many. `thread_queue` does the same for a
file, with a thread.

An operation is bounded in time twice: while it waits for a lane, and in its lane while it waits for the answer. If the
caller of a request that has begun is cancelled, the request still runs to its end; `settled` waits for it.

Why not the pools of the client libraries: each request would pay for taking a connection, checking it and giving it
back (asyncpg: one more round trip), and would be sent alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from inaho.config import StorageConfig
from inaho.errors import InahoError, StorageFailed
from inaho.storage.admission import Admission
from inaho.storage.ticket import Ticket

__all__ = ["Lane", "Lanes"]

Request = TypeVar("Request")
Request_contra = TypeVar("Request_contra", contravariant=True)
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Lane(Protocol[Request_contra, Result_co]):
    """One connection. It is made without being connected, connects at need and reconnects after a failure."""

    async def serve(self, batch: Sequence[Request_contra]) -> Sequence[Result_co | InahoError]:
        """One outcome per request, in order, within `operation_timeout_s`."""
        ...

    async def close(self) -> None:
        """Ends the connection, if there is one."""


class Lanes(Generic[Request, Result]):
    """Runs requests on up to `lanes_max` lanes. It belongs to the event loop on which it is made.

    Args:
        name: of the storage, for messages.
        make: makes a new lane.
        config: `queue_requests_max`, `queue_bytes_max`, `batch_bytes_max` and `operation_timeout_s` apply.
        lanes_max: connections at most; each is made when all others are busy.
        batch_requests_max: requests that one lane takes at once.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Lane[Request, Result]],
        config: StorageConfig,
        *,
        lanes_max: int,
        batch_requests_max: int,
    ) -> None:
        self._name = name
        self._make = make
        self._config = config
        self._lanes_max = lanes_max
        self._batch_requests_max = batch_requests_max
        self._loop = asyncio.get_running_loop()
        self._admission = Admission(config)
        self._pending: deque[Ticket[Request, Result]] = deque()
        self._idle: list[Lane[Request, Result]] = []
        self._busy: set[asyncio.Task[None]] = set()
        self._waking = False
        self._in_flight: dict[Hashable, int] = {}
        self._settling: dict[Hashable, list[asyncio.Future[None]]] = {}

    @property
    def queued(self) -> int:
        """Requests accepted and not yet answered."""
        return self._admission.requests

    async def submit(self, key: Hashable, request: Request, size: int) -> Result:
        """Waits for room, then for the outcome.

        Args:
            key: of the record, see `settled`; None if `settled` is not used for it.
            request: for a lane.
            size: bytes that it holds in memory.

        Raises:
            StorageFailed: closed; no lane was free in time; or the error of the lane.
        """
        expires_at = self._loop.time() + self._config.operation_timeout_s
        await self._admission.enter(size)
        ticket = Ticket[Request, Result](key, request, size, expires_at, self._loop.create_future())
        if key is not None:
            self._in_flight[key] = self._in_flight.get(key, 0) + 1
        self._pending.append(ticket)
        self._wake()
        try:
            return await ticket.future
        except asyncio.CancelledError:
            ticket.abandoned = True
            raise

    async def settled(self, key: Hashable) -> None:
        """Waits until no request about `key` is running, even if its caller was cancelled."""
        while key in self._in_flight:
            gate: asyncio.Future[None] = self._loop.create_future()
            self._settling.setdefault(key, []).append(gate)
            await gate

    async def stop(self) -> None:
        """Refuses requests that wait for room, serves accepted ones and closes the lanes."""
        self._admission.close()
        while self._pending or self._busy:
            if self._busy:
                await asyncio.wait(self._busy)
            else:
                await asyncio.sleep(0)  # woken, but not begun
        lanes, self._idle = self._idle, []
        for lane in lanes:
            await lane.close()

    def _wake(self) -> None:
        if not self._waking:
            self._waking = True
            self._loop.call_soon(self._start)  # after all requests of this loop iteration

    def _start(self) -> None:
        self._waking = False
        while self._pending and (self._idle or len(self._busy) < self._lanes_max):
            batch = self._gather()
            if batch:
                lane = self._idle.pop() if self._idle else self._make()
                task = self._loop.create_task(self._run(lane, batch), name=f"{self._name}, lane")
                self._busy.add(task)
                task.add_done_callback(self._busy.discard)

    async def _run(self, lane: Lane[Request, Result], batch: list[Ticket[Request, Result]]) -> None:
        while batch:
            try:
                outcomes = await self._outcomes(lane, batch)
            except BaseException:  # the loop is being closed
                for ticket in batch:
                    ticket.future.cancel()
                    self._finish(ticket)
                raise
            for ticket, outcome in zip(batch, outcomes, strict=True):
                self._deliver(ticket, outcome)
            batch = self._gather()
        self._idle.append(lane)

    async def _outcomes(
        self, lane: Lane[Request, Result], batch: list[Ticket[Request, Result]]
    ) -> Sequence[Result | InahoError]:
        try:
            return await lane.serve([ticket.request for ticket in batch])
        except Exception as error:  # a mistake here: the callers get the error, and the lane continues
            failures: list[Result | InahoError] = []
            for _ in batch:
                failure = StorageFailed(f"{self._name} failed: {error!r}")
                failure.__cause__ = error
                failures.append(failure)
            return failures

    def _gather(self) -> list[Ticket[Request, Result]]:
        """Takes pending requests, within the bounds of a batch, without those whose caller was cancelled."""
        batch: list[Ticket[Request, Result]] = []
        size = 0
        now = self._loop.time()
        while self._pending and len(batch) < self._batch_requests_max and size < self._config.batch_bytes_max:
            ticket = self._pending.popleft()
            if ticket.abandoned:
                self._finish(ticket)
            elif ticket.expires_at <= now:
                waited = f"{self._config.operation_timeout_s:g} s (storage.operation_timeout_s)"
                reason = f"{self._name}: no connection was free within {waited}"
                self._deliver(ticket, StorageFailed(reason, maybe_executed=False))
            else:
                batch.append(ticket)
                size += ticket.size
        return batch

    def _deliver(self, ticket: Ticket[Request, Result], outcome: Result | InahoError) -> None:
        self._finish(ticket)
        if ticket.future.done():
            return
        if isinstance(outcome, InahoError):
            ticket.future.set_exception(outcome)
        else:
            ticket.future.set_result(outcome)

    def _finish(self, ticket: Ticket[Request, Result]) -> None:
        self._admission.leave(ticket.size)
        if ticket.key is None:
            return
        left = self._in_flight[ticket.key] - 1
        if left:
            self._in_flight[ticket.key] = left
            return
        del self._in_flight[ticket.key]
        for gate in self._settling.pop(ticket.key, ()):
            if not gate.done():
                gate.set_result(None)
