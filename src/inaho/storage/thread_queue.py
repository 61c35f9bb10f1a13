"""Queues requests for one thread, which takes all that have gathered as one batch.

A commit costs one disk flush however many saves are in it. While one batch is committed, the next one gathers and is
then taken as a whole. So an idle storage answers a single save at once, a busy one shares each flush among many, and no
waiting time has to be configured. The results of a batch come back to the event loop in one wake-up.

What is submitted in one iteration of the event loop is handed over at its end, in one piece. A thread that is woken
earlier takes the first request alone, and takes turns at the interpreter's lock with the loop that makes the others.

Requests beyond the bounds wait, first come first served, in the coroutine of their caller: nothing is dropped.

A queue that makes progress is worth waiting for, however slow the disk. After a batch in which nothing succeeded, for
example because another process keeps the file locked, the next batch would wait as long again, and so on through the
whole queue. So after such a batch, requests that have waited for `busy_timeout_s` are refused: they have waited as long
as they would have alone. Requests that came after the end of that batch are not refused, however late the thread takes
them.

Why not `asyncio.to_thread`: a pool has several threads and no order, returns results one by one, and its queue has no
bound.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from inaho.config import StorageConfig
from inaho.errors import InahoError, StorageFailed
from inaho.storage.admission import Admission
from inaho.storage.ticket import Ticket

__all__ = ["BatchServer", "BatchWorker"]

Request = TypeVar("Request")
Request_contra = TypeVar("Request_contra", contravariant=True)
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class BatchServer(Protocol[Request_contra, Result_co]):
    """The work of the thread; its methods are called there only, one at a time."""

    def open(self) -> None:
        """Takes what it needs. Raises `InahoError` to refuse the start."""

    def serve(self, batch: Sequence[Request_contra]) -> Sequence[Result_co | InahoError]:
        """One outcome per request, in order; an `InahoError` is raised to the caller of that request."""
        ...

    def close(self) -> None:
        """Releases what `open` took."""


class BatchWorker(Generic[Request, Result]):
    """Runs a `BatchServer` on a thread of its own and passes requests and results between it and the event loop.

    Args:
        name: of the thread.
        server: does the work.
        config: `queue_requests_max`, `queue_bytes_max`, `batch_requests_max`, `batch_bytes_max` and `busy_timeout_s`
            apply.
    """

    def __init__(self, name: str, server: BatchServer[Request, Result], config: StorageConfig) -> None:
        self._name = name
        self._server = server
        self._config = config
        self._queue: SimpleQueue[list[Ticket[Request, Result]] | None] = SimpleQueue()
        self._submitted: list[Ticket[Request, Result]] = []  # in this iteration of the loop
        self._taken: deque[Ticket[Request, Result]] = deque()  # by the thread, beyond its last batch
        self._admission = Admission(config)
        self._late_until = 0.0  # a request that expires later has not waited behind a batch that failed
        self._in_flight: dict[Hashable, int] = {}
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    @property
    def queued(self) -> int:
        """Requests accepted and not yet answered."""
        return self._admission.requests

    # On the event loop.

    async def start(self) -> None:
        """Starts the thread and waits until the server is open.

        A daemon thread, so that a process without a close can still exit: saves that it loses were not acknowledged.
        """
        threading.Thread(target=self._run, name=self._name, daemon=True).start()
        try:
            await asyncio.shield(self._opened)
        except BaseException:
            # A caller that is cancelled here does not call stop; a server that did not open ends by itself.
            self._opened.add_done_callback(_retrieve)
            self._ended.add_done_callback(_retrieve)
            self._queue.put(None)
            raise

    async def stop(self) -> None:
        """Refuses requests that wait for room, serves accepted ones, closes the server and ends the thread."""
        if not self._admission.closed:
            self._admission.close()
            self._hand_over()
            self._queue.put(None)
        await asyncio.shield(self._ended)

    async def submit(self, key: Hashable, request: Request, size: int) -> Result:
        """Waits for room, then for the outcome.

        If it is cancelled while it waits for room, or before its batch is taken, it does not run; later, it may.

        Args:
            key: of the record, see `busy_with`.
            request: for the server.
            size: bytes that it holds in memory.

        Raises:
            StorageFailed: closed; it waited too long behind a failed batch; or the error of the server.
        """
        expires_at = time.monotonic() + self._config.busy_timeout_s
        await self._admission.enter(size)
        ticket: Ticket[Request, Result] = Ticket(key, request, size, expires_at, self._loop.create_future())
        self._in_flight[key] = self._in_flight.get(key, 0) + 1
        if not self._submitted:
            self._loop.call_soon(self._hand_over)
        self._submitted.append(ticket)
        try:
            return await ticket.future
        except asyncio.CancelledError:
            ticket.abandoned = True
            raise

    def _hand_over(self) -> None:
        if self._submitted:
            submitted, self._submitted = self._submitted, []
            self._queue.put(submitted)

    def busy_with(self, key: Hashable) -> bool:
        """Whether a request about `key` was accepted and is not finished, even if its caller was cancelled."""
        return key in self._in_flight

    def _deliver(self, tickets: list[Ticket[Request, Result]], outcomes: Sequence[Result | InahoError]) -> None:
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            self._finish(ticket)
            if ticket.future.done():
                continue
            if isinstance(outcome, InahoError):
                ticket.future.set_exception(outcome)
            else:
                ticket.future.set_result(outcome)

    def _forget(self, tickets: list[Ticket[Request, Result]]) -> None:
        for ticket in tickets:
            self._finish(ticket)

    def _finish(self, ticket: Ticket[Request, Result]) -> None:
        self._admission.leave(ticket.size)
        left = self._in_flight[ticket.key] - 1
        if left:
            self._in_flight[ticket.key] = left
        else:
            del self._in_flight[ticket.key]

    # On the thread.

    def _run(self) -> None:
        try:
            self._server.open()
        except Exception as error:  # any error must reach the caller that waits for the start
            self._post(_settle, self._opened, error)
            self._post(_settle, self._ended, None)
            return
        alive = self._post(_settle, self._opened, None)
        going = True
        while alive and going:
            tickets, going = self._gather()
            abandoned: list[Ticket[Request, Result]] = []
            late: list[Ticket[Request, Result]] = []
            begun: list[Ticket[Request, Result]] = []
            now = time.monotonic()
            for ticket in tickets:  # the loop may abandon one at any moment, so each is checked once
                is_late = ticket.expires_at <= min(now, self._late_until)
                (abandoned if ticket.abandoned else late if is_late else begun).append(ticket)
            if abandoned:
                alive = self._post(self._forget, abandoned)
            if late:
                alive = self._post(self._deliver, late, [self._refusal() for _ in late])
            if begun:
                outcomes = self._outcomes(begun)
                failed = all(isinstance(outcome, StorageFailed) for outcome in outcomes)
                self._late_until = time.monotonic() + self._config.busy_timeout_s if failed else 0.0
                alive = self._post(self._deliver, begun, outcomes)
        failure: Exception | None = None
        try:
            self._server.close()
        except Exception as error:  # raised to the caller of the close
            failure = error
        self._post(_settle, self._ended, failure)

    def _gather(self) -> tuple[list[Ticket[Request, Result]], bool]:
        """Waits for one request, then takes all that are there. False: nothing follows."""
        taken = self._taken
        if not taken:
            submitted = self._queue.get()
            if submitted is None:
                return [], False
            taken.extend(submitted)
        tickets: list[Ticket[Request, Result]] = []
        size = 0
        while True:
            while taken:
                ticket = taken.popleft()
                tickets.append(ticket)
                size += ticket.size
                if len(tickets) >= self._config.batch_requests_max or size >= self._config.batch_bytes_max:
                    return tickets, True
            try:
                submitted = self._queue.get_nowait()
            except Empty:
                return tickets, True
            if submitted is None:
                return tickets, False
            taken.extend(submitted)

    def _refusal(self) -> StorageFailed:
        waited = f"{self._config.busy_timeout_s:g} s (storage.busy_timeout_s)"
        reason = f"{self._name}: it waited for {waited} behind others, which failed"
        return StorageFailed(reason, maybe_executed=False)

    def _outcomes(self, tickets: list[Ticket[Request, Result]]) -> Sequence[Result | InahoError]:
        try:
            return self._server.serve([ticket.request for ticket in tickets])
        except Exception as error:  # a mistake here: the callers get the error, and the thread continues
            failures: list[Result | InahoError] = []
            for _ in tickets:
                failure = StorageFailed(f"{self._name} failed: {error!r}")
                failure.__cause__ = error
                failures.append(failure)
            return failures

    def _post(self, call: Callable[..., None], *arguments: Any) -> bool:
        """Runs `call` on the event loop. False: the loop is closed, and all callers with it."""
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            return False
        return True


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _retrieve(future: asyncio.Future[None]) -> None:
    """Marks an outcome as retrieved, so that asyncio does not report it as never retrieved."""
    if not future.cancelled():
        future.exception()
