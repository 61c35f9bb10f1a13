"""Batches of messages: made of encoded pieces, they decode as one array; hostile ones are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho import Struct
from inaho.errors import ProtocolViolation
from inaho.wire.codec import DECODE_ERRORS, encode
from inaho.wire.publications import batch_decoder, decode_apart, encode_batch, prefix_of, read_prefix

names = st.text(min_size=1, max_size=300)


class Price(Struct, frozen=True):
    owner: str
    amount: float


@given(names, st.integers(1, 2**63), st.floats(0, 1e12), st.lists(st.tuples(st.text(max_size=5), st.integers(0, 9))))
def test_a_batch_is_one_array(name: str, first: int, at: float, messages: list[tuple[str, int]]) -> None:
    try:
        prefix = prefix_of(name)
    except UnicodeEncodeError:
        return
    keys = [key for key, _ in messages] if any(key for key, _ in messages) else None
    try:
        body = encode_batch(prefix, first, at, keys, [encode(value) for _, value in messages])
    except UnicodeEncodeError:
        return
    values = [value for _, value in messages]
    assert msgspec.msgpack.decode(body) == [name, first, at, keys, values]
    assert read_prefix(memoryview(body)) == prefix
    assert batch_decoder(int, 100)(body) == (name, first, at, keys, values)
    assert decode_apart(body) == (name, first, at, keys, [encode(value) for value in values])


@given(st.binary(max_size=40))
def test_bytes_of_no_batch_are_refused(body: bytes) -> None:
    try:
        read_prefix(memoryview(body))
        decode_apart(body)
    except ProtocolViolation:
        pass


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x95",
        b"\x94\xa1a",
        b"\x95\xd9",
        b"\x95\xda\x00",
        b"\x95\x01",
        encode(["a", 0, 1.0, None, [1]]),
        encode(["a", 1, 1.0, ["k"], []]),
        encode(["a", 1, 1.0, None, {}]),
        encode(["a", 1, 1.0, None]),
    ],
)
def test_a_batch_that_is_none_is_refused(body: bytes) -> None:
    def read() -> None:
        read_prefix(memoryview(body))
        decode_apart(body)

    with pytest.raises(ProtocolViolation):
        read()


def test_containers_are_bounded_before_they_are_decoded() -> None:
    body = encode_batch(prefix_of("a"), 1, 1.0, None, [encode([[]] * 50)] * 3)
    assert len(batch_decoder(list[Any], 10_000)(body)[4]) == 3
    with pytest.raises(DECODE_ERRORS, match="containers_max"):
        batch_decoder(list[Any], 100)(body)


def test_values_of_a_type_are_decoded_in_one_call() -> None:
    prices = [Price(f"p{number}", number / 2) for number in range(1000)]
    body = encode_batch(prefix_of("prices"), 7, 2.5, None, [encode(price) for price in prices])
    assert batch_decoder(Price, 32_768)(memoryview(body)) == ("prices", 7, 2.5, None, prices)
