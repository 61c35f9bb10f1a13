"""A grain does not see the context variables of its caller, which may be on its own node or elsewhere."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator

import pytest

from inaho import Grain
from support.outcomes import first

seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


class Context(Grain):
    def __init__(self) -> None:
        self.at_start = seen.get()

    async def look(self) -> list[str]:
        before = seen.get()
        seen.set("grain")
        return [self.at_start, before]

    async def items(self) -> AsyncIterator[str]:
        yield seen.get()

    async def outer(self, key: str) -> list[str]:
        seen.set("outer")
        return await self.cluster.grain(Context, key).look()


@pytest.fixture
async def places(fleet):
    """The same activation as a caller on its node and one elsewhere see it."""
    return await fleet.member(Context), await fleet.client()


async def test_a_grain_does_not_see_the_variables_of_its_caller(places):
    seen.set("caller")
    for number, cluster in enumerate(places):
        grain = cluster.grain(Context, f"k{number}")
        assert await grain.look() == ["nothing", "nothing"]
        assert await grain.look() == ["nothing", "nothing"]
        assert await first(grain.items()) == ["nothing"]
        assert await grain.outer(f"other{number}") == ["nothing", "nothing"]
        assert await grain.outer(f"other{number}") == ["nothing", "nothing"]
    assert seen.get() == "caller"
