"""Calls of a grain by the names of its kind and method, without its class."""

from __future__ import annotations

import pytest

import inaho
from inaho import Grain, InvalidArguments, NoSuchMethod
from support.types_grain import Point


class Named(Grain):
    async def greet(self, name: str, greeting: str = "hello") -> str:
        return f"{greeting} {name}"

    async def place(self, at: Point, *, shift: int = 0) -> Point:
        return Point(at.x + shift, at.y)

    async def letters(self, word: str):
        for letter in word:
            yield letter


async def test_calls_by_name(caller):
    cluster = await caller(Named)
    assert await cluster.call("Named", "a", "greet", "Ann", "hi") == "hi Ann"
    assert await cluster.call("Named", "a", "greet", "Ann") == "hello Ann"
    assert [letter async for letter in cluster.stream("Named", "a", "letters", "abc")] == ["a", "b", "c"]
    place = await cluster.call("Named", "a", "place", {"x": 1, "y": 2}, 5)
    assert place in ({"x": 6, "y": 2}, Point(6, 2))


async def test_a_method_that_is_not_there(caller):
    cluster = await caller(Named)
    with pytest.raises(NoSuchMethod, match=r"shout.*greet") as caught:
        await cluster.call("Named", "a", "shout", "Ann")
    assert not caught.value.maybe_executed
    with pytest.raises(NoSuchMethod):
        await anext(cluster.stream("Named", "a", "shout"))
    assert await cluster.call("Named", "a", "greet", "Ann") == "hello Ann"


async def test_a_wrong_number_of_arguments_by_name(caller):
    cluster = await caller(Named)
    for arguments in ((), ("a", "b", "c")):
        with pytest.raises(inaho.SchemaMismatch, match="greet") as caught:
            await cluster.call("Named", "a", "greet", *arguments)
        assert not caught.value.maybe_executed


async def test_a_stream_is_not_called_and_a_method_not_streamed(caller):
    cluster = await caller(Named)
    with pytest.raises(inaho.SchemaMismatch, match="stream"):
        await cluster.call("Named", "a", "letters", "abc")
    with pytest.raises(inaho.SchemaMismatch, match="stream"):
        await anext(cluster.stream("Named", "a", "greet", "Ann"))


async def test_a_wrong_type_by_name_is_an_error(caller):
    cluster = await caller(Named)
    with pytest.raises((InvalidArguments, inaho.SchemaMismatch), match="greet"):
        await cluster.call("Named", "a", "greet", 5)


async def test_a_kind_that_nobody_hosts(caller):
    class Nowhere(Grain):
        async def ask(self) -> int:
            return 1

    cluster = await caller(Named)
    with pytest.raises(inaho.TopologyUnavailable, match="kind Nowhere") as caught:  # its host may be restarting
        await cluster.grain(Nowhere, "a", timeout=0.3).ask()
    assert not caught.value.maybe_executed
    with pytest.raises(inaho.NoSuchKind, match="Missing"):
        await cluster.call("Missing", "a", "ask")


async def test_a_kind_called_by_name_first_can_be_called_by_class_later(caller):
    cluster = await caller(Named)

    class Later(Grain):
        async def ask(self) -> int:
            return 1

    with pytest.raises(inaho.NoSuchKind):
        await cluster.call("Later", "a", "ask")
    with pytest.raises(inaho.TopologyUnavailable):
        await cluster.grain(Later, "a", timeout=0.3).ask()
    assert await cluster.call("Named", "a", "greet", "x") == "hello x"
    assert await cluster.grain(Named, "a").greet("y") == "hello y"
