"""`ActorSystem`: starts the extensions, spawns topmost actors, and ends everything in order.

The order of the end is the reverse of the dependencies: first the user's actors, children before parents; then the
extensions, the last installed first; then the extensions' own actors; then the event stream, so that all of these are
still published there.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, TypeVar, overload

from inaho.actor.ask import ask
from inaho.actor.cell import Cell
from inaho.actor.children import Parent
from inaho.actor.dead_letters import DeadLetters
from inaho.actor.ending import stop_extension, stop_tree
from inaho.actor.event_stream import EventStream
from inaho.actor.guardian import Guardian
from inaho.actor.mailbox import MailboxConfig
from inaho.actor.names import check_name
from inaho.actor.ref import ActorRef, StopReason
from inaho.actor.run_loop import LEAVES_CANCELLATIONS, Maker, RunLoop
from inaho.actor.supervision import Supervisor
from inaho.actor.uninterrupted import uninterrupted
from inaho.errors import IllegalTransition, InvalidConfig, NameInUse, Overloaded, ShuttingDown

__all__ = ["ActorSystem", "Extension", "Recipe"]

_logger = logging.getLogger("inaho.actor")

T = TypeVar("T")


class _Status(enum.Enum):
    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Extension(Protocol):
    """A part of the system that starts before the actors run and ends after them (SPEC BS-1)."""

    @property
    def name(self) -> str:
        """Unique in the system."""
        ...

    async def install(self, system: ActorSystem) -> None:
        """Starts it. It may spawn actors and use the extensions before it in the order.

        An exception fails the start of the system; its own `stop` is then not called, so it must clean up first.
        """
        ...

    async def stop(self) -> None:
        """Ends it. The user's actors have ended by then, and so have the extensions after it in the order."""
        ...


class Recipe(Protocol):
    """What the system needs to make an actor; `Props` is one."""

    @property
    def name(self) -> str | None:
        """Of the actor among its siblings; None makes one up."""
        ...

    @property
    def mailbox(self) -> MailboxConfig:
        """Bound and policy of its mailbox."""
        ...

    @property
    def supervisor(self) -> Supervisor:
        """Decides when the actor raises."""
        ...

    def maker(self, cell: Cell, system: ActorSystem) -> Maker:
        """The function that makes the actor's instances in `cell`, now and after each restart."""
        ...


class ActorSystem:
    """A tree of actors on one event loop.

    Use it as `async with ActorSystem("shop") as system:`, or call `start` and `stop`. It starts once.

    Args:
        name: first part of all paths.
        extensions: installed in this order at the start.
        event_capacity: events buffered for a subscription that names no other bound.
        subscribers_max: subscribers of the event stream at once.
        dead_letters_recent_max: dead letters that are kept for inspection.
        actors_max: actors alive at once.
        ask_timeout_s: of an ask that names none.
        stop_timeout_s: of a `stop` that names none, and of `async with`.
        clock: Unix seconds, for `Event.at` and other code that needs the time of day.
        seed: of the random part of restart pauses; None takes one from the operating system.

    Attributes:
        clock: as given.
        events: the event stream.
        dead_letters: messages that reached no actor.
        random: the system's random generator.
    """

    def __init__(
        self,
        name: str,
        *,
        extensions: Sequence[Extension] = (),
        event_capacity: int = 1024,
        subscribers_max: int = 1024,
        dead_letters_recent_max: int = 100,
        actors_max: int = 1_000_000,
        ask_timeout_s: float = 10.0,
        stop_timeout_s: float = 10.0,
        clock: Callable[[], float] = time.time,
        seed: int | None = None,
    ) -> None:
        check_name(name)
        for field, value in (
            ("actors_max", actors_max),
            ("ask_timeout_s", ask_timeout_s),
            ("stop_timeout_s", stop_timeout_s),
        ):
            if value <= 0:
                raise InvalidConfig(f"ActorSystem.{field} must be above 0, not {value}")
        self.name = name
        self.clock = clock
        self.events = EventStream(capacity=event_capacity, subscribers_max=subscribers_max, clock=clock)
        self.dead_letters = DeadLetters(self.events, recent_max=dead_letters_recent_max)
        self.random = random.Random(seed)  # spreads restarts; needs no cryptographic strength
        self.ask_timeout_s = ask_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._actors_max = actors_max
        self._wanted = tuple(extensions)
        self._installed: dict[str, Extension] = {}
        self._cells: dict[str, Cell] = {}
        self._user = Guardian(name, "user", self.events)
        self._system = Guardian(name, "system", self.events)
        self._status = _Status.NEW
        self._started_at: float | None = None
        self._stop_task: asyncio.Task[None] | None = None
        self._sentry: asyncio.Task[None] | None = None
        self._context: contextvars.Context | None = None
        self._asks_made = 0

    @property
    def running(self) -> bool:
        """Whether it has started and not begun to stop."""
        return self._status is _Status.RUNNING

    @property
    def uptime(self) -> float:
        """Seconds since the start was complete; 0 before it and after the stop."""
        if self._started_at is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._started_at

    async def start(self) -> None:
        """Installs the extensions in order, then runs.

        If one fails, those before it are stopped in reverse, the system is stopped, and the error is raised.

        Raises:
            NameInUse: two extensions have one name; none was installed.
            IllegalTransition: it was started before.
        """
        if self._status is not _Status.NEW:
            raise IllegalTransition(f"an actor system starts once; this one is {self._status.value}")
        names = [extension.name for extension in self._wanted]
        for name in names:
            if names.count(name) > 1:
                raise NameInUse("two extensions have this name", identity=name)
        self._status = _Status.STARTING
        # Actors live longer than the code that spawns them, so they must not inherit its deadline or trace.
        self._context = contextvars.copy_context()
        if LEAVES_CANCELLATIONS:
            self._sentry = asyncio.get_running_loop().create_task(
                self._await_end_of_loop(), name=f"inaho://{self.name} sentry"
            )
        try:
            for extension in self._wanted:
                await extension.install(self)
                self._installed[extension.name] = extension
        except BaseException:
            loop = asyncio.get_running_loop()
            self._stop_task = loop.create_task(self._roll_back(), name=f"inaho://{self.name} roll back")
            await uninterrupted(self._stop_task, _logger)
            raise
        self._started_at = asyncio.get_running_loop().time()
        self._status = _Status.RUNNING

    async def stop(self, *, timeout_s: float | None = None) -> None:
        """Ends the user's actors, then the extensions in reverse, then the rest. May be called again.

        Args:
            timeout_s: for the user's actors to finish their current messages and `on_stop`; then they are cancelled.
                Each extension gets as long again. None takes `stop_timeout_s`.

        Raises:
            ExceptionGroup: extensions failed to stop. The others, and all actors, were stopped nevertheless.
            IllegalTransition: an actor called it from its own Task and would wait for itself.
        """
        current = asyncio.current_task()
        if any(cell.task is current for cell in self._cells.values()):
            raise IllegalTransition("an actor cannot wait for the end of its own system; start a task that does")
        if self._status is _Status.NEW:
            self._status = _Status.STOPPED
            self.events.close()
        if self._status is _Status.STARTING:
            raise IllegalTransition("the actor system is starting; cancel the start instead")
        if self._stop_task is None and self._status is _Status.RUNNING:
            self._status = _Status.STOPPING
            patience_s = self._stop_timeout_s if timeout_s is None else timeout_s
            self._stop_task = asyncio.get_running_loop().create_task(
                self._stop(patience_s), name=f"inaho://{self.name} stop"
            )
        if self._stop_task is not None:
            # If the caller gives up, the system is still stopped completely.
            await uninterrupted(self._stop_task, _logger)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def spawn(self, props: Recipe, name: str | None = None) -> ActorRef:
        """Makes a topmost actor, `inaho://system/user/name`. It starts in a task of its own, after this returns.

        Args:
            props: its recipe, see `Props`.
            name: overrides `props.name`; None makes one up.

        Raises:
            NameInUse: a living actor has that name.
            InvalidConfig: the name cannot be part of a path.
            ShuttingDown: the system is not running.
            Overloaded: the system has `actors_max` actors.
        """
        return self._spawn(self._user, props, name)

    def spawn_system_actor(self, props: Recipe, name: str | None = None) -> ActorRef:
        """As `spawn`, for extensions: under `inaho://system/system`, ended after all extensions have stopped."""
        return self._spawn(self._system, props, name)

    def find(self, path: str) -> ActorRef | None:
        """The living actor at `path`, in full (`inaho://…`) or from the root (`user/a/b`)."""
        full = path if path.startswith("inaho://") else f"inaho://{self.name}/{path.lstrip('/')}"
        cell = self._cells.get(full)
        return None if cell is None else cell.ref

    @overload
    def extension(self, which: str) -> Extension: ...
    @overload
    def extension(self, which: type[T]) -> T: ...
    def extension(self, which: str | type[T]) -> Extension | T:
        """The installed extension of a name or class.

        Raises:
            InvalidConfig: there is none.
        """
        if isinstance(which, str):
            if which in self._installed:
                return self._installed[which]
        else:
            for extension in self._installed.values():
                if isinstance(extension, which):
                    return extension
        wanted = which if isinstance(which, str) else which.__name__
        raise InvalidConfig(f"no extension {wanted} is installed; pass it in ActorSystem(extensions=[…])")

    async def ask(self, ref: ActorRef, message: Any, *, timeout_s: float | None = None) -> Any:
        """See `ActorRef.ask`."""
        return await ask(self, ref, message, self.ask_timeout_s if timeout_s is None else timeout_s)

    def temporary_path(self) -> str:
        """A path for the temporary reference of one ask."""
        self._asks_made += 1
        return f"inaho://{self.name}/temp/${self._asks_made}"

    def task_context(self) -> contextvars.Context:
        """The context in which a new actor runs: a copy of that of `start`."""
        return contextvars.Context() if self._context is None else self._context.copy()

    def spawn_child(self, parent: Parent, props: Recipe, name: str | None) -> ActorRef:
        """Makes and starts an actor below `parent`.

        Raises:
            NameInUse: a living sibling has the name.
            InvalidConfig: the name cannot be part of a path.
            Overloaded: the system has `actors_max` actors.
        """
        chosen = parent.children.choose_name(props.name if name is None else name)
        cell = Cell(self, parent, chosen, props.mailbox)
        if len(self._cells) >= self._actors_max:
            raise Overloaded(f"there are {len(self._cells)} actors (actors_max)", identity=cell.path)
        make = props.maker(cell, self)
        run_loop = RunLoop(cell, make, props.supervisor, props.mailbox.batch_max, self.random, self.events)
        self._cells[cell.path] = cell
        parent.children.add(chosen, cell)
        cell.start(run_loop.run)
        return cell.ref

    def remove_cell(self, cell: Cell) -> None:
        """Forgets an actor that has ended."""
        if self._cells.get(cell.path) is cell:
            del self._cells[cell.path]

    def check(self) -> None:
        """Asserts the invariants of the system and of every actor."""
        for cell in self._cells.values():
            cell.check()
        if self._status is _Status.STOPPED:
            assert not self._cells and not self._installed

    def __repr__(self) -> str:
        return f"ActorSystem({self.name!r}, {self._status.value}, {len(self._cells)} actors)"

    def _spawn(self, guardian: Guardian, props: Recipe, name: str | None) -> ActorRef:
        if self._status not in (_Status.STARTING, _Status.RUNNING):
            raise ShuttingDown(f"the actor system {self.name} is {self._status.value} and spawns nothing")
        return self.spawn_child(guardian, props, name)

    async def _roll_back(self) -> None:
        self._status = _Status.STOPPING
        for error in await self._stop_all(self._stop_timeout_s):
            # The caller must get the error that failed the start.
            _logger.error("an extension failed to stop after a failed start", exc_info=error)

    async def _stop(self, timeout_s: float) -> None:
        errors = await self._stop_all(timeout_s)
        if errors:
            raise ExceptionGroup(f"extensions of the actor system {self.name} failed to stop", errors)

    async def _stop_all(self, timeout_s: float) -> list[Exception]:
        errors: list[Exception] = []
        await stop_tree(self._cells, self._user, timeout_s)
        for name, extension in reversed(list(self._installed.items())):
            error = await stop_extension(extension, timeout_s)
            if error is not None:
                errors.append(error)
            del self._installed[name]
        await stop_tree(self._cells, self._system, timeout_s)
        if self._sentry is not None:
            self._sentry.cancel()
            await asyncio.wait([self._sentry])
        self.events.close()
        self._started_at = None
        self._status = _Status.STOPPED
        return errors

    async def _await_end_of_loop(self) -> None:
        """Ends the actors when the program ends without `stop`: `asyncio.run` then cancels every task once.

        An actor whose code catches that continues, and cannot distinguish it from a leftover of a `TaskGroup` (see
        `run_loop`).
        """
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for cell in list(self._cells.values()):
                cell.request_stop(StopReason.KILLED)
