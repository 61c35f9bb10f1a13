"""Values to bytes and back for every kind of type; which types are refused, and with which advice."""

from __future__ import annotations

import collections
import dataclasses
import typing
from typing import Annotated, Any, NamedTuple, TypedDict, Union

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.errors import InvalidGrain
from inaho.wire.codec import check_type, decoder, encode
from support.encoded_types import (
    ROUND_TRIPS,
    Basket,
    Box,
    Customer,
    FrozenOrder,
    ItemType,
    Listed,
    Order,
    Pair,
    Point,
    Right,
    Settings,
    customers,
)


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
