"""One call at one activation, and what calls made from it inherit.

A `Turn` is made per call, so it is a Struct: three times as fast to make as an instance of a plain class. How turns are
run is in `inaho.runtime.turns`.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inaho.wire.frames import ChainLink

if TYPE_CHECKING:
    from inaho.runtime.grains.grain import Grain
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.grains.ports import Caller

__all__ = ["CURRENT", "ONE_WAY", "Scope", "Turn"]


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
        chain: turns on other nodes that wait for this one, outermost first.
        depth: turns that wait for this one, on any node.
        trace: W3C `traceparent`, or empty.
        future: answer for a caller on this node, when the turn had to wait or has suspended.
        task: the Task that runs it, once it has suspended.
        cancelled: nobody waits any more; "" until then, else why.
        id: number of the turn on this node; 0 until somebody asks.
        awaiting: what it awaits since its first step, until its worker has begun to wait for that.
        hook: it is no call but `on_activate` or `on_deactivate`, for which the turns in the queue wait.
        over: it has ended. A Task that it started may live on, and inherits neither deadline nor chain from then on.
    """

    method: GrainMethod
    grain: Grain[Any]
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
        """Nobody waits any more: interrupts the user's code if it runs, and keeps it from starting if not."""
        if not self.cancelled:
            self.cancelled = why
            if self.task is not None:
                self.task.cancel()


CURRENT: ContextVar[Scope | Turn | None] = ContextVar("inaho_scope", default=None)
"""The turn that runs, or a scope within it; None outside both."""
