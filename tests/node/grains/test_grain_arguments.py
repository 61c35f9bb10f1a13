"""Arguments and results: every form and type, the same on one node as between two."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import pytest

from inaho import Grain, InvalidArguments
from support.types_grain import Address, Basket, Circle, Colour, Level, Order, Point, Square, Types


class Forms(Grain):
    async def nothing(self) -> None:
        return None

    async def plain(self, a: int, b: str = "b") -> list[Any]:
        return [a, b]

    async def keyword_only(self, a: int, *, b: int = 2, c: int) -> list[int]:
        return [a, b, c]

    async def positional_only(self, a: int, b: int = 5, /, c: int = 6) -> list[int]:
        return [a, b, c]

    async def star(self, a: int, *rest: int) -> list[int]:
        return [a, *rest]

    async def stars(self, **named: int) -> dict[str, int]:
        return named

    async def everything(self, a: int, /, b: int = 2, *rest: int, c: int = 3, **named: str) -> list[Any]:
        return [a, b, list(rest), c, named]

    async def unannotated(self, a, b=None):
        return [a, b]


CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], Any]] = {
    "nothing": ("nothing", (), {}, None),
    "positional": ("plain", (1, "x"), {}, [1, "x"]),
    "default": ("plain", (1,), {}, [1, "b"]),
    "by keyword": ("plain", (), {"b": "y", "a": 2}, [2, "y"]),
    "keyword-only": ("keyword_only", (1,), {"c": 4}, [1, 2, 4]),
    "keyword-only given": ("keyword_only", (1,), {"c": 4, "b": 9}, [1, 9, 4]),
    "positional-only": ("positional_only", (1,), {}, [1, 5, 6]),
    "positional-only and keyword": ("positional_only", (1, 2), {"c": 3}, [1, 2, 3]),
    "star, none": ("star", (1,), {}, [1]),
    "star": ("star", (1, 2, 3), {}, [1, 2, 3]),
    "stars, none": ("stars", (), {}, {}),
    "stars": ("stars", (), {"x": 1, "y": 2}, {"x": 1, "y": 2}),
    "everything, least": ("everything", (1,), {}, [1, 2, [], 3, {}]),
    "everything": ("everything", (1, 8, 7, 6), {"c": 5, "z": "z", "a": "a"}, [1, 8, [7, 6], 5, {"z": "z", "a": "a"}]),
    "unannotated": ("unannotated", ([1, {"x": None}],), {"b": 2.5}, [[1, {"x": None}], 2.5]),
}


async def test_every_form_of_argument(caller):
    grain = (await caller(Forms)).grain(Forms, "a")
    for name, (method, positional, named, expected) in CALLS.items():
        assert await getattr(grain, method)(*positional, **named) == expected, name


@pytest.mark.parametrize(
    ("method", "positional", "named"),
    [
        ("nothing", (1,), {}),
        ("plain", (), {}),
        ("plain", (1, "b", 3), {}),
        ("plain", (1,), {"c": 2}),
        ("plain", (1,), {"a": 2}),
        ("keyword_only", (1, 2), {"c": 3}),
        ("keyword_only", (1,), {}),
        ("positional_only", (), {"a": 1}),
        ("star", (), {}),
        ("stars", (1,), {}),
    ],
)
async def test_a_wrong_number_of_arguments_is_a_type_error_where_it_is_written(fleet, method, positional, named):
    grain = (await fleet.member(Forms)).grain(Forms, "a")
    with pytest.raises(TypeError, match=method):
        getattr(grain, method)(*positional, **named)  # not awaited: it is known at once
    assert fleet.activation(Forms, "a") is None


VALUES: list[tuple[str, Any]] = [
    ("struct", Basket({"a": 1}, ["x"])),
    ("frozen", Point(1, 2)),
    ("dataclass", Address("s", ["l"])),
    ("model", Order(number=1, lines=["x"])),
    ("models", {"a": [Order(number=1)]}),
    ("colour", Colour.GREEN),
    ("level", Level.HIGH),
    ("moment", datetime.datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=datetime.UTC)),
    ("day", datetime.date(2024, 5, 6)),
    ("span", datetime.timedelta(seconds=5)),
    ("unique", uuid.UUID(int=5)),
    ("exact", decimal.Decimal("1.50")),
    ("raw", b"\x00\xff"),
    ("maybe", None),
    ("maybe", 5),
    ("maybe", "text"),
    ("shape", Circle(1.5)),
    ("shape", Square(2.5)),
    ("choice", "b"),
    ("pair", (1, "a")),
    ("many", {1, 2}),
    ("fixed", frozenset({3})),
    ("nested", {"a": [Point(1), Point(2, 3)]}),
    ("number", 1.25),
    ("number", 3),
    ("anything", [1, "a", None, {"b": [True, 2.5]}]),
]


async def test_every_type_arrives_as_itself(caller):
    grain = (await caller(Types)).grain(Types, "a")
    for method, value in VALUES:
        result = await getattr(grain, method)(value)
        assert result == value, method
        if method != "number":
            assert type(result) is type(value), method


WRONG: list[tuple[str, Any]] = [
    ("count", "5"),
    ("count", None),
    ("count", True),
    ("count", 1.5),
    ("colour", "blue"),
    ("choice", "c"),
    ("moment", "yesterday"),
    ("pair", (1, 2)),
    ("struct", 5),
    ("dataclass", {"lines": []}),
    ("model", {"number": "many"}),
    ("nested", {"a": [{"y": 1}]}),
]


async def test_a_wrong_type_is_refused_before_anything_runs(caller):
    grain = (await caller(Types)).grain(Types, "a")
    for method, value in WRONG:
        with pytest.raises(InvalidArguments, match="value") as caught:
            await getattr(grain, method)(value)
        assert isinstance(caught.value, TypeError), method
        assert not caught.value.maybe_executed, method
        assert caught.value.identity == "Types/a", method
        assert method in str(caught.value)
    assert await grain.count(0) == 1


async def test_wrong_types_read_the_same_from_near_and_far(fleet):
    member = await fleet.member(Types)
    client = await fleet.client()
    for method, value in WRONG:
        texts = []
        for cluster in (member, client):
            with pytest.raises(InvalidArguments) as caught:
                await getattr(cluster.grain(Types, "a"), method)(value)
            texts.append(caught.value.reason)
        assert texts[0] == texts[1]


class Sharing(Grain):
    def __init__(self) -> None:
        self.kept: Any = None

    async def keep(self, value: list[int]) -> None:
        self.kept = value

    async def keep_any(self, value: Any) -> None:
        self.kept = value

    async def keep_struct(self, value: Basket) -> None:
        self.kept = value

    async def keep_star(self, *values: list[int]) -> None:
        self.kept = list(values)

    async def keep_default(self, value: list[int] = []) -> list[int]:  # noqa: B006  the trap is the point
        value.append(1)
        return value

    async def change(self) -> None:
        if isinstance(self.kept, Basket):
            self.kept.items["changed"] = 1
        else:
            self.kept.append(99)

    async def give(self) -> list[int]:
        return self.kept

    async def give_any(self) -> Any:
        return self.kept

    async def give_struct(self) -> Basket:
        return self.kept

    async def give_point(self, value: Point) -> Point:
        self.kept = value
        return value


async def test_nothing_that_can_change_is_ever_shared(caller):
    grain = (await caller(Sharing)).grain(Sharing, "a")

    given = [1, 2]
    for keep in (grain.keep, grain.keep_any):
        await keep(given)
        await grain.change()
        assert given == [1, 2]
        given.append(3)
        assert await grain.give() == [1, 2, 99]
        given.pop()

    got = await grain.give_any()
    got.append(5)
    assert await grain.give() == [1, 2, 99]

    basket = Basket({"a": 1})
    await grain.keep_struct(basket)
    await grain.change()
    assert basket.items == {"a": 1}
    taken = await grain.give_struct()
    taken.items.clear()
    assert (await grain.give_struct()).items == {"a": 1, "changed": 1}

    await grain.keep_star(given, given)
    given.append(4)
    assert (await grain.give_any()) == [[1, 2], [1, 2]]

    assert await grain.keep_default() == [1]
    assert await grain.keep_default() == [1]


async def test_what_cannot_change_is_passed_as_it_is_on_one_node(fleet):
    grain = (await fleet.member(Sharing)).grain(Sharing, "a")
    await grain.give_any()  # the first call, which activates, goes the long way
    point = Point(1, 2)
    assert await grain.give_point(point) is point
    assert fleet.activation(Sharing, "a").kept is point
