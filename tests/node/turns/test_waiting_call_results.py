"""What a call on this node gets that had to wait: its result as it was when its turn ended."""

# ruff: noqa: RUF012  Structs copy mutable defaults
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Grain, SerializationFailed, Struct


class Numbers(Struct):
    numbers: list[int] = []


class Growing(Grain[Numbers]):
    """Gives out its own list."""

    async def hold(self) -> None:
        await asyncio.sleep(0)

    async def end(self) -> None:
        self.deactivate()

    async def look(self) -> list[int]:
        return self.state.numbers

    async def add(self) -> list[int]:
        self.state.numbers.append(1)
        return self.state.numbers

    async def wrong(self) -> Any:
        return object()


async def test_a_result_is_what_it_was_when_its_turn_ended(caller: Any):
    """The turns that waited run in one go at the successor of an activation that ends."""
    cluster = await caller(Growing)
    grain = cluster.grain(Growing, "a")
    await grain.look()
    results = await asyncio.gather(grain.hold(), grain.end(), grain.look(), grain.add(), grain.look(), grain.add())
    assert results == [None, None, [], [1], [1], [1, 1]]


async def test_a_result_that_cannot_be_serialized_fails_its_own_call_only(caller: Any):
    cluster = await caller(Growing)
    grain = cluster.grain(Growing, "a")
    await grain.look()
    held, wrong, after = await asyncio.gather(grain.hold(), grain.wrong(), grain.add(), return_exceptions=True)
    assert held is None and after == [1]
    assert isinstance(wrong, SerializationFailed) and wrong.maybe_executed
    with pytest.raises(SerializationFailed):
        await grain.wrong()
