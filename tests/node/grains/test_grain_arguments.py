"""Arguments and results: every form and type, the same on one node as between two."""

# ruff: noqa: RUF012  Structs copy mutable defaults
from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, Literal

import pydantic
import pytest

import inaho
from inaho import FrameTooLarge, Grain, InvalidArguments, NoSuchMethod, SerializationFailed, Struct
from inaho.events import SerializationFailure


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(Struct, frozen=True):
    x: int
    y: int = 0


class Basket(Struct):
    items: dict[str, int] = {}
    tags: list[str] = []


@dataclasses.dataclass
class Address:
    street: str
    lines: list[str] = dataclasses.field(default_factory=list)


class Order(pydantic.BaseModel):
    number: int
    lines: list[str] = []


class Circle(Struct, frozen=True, tag=True):
    radius: float


class Square(Struct, frozen=True, tag=True):
    side: float


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


class Types(Grain):
    ran: int = 0

    async def struct(self, value: Basket) -> Basket:
        assert type(value) is Basket
        return value

    async def frozen(self, value: Point) -> Point:
        assert type(value) is Point
        return value

    async def dataclass(self, value: Address) -> Address:
        assert type(value) is Address
        return value

    async def model(self, value: Order) -> Order:
        assert type(value) is Order
        return value

    async def models(self, value: dict[str, list[Order]]) -> dict[str, list[Order]]:
        assert all(type(order) is Order for orders in value.values() for order in orders)
        return value

    async def colour(self, value: Colour) -> Colour:
        assert type(value) is Colour
        return value

    async def level(self, value: Level) -> Level:
        assert type(value) is Level
        return value

    async def moment(self, value: datetime.datetime) -> datetime.datetime:
        return value

    async def day(self, value: datetime.date) -> datetime.date:
        return value

    async def span(self, value: datetime.timedelta) -> datetime.timedelta:
        return value

    async def unique(self, value: uuid.UUID) -> uuid.UUID:
        return value

    async def exact(self, value: decimal.Decimal) -> decimal.Decimal:
        return value

    async def raw(self, value: bytes) -> bytes:
        return value

    async def maybe(self, value: int | str | None = None) -> int | str | None:
        return value

    async def shape(self, value: Circle | Square) -> Circle | Square:
        return value

    async def choice(self, value: Literal["a", "b"]) -> Literal["a", "b"]:
        return value

    async def pair(self, value: tuple[int, str]) -> tuple[int, str]:
        assert type(value) is tuple
        return value

    async def many(self, value: set[int]) -> set[int]:
        assert type(value) is set
        return value

    async def fixed(self, value: frozenset[int]) -> frozenset[int]:
        assert type(value) is frozenset
        return value

    async def nested(self, value: dict[str, list[Point]]) -> dict[str, list[Point]]:
        return value

    async def number(self, value: float) -> float:
        assert type(value) is float
        return value

    async def anything(self, value: Any) -> Any:
        return value

    async def count(self, value: int) -> int:
        self.ran += 1
        return self.ran


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


class Opaque:
    """No codec knows it."""


class Sending(Grain):
    ran = 0

    async def take(self, first: Any, second: Any = None) -> int:
        self.ran += 1
        return self.ran

    async def give_opaque(self) -> Any:
        self.ran += 1
        return Opaque()

    async def give_wrong(self) -> int:
        self.ran += 1
        return "not a number"  # type: ignore[return-value]

    async def give_bytes(self, size: int) -> bytes:
        return bytes(size)

    async def size(self, data: bytes) -> int:
        return len(data)


async def test_an_argument_without_encoding_is_named(caller):
    grain = (await caller(Sending)).grain(Sending, "a")
    with pytest.raises(SerializationFailed, match=r"'second'.*Opaque") as caught:
        await grain.take(1, [Opaque()])
    assert not caught.value.maybe_executed
    assert caught.value.identity == "Sending/a"
    assert await grain.take(1) == 1


async def test_a_result_without_encoding_is_named(caller):
    grain = (await caller(Sending)).grain(Sending, "a")
    with pytest.raises(SerializationFailed, match=r"result of give_opaque.*Opaque") as caught:
        await grain.give_opaque()
    assert caught.value.maybe_executed
    assert caught.value.identity == "Sending/a"
    assert await grain.take(1) == 2


async def test_a_result_that_breaks_its_annotation_is_an_error(caller):
    grain = (await caller(Sending)).grain(Sending, "a")
    with pytest.raises(inaho.SchemaMismatch, match="give_wrong"):
        await grain.give_wrong()
    assert await grain.take(1) == 2


@pytest.mark.parametrize("over", ["memory", "tcp"])
async def test_messages_over_the_limit_fail_alone(over, fleet, eventually):
    fleet.over = over
    await fleet.member(Sending, transport={"frame_bytes_max": 65536})
    client = await fleet.client(transport={"frame_bytes_max": 65536})
    grain = client.grain(Sending, "a")
    assert await grain.take(1) == 1
    (connection,) = client._node.peers.connections.values()

    with pytest.raises(FrameTooLarge, match=r"arguments of size.*frame_bytes_max") as caught:
        await grain.size(bytes(70_000))
    assert not caught.value.maybe_executed
    assert caught.value.identity == "Sending/a"

    with pytest.raises(FrameTooLarge, match=r"result of give_bytes.*frame_bytes_max") as caught:
        await grain.give_bytes(70_000)
    assert caught.value.maybe_executed

    assert await grain.size(bytes(65_000)) == 65_000
    assert len(await grain.give_bytes(65_000)) == 65_000
    assert list(client._node.peers.connections.values()) == [connection]
    assert not connection.closed


async def test_failures_of_encoding_are_events_where_they_happen(fleet, eventually):
    member = await fleet.member(Sending, Types)
    client = await fleet.client()
    seen: list[SerializationFailure] = []
    with member.system.events.subscribe(SerializationFailure, capacity=16) as subscription:
        with pytest.raises(SerializationFailed):
            await client.grain(Sending, "a").give_opaque()
        with pytest.raises(InvalidArguments):
            await client.grain(Types, "b").count("x")  # type: ignore[arg-type]
        async for event in subscription:
            seen.append(event)
            if len(seen) == 2:
                break
    assert [(str(event.identity), event.method, event.direction) for event in seen] == [
        ("Sending/a", "give_opaque", "out"),
        ("Types/b", "count", "in"),
    ]


async def test_numbers_beyond_64_bits_have_no_encoding_between_nodes(fleet):
    await fleet.member(Types)
    client = await fleet.client()
    with pytest.raises(SerializationFailed, match="'value'"):
        await client.grain(Types, "a").count(1 << 70)


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
