"""What an activation has beside the user's instance while it is not simply idle or running one call.

`Grain._inaho_turn` is None while the activation is active and idle, a `Turn` while it is active and runs that one, and
an `ActivationTurns` in all other cases: several turns, or a state of its life in which turns wait. So an idle
activation costs one slot, and a call that finds it idle one comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inaho.core.activation.life import AT_WORK, ActivationLife
from inaho.core.rpc.turns import TurnQueue
from inaho.runtime.grains.turn import Turn

if TYPE_CHECKING:
    from inaho.runtime.grains.grain import Grain

__all__ = ["ActivationTurns", "count_turns", "running_turns", "waiting_turns"]


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


def running_turns(grain: Grain[Any]) -> list[Turn]:
    """The turns that run at an activation, its hook included."""
    busy = grain._inaho_turn
    if isinstance(busy, ActivationTurns):
        return busy.running if busy.hook is None else [*busy.running, busy.hook]
    return [] if busy is None else [busy]


def waiting_turns(grain: Grain[Any]) -> list[Turn]:
    """The turns that wait at an activation, in their order."""
    busy = grain._inaho_turn
    return list(busy.waiting) if isinstance(busy, ActivationTurns) else []


def count_turns(grain: Grain[Any]) -> tuple[int, int]:
    """How many turns run at an activation, without its hook, and how many wait."""
    busy = grain._inaho_turn
    if isinstance(busy, ActivationTurns):
        return len(busy.running), len(busy.waiting)
    return int(busy is not None), 0
