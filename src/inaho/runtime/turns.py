"""Running turns: user code in a real Task, at the price of a function call when it does not suspend.

A call at a grain is a `Turn`. Turns that have arrived wait in one queue and are run by *workers*: Tasks that step one
turn's coroutine after another inside themselves, each in a context of its own. A turn that finishes without suspending
costs no Task, no future and no trip through the loop; one that suspends keeps its worker, and the next worker is woken
at once. So user code always has a Task around it, and `asyncio.timeout`, `TaskGroup` and `current_task` work. A method
that has been seen to suspend is given a Task per turn, because handing a batch from worker to worker costs a loop
iteration each; now and then one of its turns is tried on a worker again.

Why not a Task per call: it is four times slower for methods that only compute. Why not step coroutines outside Tasks:
`asyncio.timeout` raises there (DESIGN section 8).
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final

from inaho.core.rpc.turns import DROPPED_OLDEST, QUEUED, REFUSED, TurnQueue
from inaho.errors import CallCycle, InahoError, Overloaded, Timeout
from inaho.wire.exceptions import as_seen_by_caller
from inaho.wire.frames import ChainLink

if TYPE_CHECKING:
    from inaho.runtime.incoming import Incoming
    from inaho.runtime.grain import Grain
    from inaho.runtime.method import GrainMethod

__all__ = ["CURRENT", "Scope", "Turn", "TurnRunner", "begin", "resume"]

TASK_TURNS: Final = 64
"""After a suspension, so many turns of the method get a Task each before a worker is tried again."""

WORKERS_PARKED_MAX: Final = 16


class Scope:
    """What calls made from here inherit: a deadline, and the turn that waits for them.

    Attributes:
        deadline: monotonic seconds.
        turn: the turn that is running; None outside grains.
    """

    __slots__ = ("deadline", "turn")

    def __init__(self, deadline: float, turn: Turn | None) -> None:
        self.deadline = deadline
        self.turn = turn


CURRENT: ContextVar[Scope | None] = ContextVar("inaho_scope", default=None)


class Turn(Scope):
    """One call at one activation.

    Attributes:
        method: what is called.
        grain: the activation.
        arguments: positional, in the order of the method's parameters.
        connection: where the answer goes; None for a call from this node.
        correlation: id of the call on that connection.
        number: the method's number on that connection, echoed in the reply.
        caller: the turn that waits for this one, when it runs on this node.
        chain: turns on other nodes that wait for this one, outermost first.
        trace: W3C `traceparent`, or empty.
        future: answer for a caller on this node, when the turn had to wait.
        task: the Task that runs it, once it has suspended.
        cancelled: nobody waits any more; "" until then, else why.
        id: number of the turn on this node; 0 until somebody asks.
    """

    # Class attributes stand for what most turns never set: a turn is made per call.
    number: int = 0
    caller: Turn | None = None
    chain: tuple[ChainLink, ...] = ()
    trace: str = ""
    future: asyncio.Future[Any] | None = None
    task: asyncio.Task[Any] | None = None
    cancelled: str = ""
    id: int = 0

    def __init__(
        self,
        method: GrainMethod,
        grain: Grain[Any],
        arguments: tuple[Any, ...],
        connection: Incoming | None,
        correlation: int,
        deadline: float,
    ) -> None:
        self.turn = self
        self.deadline = deadline
        self.method = method
        self.grain = grain
        self.arguments = arguments
        self.connection = connection
        self.correlation = correlation

    @property
    def read_only(self) -> bool:
        return self.method.read_only

    def cancel(self, why: str) -> None:
        """Nobody waits any more: interrupts the user's code if it runs, and keeps it from starting if not."""
        if not self.cancelled:
            self.cancelled = why
            if self.task is not None:
                self.task.cancel()


def begin(turn: Turn, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """First step of a turn; runs inside the turn's own context."""
    CURRENT.set(turn)
    return coroutine.send(None)


@types.coroutine
def resume(coroutine: Coroutine[Any, Any, Any], context: Context, awaited: Any) -> Generator[Any, Any, Any]:
    """Drives a coroutine that has suspended on `awaited`, inside the current Task but in its own context."""
    while True:
        try:
            value = yield awaited
        except GeneratorExit:
            context.run(coroutine.close)
            raise
        except BaseException as error:
            step: Callable[[Any], Any] = coroutine.throw
            value = error
        else:
            step = coroutine.send
        try:
            awaited = context.run(step, value)
        except StopIteration as stop:
            return stop.value


class TurnRunner:
    """Runs the turns of one node.

    Args:
        loop: the node's loop.
        depth: bound of each activation's queue.
        drop_oldest: see `TurnQueue`.
        node_id: callable giving the id under which chain links name this node.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, depth: int, drop_oldest: bool, node_id: Callable[[], str]
    ) -> None:
        self.ready: deque[Turn] = deque()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.turns_started = 0
        self.turns_suspended = 0
        self.turns_refused = 0
        self._loop = loop
        self._depth = depth
        self._drop_oldest = drop_oldest
        self._node_id = node_id
        self._parked: list[asyncio.Future[None]] = []
        self._waking = False
        self._ids = 0

    # Turns come in.

    def wake(self) -> None:
        """Has a worker look at `ready`, in the next loop iteration."""
        if self._waking:
            return
        self._waking = True
        while self._parked:
            future = self._parked.pop()
            if not future.done():
                future.set_result(None)
                return
        self.spawn(self._worker(), name="inaho-worker")

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str, context: Context | None = None) -> None:
        """Starts a Task that is remembered until it ends, so that it is neither collected nor left behind."""
        task = self._loop.create_task(coroutine, name=name, context=context or Context())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def enqueue(self, turn: Turn) -> bool:
        """Takes a turn for a grain that is busy. True: it may run now, and is marked as running.

        Raises:
            CallCycle: it would wait for a turn that waits for it.
            Overloaded: the queue is full.
        """
        grain = turn.grain
        busy = grain._turn
        queue: TurnQueue[Turn]
        if isinstance(busy, TurnQueue):
            queue = busy
        else:
            reentrant = grain._host.kind.reentrant
            queue = TurnQueue(reentrant=reentrant, depth=self._depth, drop_oldest=self._drop_oldest)
            if busy is not None:
                queue.running.append(busy)
            grain._turn = queue
        ahead = bool(queue.running) and self._waits_for(turn, queue)
        if ahead and not queue.compatible(turn):
            raise CallCycle(self._describe_cycle(turn), identity=str(grain.identity), authority=grain._host.authority)
        admission, dropped = queue.offer(turn, ahead=ahead)
        if admission == REFUSED:
            self.turns_refused += 1
            raise Overloaded(
                f"{self._depth} calls wait for this activation already (activation.queue_depth)",
                identity=str(grain.identity),
                authority=grain._host.authority,
            )
        if admission == DROPPED_OLDEST and dropped is not None:
            self.turns_refused += 1
            self.answer_error(
                dropped,
                Overloaded(
                    f"dropped as the oldest of {self._depth} waiting calls (activation.queue_policy)",
                    identity=str(grain.identity),
                    authority=grain._host.authority,
                ),
            )
        if admission in (QUEUED, DROPPED_OLDEST):
            if turn.connection is not None:
                turn.connection.running[turn.correlation] = turn
            return False
        return True

    # Workers.

    async def _worker(self) -> None:
        await self._work()

    @types.coroutine
    def _work(self) -> Generator[Any, Any, None]:
        """Steps ready turns; parks when there are none; ends when enough others are parked."""
        task = asyncio.current_task()
        assert task is not None
        ready = self.ready
        while True:
            self._waking = False
            while ready:
                turn = ready.popleft()
                if turn.cancelled:
                    continue
                grain = turn.grain
                if grain._turn is not None:
                    try:
                        if not self.enqueue(turn):
                            continue
                    except InahoError as error:
                        self.answer_error(turn, error)
                        continue
                else:
                    grain._turn = turn
                method = turn.method
                if method.suspends:
                    method.suspends -= 1
                    self.spawn(self._run(turn), name="inaho-turn", context=copy_context())
                    continue
                self.turns_started += 1
                context = copy_context()
                try:
                    coroutine = method.call(grain, turn.arguments)
                    awaited = context.run(begin, turn, coroutine)
                except StopIteration as stop:
                    self.finish(turn, stop.value, None)
                except Exception as error:
                    self.finish(turn, None, error)
                except BaseException as error:
                    self.finish(turn, None, error)
                    if not isinstance(error, asyncio.CancelledError):
                        raise
                else:
                    yield from self._suspended(turn, coroutine, context, awaited, task)
                if task.cancelling():  # the user's code cancelled its own Task: another worker goes on
                    self._waking = False
                    if ready:
                        self.wake()
                    return
            if len(self._parked) >= WORKERS_PARKED_MAX:
                return
            future = self._loop.create_future()
            self._parked.append(future)
            yield from future

    def _suspended(
        self,
        turn: Turn,
        coroutine: Coroutine[Any, Any, Any],
        context: Context,
        awaited: Any,
        task: asyncio.Task[Any],
    ) -> Generator[Any, Any, None]:
        """Sees a suspended turn through, having passed what is ready to another worker."""
        turn.method.suspends = TASK_TURNS
        self.register(turn, task)
        if self.ready:
            self._waking = False
            self.wake()
        try:
            result = yield from resume(coroutine, context, awaited)  # type: ignore[misc]
        except Exception as error:
            self.finish(turn, None, error)
        except BaseException as error:
            self.finish(turn, None, error)
            if not (turn.cancelled and isinstance(error, asyncio.CancelledError)):
                raise
            while task.cancelling():
                task.uncancel()
        else:
            if turn.cancelled:
                while task.cancelling():
                    task.uncancel()
            self.finish(turn, result, None)

    async def _run(self, turn: Turn) -> None:
        """A turn with a Task of its own."""
        task = asyncio.current_task()
        assert task is not None
        CURRENT.set(turn)
        self.turns_started += 1
        self.register(turn, task)
        try:
            result = await turn.method.call(turn.grain, turn.arguments)
        except Exception as error:
            self.finish(turn, None, error)
        except BaseException as error:
            self.finish(turn, None, error)
            if not isinstance(error, asyncio.CancelledError):
                raise
        else:
            self.finish(turn, result, None)

    def register(self, turn: Turn, task: asyncio.Task[Any]) -> None:
        """A turn that may last: deadlines and cancellation find it from now on."""
        self.turns_suspended += 1
        turn.task = task
        if turn.connection is not None:
            turn.connection.running[turn.correlation] = turn

    # Turns end.

    def finish(self, turn: Turn, result: Any, error: BaseException | None) -> None:
        """Answers, and starts what waited for the turn to end."""
        if error is not None:
            self.answer_error(turn, error)
        elif turn.connection is not None:
            connection = turn.connection
            if turn.task is not None:
                connection.running.pop(turn.correlation, None)
            if not turn.cancelled:
                connection.reply(turn, result)
        elif turn.future is not None and not turn.future.done():
            turn.future.set_result(result)
        self.release(turn)

    def release(self, turn: Turn) -> None:
        """The activation is free of this turn; those that waited start in order."""
        turn.task = None
        grain = turn.grain
        busy = grain._turn
        if busy is turn:
            grain._turn = None
            return
        if isinstance(busy, TurnQueue):
            busy.finish(turn)
            self.advance(grain, busy)

    def advance(self, grain: Grain[Any], queue: TurnQueue[Turn]) -> None:
        """Starts waiting turns that may run now, and forgets a queue that nobody needs."""
        started = False
        while (turn := queue.next()) is not None:
            if turn.connection is not None:
                turn.connection.running.pop(turn.correlation, None)
            if turn.cancelled:
                queue.finish(turn)
                continue
            self._start(turn)
            started = True
        if queue.idle:
            grain._turn = None
        elif not queue.running and not started:
            grain._host.settle(grain, queue)

    def _start(self, turn: Turn) -> None:
        """Runs a turn that is marked as running already."""
        turn.grain._touched = turn.grain._host.node.now
        self.spawn(self._run(turn), name="inaho-turn", context=copy_context())

    def answer_error(self, turn: Turn, error: BaseException) -> None:
        """Tells whoever waits how the turn failed."""
        if isinstance(error, asyncio.CancelledError):
            error = self._cancellation(turn, error)
        if turn.connection is not None:
            turn.connection.running.pop(turn.correlation, None)
            turn.connection.reply_error(turn, error)
        elif turn.future is not None and not turn.future.done():
            host = turn.grain._host
            if isinstance(error, Exception):
                error = as_seen_by_caller(error, identity=str(turn.grain.identity), authority=host.authority)
            turn.future.set_exception(error)

    def _cancellation(self, turn: Turn, error: asyncio.CancelledError) -> BaseException:
        if turn.cancelled == "deadline":
            return Timeout("the deadline passed while the method ran", identity=str(turn.grain.identity))
        if turn.cancelled:
            return InahoError(f"cancelled: {turn.cancelled}", identity=str(turn.grain.identity), maybe_executed=True)
        return RuntimeError(f"{turn.method.name} raised CancelledError by itself: {error}")

    # Call chains.

    def number(self, turn: Turn) -> int:
        """The turn's number on this node, given at first need."""
        if not turn.id:
            self._ids += 1
            turn.id = self._ids
        return turn.id

    def chain_of(self, turn: Turn | None) -> tuple[ChainLink, ...]:
        """All turns that wait for a call made by `turn`, itself included, outermost first."""
        links: list[ChainLink] = []
        node_id = self._node_id()
        while turn is not None:
            grain = turn.grain
            links.append(ChainLink(grain._host.name, grain._key, node_id, self.number(turn)))
            if turn.caller is None:
                return (*turn.chain, *reversed(links))
            turn = turn.caller
        return ()

    def _waits_for(self, turn: Turn, queue: TurnQueue[Turn]) -> bool:
        """Whether a turn that runs in `queue` waits, directly or through others, for `turn`."""
        outer: Turn | None = turn
        while outer is not None:
            caller = outer.caller
            if caller is not None and any(caller is running for running in queue.running):
                return True
            if caller is None and outer.chain:
                node_id = self._node_id()
                numbers = [running.id for running in queue.running if running.id]
                return any(link.node_id == node_id and link.turn in numbers for link in outer.chain)
            outer = caller
        return False

    def _describe_cycle(self, turn: Turn) -> str:
        links = self.chain_of(turn.caller) if turn.caller is not None else turn.chain
        names = [f"{link.kind}/{link.key}" for link in links]
        grain = turn.grain
        names.append(f"{grain._host.name}/{grain._key}")
        start = names.index(names[-1]) if names[-1] in names[:-1] else 0
        return f"the call would wait for itself: {' -> '.join(names[start:])} ({turn.method.name})"

    async def stop(self) -> None:
        """Ends workers and what still runs. Called when turns have been waited for."""
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
