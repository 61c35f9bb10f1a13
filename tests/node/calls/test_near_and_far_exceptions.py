"""One table of exceptions, raised by a grain on the caller's node and elsewhere: the caller catches the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import inaho
from inaho import Grain, RemoteError, Timeout
from support.exception_table import EXCEPTIONS, Empty, Kw, Many, Mixed, OutOfStock, Unchangeable
from support.outcomes import differing, first


class Raising(Grain):
    async def fail(self, name: str, later: bool) -> None:
        if later:
            await asyncio.sleep(0)
        raise EXCEPTIONS[name]()

    async def stream(self, name: str) -> AsyncIterator[int]:
        yield 1
        raise EXCEPTIONS[name]()

    async def fine(self) -> int:
        return 1


@pytest.fixture
async def places(fleet):
    """The same activation as a caller on its node and one elsewhere see it."""
    return await fleet.member(Raising), await fleet.client()


async def test_exceptions(places):
    near, far = (cluster.grain(Raising, "a") for cluster in places)
    await near.fine()
    calls: dict[str, Callable[[Any], Any]] = {}
    for name in EXCEPTIONS:
        calls[f"at once {name}"] = lambda grain, name=name: grain.fail(name, False)
        calls[f"later {name}"] = lambda grain, name=name: grain.fail(name, True)
        if name != "stop":
            calls[f"stream {name}"] = lambda grain, name=name: first(grain.stream(name))
    assert await differing(near, far, calls) == {}
    assert await near.fine() == await far.fine() == 1


class Starting(Grain):
    async def on_activate(self) -> None:
        raise EXCEPTIONS[self.identity.key]()

    async def fine(self) -> int:
        return 1


@pytest.mark.parametrize("name", ["frozen", "frozen, of ours", "__class__ hidden", "__bool__ interrupts", "mute"])
async def test_an_activation_that_fails_with_any_of_them_keeps_nobody_waiting(fleet, name):
    member = await fleet.member(Starting)
    client = await fleet.client()
    for cluster in (member, client):
        with pytest.raises(inaho.InahoError) as found:
            await cluster.grain(Starting, name, timeout=5).fine()
        assert not isinstance(found.value, Timeout)


async def test_what_exceptions_keep(places):
    for cluster in places:
        grain = cluster.grain(Raising, "a")
        with pytest.raises(FileNotFoundError) as found:
            await grain.fail("os", False)
        assert (found.value.errno, found.value.strerror, found.value.filename) == (2, "No such", "/x/y")
        with pytest.raises(Kw) as keyword:
            await grain.fail("keyword", False)
        assert keyword.value.code == 7
        with pytest.raises(Mixed) as mixed:
            await grain.fail("mixed", True)
        assert mixed.value.args == (1,)
        with pytest.raises(ExceptionGroup) as group:
            await grain.fail("group, nested", False)
        assert group.value.subgroup(KeyError) is not None
        with pytest.raises(Many):
            await grain.fail("group, own", True)
        with pytest.raises(RemoteError, match="big"):
            await grain.fail("group, big", False)
        with pytest.raises(ExceptionGroup) as deep:
            await grain.fail("group, deep", False)
        assert deep.value.subgroup(RemoteError) is not None
        with pytest.raises(ValueError, match="noted") as noted_error:
            await grain.fail("noted", False)
        assert noted_error.value.__notes__[0] == "first"
        with pytest.raises(ValueError, match="v") as caused_error:
            await grain.fail("caused", False)
        assert type(caused_error.value.__cause__) is KeyError
        with pytest.raises(OutOfStock) as frozen:
            await grain.fail("frozen, caused", False)
        assert (frozen.value.sku, repr(frozen.value.__cause__)) == ("x", "OutOfStock2(sku='y')")
        with pytest.raises(OutOfStock) as frozen:
            await grain.fail("frozen, noted", True)
        assert frozen.value.__notes__[0] == "note"
        with pytest.raises(Unchangeable):
            await first(grain.stream("unchangeable"))
        with pytest.raises(Empty):
            await grain.fail("empty", True)
        with pytest.raises(inaho.InahoError):
            await grain.fail("frozen, of ours", False)
        for name in ("made once", "made once, exiting", "made of something else"):
            with pytest.raises(RemoteError):
                await grain.fail(name, False)


async def test_a_frozen_exception_leaves_a_deadline(places):
    for cluster in places:
        with pytest.raises(OutOfStock), inaho.deadline(5):
            await cluster.grain(Raising, "a").fail("frozen", False)


async def test_a_caller_that_handles_an_error_is_the_context_of_the_next(places):
    for cluster in places:
        try:
            raise KeyError("the caller's")
        except KeyError as handled:
            with pytest.raises(ValueError, match="second") as found:
                await cluster.grain(Raising, "a").fail("in a context", False)
            assert found.value.__context__ is handled
