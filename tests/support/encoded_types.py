"""One type of each kind that the codec takes, and values of each."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar, Union

import msgspec
import pydantic
from hypothesis import strategies as st

ItemType = TypeVar("ItemType")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Text(enum.StrEnum):
    A = "a"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Listed(enum.Enum):
    FIRST = [1]  # noqa: RUF012  a member


class Point(msgspec.Struct, frozen=True):
    x: int
    y: float = 0.0


class Basket(msgspec.Struct):
    items: dict[str, int] = {}
    tags: set[str] = set()


class Tree(msgspec.Struct):
    value: int
    children: list[Tree] = []


class Box(msgspec.Struct, Generic[ItemType]):
    content: ItemType
    more: list[ItemType] = []


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


@dataclasses.dataclass
class Order:
    sku: str
    points: list[Point] = dataclasses.field(default_factory=list)
    parent: Order | None = None


@dataclasses.dataclass(frozen=True)
class FrozenOrder:
    sku: str


class Pair(NamedTuple):
    left: int
    right: str


class Settings(TypedDict, total=False):
    name: str
    sizes: list[int]


class Address(pydantic.BaseModel):
    street: str
    zip_code: str = pydantic.Field(default="", alias="zip")


class Customer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str
    since: datetime.date
    balance: decimal.Decimal
    colours: set[Colour] = set()
    addresses: list[Address] = []
    boss: Customer | None = None

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def loud_name(self) -> str:
        return self.name.upper()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ints = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False)
zones = st.sampled_from([datetime.UTC, datetime.timezone(datetime.timedelta(hours=9)), None])
points = st.builds(Point, ints, floats)
orders = st.recursive(
    st.builds(Order, texts, st.lists(points, max_size=2)),
    lambda inner: st.builds(Order, texts, st.lists(points, max_size=2), inner),
    max_leaves=4,
)
trees = st.recursive(
    st.builds(Tree, ints), lambda inner: st.builds(Tree, ints, st.lists(inner, max_size=3)), max_leaves=8
)
addresses = st.builds(lambda street, code: Address(street=street, zip=code), texts, texts)
amounts = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9)


def customers(bosses: st.SearchStrategy[Customer | None]) -> st.SearchStrategy[Customer]:
    return st.builds(
        Customer, name=texts, since=st.dates(), balance=amounts, colours=st.sets(st.sampled_from(Colour)),
        addresses=st.lists(addresses, max_size=2), boss=bosses,
    )  # fmt: skip


plain = st.recursive(
    st.none() | st.booleans() | ints | floats | texts | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
ROUND_TRIPS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "Any": (Any, plain),
    "None": (None, st.none()),
    "bool": (bool, st.booleans()),
    "int": (int, ints),
    "float": (float, floats),
    "str": (str, texts),
    "bytes": (bytes, st.binary(max_size=50)),
    "bytearray": (bytearray, st.binary(max_size=50).map(bytearray)),
    "datetime": (datetime.datetime, st.datetimes(timezones=zones)),
    "date": (datetime.date, st.dates()),
    "time": (datetime.time, st.times()),
    "timedelta": (datetime.timedelta, st.timedeltas(datetime.timedelta(-9000), datetime.timedelta(9000))),
    "uuid": (uuid.UUID, st.uuids()),
    "decimal": (decimal.Decimal, amounts),
    "enum": (Colour, st.sampled_from(Colour)),
    "int enum": (Level, st.sampled_from(Level)),
    "str enum": (Text, st.sampled_from(Text)),
    "literal": (Literal["a", 1], st.sampled_from(["a", 1])),
    "optional": (Optional[int], st.none() | ints),  # noqa: UP045  both spellings are accepted
    "union": (Union[int, str, list[int]], ints | texts | st.lists(ints)),  # noqa: UP007
    "list": (list[int], st.lists(ints)),
    "tuple": (tuple[int, str], st.tuples(ints, texts)),
    "long tuple": (tuple[int, ...], st.lists(ints).map(tuple)),
    "set": (set[str], st.sets(texts)),
    "frozenset": (frozenset[int], st.frozensets(ints)),
    "set of tuples": (set[tuple[int, str]], st.sets(st.tuples(ints, texts), max_size=4)),
    "set of frozen": (frozenset[Point], st.frozensets(points, max_size=4)),
    "dict": (dict[str, int], st.dictionaries(texts, ints)),
    "dict by int": (dict[int, str], st.dictionaries(ints, texts)),
    "dict by tuple": (dict[tuple[int, int], str], st.dictionaries(st.tuples(ints, ints), texts, max_size=4)),
    "dict by enum": (dict[Colour, int], st.dictionaries(st.sampled_from(Colour), ints)),
    "nested": (
        dict[str, list[tuple[int, Point] | None]],
        st.dictionaries(texts, st.lists(st.none() | st.tuples(ints, points), max_size=3), max_size=3),
    ),
    "struct": (Point, points),
    "mutable struct": (Basket, st.builds(Basket, st.dictionaries(texts, ints), st.sets(texts))),
    "recursive struct": (Tree, trees),
    "generic struct": (Box[Point], st.builds(Box, points, st.lists(points, max_size=3))),
    "nested generics": (Box[Box[str]], st.builds(Box, st.builds(Box, texts))),
    "tagged union": (Cat | Dog, st.builds(Cat, ints) | st.builds(Dog, texts)),
    "recursive dataclass": (Order, orders),
    "named tuple": (Pair, st.builds(Pair, ints, texts)),
    "typed dict": (Settings, st.fixed_dictionaries({}, optional={"name": texts, "sizes": st.lists(ints)})),
    "pydantic": (Address, addresses),
    "recursive pydantic": (Customer, customers(st.none() | customers(st.none()))),
    "pydantic in a list": (dict[str, list[Address]], st.dictionaries(texts, st.lists(addresses), max_size=3)),
    "pydantic in a struct": (Box[Address], st.builds(Box, addresses)),
}
