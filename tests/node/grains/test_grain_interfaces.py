"""What a grain class offers to its callers: generic methods keep their types, streams may be plain functions, and a
public method that nobody could call is refused when the class is made."""

# ruff: noqa: PT031, RUF012  what was never awaited is told when it is collected; Structs copy mutable defaults
from __future__ import annotations

import abc
import dataclasses
import functools
import gc
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec
import pydantic
import pytest

import inaho
from inaho import Grain, InvalidGrain, Struct, method

T = TypeVar("T")
U = TypeVar("U")
Bound = TypeVar("Bound", bound="Item")


class Item(Struct):
    n: int


class Other(Struct):
    text: str


class Page(Struct, Generic[T]):
    items: list[T] = []


@dataclasses.dataclass
class Point:
    x: int


class Model(pydantic.BaseModel):
    n: int = 0


class Box(Grain, Generic[T]):
    async def put(self, value: T) -> str:
        return type(value).__name__

    async def same(self, value: T) -> T:
        return value

    async def deep(self, value: dict[str, list[T]] | None = None) -> list[str]:
        return [] if value is None else [type(item).__name__ for items in value.values() for item in items]

    async def noted(self, value: Annotated[T, msgspec.Meta(description="a note")]) -> str:
        return type(value).__name__

    async def page(self, *values: T) -> Page[T]:
        return Page(list(values))

    async def each(self, values: list[T]) -> AsyncIterator[T]:
        for value in values:
            yield value


class ItemBox(Box[Item]): ...


class PointBox(Box[Point]): ...


class ModelBox(Box[Model]): ...


class Pair(Box[U], Generic[T, U]):
    async def second(self, value: T) -> str:
        return type(value).__name__


class Swapped(Pair[Other, Item]): ...


class Late(Struct):
    n: int = 0


class Forward(Box["Late"]): ...


@pytest.mark.parametrize(
    ("kind", "value"),
    [(ItemBox, Item(1)), (PointBox, Point(1)), (ModelBox, Model(n=1)), (Swapped, Item(1)), (Forward, Late(1))],
)
async def test_a_type_variable_is_what_the_derived_class_says(caller, kind, value):
    box = (await caller(kind)).grain(kind, "a")
    name = type(value).__name__
    for _ in range(2):  # the first call activates and goes another way than the second
        assert await box.put(value) == name
        assert await box.same(value) == value
        assert type(await box.same(value)) is type(value)
        assert await box.deep({"a": [value]}) == [name]
        assert await box.noted(value) == name
        page = await box.page(value, value)
        assert [type(item).__name__ for item in page.items] == [name, name]
        assert [type(item).__name__ async for item in box.each([value])] == [name]


async def test_two_variables_in_two_classes(caller):
    pair = (await caller(Swapped)).grain(Swapped, "a")
    assert await pair.second(Other("x")) == "Other"
    with pytest.raises(inaho.InvalidArguments, match="value"):
        await pair.second(Item(1))
    with pytest.raises(inaho.InvalidArguments, match="value"):
        await pair.put(Other("x"))


def test_a_type_that_is_not_there_yet():
    with pytest.raises(InvalidGrain, match=r"bases of TooEarly.*NotYet"):

        class TooEarly(Box["NotYet"]): ...


class Mixin(Generic[T]):
    async def keep(self, value: T) -> str:
        return type(value).__name__


class Mixed(Mixin[Item], Grain): ...


class Open(Mixin[T], Grain, Generic[T]): ...


class Closed(Open[Other]): ...


class Bounded(Grain, Generic[Bound]):
    async def put(self, value: Bound) -> str:
        return type(value).__name__


async def test_variables_of_mixins_and_bounds(caller):
    cluster = await caller(Mixed, Closed, Bounded)
    assert await cluster.grain(Mixed, "a").keep(Item(1)) == "Item"
    assert await cluster.grain(Closed, "a").keep(Other("x")) == "Other"
    assert await cluster.grain(Bounded, "a").put(Item(1)) == "Item"


class Kept(Grain[Page[T]], Generic[T]):
    async def add(self, value: T) -> list[str]:
        self.state.items.append(value)
        return [type(item).__name__ for item in self.state.items]


class KeptItems(Kept[Item]): ...


async def test_a_variable_within_the_state(caller):
    kept = (await caller(KeptItems)).grain(KeptItems, "a")
    assert await kept.add(Item(1)) == ["Item"]
    assert KeptItems.inaho_kind.state_type == Page[Item]


def local_kind() -> Any:
    class Hidden(Struct):
        n: int

    class Local(Grain):
        async def put(self, value: Hidden) -> str:
            return type(value).__name__

    return Local, Hidden


async def test_annotations_are_read_where_the_method_was_written(caller):
    base, hidden = local_kind()

    class Hidden(Struct):  # another class of that name, around the derived class
        text: str

    class Derived(base): ...

    grain = (await caller(Derived)).grain(Derived, "a")
    assert await grain.put(hidden(1)) == "Hidden"
    assert Derived.inaho_kind.methods["put"].signature == base.inaho_kind.methods["put"].signature
    del Hidden


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


class Greets(Protocol):
    def greet(self) -> str: ...


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


# Types that need a hint.


def test_two_models_in_a_union():
    async def take(self: Any, value: Any) -> None: ...

    for union in (Item | Other, list[Item | Other], Item | Other | None):
        take.__annotations__["value"] = union
        with pytest.raises(
            InvalidGrain,
            match=r"'value' of Bad\.take.*Item.*a tag.*inaho\.Struct, tag=True",
        ):
            type("Bad", (Grain,), {"take": take})


def test_two_dataclasses_in_a_union():
    with pytest.raises(InvalidGrain, match=r"dataclass.*inaho\.Struct.*tag=True"):

        class Bad(Grain):
            async def take(self, value: Item | Point) -> None: ...


def test_two_pydantic_models_in_a_union():
    class Second(pydantic.BaseModel):
        m: int = 0

    with pytest.raises(InvalidGrain, match=r"pydantic.*RootModel.*discriminator"):

        class Bad(Grain):
            async def take(self, value: Model | Second) -> None: ...


async def test_tagged_models_in_a_union(caller):
    class Cat(Struct, tag=True):
        lives: int

    class Dog(Struct, tag=True):
        tricks: int

    class Shelter(Grain):
        async def take(self, value: Cat | Dog) -> str:
            return type(value).__name__

    grain = (await caller(Shelter)).grain(Shelter, "a")
    assert [await grain.take(Cat(9)), await grain.take(Dog(2))] == ["Cat", "Dog"]


class Required(pydantic.BaseModel):
    owner: str


@dataclasses.dataclass
class RequiredData:
    owner: str


class RequiredStruct(Struct):
    owner: str


class Broken(Struct):
    def __post_init__(self) -> None:
        raise LookupError("not today")


@pytest.mark.parametrize("state", [Required, RequiredData, RequiredStruct, Broken])
def test_a_state_with_required_fields(state):
    with pytest.raises(InvalidGrain, match=r"state of Bad.*without arguments.*default"):

        class Bad(Grain[state]): ...


async def test_a_forgotten_await_is_told_by_the_name_of_the_method(caller):
    cluster = await caller(Uses)
    grain = cluster.grain(Uses, "a")
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match=r"coroutine 'Uses\.use' was never awaited"):
            grain.use()
            gc.collect()
        await grain.use()
