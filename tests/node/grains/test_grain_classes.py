"""Grain classes: what is read from them when they are made, and the references to them."""

# ruff: noqa: RUF012  Structs copy mutable defaults

from __future__ import annotations

import abc
import functools
import inspect
from typing import Any, Generic, TypeVar

import pytest

from inaho import Grain, InvalidGrain, Struct


class Counter(Struct):
    value: int = 0


async def test_local_classes_and_postponed_annotations(caller):
    class Item(Struct):
        name: str

    class Box(Struct):
        names: list[str] = []

    class Shelf(Grain[Box]):
        async def put(self, item: Item, *more: Item) -> Box:
            self.state.names += [item.name, *(other.name for other in more)]
            return self.state

    grain = (await caller(Shelf)).grain(Shelf, "a")
    assert await grain.put(Item("x"), Item("y")) == Box(["x", "y"])


def test_a_class_may_name_itself_only_where_it_can_be_decoded():
    with pytest.raises(InvalidGrain, match="cannot cross the wire"):

        class Loop(Grain):
            async def other(self) -> Loop: ...


class Pair(Grain):
    async def one(self) -> str:
        return "one"

    two = one


def traced(function: Any) -> Any:
    async def wrapper(self: Any, value: int) -> int:
        return (await function(self, value)) + 1

    return wrapper


def traced_well(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(self: Any, *arguments: Any, **named: Any) -> Any:
        return (await function(self, *arguments, **named)) + 1

    return wrapper


class Decorated(Grain):
    @traced
    async def add(self, value: int) -> int:
        return value

    @traced_well
    async def add_well(self, value: int, more: int = 5) -> int:
        return value + more


async def test_methods_are_known_by_the_name_in_the_class(caller):
    cluster = await caller(Pair, Decorated)
    pair = cluster.grain(Pair, "a")
    assert await pair.one() == "one"
    assert await pair.two() == "one"
    decorated = cluster.grain(Decorated, "a")
    assert await decorated.add(1) == 2
    assert await decorated.add_well(1) == 7
    assert await decorated.add_well(1, more=1) == 3


class Base(Grain):
    async def who(self) -> str:
        return "base"

    async def shared(self) -> str:
        return "shared"

    async def dropped(self) -> str:
        return "dropped"


class Derived(Base):
    async def who(self) -> str:
        return "derived " + await super().who()

    dropped = None  # type: ignore[assignment]


async def test_interfaces_are_inherited(caller):
    cluster = await caller(Base, Derived)
    derived = cluster.grain(Derived, "a")
    assert await derived.who() == "derived base"
    assert await derived.shared() == "shared"
    assert not hasattr(derived, "dropped")
    assert await cluster.grain(Base, "a").who() == "base"


class Abstract(Grain, metaclass=abc.ABCMeta):
    @abc.abstractmethod
    async def area(self) -> float: ...


T = TypeVar("T")


class Holder(Grain[Counter], Generic[T]):
    async def bump(self) -> int:
        self.state.value += 1
        return self.state.value


class Template(Grain[T], Generic[T]):
    async def kind(self) -> str:
        return type(self.state).__name__


async def test_abstract_and_generic_bases(caller):
    class Unit(Struct, frozen=True):
        size: float

    class Disc(Abstract):
        async def area(self) -> float:
            return 3.0

        async def scaled(self, unit: Unit) -> float:
            return 3.0 * unit.size

    class Kept(Holder[int]): ...

    class Filled(Template[Counter]): ...

    class Mixed(Disc, Filled): ...

    cluster = await caller(Disc, Kept, Filled, Mixed)
    assert await cluster.grain(Filled, "a").kind() == "Counter"
    assert await cluster.grain(Mixed, "a").kind() == "Counter"
    assert await cluster.grain(Disc, "a").area() == 3.0
    assert await cluster.grain(Disc, "a").scaled(Unit(2.0)) == 6.0
    assert await cluster.grain(Kept, "a").bump() == 1


class Private(Grain):
    prefix = "p"

    async def _hidden(self) -> int:
        return 1

    @staticmethod
    def helper() -> int:
        return 2

    @staticmethod
    async def static() -> int:
        return 3

    @property
    def computed(self) -> int:
        return 4

    async def all(self) -> list[int]:
        return [await self._hidden(), self.helper(), await self.static(), self.computed]


async def test_what_is_not_part_of_the_interface(caller):
    grain = (await caller(Private)).grain(Private, "a")
    for name in ("_hidden", "helper", "static", "computed", "prefix"):
        assert not hasattr(grain, name), name
    assert await grain.all() == [1, 2, 3, 4]


class Clashing(Grain):
    """Parameters with the names that a generated function could use for itself."""

    async def take(this, self: int, _method: int, _type: int, _plain0: int = 4, _default3: int = 5) -> list[int]:  # noqa: N805
        return [self, _method, _type, _plain0, _default3]


async def test_parameters_may_have_any_name(caller):
    grain = (await caller(Clashing)).grain(Clashing, "a")
    assert await grain.take(1, 2, 3) == [1, 2, 3, 4, 5]
    assert await grain.take(1, 2, 3, _default3=6) == [1, 2, 3, 4, 6]


class Falsy(Grain[Counter]):
    """An empty container is false, and so is this grain."""

    def __len__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a grain is not compared")

    __hash__ = None  # type: ignore[assignment]

    async def bump(self) -> int:
        self.state.value += 1
        return self.state.value


async def test_a_grain_may_be_false(caller):
    grain = (await caller(Falsy)).grain(Falsy, "a")
    assert [await grain.bump() for _ in range(3)] == [1, 2, 3]


def test_a_name_of_its_own():
    class Versioned(Grain, name="shop.Cart"): ...

    assert Versioned.inaho_kind.name == "shop.Cart"


async def test_references(fleet):
    member = await fleet.member(Base, Derived)
    one, same, other = member.grain(Base, "a"), member.grain(Base, "a", timeout=1.0), member.grain(Base, "b")
    derived = member.grain(Derived, "a")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != derived
    assert one != "Base/a"
    assert len({one, same, other, derived}) == 3
    assert repr(one) == "<reference to Base/a>"
    assert list(inspect.signature(member.grain(Decorated, "a").add_well).parameters) == ["value", "more"]
    assert type(one).__name__ == "BaseReference"
    with pytest.raises(AttributeError):
        one.anything = 1


async def test_what_is_no_reference(fleet):
    member = await fleet.member(Base)
    with pytest.raises(InvalidGrain):
        member.grain(str, "a")  # type: ignore[type-var]
    for key in ("", "a\nb", "x" * 2000, 5):
        with pytest.raises(Exception, match="key") as caught:
            member.grain(Base, key)
        assert caught.value.code == "invalid_pid"
    for timeout in (0, -1.0, float("nan")):
        with pytest.raises(TypeError, match="timeout"):
            member.grain(Base, "a", timeout=timeout)
