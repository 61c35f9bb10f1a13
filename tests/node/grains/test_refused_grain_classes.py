"""Grain classes that are refused when they are made, and the reason that the error gives."""

# ruff: noqa: PT012

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from inaho import Grain, InvalidConfig, InvalidGrain, Struct, method


class Opaque:
    """No codec knows it."""


def test_a_parameter_that_cannot_be_decoded():
    with pytest.raises(InvalidGrain, match=r"parameter 'thing' of Bad\.take.*Opaque"):

        class Bad(Grain):
            async def take(self, thing: Opaque) -> None: ...


def test_a_result_that_cannot_be_decoded():
    with pytest.raises(InvalidGrain, match=r"result of Bad\.give.*Opaque"):

        class Bad(Grain):
            async def give(self) -> list[Opaque]: ...


def test_an_item_of_a_stream_that_cannot_be_decoded():
    with pytest.raises(InvalidGrain, match=r"result of Bad\.give.*Opaque"):

        class Bad(Grain):
            async def give(self) -> AsyncIterator[Opaque]:
                yield Opaque()


def test_a_callable_cannot_cross_the_wire():
    with pytest.raises(InvalidGrain, match="callback"):

        class Bad(Grain):
            async def take(self, callback: Callable[[], None]) -> None: ...


def test_a_coroutine_that_returns_an_iterator():
    with pytest.raises(InvalidGrain, match=r"Bad\.give.*async generator"):

        class Bad(Grain):
            async def give(self) -> AsyncIterator[int]:
                raise NotImplementedError


@pytest.mark.parametrize("name", ["key", "identity", "cluster", "context", "state", "save", "clear", "deactivate"])
def test_names_of_grain_are_taken(name):
    async def taken(self) -> None: ...

    with pytest.raises(InvalidGrain, match=rf"Bad\.{name} hides"):
        type("Bad", (Grain,), {name: taken})


def test_a_mixin_may_not_take_them_either():
    class Mixin:
        async def save(self) -> None: ...

    with pytest.raises(InvalidGrain, match="save"):

        class Bad(Mixin, Grain): ...


def test_method_on_what_is_no_coroutine():
    with pytest.raises(InvalidGrain, match=r"Bad\.add.*not an async def"):

        class Bad(Grain):
            @method(read_only=True)
            def add(self) -> None: ...


def test_method_on_what_is_not_public():
    with pytest.raises(InvalidGrain, match=r"Bad\._add.*not a public"):

        class Bad(Grain):
            @method(read_only=True)
            async def _add(self) -> None: ...


def test_method_on_a_hook():
    with pytest.raises(InvalidGrain, match="on_activate"):

        class Bad(Grain):
            @method
            async def on_activate(self) -> None: ...


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_none(timeout):
    with pytest.raises(InvalidGrain, match="above 0"):
        method(timeout=timeout)
    with pytest.raises(InvalidGrain, match="attempt_timeout must be above 0"):
        method(idempotent=True, attempt_timeout=timeout)


def test_several_attempts_of_what_may_not_run_twice():
    with pytest.raises(InvalidGrain, match="idempotent"):
        method(attempt_timeout=1.0)


def test_several_attempts_of_a_stream():
    with pytest.raises(InvalidGrain, match="items is a stream"):

        class Bad(Grain):
            @method(read_only=True, attempt_timeout=1.0)
            async def items(self) -> AsyncIterator[int]:
                yield 1


def test_an_idle_time_below_zero():
    with pytest.raises(InvalidGrain, match="idle_ttl_s"):

        class Bad(Grain, idle_ttl_s=-1): ...


def test_an_annotation_that_names_nothing():
    with pytest.raises(InvalidGrain, match=r"annotations of Bad\.take"):

        class Bad(Grain):
            async def take(self, thing: NoSuchThing) -> None: ...  # noqa: F821  the mistake is the point


def test_a_state_that_cannot_be_decoded():
    with pytest.raises(InvalidGrain, match="state of Bad"):

        class Bad(Grain[Opaque]): ...


def test_a_state_that_needs_arguments():
    class Needy(Struct):
        value: int

    with pytest.raises(InvalidGrain, match="without arguments"):

        class Bad(Grain[Needy]): ...


def test_two_kinds_of_one_name(fleet):
    class Twin(Grain): ...

    first = Twin

    class Twin(Grain): ...  # type: ignore[no-redef]

    async def start() -> None:
        await fleet.member(first, Twin)

    with pytest.raises(InvalidConfig, match="Twin"):
        import asyncio

        asyncio.run(start())
