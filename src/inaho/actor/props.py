"""`Props`, the recipe of an actor: how to make an instance, its mailbox, its supervision strategy.

A recipe and not an instance, because a restart makes a new instance, and because one recipe can spawn many actors.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, TypeGuard, cast

import msgspec

from inaho.actor.actor import Actor, ActorContext
from inaho.actor.cell import Cell
from inaho.actor.mailbox import MailboxConfig
from inaho.actor.names import check_name
from inaho.actor.run_loop import BoundBehaviour, Maker
from inaho.actor.supervision import Restart, Supervisor
from inaho.actor.system import ActorSystem
from inaho.errors import InvalidConfig

__all__ = ["Behaviour", "Factory", "Props"]

Behaviour: TypeAlias = Callable[[ActorContext, Any], Awaitable[None]]
Factory: TypeAlias = Callable[[], Actor]


class Props(msgspec.Struct, frozen=True):
    """How to make an actor.

    Attributes:
        factory: a class of actor or any callable that returns a new one; or the behaviour itself, an
            `async def behaviour(context, message)`.
        mailbox: bound and policy of its mailbox.
        supervisor: what happens when it raises: a strategy, or a function from the error to a strategy.
        name: of the actor among its siblings. None makes one up. `spawn(name=…)` overrides it.
    """

    factory: Factory | Behaviour
    mailbox: MailboxConfig = MailboxConfig()
    supervisor: Supervisor = Restart()
    name: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.factory):
            raise InvalidConfig(f"Props.factory must be callable, not {self.factory!r}")
        if self.name is not None:
            check_name(self.name)

    def maker(self, cell: Cell, system: ActorSystem) -> Maker:
        """The function that makes the actor's instances in `cell`; all instances share one context."""
        context, factory = ActorContext(cell, system), self.factory
        if _is_behaviour(factory):
            bound = BoundBehaviour(partial(factory, context))
            return lambda: bound

        def make() -> Actor:
            made = cast("Callable[[], object]", factory)()
            if not isinstance(made, Actor):
                raise InvalidConfig(f"Props.factory made {made!r}, which is no Actor", identity=cell.path)
            made.context = context
            return made

        return make


def _is_behaviour(factory: Factory | Behaviour) -> TypeGuard[Behaviour]:
    """Whether `factory` is the behaviour itself: a coroutine function, or an object that is called like one."""
    if inspect.isclass(factory):
        return False
    return inspect.iscoroutinefunction(factory) or inspect.iscoroutinefunction(type(factory).__call__)
