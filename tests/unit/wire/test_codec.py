"""Values to bytes and back for every kind of type, hostile bytes, and which values need no copy."""

from __future__ import annotations

import ast
import collections
import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar, Union

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inaho
from inaho.errors import InvalidGrain
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, check_type, decoder, encode
from inaho.wire.exceptions import encode_failure
from inaho.wire.frames import ChainLink, pack_fields

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


@pytest.mark.parametrize("name", ROUND_TRIPS)
@given(data=st.data())
def test_a_value_comes_back_equal_and_of_its_type(name: str, data: st.DataObject) -> None:
    kind, values = ROUND_TRIPS[name]
    check_type(kind, "here")
    value = data.draw(values)
    got = decoder(kind)(memoryview(encode(value)))
    assert got == value and type(got) is type(value)


@given(customers(st.none()))
def test_a_pydantic_model_travels_by_alias_and_without_computed_fields(customer: Customer) -> None:
    sent = msgspec.msgpack.decode(encode(customer))
    assert "loud_name" not in sent
    assert all(set(address) == {"street", "zip"} for address in sent["addresses"])


@pytest.mark.parametrize(
    "kind",
    [ItemType, Annotated[int, msgspec.Meta(gt=0)], typing.Sequence[int], typing.Mapping[str, int], list, dict, tuple,
     collections.abc.Set[int], FrozenOrder, set[FrozenOrder], Right, Any | None],
    ids=repr,
)  # fmt: skip
def test_more_types_that_are_accepted(kind: Any) -> None:
    check_type(kind, "here")


class Lost(msgspec.Struct):
    where: Nowhere  # type: ignore[name-defined]  # noqa: F821


class Opaque:
    pass


class HoldsOpaque(msgspec.Struct):
    inner: list[dict[str, Opaque]]


class RecursiveOpaque(msgspec.Struct):
    again: RecursiveOpaque | None
    inner: tuple[int, Opaque]


@dataclasses.dataclass
class DataOpaque:
    inner: Opaque | None


@pytest.mark.parametrize(
    "kind",
    [
        object, complex, type, range, Exception, Opaque, list[Opaque], dict[str, Opaque], HoldsOpaque, RecursiveOpaque,
        DataOpaque, Box[Opaque], Lost, Listed, collections.deque[int], typing.Callable[[], int], typing.Iterable[int],
        typing.Never, "int", 3, ..., list["int"],
        set[list[int]], set[Basket], set[dict[str, int]], frozenset[Order], set[bytearray], set[int | list[int]],
        dict[list[int], int], dict[tuple[int, list[int]], int], dict[tuple[set[int], ...], int], Box[set[list[int]]],
        list[int] | set[int], Point | Basket, dict[str, set[Annotated[Order, "note"]]],
    ],
    ids=repr,
)  # fmt: skip
def test_types_that_cannot_cross_are_refused_by_name(kind: Any) -> None:
    with pytest.raises(InvalidGrain, match=r"parameter 'x' of Cart\.add has type .* cannot cross the wire"):
        check_type(kind, "parameter 'x' of Cart.add")


def test_the_refusal_names_what_is_inside() -> None:
    with pytest.raises(InvalidGrain, match="Opaque'> is not a type that msgspec knows"):
        check_type(HoldsOpaque, "here")


# What has no encoding, and hostile bytes.


class Canary:
    """Writes a file when something that trusts `__reduce__` makes a copy of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "it was executed")

    def __reduce_ex__(self, protocol: typing.SupportsIndex) -> tuple[Any, ...]:
        return self.__reduce__()


def test_nothing_that_reduces_is_executed_or_encoded(tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    for value in (canary, [canary], {"x": (canary,)}, Box(canary), Order(canary)):  # type: ignore[arg-type]
        with pytest.raises(ENCODE_ERRORS):
            encode(value)
    with pytest.raises(ENCODE_ERRORS):
        pack_fields(None, (ChainLink("Kind", canary, "node", 1),), "")  # type: ignore[arg-type]
    error = inaho.GrainError("x", canary)
    error.extra = canary  # type: ignore[attr-defined]
    assert b"executed" not in encode_failure(error, identity="i", authority="a", executed=True)
    assert not canary.path.exists()


def test_no_module_of_ours_knows_pickle() -> None:
    forbidden = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
    root = Path(inaho.__file__).parent
    modules = sorted(root.rglob("*.py"))
    assert len(modules) > 50
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "__import__", "import_module",
            ):  # fmt: skip
                names = [str(part.value) for part in node.args if isinstance(part, ast.Constant)]
            imported = {part for name in names for part in name.split(".")}
            assert not imported & forbidden, f"{path}:{getattr(node, 'lineno', 0)} imports {imported & forbidden}"


class Shy(msgspec.Struct):
    value: int


class Grumpy(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        raise KeyError("not with me")


class GrumpyModel(pydantic.BaseModel):
    value: int

    @pydantic.model_validator(mode="after")
    def refuse(self) -> GrumpyModel:
        raise LookupError("not with me")

    @pydantic.model_serializer
    def dump(self) -> dict[str, Any]:
        raise LookupError("not with me either")


@pytest.mark.parametrize("kind", [Grumpy, GrumpyModel, list[Grumpy], dict[str, GrumpyModel]], ids=repr)
def test_whatever_a_user_s_validator_raises_is_among_the_decode_errors(kind: Any) -> None:
    inner: Any = {"value": 1}
    body = [inner] if kind == list[Grumpy] else {"k": inner} if kind == dict[str, GrumpyModel] else inner
    with pytest.raises(DECODE_ERRORS, match="not with me"):
        decoder(kind)(encode(body))


def test_whatever_a_user_s_value_raises_is_among_the_encode_errors() -> None:
    unset = Shy(1)
    del unset.value
    endless: list[Any] = []
    endless.append(endless)
    for value in (unset, endless, 2**64, -(2**63) - 1, "\ud800", GrumpyModel.model_construct(value=1), object(), 1j):
        with pytest.raises(ENCODE_ERRORS):
            encode(value)


BOMBS = {
    "deep arrays": b"\x91" * 1_000_000,
    "deep arrays, closed": b"\x91" * 1_000_000 + b"\xc0",
    "deep maps": b"\x81\xa1a" * 300_000 + b"\xc0",
    "deep maps by maps": b"\x81" * 1_000_000,
    "four billion items": b"\xdd\xff\xff\xff\xff" + b"\xc0" * 100,
    "four billion entries": b"\xdf\xff\xff\xff\xff" + b"\xa1a\xc0" * 100,
    "four gigabytes of text": b"\xdb\xff\xff\xff\xff" + b"a" * 100,
    "four gigabytes of bytes": b"\xc6\xff\xff\xff\xff" + b"a" * 100,
    "four gigabytes of extension": b"\xc9\xff\xff\xff\xff\x01" + b"a" * 100,
    "nested promises": b"\xdd\xff\xff\xff\xff" * 200,
    "never used": b"\xc1",
    "no text": b"\xa2\xff\xfe",
    "timestamp beyond time": b"\xc7\x0c\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    "nothing": b"",
}
VICTIMS = [
    Any, list, list[Any], dict[str, Any], set[str], frozenset[int], tuple[int, ...], str, bytes, Tree, Order, Box[Any],
    Settings, Customer, Pair, tuple[str, Any],
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("kind", VICTIMS, ids=repr)
def test_a_bomb_is_an_error_and_not_a_crash(kind: Any, bomb: str) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError, RecursionError)):
        decoder(kind)(BOMBS[bomb])


@given(st.sampled_from(sorted(ROUND_TRIPS)), st.data())
def test_mutated_bytes_decode_to_the_type_or_are_refused(name: str, data: st.DataObject) -> None:
    kind, values = ROUND_TRIPS[name]
    mutated = bytearray(encode(data.draw(values)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(mutated)))
        mutated[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        got = decoder(kind)(bytes(mutated))
    except DECODE_ERRORS:
        return
    assert decoder(kind)(encode(got)) == got or "nan" in repr(got)


@given(st.sampled_from(VICTIMS), st.binary(max_size=100))
def test_random_bytes_decode_or_are_refused(kind: Any, body: bytes) -> None:
    try:
        decoder(kind)(body)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return


# What needs no copy within a process.


class Nested(msgspec.Struct, frozen=True):
    point: Point


class OtherSettings(TypedDict):
    number: int


class OtherPair(NamedTuple):
    number: int


@dataclasses.dataclass
class OtherOrder:
    number: int


class Clear(msgspec.Struct, tag="same"):
    number: int


class Clearer(msgspec.Struct, tag="same"):
    number: int


class Clearest(msgspec.Struct, tag="other", tag_field="kind"):
    number: int


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (Order | OtherOrder, "Struct, tag=True"),
        (list[Order | OtherOrder], "Struct, tag=True"),
        (Union[Settings, OtherSettings], "Struct, tag=True"),  # noqa: UP007  no `|` of such types in 3.11
        (Union[Pair, OtherPair], "Struct, tag=True"),  # noqa: UP007
        (Order | dict[str, int], "Struct, tag=True"),
        (dict[str, int] | dict[int, int], "Struct, tag=True"),
        (list[int] | tuple[int, str], "one type that covers all"),
        (Union[Pair, list[int]], "with a tag and the array as a field"),  # noqa: UP007
        (Clear | Clearer, "a tag of its own"),
        (Clear | Clearest, "the same `tag_field`, or none"),
    ],
)
def test_a_union_that_has_no_tag_says_how_to_give_it_one(kind: Any, advice: str) -> None:
    with pytest.raises(InvalidGrain) as refused:
        check_type(kind, "the argument x")
    assert advice in refused.value.reason
