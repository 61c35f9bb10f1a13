"""An activation, its turns, and what both need of their node.

A grain knows the turn that runs, a turn knows its grain, and both need their host. So they are described in one module:
an activation, its host and the caller as protocols, a turn and a waiting turn as classes. A `Turn` is made per call, so
it is a Struct, which is three times as fast to make as an instance of a plain class. `inaho.runtime.turns` runs turns.

`Activation._inaho_turn` is None while the activation is active and idle, a `Turn` while it is active and runs that one,
and an `ActivationTurns` in all other cases: several turns, or a state of its life in which turns wait. So an idle
activation costs one slot, and a call that finds it idle one comparison.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import msgspec

from inaho.core.activation.life import AT_WORK, ActivationLife
from inaho.core.rpc.turns import TurnQueue
from inaho.wire.frames import ChainLink

if TYPE_CHECKING:
    from inaho.core.activation.lease import Lease
    from inaho.core.activation.reminders import Reminder
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.grains.state_record import StateRecord
    from inaho.runtime.grains.timer import Timer
    from inaho.runtime.local.local_node import LocalNode
    from inaho.types import ClusterIdentity

__all__ = [
    "CURRENT",
    "ONE_WAY",
    "Activation",
    "ActivationTurns",
    "Caller",
    "CallerNode",
    "GrainHost",
    "MoreActivations",
    "Reminders",
    "Scope",
    "Turn",
    "TurnHost",
]


class Activation(Protocol):
    """An active grain as the runtime sees it: the user's instance, and what the runtime stores on it.

    `Grain` is the only class with all this. The runtime names this protocol instead, so that the code that runs an
    activation needs to know nothing of what users write.
    """

    _inaho_host: GrainHost
    _inaho_key: str
    _inaho_turn: Turn | ActivationTurns | None
    _inaho_touched: float
    _inaho_lease: Lease
    _inaho_record: StateRecord | None
    inaho_kind: ClassVar[GrainKind]

    @property
    def identity(self) -> ClusterIdentity:
        """Its kind and key."""
        ...

    @property
    def key(self) -> str:
        """Its key."""
        ...

    async def on_activate(self) -> None:
        """See `Grain.on_activate`."""
        ...

    async def on_deactivate(self, reason: str) -> None:
        """See `Grain.on_deactivate`."""
        ...


class Scope(msgspec.Struct, eq=False):
    """What calls made from here inherit, where `inaho.deadline` has narrowed it.

    Attributes:
        deadline: monotonic seconds.
        turn: the turn that is running; None outside grains.
    """

    deadline: float
    turn: Turn | None

    @property
    def over(self) -> bool:
        """See `Turn.over`."""
        return self.turn is not None and self.turn.over


ONE_WAY: Final = Scope(math.inf, None)
"""The scope of one-way calls. They inherit nothing, and take no step of the callee inside the step of their sender."""


class Turn(msgspec.Struct, eq=False):
    """One call at one activation.

    Attributes:
        method: what is called.
        grain: the activation.
        arguments: positional, in the order of the method's parameters.
        connection: where the answer goes; None for a call from this node.
        correlation: id of the call on that connection.
        number: the method's number on that connection, echoed in the reply.
        caller: the turn that waits for this one, when it runs on this node.
        chain: turns on other nodes that wait for this turn, outermost first.
        depth: number of turns that wait for this turn, on any node.
        trace: W3C `traceparent`, or empty.
        future: answer for a caller on this node, when the turn had to wait or has suspended.
        task: the Task that runs it, once it has suspended.
        cancelled: the reason if no caller waits any more; "" until then.
        id: number of the turn on this node; 0 until it is needed.
        awaiting: what it awaits since its first step, until its worker has begun to wait for that.
        hook: the turn is `on_activate` or `on_deactivate`, not a call; the turns in the queue wait for it.
        over: it has ended. A Task that it started may live on, and inherits neither deadline nor chain from then on.
    """

    method: GrainMethod
    grain: Activation
    arguments: tuple[Any, ...]
    connection: Caller | None
    correlation: int
    deadline: float
    number: int = 0
    caller: Turn | None = None
    chain: tuple[ChainLink, ...] = ()
    depth: int = 0
    trace: str = ""
    future: asyncio.Future[Any] | None = None
    task: asyncio.Task[Any] | None = None
    cancelled: str = ""
    id: int = 0
    over: bool = False
    hook: bool = False
    awaiting: Any = None

    @property
    def turn(self) -> Turn:
        """Itself: calls made from a turn are made by it (`Scope.turn`)."""
        return self

    @property
    def read_only(self) -> bool:
        return self.method.read_only

    def cancel(self, why: str) -> None:
        """No caller waits any more: interrupts the user's code if it runs, and prevents its start if it does not."""
        if not self.cancelled:
            self.cancelled = why
            if self.task is not None:
                self.task.cancel()


CURRENT: ContextVar[Scope | Turn | None] = ContextVar("inaho_scope", default=None)
"""The turn that runs, or a scope within it; None outside both."""


class ActivationTurns(TurnQueue[Turn]):
    """The turns of one activation, and where it is in its life.

    Attributes:
        hook: `on_activate` or `on_deactivate` while it runs, as a turn that others may wait for.
        life: None while it is active. Only `inaho.runtime.activation.lifecycle` uses it.
    """

    __slots__ = ("hook", "life")

    def __init__(self, *, reentrant: bool, depth: int, drop_oldest: bool) -> None:
        super().__init__(reentrant=reentrant, depth=depth, drop_oldest=drop_oldest)
        self.hook: Turn | None = None
        self.life: ActivationLife | None = None

    def check(self) -> None:
        """Asserts the invariants: turns wait exactly while it is not active, and none runs while others work on it."""
        super().check()
        assert self.held == (self.life is not None), "turns are held though it is active, or are not though it is not"
        if self.life is not None:
            self.life.check()
            assert not (self.running and self.life.state in AT_WORK), f"a turn runs while it is {self.life.state.value}"


class CallerNode(Protocol):
    """The node from which a call came."""

    @property
    def authority(self) -> str:
        """Its `host:port`; empty for a client."""
        ...


class Caller(Protocol):
    """The connection from which a call came, as far as its turn needs it.

    Attributes:
        running: turns of this connection that have suspended or wait, by correlation; a cancel is looked up here.
    """

    running: dict[int, Turn]

    @property
    def peer(self) -> CallerNode:
        """The node at the other end."""
        ...

    def reply(self, turn: Turn, result: Any) -> None:
        """Sends a result; one that cannot be sent becomes an error."""
        ...

    def reply_error(self, turn: Turn, error: BaseException) -> None:
        """Sends the error in place of a result."""
        ...


class MoreActivations(Protocol):
    """The further activations of a stateless kind."""

    def pick(self, primary: Activation, turn: Turn | None) -> Activation:
        """Selects the activation for a call when the first one is busy. Raises `ActivationFailed`."""
        ...


class TurnHost(Protocol):
    """A kind on one node, as the turns of its activations know it."""

    @property
    def name(self) -> str:
        """Of the kind."""
        ...

    @property
    def kind(self) -> GrainKind:
        """What was read from the class."""
        ...

    @property
    def local(self) -> LocalNode:
        """What all parts of the node share."""
        ...

    @property
    def authority(self) -> str:
        """Of the node."""
        ...

    @property
    def pool(self) -> MoreActivations | None:
        """None where an identity has one activation."""
        ...

    def turn_failed(self, turn: Turn, error: BaseException) -> None:
        """A turn has raised `error` and still counts as running: applies the failure policy of the kind."""
        ...

    def turn_waits(self, grain: Activation) -> None:
        """A turn has reached an activation that is not active."""
        ...

    def at_rest(self, grain: Activation) -> None:
        """No turn runs any more at an activation that is not active."""
        ...

    def is_unproved(self, grain: Activation) -> bool:
        """Whether a stream may yield nothing more until `until_proved` returns."""
        ...

    async def until_proved(self, grain: Activation) -> None:
        """Returns when the activation has proved that its state is the newest. Raises `InahoError` if it cannot."""
        ...

    def waits_for_previous_owner(self, grain: Activation) -> bool:
        """Whether an activation is starting and its previous owner must release it first."""
        ...


class Reminders(Protocol):
    """The durable reminders of all grains; see the methods of `Grain`."""

    async def remind(
        self, grain: Activation, name: str, due: float | datetime, period_s: float | None, catch_up: str
    ) -> None:
        """See `Grain.remind`."""
        ...

    async def forget(self, grain: Activation, name: str) -> bool:
        """See `Grain.forget`."""
        ...

    async def listed(self, grain: Activation) -> list[Reminder]:
        """See `Grain.reminders`."""
        ...


class GrainHost(TurnHost, Protocol):
    """A kind on one node, as its activations know it."""

    @property
    def cluster(self) -> Any:
        """What grains call others through, a `Cluster`: its room is far above, and only `Grain.cluster` names it."""
        ...

    @property
    def reminders(self) -> Reminders:
        """Where grains ask for reminders."""
        ...

    async def save(self, grain: Activation, record: StateRecord) -> None:
        """See `Grain.save`."""
        ...

    async def clear(self, grain: Activation, record: StateRecord) -> None:
        """See `Grain.clear`."""
        ...

    def deactivate_soon(self, grain: Activation, reason: str) -> None:
        """Ends the activation when its running turns have."""
        ...

    def is_next(self, key: str, topic: str, publisher: str, sequence: int, published_at: float) -> bool:
        """Whether no later message of that publisher was delivered to the grain here; notes this one."""
        ...

    def start_timer(
        self,
        grain: Activation,
        callback: Callable[..., object] | str,
        interval_s: float | None,
        arguments: tuple[Any, ...],
        *,
        first_s: float | None,
        keep_alive: bool,
        timeout_s: float | None,
    ) -> Timer:
        """See `Grain.timer`."""
        ...
