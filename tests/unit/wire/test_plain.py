"""Values that pass within a process as they are: only those that would arrive as the very same."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, Optional, Union, final

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inaho.wire.codec import decoder, encode
from inaho.wire.plain import PLAIN_BYTES_MAX, check_of


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Odd(enum.Enum):
    NONE = None


class Point(msgspec.Struct, frozen=True):
    x: int
    y: float = 0.0
    name: str | None = None


class Line(msgspec.Struct, frozen=True, tag=True):
    start: Point
    colour: Colour


class Longer(Point, frozen=True):
    z: list[int] = []


class Checked(msgspec.Struct, frozen=True):
    x: int

    def __post_init__(self) -> None:
        pass


class Loop(msgspec.Struct, frozen=True):
    next: Optional[Loop] = None  # noqa: UP045


@final
class Thawed(msgspec.Struct):
    x: int


KINDS = [int, str, bytes, float, bool, None, Any, int | None, int | str | None, Union[float, int], Colour, Level,  # noqa: UP007
         Point, Line, Point | None, Thawed, list[int], decimal.Decimal | float, Annotated[int, msgspec.Meta(gt=0)],
         Literal["a"], datetime.datetime | int, uuid.UUID, Right, Checked, Loop, dict[str, int]]  # fmt: skip

values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**66), 2**66), st.floats(), st.text(max_size=9), st.binary(max_size=9),
    st.sampled_from([Colour.RED, Level.LOW, Right.READ, Right.READ | Right.WRITE, Odd.NONE, "x" * 5000, "\ud800",
                     "é", b"x" * 5000, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, -0.0, math.inf, (), [1],
                     bytearray(b"x"), decimal.Decimal(1), uuid.UUID(int=1), Checked(1), Loop(), Thawed(1)]),
    st.builds(Point, st.integers(-(2**66), 2**66) | st.text(max_size=2), st.floats() | st.integers(0, 3), st.none()),
    st.builds(Line, st.just(Point(1)) | st.just(Longer(1, z=[1])), st.just(Colour.RED) | st.just("red")),
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return type(other) is float and math.isnan(other)
    if isinstance(one, msgspec.Struct):
        return type(one) is type(other) and all(
            same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__
        )
    return type(one) is type(other) and repr(one) == repr(other)


@given(st.sampled_from(KINDS), values)
@example(Point, Point(1, 2))
@example(Point, Point(1, 2.0, "\ud800"))
@example(Line, Line(Longer(1, z=[1]), Colour.RED))
def test_what_is_plain_arrives_as_the_very_same(kind: Any, value: Any) -> None:
    check = check_of(kind)
    if check is not None and check(value):
        body = encode(value)
        assert same(value, decoder(kind)(body))
        assert len(body) < PLAIN_BYTES_MAX // 4
        assert is_deeply_immutable(value)


def is_deeply_immutable(value: Any) -> bool:
    if isinstance(value, enum.Enum):
        return isinstance(value.value, str | int)
    if isinstance(value, msgspec.Struct):
        parts = [getattr(value, name) for name in value.__struct_fields__]
        return value.__struct_config__.frozen and all(map(is_deeply_immutable, parts))
    return type(value) in (str, int, float, bool, bytes, type(None))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 5), (int, -(2**63)), (int, 2**64 - 1), (str, "x" * 1024), (bytes, b"x" * 1024), (float, math.inf),
        (bool, True), (None, None), (Any, "x"), (Any, 5), (int | None, None), (Colour, Colour.RED), (Level, Level.LOW),
        (Point, Point(1, 2.0, "n")), (Point | None, Point(1)), (Line, Line(Point(1), Colour.RED)), (list[int] | int, 5),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_common_is_plain(kind: Any, value: Any) -> None:
    check = check_of(kind)
    assert check is not None
    assert check(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 2**64), (int, -(2**63) - 1), (int, True), (int, Level.LOW), (str, "x" * 1025), (str, "é"),
        (str, "\ud800"), (bytes, b"x" * 1025), (float, 3), (Any, (1,)), (Any, Colour.RED), (Point, Point(2**70)),
        (Point, Point(1, 2)),         (Point, Longer(1)), (Line, Line(Longer(1), Colour.RED)),
        (Thawed, Thawed(1)), (Checked, Checked(1)),
        (Right, Right.READ), (Loop, Loop()),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_is_not_sure_is_not_plain(kind: Any, value: Any) -> None:
    check: Callable[[Any], bool] | None = check_of(kind)
    assert check is None or not check(value)
