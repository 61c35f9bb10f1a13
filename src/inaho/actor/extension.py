"""What can be installed on an actor system: the cluster is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from inaho.actor.system import ActorSystem

__all__ = ["Extension"]


class Extension(Protocol):
    """Something with a life of its own that starts before the actors run and ends after them (SPEC BS-1)."""

    @property
    def name(self) -> str:
        """Unique in the system."""
        ...

    async def install(self, system: ActorSystem) -> None:
        """Starts it. It may spawn actors and use the extensions before it in the order.

        What it raises fails the start of the system; then its own `stop` is not called, so it must clean up first.
        """
        ...

    async def stop(self) -> None:
        """Ends it. The user's actors have ended by then, and so have the extensions after it in the order."""
        ...
