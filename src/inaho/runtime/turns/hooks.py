"""Makes `on_activate` and `on_deactivate` part of call chains.

Turns that arrive while a hook runs wait for it. So a call that the hook makes may close a cycle, through the waiting
turns or through the hook itself. Such a call is refused like any call that would wait for itself.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from inaho.runtime.grains.activation import CURRENT, Turn

if TYPE_CHECKING:
    from inaho.runtime.grains.activation import Activation, ActivationTurns

__all__ = ["UnlistedMethod", "run_hook"]


class UnlistedMethod:
    """The method of a turn that runs other code than a method of the kind's interface.

    Attributes:
        kind: name of the kind.
        name: of the code, for errors.
        read_only: whether its turns may run beside other read-only turns.
    """

    __slots__ = ("kind", "name", "read_only")

    simple = True
    idempotent = False
    stream = False
    is_use = False
    plain_results = frozenset({type(None)})

    def __init__(self, kind: str, name: str, *, read_only: bool) -> None:
        self.kind = kind
        self.name = name
        self.read_only = read_only


async def run_hook(grain: Activation, queue: ActivationTurns, name: str, hook: Coroutine[Any, Any, None]) -> None:
    """Runs a hook of an activation whose queue is held. Calls of the hook carry the turns that wait for it.

    Args:
        grain: the activation.
        queue: its queue.
        name: of the hook.
        hook: the user's code.
    """
    method: Any = UnlistedMethod(grain._inaho_host.name, name, read_only=False)
    depth = max((waiting.depth for waiting in queue.waiting), default=0)
    turn = Turn(method, grain, (), None, 0, math.inf, depth=depth, hook=True)
    queue.hook = turn
    token = CURRENT.set(turn)
    try:
        await hook
    finally:
        if CURRENT.get() is turn:  # false when the collector closes this coroutine in another context
            CURRENT.reset(token)
        turn.over = True
        if queue.hook is turn:
            queue.hook = None
