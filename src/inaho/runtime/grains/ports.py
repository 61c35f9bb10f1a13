"""What a grain and its calls ask of the parts of a node that serve them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from inaho.runtime.grains.turn import Turn

__all__ = ["Caller", "CallerNode"]


class CallerNode(Protocol):
    """The node that a call came from."""

    @property
    def authority(self) -> str:
        """Its `host:port`; empty for a client."""
        ...


class Caller(Protocol):
    """The connection that a call came from, as far as its turn knows it.

    Attributes:
        running: turns of this connection that have suspended or wait, by correlation; who cancels one looks here.
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
        """Sends why there is no result."""
        ...
