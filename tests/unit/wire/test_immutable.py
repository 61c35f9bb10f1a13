"""Types whose values several subscribers may share."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Optional

import msgspec
import pytest

from inaho import Struct
from inaho.wire.immutable import is_immutable


class Colour(enum.Enum):
    RED = 1


class Frozen(Struct, frozen=True):
    owner: str
    parts: tuple[int, ...] = ()
    next: Optional[Frozen] = None  # noqa: UP045  evaluated by msgspec


class HoldsList(Struct, frozen=True):
    parts: list[int]


class Open(Struct):
    owner: str


@dataclass(frozen=True)
class FrozenData:
    owner: str


@dataclass
class OpenData:
    owner: str


class Pair(NamedTuple):
    left: int
    right: Frozen


@pytest.mark.parametrize(
    "kind",
    [
        None, bool, int, float, str, bytes, Colour, Literal["a", 1], datetime.datetime, datetime.date, datetime.time,
        datetime.timedelta, uuid.UUID, decimal.Decimal, tuple[int, str], tuple[Frozen, ...], frozenset[int],
        int | None, Frozen | None, Frozen, FrozenData, Pair, Annotated[int, msgspec.Meta(ge=1)],
    ],
)  # fmt: skip
def test_values_that_nothing_can_change_are_shared(kind: Any) -> None:
    assert is_immutable(kind)


@pytest.mark.parametrize(
    "kind",
    [
        Any, list[int], dict[str, int], set[int], bytearray, Open, OpenData, HoldsList, tuple[list[int], ...],
        Frozen | Any, int | list[int], frozenset[Any], Annotated[list[int], msgspec.Meta(min_length=1)],
    ],
)  # fmt: skip
def test_values_that_something_can_change_are_not(kind: Any) -> None:
    assert not is_immutable(kind)
