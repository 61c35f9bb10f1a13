"""A grain with a method for every type that arguments and results may have."""

# ruff: noqa: RUF012  Structs copy mutable defaults

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, Literal

import pydantic

from inaho import Grain, Struct


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
