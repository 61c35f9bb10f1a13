"""A table of values and of the types that arguments and results may be annotated with."""

# ruff: noqa: N818, RUF012  names of the tests' stories; Structs copy mutable defaults

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, Literal

import pydantic

from inaho import GrainError, Struct


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Point(Struct, frozen=True):
    x: int
    name: str = ""


class Basket(Struct):
    items: dict[str, int] = {}
    tags: list[str] = []


class Bigger(Basket):
    more: int = 0


class Opaque:
    def __repr__(self) -> str:
        return "opaque"


@dataclasses.dataclass
class Address:
    street: str
    lines: list[str] = dataclasses.field(default_factory=list)
    size: int = dataclasses.field(init=False, default=3)


class Order(pydantic.BaseModel):
    number: int
    lines: list[str] = []


class Unwilling:
    """Cannot be encoded, and what its method raises has no text."""

    def __repr__(self) -> str:
        return "unwilling"

    @classmethod
    def model_validate(cls, _value: Any) -> Any:
        raise Mute("x")

    def model_dump(self, **_options: Any) -> Any:
        raise Mute("x")


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def looped() -> Any:
    value: Any = []
    value.append(value)
    return value


def shared() -> Any:
    inner = [1]
    return [inner, inner]


VALUES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "true": lambda: True,
    "zero": lambda: 0,
    "int": lambda: -5,
    "int, 63 bits": lambda: 2**63 - 1,
    "int, 64 bits": lambda: 2**64 - 1,
    "int, 65 bits": lambda: 2**64,
    "int, least": lambda: -(2**63),
    "int, too small": lambda: -(2**63) - 1,
    "int, 70 bits": lambda: 2**70,
    "int, subclass": lambda: Number(5),
    "float": lambda: 1.5,
    "float, whole": lambda: 3.0,
    "nan": lambda: float("nan"),
    "minus zero": lambda: -0.0,
    "infinity": lambda: float("inf"),
    "text": lambda: "text",
    "text, empty": lambda: "",
    "text, nul": lambda: "a\x00b",
    "text, beyond ascii": lambda: "日本",
    "text, lone surrogate": lambda: "\ud800",
    "text, 1 KiB": lambda: "x" * 1025,
    "text, 3 MB": lambda: "x" * 3_000_000,
    "text, subclass": lambda: Text("t"),
    "bytes": lambda: b"x\xff",
    "bytes, 3 MB": lambda: bytes(3_000_000),
    "bytearray": lambda: bytearray(b"x"),
    "memoryview": lambda: memoryview(b"x"),
    "list": lambda: [1, "a"],
    "list, of big int": lambda: [2**70],
    "list, long": lambda: [[]] * 40_000,
    "tuple": lambda: (1, "a"),
    "set": lambda: {1},
    "frozenset": lambda: frozenset({1}),
    "dict": lambda: {"a": 1},
    "dict, int keys": lambda: {1: "a"},
    "dict, tuple keys": lambda: {(1, 2): 3},
    "dict, surrogate key": lambda: {"\ud800": 1},
    "enum": lambda: Colour.RED,
    "int enum": lambda: Level.LOW,
    "flag": lambda: Right.READ,
    "flags": lambda: Right.READ | Right.WRITE,
    "moment": lambda: datetime.datetime(2024, 1, 2, 3, 4, 5, 6),
    "moment, utc": lambda: datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "moment, zone": lambda: datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=9))),
    "date": lambda: datetime.date(2024, 1, 2),
    "time": lambda: datetime.time(1, 2),
    "span": lambda: datetime.timedelta(seconds=1.5),
    "decimal": lambda: decimal.Decimal("1.50"),
    "decimal, nan": lambda: decimal.Decimal("NaN"),
    "uuid": lambda: uuid.UUID(int=5),
    "frozen struct": lambda: Point(1, "a"),
    "frozen struct, wrong": lambda: Point("x"),  # type: ignore[arg-type]
    "frozen struct, big": lambda: Point(1, "x" * 3_000_000),
    "frozen struct, surrogate": lambda: Point(1, "\ud800"),
    "struct": lambda: Basket({"a": 1}, ["b"]),
    "struct, subclass": lambda: Bigger({"a": 1}, ["b"], 5),
    "struct, wrong": lambda: Basket({"a": "x"}),  # type: ignore[dict-item]
    "dataclass": lambda: Address("s"),
    "model": lambda: Order(number=1),
    "model, wrong": lambda: Order.model_construct(number="x"),
    "opaque": Opaque,
    "unwilling": Unwilling,
    "class": lambda: Opaque,
    "function": lambda: len,
    "deque": lambda: collections.deque([1]),
    "ordered": lambda: collections.OrderedDict(a=1),
    "counter": lambda: collections.Counter("aa"),
    "range": lambda: range(3),
    "path": lambda: PurePosixPath("/x"),
    "complex": lambda: 1j,
    "deep": lambda: nested(50),
    "too deep": lambda: nested(5000),
    "looped": looped,
    "shared": shared,
}
TYPES: dict[str, Any] = {
    "anything": Any,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "bool": bool,
    "bytearray": bytearray,
    "optional": int | None,
    "union": int | str | None,
    "either": float | int,
    "colour": Colour,
    "level": Level,
    "right": Right,
    "literal": Literal["text", "a"],
    "list": list[int],
    "tuple": tuple[int, str],
    "set": set[int],
    "frozen": frozenset[int],
    "table": dict[int, str],
    "moment": datetime.datetime,
    "date": datetime.date,
    "span": datetime.timedelta,
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
    "point": Point,
    "basket": Basket,
    "address": Address,
    "order": Order,
    "unwilling": Unwilling,
}


class Mute(GrainError):
    def __str__(self) -> str:
        raise RuntimeError("no text")
