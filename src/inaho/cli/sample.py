"""The grains of `inaho quickstart` and `inaho bench`: short examples that users can copy.

`Counter` keeps durable state, calls another grain and says on which node it is, for the quickstart. `Echo` keeps
nothing and does nothing: the cost of a call of it is the cost of the library.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from inaho import Grain, Struct, method

__all__ = ["Counter", "CounterState", "Echo", "Place", "Relayed"]


class CounterState(Struct):
    """What a counter saves."""

    value: int = 0


class Place(Struct, frozen=True):
    """Where an activation runs: authority and node id."""

    authority: str
    node_id: str


class Relayed(Struct, frozen=True):
    """The result of asking another counter.

    Attributes:
        value: of the other counter, after adding.
        asked_from: node of the counter that asked.
        answered_by: node of the counter that answered.
    """

    value: int
    asked_from: str
    answered_by: str


class Counter(Grain[CounterState]):
    """A number that survives the node on which it is active."""

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
        """The node of this activation."""
        member = self.cluster.self
        return Place(member.authority, member.node_id)

    async def ask(self, other: str, amount: int = 1) -> Relayed:
        """Adds to another counter, on any node, and returns its answer."""
        counter = self.cluster.grain(Counter, other)
        value = await counter.add(amount)
        place = await counter.place()
        return Relayed(value, self.cluster.authority, place.authority)

    async def count(self, up_to: int) -> AsyncIterator[int]:
        """The numbers from 1 to `up_to`, as a stream."""
        for number in range(1, up_to + 1):
            yield number


class Echo(Grain):
    """Returns its argument."""

    @method(read_only=True)
    async def echo(self, value: int) -> int:
        """The same number."""
        return value
