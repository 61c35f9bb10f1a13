"""The grains of `inaho quickstart` and `inaho bench`: short examples that users can copy.

`Counter` keeps durable state, calls another grain and says where it lives, which is what the quickstart shows.
`Echo` keeps nothing and does nothing: what a call of it costs is what the library costs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from inaho import Grain, Struct, method

__all__ = ["Counter", "CounterState", "Echo", "Place", "Relayed"]


class CounterState(Struct):
    """What a counter saves."""

    value: int = 0


class Place(Struct, frozen=True):
    """Where an activation runs: the node, and this boot of it."""

    authority: str
    node_id: str


class Relayed(Struct, frozen=True):
    """What came of asking another counter.

    Attributes:
        value: of the other counter, after adding.
        asked_from: node of the counter that asked.
        answered_by: node of the counter that answered.
    """

    value: int
    asked_from: str
    answered_by: str


class Counter(Grain[CounterState]):
    """A number that survives the node it lives on."""

    async def add(self, amount: int = 1) -> int:
        """Adds and saves; the answer is the new value."""
        self.state.value += amount
        await self.save()
        return self.state.value

    @method(read_only=True, idempotent=True)
    async def value(self) -> int:
        """The value."""
        return self.state.value

    @method(read_only=True, idempotent=True)
    async def place(self) -> Place:
        """Which node this activation lives on."""
        member = self.cluster.self
        return Place(member.authority, member.node_id)

    async def ask(self, other: str, amount: int = 1) -> Relayed:
        """Adds to another counter, wherever that one is, and tells what it answered."""
        counter = self.cluster.grain(Counter, other)
        value = await counter.add(amount)
        place = await counter.place()
        return Relayed(value, self.cluster.authority, place.authority)

    async def count(self, up_to: int) -> AsyncIterator[int]:
        """The numbers from 1 to `up_to`, as a stream."""
        for number in range(1, up_to + 1):
            yield number


class Echo(Grain):
    """Gives back what it is given."""

    @method(read_only=True)
    async def echo(self, value: int) -> int:
        """The same number."""
        return value
