"""One test on both event loops, asyncio's and uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

ResultT = TypeVar("ResultT")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
both_loops = pytest.mark.parametrize("loop_name", LOOPS)


def run(scenario: Coroutine[Any, Any, ResultT], loop_name: str = "asyncio") -> ResultT:
    async def limited() -> ResultT:
        async with asyncio.timeout(40):
            return await scenario

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        return runner.run(limited())
