"""What the annotations of a grain class may be: type variables of generic methods, names of other modules, unions."""

# ruff: noqa: RUF012  Structs copy mutable defaults

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import pydantic
import pytest

import inaho
from inaho import Grain, InvalidGrain, Struct

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
