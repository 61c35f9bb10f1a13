"""One table of values, given to a grain and by it on its own node and from elsewhere: the same outcome of the call.

The outcome is the value with the type of every part, or the class of the error with the reason, the identity and
whether the call may have run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inaho import Grain, GrainError, Struct
from support.outcomes import described, differing, first, outcome
from support.value_table import TYPES, VALUES


class Held(Struct):
    value: Any = None


class HoldingError(GrainError):
    def __init__(self, held: Any) -> None:
        super().__init__(held)


class Values(Grain[Held]):
    """`take_…`, `give_…` and `stream_…` for each type are added below."""

    async def fail(self, name: str) -> None:
        raise HoldingError(VALUES[name]())

    async def keep(self, name: str) -> None:
        self.state.value = VALUES[name]()
        await self.save()

    async def note(self, value: Any) -> None:
        self.noted = described(value)

    async def take_note(self) -> str:
        noted, self.noted = getattr(self, "noted", "nothing"), "nothing"
        return noted


def methods() -> dict[str, Any]:
    made: dict[str, Any] = {}

    def add(name: str, kind: Any) -> None:
        async def take(self: Any, value: Any) -> str:
            return described(value)

        async def give(self: Any, name: str) -> Any:
            return VALUES[name]()

        async def stream(self: Any, name: str) -> AsyncIterator[Any]:
            yield VALUES[name]()

        take.__annotations__ = {"value": kind, "return": str}
        give.__annotations__ = {"name": str, "return": kind}
        stream.__annotations__ = {"name": str, "return": AsyncIterator[kind]}
        made.update({f"take_{name}": take, f"give_{name}": give, f"stream_{name}": stream})

    for name, kind in TYPES.items():
        add(name, kind)
    return made


TypedValues: Any = type("TypedValues", (Values,), methods())


@pytest.fixture
async def places(fleet):
    """The same activation as a caller on its node and one elsewhere see it."""
    return await fleet.member(TypedValues), await fleet.client()


@pytest.mark.parametrize("kind", TYPES)
async def test_values(places, kind):
    near, far = (cluster.grain(TypedValues, "a") for cluster in places)
    calls: dict[str, Callable[[Any], Any]] = {}
    for name, make in VALUES.items():
        calls[f"argument {name}"] = lambda grain, make=make: getattr(grain, f"take_{kind}")(make())
        calls[f"result {name}"] = lambda grain, name=name: getattr(grain, f"give_{kind}")(name)
        calls[f"item {name}"] = lambda grain, name=name: first(getattr(grain, f"stream_{kind}")(name))
    assert await differing(near, far, calls) == {}


async def test_values_that_exceptions_and_states_hold(places):
    near, far = (cluster.grain(TypedValues, "a") for cluster in places)
    calls: dict[str, Callable[[Any], Any]] = {}
    for name in VALUES:
        calls[f"exception {name}"] = lambda grain, name=name: grain.fail(name)
        calls[f"state {name}"] = lambda grain, name=name: grain.keep(name)
    assert await differing(near, far, calls) == {}


async def test_arguments_of_calls_that_nobody_waits_for(places):
    """They are refused when they are sent, or arrive as those of other calls do."""
    sent: list[str] = []
    for cluster in places:
        grain = cluster.grain(TypedValues, "a")

        async def send(make: Callable[[], Any], cluster: Any = cluster, grain: Any = grain) -> str:
            cluster.send(grain.note, make())
            return await grain.take_note()

        sent.append(
            "\n".join([f"{name}: {await outcome(lambda make=make: send(make))}" for name, make in VALUES.items()])
        )
    near, far = sent
    assert near.replace(places[0].authority, "") == far  # whoever sends refuses, and a client has no authority
    assert "nothing" not in near
