"""What a grain and its calls ask of the parts of a node that serve them.

`GrainHost` is the one object that an activation knows: its kind on its node. The room `activation` has it. Turns need
only the part of it that is `TurnHost`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from inaho.core.activation.reminders import Reminder
    from inaho.runtime.grains.grain import Grain, GrainKind
    from inaho.runtime.grains.state_record import StateRecord
    from inaho.runtime.grains.timer import Timer
    from inaho.runtime.grains.turn import Turn
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["Caller", "CallerNode", "GrainHost", "MoreActivations", "Reminders", "TurnHost"]


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


class MoreActivations(Protocol):
    """The further activations of a stateless kind."""

    def pick(self, primary: Grain[Any], turn: Turn | None) -> Grain[Any]:
        """The activation that takes a call which finds the first one busy. Raises `ActivationFailed`."""
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

    def turn_waits(self, grain: Grain[Any]) -> None:
        """A turn has come to an activation that is not active."""
        ...

    def at_rest(self, grain: Grain[Any]) -> None:
        """No turn runs any more at an activation that is not active."""
        ...

    def is_unproved(self, grain: Grain[Any]) -> bool:
        """Whether a stream may yield nothing more until `until_proved` returns."""
        ...

    async def until_proved(self, grain: Grain[Any]) -> None:
        """Returns when the activation has proved that it has what is stored. Raises `InahoError` when it cannot."""
        ...

    def waits_for_previous_owner(self, grain: Grain[Any]) -> bool:
        """Whether an activation comes up and its previous owner has to release it first."""
        ...


class Reminders(Protocol):
    """The durable reminders of all grains; see the methods of `Grain`."""

    async def remind(
        self, grain: Grain[Any], name: str, due: float | datetime, period_s: float | None, catch_up: str
    ) -> None:
        """See `Grain.remind`."""
        ...

    async def forget(self, grain: Grain[Any], name: str) -> bool:
        """See `Grain.forget`."""
        ...

    async def listed(self, grain: Grain[Any]) -> list[Reminder]:
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

    async def save(self, grain: Grain[Any], record: StateRecord) -> None:
        """See `Grain.save`."""
        ...

    async def clear(self, grain: Grain[Any], record: StateRecord) -> None:
        """See `Grain.clear`."""
        ...

    def deactivate_soon(self, grain: Grain[Any], reason: str) -> None:
        """Ends the activation when its running turns have."""
        ...

    def start_timer(
        self,
        grain: Grain[Any],
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
