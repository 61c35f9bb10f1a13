"""Runs turns: user code in a real Task, at the cost of a function call when it does not suspend.

A call at a grain is a `Turn`. The first step of its coroutine is taken at once, where the call arrived, while a
*worker*, a Task that waits for work, is entered as the current one. Most turns end in that step and cost no Task, no
future and no loop iteration. If a turn suspends, its worker runs it to its end and then waits for the next. So user
code runs in one Task from beginning to end, and `asyncio.timeout`, `TaskGroup` and `current_task` work. Each turn has a
context of its own.

The standard library documents `asyncio._enter_task` and `_leave_task` for code that runs Tasks by itself ("Extending
asyncio"). Why not a Task per call: it is four times slower for methods that only compute. Why not eager Tasks: they
exist from Python 3.12 on, and make a Task per call too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from inaho.actor.raise_soon import raise_soon
from inaho.core.rpc.turns import DROPPED_OLDEST, QUEUED, REFUSED
from inaho.errors import CallCycle, InahoError, Overloaded, ShuttingDown, Timeout
from inaho.errors.inspection import is_a
from inaho.runtime.grains.activation import CURRENT, ActivationTurns, Turn
from inaho.runtime.local.tasks import NodeTasks
from inaho.runtime.turns.call_chain import CallChains
from inaho.runtime.turns.load import TurnLoad
from inaho.runtime.turns.steps import as_raised, report, suspended_on, undescribed
from inaho.runtime.turns.worker import Worker
from inaho.wire.exceptions import as_seen_by_caller
from inaho.wire.frames import HEADER_REST

if TYPE_CHECKING:
    from inaho.runtime.grains.activation import Activation

__all__ = ["TurnRunner"]


_enter_task = asyncio.tasks._enter_task
_leave_task = asyncio.tasks._leave_task

WORKERS_IDLE_MAX: Final = 256
"""Idle workers kept for the next turns that suspend. Each takes 1.5 kilobytes."""

STOP_ROUNDS: Final = 5
"""How often code that still runs at the end of a node is cancelled, one second apart."""


class TurnRunner:
    """Runs the turns of one node.

    Args:
        loop: the node's loop.
        tasks: the Tasks of the node; each worker is one of them.
        depth: bound of each activation's queue.
        drop_oldest: see `inaho.core.rpc.turns.TurnQueue`.
        node_id: returns the id of this node, for call chains.
        call_chain_max: how many turns may wait for one turn at most (`rpc.call_chain_max`).

    Attributes:
        chains: knows which turn waits for which.
        idle: workers that wait for a turn.
        load: the turns that run and wait.
        started, suspended, refused: numbers of turns.
        leaving: whether the node leaves and now cancels the turns that have not ended in time.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tasks: NodeTasks,
        *,
        depth: int,
        drop_oldest: bool,
        node_id: Callable[[], str],
        call_chain_max: int,
    ) -> None:
        self.loop = loop
        self.tasks = tasks
        self.started = 0
        self.suspended = 0
        self.refused = 0
        self.chains = CallChains(node_id, call_chain_max)
        self._ready: deque[Turn] = deque()
        self.load = TurnLoad(self._ready)
        self.idle: list[Worker] = []
        self._depth = depth
        self._drop_oldest = drop_oldest
        self.leaving = False
        self._stopping = False

    def submit(self, turn: Turn) -> None:
        """Runs a turn of a call from another node, or queues it. Call it outside Tasks."""
        grain = turn.grain
        if grain._inaho_turn is None and not turn.cancelled:
            grain._inaho_turn = turn
            self.run(turn)
        elif self._admit(turn):
            if not self._ready:
                self.run(turn)
                return
            if turn.connection is not None:
                turn.connection.running[turn.correlation] = turn
            self.run_soon(turn)

    def submit_soon(self, turn: Turn) -> None:
        """As `submit`, also inside Tasks: the turn is admitted now, and its first step runs in the next iteration."""
        if self._admit(turn):
            self.run_soon(turn)

    def _admit(self, turn: Turn) -> bool:
        """Whether the turn may run now and is marked as running. Otherwise it waits or was refused."""
        if turn.cancelled:
            return False
        grain = turn.grain
        if grain._inaho_turn is None:
            grain._inaho_turn = turn
        else:
            try:
                pool = grain._inaho_host.pool
                if pool is not None:
                    grain = turn.grain = pool.pick(grain, turn)
                if grain._inaho_turn is None:
                    grain._inaho_turn = turn
                elif not self.enqueue(turn):
                    return False
            except InahoError as error:
                self.answer_error(turn, error)
                return False
        return True

    def run(self, turn: Turn) -> None:
        """Takes the first step of a turn that is marked as running. Call it outside Tasks."""
        self.started += 1
        idle = self.idle
        worker = idle.pop() if idle else Worker(self)
        task = worker.task
        method = turn.method
        context = worker.context.copy()
        _enter_task(self.loop, task)
        try:
            context.run(CURRENT.set, turn)
            grain, arguments = turn.grain, turn.arguments
            coroutine = method.function(grain, *arguments) if method.simple else method.call(grain, arguments)
            awaited = context.run(coroutine.send, None)
        except StopIteration as stop:
            _leave_task(self.loop, task)
            if not task.cancelling():
                idle.append(worker)
            grain = turn.grain
            if turn.connection is not None:
                turn.connection.reply(turn, stop.value)
            elif turn.future is not None and not turn.future.done():
                self._give(turn, turn.future, stop.value)
            turn.over = True
            if grain._inaho_turn is turn:
                grain._inaho_turn = None
            else:
                self.release(turn)
        except BaseException as error:
            _leave_task(self.loop, task)
            if not task.cancelling():
                idle.append(worker)
            self.fail(turn, error)
            if is_a(error, (KeyboardInterrupt, SystemExit)):
                raise_soon(error)
        else:
            _leave_task(self.loop, task)
            self.suspend(turn, worker, coroutine, context, awaited)

    def suspend(
        self, turn: Turn, worker: Worker, coroutine: Coroutine[Any, Any, Any], context: Context, awaited: Any
    ) -> None:
        """Gives a turn that did not end in its first step to its worker."""
        self.suspended += 1
        if awaited is not None:
            suspended_on(awaited)
        turn.task, turn.awaiting = worker.task, awaited
        if turn.connection is not None:
            turn.connection.running[turn.correlation] = turn
        worker.adopt(turn, coroutine, context, awaited)

    def keep(self, worker: Worker) -> bool:
        """Whether a worker whose turn has ended should wait for the next one."""
        if self._stopping or len(self.idle) >= WORKERS_IDLE_MAX:
            return False
        self.idle.append(worker)
        return True

    def forget(self, worker: Worker) -> None:
        """A worker has ended."""
        if worker in self.idle:
            self.idle.remove(worker)

    def enqueue(self, turn: Turn) -> bool:
        """Takes a turn for a busy activation. Returns whether it may run now; then it is marked as running.

        Raises:
            CallCycle: it would wait for a turn that waits for it.
            Overloaded: the queue is full.
        """
        grain = turn.grain
        queue = self.queue_of(grain)
        running = queue.running if queue.hook is None else [*queue.running, queue.hook]
        ahead = bool(running) and self.chains.waits(running, turn)
        if ahead:
            if queue.hook is not None or not queue.compatible(turn, ahead=True):
                raise CallCycle(
                    self.chains.describe(turn), identity=str(grain.identity), authority=grain._inaho_host.authority
                )
        elif queue.held and turn.depth:
            self.chains.check_arriving(turn)
        admission, dropped = queue.offer(turn, ahead=ahead)
        if admission == REFUSED:
            self.refused += 1
            raise self.overloaded(grain)
        if admission == DROPPED_OLDEST and dropped is not None:
            self.refused += 1
            self.answer_error(
                dropped,
                Overloaded(
                    f"dropped as the oldest of {self._depth} waiting calls (activation.queue_policy)",
                    identity=str(grain.identity),
                    authority=grain._inaho_host.authority,
                ),
            )
        if admission in (QUEUED, DROPPED_OLDEST):
            if len(queue.waiting) == 1:
                self.load.waits(queue)
            if queue.held:
                grain._inaho_host.turn_waits(grain)
            if turn.connection is not None:
                turn.connection.running[turn.correlation] = turn
            return False
        return True

    def queue_of(self, grain: Activation) -> ActivationTurns:
        """The queue of an activation; makes one that contains the running turn, if it has none."""
        busy = grain._inaho_turn
        if isinstance(busy, ActivationTurns):
            return busy
        queue = ActivationTurns(
            reentrant=grain._inaho_host.kind.reentrant, depth=self._depth, drop_oldest=self._drop_oldest
        )
        if busy is not None:
            queue.running.append(busy)
        grain._inaho_turn = queue
        return queue

    def overloaded(self, grain: Activation) -> Overloaded:
        """The refusal of a call at an activation whose queue is full."""
        return Overloaded(
            f"{self._depth} calls wait for this activation already (activation.queue_depth)",
            identity=str(grain.identity),
            authority=grain._inaho_host.authority,
        )

    def abandon(self, turn: Turn, why: str) -> bool:
        """Interrupts a turn that nothing waits for, or removes it from its queue. Returns whether it had begun."""
        started = turn.task is not None
        turn.cancel(why)
        queue = turn.grain._inaho_turn
        if not started and isinstance(queue, ActivationTurns) and queue.withdraw(turn):
            if turn.connection is not None:
                turn.connection.running.pop(turn.correlation, None)
            if not queue.held:  # readers may have waited behind this writer
                self.advance(turn.grain, queue)
        return started

    def fail(self, turn: Turn, error: BaseException) -> None:
        """The user's code raised: answers, and starts the turns that waited for this one."""
        if is_a(error, asyncio.CancelledError):
            error = self._cancellation(turn, error)
        try:
            turn.grain._inaho_host.turn_failed(turn, error)
            report(self.loop, error, self.answer_error, turn, as_raised(error, turn.method.name))
        except Exception as broken:
            self.answer_error(turn, undescribed(error, turn.method.name, broken))
        finally:
            self.release(turn)

    def finish(self, turn: Turn, result: Any) -> None:
        """The user's code returned: answers, and starts the turns that waited for this one."""
        if turn.connection is not None:
            connection = turn.connection
            if turn.task is not None:
                connection.running.pop(turn.correlation, None)
            if not turn.cancelled:
                connection.reply(turn, result)
        elif turn.future is not None and not turn.future.done():
            self._give(turn, turn.future, result)
        self.release(turn)

    def _give(self, turn: Turn, future: asyncio.Future[Any], result: Any) -> None:
        """Copies the result for a caller on this node now, since the next turn may change it before the caller runs."""
        method = turn.method
        if result.__class__ not in method.plain_results and not method.is_plain_result(result):
            try:
                result = method.copy_result(result, turn.grain._inaho_key, turn.grain._inaho_host)
            except InahoError as error:
                self.answer_error(turn, error)
                return
        future.set_result(result)

    def release(self, turn: Turn) -> None:
        """Removes an ended turn from its activation, and starts the turns that waited for it, in order."""
        turn.over = True
        turn.task = None
        grain = turn.grain
        if turn.method.is_use:  # the activation was not idle while the turn ran
            grain._inaho_touched = grain._inaho_host.local.now
        busy = grain._inaho_turn
        if busy is turn:
            grain._inaho_turn = None
            return
        if isinstance(busy, ActivationTurns):
            busy.finish(turn)
            self.advance(grain, busy)

    def advance(self, grain: Activation, queue: ActivationTurns) -> None:
        """Starts the waiting turns that may run now, and removes a queue without turns."""
        self.start_waiting(queue)
        if queue.idle:
            grain._inaho_turn = None
        elif not queue.running:
            grain._inaho_host.at_rest(grain)

    def start_waiting(self, queue: ActivationTurns) -> None:
        """Starts the waiting turns that may run now, in their order."""
        while (turn := queue.next()) is not None:
            if turn.cancelled:
                if turn.connection is not None:
                    turn.connection.running.pop(turn.correlation, None)
                queue.finish(turn)
                continue
            self.run_soon(turn)

    @property
    def has_ready(self) -> bool:
        """Whether turns that may run wait for their first step. A turn that `run_soon` gets now begins after them."""
        return bool(self._ready)

    def run_soon(self, turn: Turn) -> None:
        """Schedules the first step of a turn that is marked as running, outside the present Task."""
        if not self._ready:
            self.loop.call_soon(self._run_ready)
        self._ready.append(turn)

    def _run_ready(self) -> None:
        """Runs the turns that `run_soon` has scheduled."""
        now = self.loop.time()
        for _ in range(len(self._ready)):
            turn = self._ready.popleft()
            if turn.method.is_use:
                turn.grain._inaho_touched = now
            if turn.connection is not None:  # until now the connection could cancel it as a waiting turn
                turn.connection.running.pop(turn.correlation, None)
            if turn.cancelled:
                self.release(turn)
            else:
                self.run(turn)
        if self._ready:
            self.loop.call_soon(self._run_ready)

    def answer_error(self, turn: Turn, error: BaseException) -> None:
        """Answers the caller of a turn with an error."""
        if turn.connection is not None:
            turn.connection.running.pop(turn.correlation, None)
            turn.connection.reply_error(turn, error)
        elif turn.future is not None and not turn.future.done():
            host = turn.grain._inaho_host
            error = as_seen_by_caller(
                error,
                identity=str(turn.grain.identity),
                authority=host.authority,
                bytes_max=host.local.config.transport.frame_bytes_max - HEADER_REST,
                method=turn.method.name,
            )
            turn.future.set_exception(error)

    def _cancellation(self, turn: Turn, error: asyncio.CancelledError) -> BaseException:
        if turn.cancelled == "deadline":
            return Timeout("the deadline passed while the method ran", identity=str(turn.grain.identity))
        if turn.cancelled:
            return InahoError(f"cancelled: {turn.cancelled}", identity=str(turn.grain.identity))
        if self._stopping or self.leaving:
            return ShuttingDown("the node has stopped while the method ran", identity=str(turn.grain.identity))
        return error

    async def stop(self, rounds: int = STOP_ROUNDS) -> None:
        """Ends workers and running turns. User code that catches its cancellation is closed in the end (`CUT_OFF`).

        Args:
            rounds: how often running code is cancelled before that, one second apart.
        """
        self._stopping = True
        await self.tasks.stop(rounds)
