"""Which turns run and wait at an activation, whatever its `_inaho_turn` is (see `inaho.runtime.grains.activation`)."""

from __future__ import annotations

from inaho.runtime.grains.activation import Activation, ActivationTurns, Turn

__all__ = ["count_turns", "running_turns", "waiting_turns"]


def running_turns(grain: Activation) -> list[Turn]:
    """The turns that run at an activation, its hook included."""
    busy = grain._inaho_turn
    if isinstance(busy, ActivationTurns):
        return busy.running if busy.hook is None else [*busy.running, busy.hook]
    return [] if busy is None else [busy]


def waiting_turns(grain: Activation) -> list[Turn]:
    """The turns that wait at an activation, in their order."""
    busy = grain._inaho_turn
    return list(busy.waiting) if isinstance(busy, ActivationTurns) else []


def count_turns(grain: Activation) -> tuple[int, int]:
    """How many turns run at an activation, without its hook, and how many wait."""
    busy = grain._inaho_turn
    if isinstance(busy, ActivationTurns):
        return len(busy.running), len(busy.waiting)
    return int(busy is not None), 0
