"""`Grain`, the base of the classes that users write.

A grain's public `async def` methods (and async generators) are its interface. Everything about them is read when the
class is defined, so a type that cannot cross the wire is an error in the importing module and not at the first call. An
activation is the user's instance itself with six slots of ours: no wrapper, no queue, no lock, no Task while it is
idle, because a node holds millions.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic

from inaho.core.activation.placement import OWNER, check_strategy
from inaho.errors import InvalidGrain
from inaho.runtime.grains.activation import CURRENT, ActivationTurns, GrainHost, Turn
from inaho.runtime.grains.call_context import CallContext
from inaho.runtime.grains.class_scope import names_around
from inaho.runtime.grains.kind import GrainKind
from inaho.runtime.grains.method_options import method
from inaho.runtime.grains.state_record import StateRecord
from inaho.runtime.grains.timer import Timer
from inaho.types import ClusterIdentity

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from inaho.core.activation.lease import Lease
    from inaho.core.activation.reminders import Reminder
    from inaho.runtime.cluster.cluster import Cluster

    # A bare `Grain` is a grain of any state, and `Grain[A]` and `Grain[B]` are both `Grain[object]`: so type checkers
    # take a list of kinds. Only a grain itself sets its state, so this is safe.
    S = TypeVar("S", default=Any, covariant=True)  # noqa: PLC0105
else:
    from typing import TypeVar

    S = TypeVar("S")

__all__ = ["POLICIES", "CallContext", "Grain", "GrainKind", "method", "unknown_kind"]

POLICIES: Final = ("keep", "reset", "stop")
"""What may become of the state when a turn fails, see `Grain`."""


class Grain(Generic[S]):
    """Base of grains: `class Cart(Grain[CartState])`, or `class Echo(Grain)` without durable state.

    Class arguments:
        name: name of the kind in the cluster; the class's name unless given.
        reentrant: turns of one activation may interleave at every await.
        idle_ttl_s: seconds without a call after which an activation is unloaded; 0 keeps it.
        on_failure: what happens to the state when a turn raises or is interrupted: `keep` it as the turn left it (the
            default); `reset` it to what was saved last, before the next turn; or `stop` the activation, and the next
            call makes a new one. Until then turns beside the failed one (`reentrant`, streams) cannot save. An
            exception of a call that the turn made and did not catch counts like its own. A failed read-only method
            never resets or stops.
        placement: where an identity is activated: at its `owner` by hash (the default); on the node that calls it
            first if that hosts the kind (`prefer_local`); or where there is less to do (`least_loaded`).
        role: only nodes with this role (`ClusterConfig.roles`) host the kind; a node without the role that
            gets the class can only call it.

    Methods whose names do not begin with an underscore and that are `async def` can be called from anywhere, inherited
    ones included; type variables of generic bases are those that the class gives: after `class Names(Store[str])` a
    method `put(item: T)` of `Store[T]` takes text. Turns of one activation run one after another. Async generators, and
    a plain `def` annotated with `AsyncIterator`, are streams: they interleave with turns, since a consumer may take its
    time, and should not rely on the state between two `yield`s.

    Any other public plain `def` is refused. What only the grain itself uses has an underscore before its name, or is a
    `@staticmethod`, `@classmethod` or property; plain methods of bases that are no grains are left alone. None of
    these can be called through a reference.

    Raises:
        InvalidGrain: when the class is made, if it cannot be served.
    """

    __slots__ = ("_inaho_host", "_inaho_key", "_inaho_lease", "_inaho_record", "_inaho_touched", "_inaho_turn")

    inaho_kind: ClassVar[GrainKind]

    _inaho_host: GrainHost
    _inaho_key: str
    _inaho_turn: Turn | ActivationTurns | None
    _inaho_touched: float
    _inaho_lease: Lease
    _inaho_record: StateRecord | None

    def __init_subclass__(
        cls,
        *,
        name: str = "",
        reentrant: bool = False,
        idle_ttl_s: float | None = None,
        on_failure: str = "keep",
        placement: str = OWNER,
        role: str = "",
        **options: Any,
    ) -> None:
        super().__init_subclass__(**options)
        if idle_ttl_s is not None and idle_ttl_s < 0:
            raise InvalidGrain(f"{cls.__name__}: idle_ttl_s must be 0 or more, not {idle_ttl_s}")
        if on_failure not in POLICIES:
            raise InvalidGrain(f"{cls.__name__}: on_failure must be one of {', '.join(POLICIES)}, not {on_failure!r}")
        name = name or cls.__name__
        check_strategy(name, placement)
        own = {"on_failure": on_failure, "placement": placement, "role": role}
        kind = GrainKind(cls, name, base=Grain, reentrant=reentrant, idle_ttl_s=idle_ttl_s, **own)
        kind.read(names_around(cls.__module__))
        cls.inaho_kind = kind

    @property
    def key(self) -> str:
        """Key of this identity within its kind."""
        return self._inaho_key

    @property
    def identity(self) -> ClusterIdentity:
        """Kind and key."""
        return ClusterIdentity(self._inaho_host.name, self._inaho_key)

    @property
    def cluster(self) -> Cluster:
        """The cluster, for calling other grains: `self.cluster.grain(Other, key)`."""
        cluster: Cluster = self._inaho_host.cluster
        return cluster

    @property
    def context(self) -> CallContext:
        """The call that is running.

        Raises:
            RuntimeError: outside a call, as in a Task that outlives its turn.
        """
        scope = CURRENT.get()
        if scope is None or scope.over or scope.turn is None or scope.turn.hook or scope.turn.grain is not self:
            raise RuntimeError(f"no call is running at {self.identity}")
        return CallContext(scope.turn)

    @property
    def state(self) -> S:
        """Durable state, loaded before the first call. Changes are durable after the next `save`."""
        return self._stateful().value  # type: ignore[no-any-return]

    @state.setter
    def state(self, value: S) -> None:  # type: ignore[misc]
        self._stateful().value = value

    async def save(self) -> None:
        """Makes the state durable, fenced by version and epoch. When it returns, the state is committed.

        Raises:
            StateConflict: another activation has saved since; this one is stale and is stopped. Or another call of this
                activation has failed, and `on_failure` discards what it left; the next call finds what was saved.
            StorageFailed: the outcome is unknown.
            SerializationFailed: the state has no encoding, or is not of its type. Nothing was stored.
        """
        await self._inaho_host.save(self, self._stateful())

    async def clear(self) -> None:
        """Deletes the saved state and begins with a new one. Raises as `save`."""
        await self._inaho_host.clear(self, self._stateful())

    def deactivate(self) -> None:
        """Unloads this activation after its running turns; the next call makes another.

        If called in `on_activate`: after the first turn.
        """
        self._inaho_host.deactivate_soon(self, "requested")

    def timer(
        self,
        callback: Callable[..., object] | str,
        interval_s: float | None,
        *arguments: Any,
        first_s: float | None = None,
        keep_alive: bool = False,
        timeout_s: float | None = None,
    ) -> Timer:
        """Calls this activation back, again and again, until it ends or the timer is cancelled.

        Each tick is a turn: it runs alone, and `self.context` works. What it raises is logged, is the event
        `TimerFailed`, and is handled by `on_failure`; the timer goes on. Call this in `on_activate` or later.

        Args:
            callback: a method, function or coroutine function, or the name of a method.
            interval_s: seconds from the end of one tick to the next, above 0; None: it ticks once.
            arguments: for the callback.
            first_s: seconds until the first tick, 0 or more; `interval_s` unless given.
            keep_alive: the activation is not unloaded as idle while the timer is active. Without it ticks do not count
                as use.
            timeout_s: a tick is interrupted after this time, and not begun if it waited so long; `rpc.timeout_s`
                unless given.

        Raises:
            InvalidArguments: no such method, or seconds out of range.
            Overloaded: the activation has `activation.timers_max` timers.
        """
        return self._inaho_host.start_timer(
            self, callback, interval_s, arguments, first_s=first_s, keep_alive=keep_alive, timeout_s=timeout_s
        )

    async def remind(
        self, name: str, due: float | datetime, period_s: float | None = None, *, catch_up: str = "once"
    ) -> None:
        """Has `on_reminder` called at a time, or from then on every `period_s` seconds, wherever the grain is then.

        A reminder is durable: it outlives the activation, its node and a restart of the whole cluster. When this
        returns it is saved; a reminder of the same name is replaced. It is delivered at least once, and again while
        `on_reminder` raises or takes longer than `rpc.timeout_s`, up to 8 times with growing pauses.

        Args:
            name: of the reminder, unique for this grain, 1 to 200 bytes.
            due: seconds from now, independent of clock differences; or a time with its time zone, by the clock of the
                keeper's node.
            period_s: seconds between occurrences, at least 1; None: only one.
            catch_up: what is made of occurrences that passed while nothing could deliver them. `once` delivers one for
                all, the last. `skip` delivers none that is more than `activation.reminder_late_s` late. `all` delivers
                each one, at most the newest `activation.reminder_catch_up_max`.

        Raises:
            InvalidArguments: name, time, period or policy out of range, or the class has no `on_reminder`.
            InvalidConfig: the node's storage is memory of its own and would lose it.
            Overloaded: too many reminders (`activation.reminders_per_grain_max`, `activation.reminders_max`).
            InahoError: it could not be saved; whether it was may be unknown (`maybe_executed`).
        """
        await self._inaho_host.reminders.remind(self, name, due, period_s, catch_up)

    async def forget(self, name: str) -> bool:
        """Deletes a reminder, durably; False when there is none. A delivery that has begun still arrives."""
        return await self._inaho_host.reminders.forget(self, name)

    async def reminders(self) -> list[Reminder]:
        """The reminders of this grain, sorted by name, with the time of their next occurrence."""
        return await self._inaho_host.reminders.listed(self)

    async def on_reminder(self, reminder: Reminder) -> None:
        """A reminder is due. It may come twice for one occurrence (`reminder.due` is the same then)."""

    async def on_activate(self) -> None:
        """Runs once before the first call, with the state loaded. Raising fails the activation."""

    async def on_deactivate(self, reason: str) -> None:
        """Runs after the last turn, the last tick of a timer and the end of streams; not run on a crash.

        Args:
            reason: why the activation ends, and whether it may save:

                - `idle`: nobody called it for `idle_ttl_s`. It may save.
                - `requested`: `deactivate` was called. It may save.
                - `moved`: another node owns it. It may save.
                - `shutdown`: the node leaves. It may save.
                - `failed`: a turn failed, and its state is as that turn left it. `save` is refused.
                - `stale`: another activation has saved, or may have. `save` is refused.
                - any other text says why other nodes removed this one. `save` is refused.

                With `on_failure` `reset` or `stop`, `save` is also refused when a turn or stream failed and the state
                was not loaded again since.
        """

    def _stateful(self) -> StateRecord:
        record = self._inaho_record
        if record is None:
            raise RuntimeError(f"{self._inaho_host.name} has no durable state: derive it from Grain[SomeStruct]")
        return record

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '_inaho_key', '(not activated)')!r}>"


def unknown_kind(name: str) -> GrainKind:
    """A kind of which only the name is known, for calls by name."""
    return GrainKind(Grain, name, base=Grain)
