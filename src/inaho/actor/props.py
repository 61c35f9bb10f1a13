"""The recipe of an actor: how to make one, its mailbox, its supervisor.

A recipe and not an instance, because a restart makes the actor anew; and because one recipe spawns many.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from inaho.actor.mailbox import MailboxConfig
from inaho.actor.supervision import Restart, Supervisor
from inaho.errors import InvalidConfig

if TYPE_CHECKING:
    from inaho.actor.actor import Actor, ActorContext

__all__ = ["Behaviour", "Factory", "Props", "check_name", "is_behaviour"]

# What the path of an actor may hold without escaping (RFC 3986, unreserved, and a few sub-delimiters). A leading `$`
# is left to names that the system makes up.
_NAME = re.compile(r"[A-Za-z0-9_.~@:+,=-][A-Za-z0-9_.~@:+,=$-]{0,254}")

if TYPE_CHECKING:
    Behaviour = Callable[[ActorContext, Any], Awaitable[None]]
    Factory = Callable[[], Actor]
else:
    Behaviour = Factory = Callable


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


def is_behaviour(factory: Factory | Behaviour) -> TypeGuard[Behaviour]:
    """Whether `factory` is the behaviour itself: a coroutine function, or an object that is called like one."""
    if inspect.isclass(factory):
        return False
    return inspect.iscoroutinefunction(factory) or inspect.iscoroutinefunction(type(factory).__call__)


def check_name(name: str) -> None:
    """Raises `InvalidConfig` when `name` cannot be part of a path."""
    if not _NAME.fullmatch(name):
        raise InvalidConfig(
            f"{name!r} is no name of an actor or system: 1 to 255 of letters, digits and _ . ~ @ : + , = - $, "
            "and no $ at the start"
        )
