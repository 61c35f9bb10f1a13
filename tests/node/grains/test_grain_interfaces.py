"""What a grain class offers to its callers: streams may be plain functions, and a public method that nobody could call
is refused when the class is made."""

# ruff: noqa: PT031  what was never awaited is told when it is collected

from __future__ import annotations

import abc
import functools
import gc
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any

import pytest

from inaho import Grain, InvalidGrain, method

# Streams that are plain functions.


Ints = AsyncIterator[int]


async def count(number: int) -> AsyncIterator[int]:
    for value in range(number):
        yield value


class Streams(Grain):
    def plain(self, number: int) -> AsyncIterator[int]:
        return count(number)

    def generator(self, number: int) -> AsyncGenerator[int, None]:
        return self._inner(number)

    def iterable(self, number: int) -> AsyncIterable[int]:
        return Elsewhere(number)

    def alias(self, number: int) -> Ints:
        return count(number)

    @method(read_only=True)
    def marked(self, number: int) -> AsyncIterator[int]:
        return count(number)

    async def _inner(self, number: int) -> AsyncGenerator[int, None]:
        for value in range(number):
            yield value

    def fails(self) -> AsyncIterator[int]:
        raise ValueError("at once")

    def nothing(self) -> AsyncIterator[int]:
        return None  # type: ignore[return-value]


class Elsewhere:
    def __init__(self, number: int) -> None:
        self.number = number

    def __aiter__(self) -> AsyncIterator[int]:
        return count(self.number)


@pytest.mark.parametrize("name", ["plain", "generator", "iterable", "alias", "marked"])
async def test_a_plain_function_that_returns_a_stream(caller, name):
    streams = (await caller(Streams)).grain(Streams, "a")
    for _ in range(2):
        assert [value async for value in getattr(streams, name)(3)] == [0, 1, 2]


async def test_a_stream_that_fails_before_it_begins(caller):
    streams = (await caller(Streams)).grain(Streams, "a")
    for _ in range(2):
        with pytest.raises(ValueError, match="at once"):
            await anext(streams.fails())
        with pytest.raises(TypeError, match="async for"):
            await anext(streams.nothing())


class AbstractStream(Grain, abc.ABC):
    @abc.abstractmethod
    def values(self) -> AsyncIterator[int]: ...


class ConcreteStream(AbstractStream):
    async def values(self) -> AsyncIterator[int]:
        yield 7


async def test_an_abstract_stream(caller):
    grain = (await caller(ConcreteStream)).grain(ConcreteStream, "a")
    assert [value async for value in grain.values()] == [7]


# What is refused, and what is not.


def test_a_public_plain_method():
    with pytest.raises(InvalidGrain, match=r"Bad\.add is a public method.*`async def add`.*`_add`.*@staticmethod"):

        class Bad(Grain):
            def add(self, number: int) -> int:
                return number


def test_a_function_that_a_decorator_made_plain():
    def logged(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def wrapper(self: Any, *arguments: Any) -> Any:
            return function(self, *arguments)

        return wrapper

    with pytest.raises(InvalidGrain, match=r"Bad\.add is a public method"):

        class Bad(Grain):
            @logged
            async def add(self, number: int) -> int:
                return number


def test_a_plain_method_that_replaces_an_asynchronous_one():
    class Good(Grain):
        async def add(self) -> int:
            return 1

    with pytest.raises(InvalidGrain, match=r"Bad\.add is a public method"):

        class Bad(Good):
            def add(self) -> int:  # type: ignore[override]
                return 2


def test_a_stream_whose_annotation_cannot_be_read():
    with pytest.raises(InvalidGrain, match=r"annotations of Bad\.values"):

        class Bad(Grain):
            def values(self) -> AsyncIterator[NoSuchThing]: ...  # noqa: F821  the mistake is the point


@pytest.mark.parametrize("hook", ["on_activate", "on_deactivate", "on_reminder"])
def test_a_hook_that_cannot_be_awaited(hook):
    with pytest.raises(InvalidGrain, match=rf"Bad\.{hook} is awaited"):
        type("Bad", (Grain,), {hook: lambda self, *arguments: None})


class Library:
    """A base that knows nothing of grains."""

    def log(self, text: str) -> str:
        return f"logged {text}"

    def on_event(self) -> str:
        return "library"


class Uses(Library, Grain):
    constant = 5

    class Inner: ...

    async def use(self) -> list[str]:
        return [self.log("x"), self.on_event(), self.computed, self.helped(), type(self).made()]

    def on_event(self) -> str:
        return "own"

    @property
    def computed(self) -> str:
        return "computed"

    @staticmethod
    def helped() -> str:
        return "helped"

    @classmethod
    def made(cls) -> str:
        return cls.__name__

    def _private(self) -> None: ...

    def __len__(self) -> int:
        return 1


async def test_what_only_the_grain_uses(caller):
    grain = (await caller(Uses)).grain(Uses, "a")
    assert await grain.use() == ["logged x", "own", "computed", "helped", "Uses"]
    for name in ("log", "on_event", "computed", "helped", "made", "constant", "Inner", "_private"):
        assert not hasattr(grain, name), name


async def test_a_reference_says_why_it_lacks_a_name(caller):
    grain = (await caller(Uses)).grain(Uses, "a")
    with pytest.raises(AttributeError, match=r"'log' of Uses is not called.*async def.*use"):
        _ = grain.log
    with pytest.raises(AttributeError, match=r"Uses has no 'save'.*use"):
        _ = grain.save
    with pytest.raises(AttributeError, match=r"'UsesReference' object has no attribute 'nothing'"):
        _ = grain.nothing


async def test_a_forgotten_await_is_told_by_the_name_of_the_method(caller):
    cluster = await caller(Uses)
    grain = cluster.grain(Uses, "a")
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match=r"coroutine 'Uses\.use' was never awaited"):
            grain.use()
            gc.collect()
        await grain.use()
