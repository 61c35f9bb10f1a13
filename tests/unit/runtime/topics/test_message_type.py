"""The type of a topic's messages: its name, and which values it accepts."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, Any, Literal, Optional

import msgspec
import pytest

from inaho import Struct
from inaho.errors import InvalidTopic, WrongMessageType
from inaho.runtime.topics.message_type import MessageType, message_type, type_name


class Price(Struct, frozen=True):
    owner: str
    amount: float


class Opened(Struct, tag=True):
    at: float


class Closed(Struct, tag=True):
    at: float


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Any, ""),
        (None, "None"),
        (int, "int"),
        (Price, "Price"),
        (Colour, "Colour"),
        (Point, "Point"),
        (list[Price], "list[Price]"),
        (dict[str, Any], "dict[str, Any]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (int | None, "int | None"),
        (Optional[Price], "Price | None"),  # noqa: UP045  as users may write it
        (Opened | Closed, "Opened | Closed"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[int, "seconds"], "int"),
    ],
)
def test_the_name_of_a_type_is_that_of_its_classes(kind: Any, name: str):
    assert type_name(kind) == name
    assert MessageType(kind).name == name


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Price, Price("a", 1.5)),
        (Point, Point(3)),
        (Colour, Colour.RED),
        (Opened | Closed, Closed(2.0)),
        (list[int], [1, 2]),
        (bytes, b"x" * 100_000),
        (int | None, None),
        (Any, {"a": [1, "b"]}),
    ],
)
def test_a_value_of_the_type_arrives_as_it_was(kind: Any, value: Any):
    known: MessageType[Any] = MessageType(kind)
    encoded = known.encode(value, "t")
    assert known.copy(encoded, "t") == value
    assert known.decode_many(b"\x92" + encoded + encoded) == [value, value]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Price, "text"),
        (Price, Price(3, "x")),  # type: ignore[arg-type]
        (int, 1.5),
        (int, 2**70),
        (list[int], ["a"]),
        (Any, object()),
        (Opened | Closed, Price("a", 1.0)),
    ],
)
def test_any_other_value_is_refused_where_it_is_published(kind: Any, value: Any):
    with pytest.raises(WrongMessageType, match="topic 'prices'"):
        MessageType(kind).encode(value, "prices")


def test_a_type_that_cannot_cross_the_wire_is_refused():
    with pytest.raises(InvalidTopic, match="cannot cross the wire"):
        MessageType(object)


def test_handles_of_one_type_share_it_and_equal_types_keep_their_names():
    assert message_type(list[int]) is message_type(list[int])
    assert (message_type(int | str).name, message_type(str | int).name) == ("int | str", "str | int")
    unhashable = Annotated[int, msgspec.Meta(extra={"unit": "yen"})]
    assert message_type(unhashable).name == "int"
    with pytest.raises(InvalidTopic):
        message_type(object)
