"""How a hook of an activation ends where nobody goes on with it."""

from __future__ import annotations

import contextvars
from types import SimpleNamespace
from typing import Any

from inaho.runtime.grains.activation import CURRENT, ActivationTurns
from inaho.runtime.turns.hooks import run_hook


def test_a_hook_may_be_closed_in_another_context() -> None:
    """As by the collector, when a second Ctrl-C has stopped the loop while `on_activate` waits."""

    class Forever:
        def __await__(self) -> Any:
            yield None

    async def hook() -> None:
        await Forever()

    grain: Any = SimpleNamespace(_inaho_host=SimpleNamespace(name="Cart"))
    queue = ActivationTurns(reentrant=False, depth=10, drop_oldest=False)
    running = run_hook(grain, queue, "on_activate", hook())
    contextvars.copy_context().run(running.send, None)
    assert queue.hook is not None
    running.close()
    assert queue.hook is None
    assert CURRENT.get() is None
