"""Letters as bytes: what goes in comes out, and what a peer sends is a value or an error."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.errors import SerializationFailed
from inaho.types import ClusterIdentity, Pid
from inaho.wire.codec import DECODE_ERRORS
from inaho.wire.letters import decode_letter, decode_value, encode_letter, encode_value, register_message

paths = st.text(max_size=50)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)

MANY = 1_000_000


@register_message
class Parcelled(msgspec.Struct, frozen=True):
    """A registered class with typed fields."""

    pid: Pid
    tags: tuple[str, ...] = ()
    table: dict[str, list[int]] = msgspec.field(default_factory=dict)


messages = (
    plain
    | st.builds(tuple, st.lists(scalars, max_size=3))
    | st.sets(st.integers(0, 100), max_size=5)
    | st.frozensets(st.text(max_size=5), max_size=5)
    | st.builds(
        Parcelled,
        st.builds(Pid, paths, paths, st.builds(ClusterIdentity, paths, paths)),
        st.lists(st.text(max_size=5), max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=5), st.lists(st.integers(0, 9), max_size=3), max_size=3),
    )
)


@given(paths, paths, messages)
def test_a_letter_arrives_as_it_was_sent(recipient: str, sender: str, message: Any):
    to, signed, name, value = decode_letter(encode_letter(recipient, sender, message))
    assert (to, signed) == (recipient, sender)
    received = decode_value(name, value, MANY)
    assert received == message
    assert type(received) is type(message)
    answer_name, answer = msgspec.msgpack.decode(encode_value(message), type=tuple[str, msgspec.Raw])
    assert decode_value(answer_name, answer, MANY) == message


@given(st.binary(max_size=200) | messages.map(lambda message: encode_letter("user/x", "", message)[:-1]))
def test_any_bytes_are_a_letter_or_an_error(data: bytes):
    try:
        _, _, name, value = decode_letter(data)
    except DECODE_ERRORS:
        return
    try:
        decode_value(name, value, MANY)
    except SerializationFailed as error:
        assert error.reason


@given(st.sampled_from(["", "list", "inaho.Pid", "nowhere.Known", f"{__name__}.Parcelled"]), st.binary(max_size=100))
def test_any_value_is_of_its_class_or_an_error(name: str, data: bytes):
    try:
        decode_value(name, data, MANY)
    except SerializationFailed as error:
        assert len(error.reason) < 1000


class Canary:
    """Would run code if anything pickled it."""

    def __reduce__(self) -> Any:
        raise AssertionError("somebody pickled it")


class Sub(list[int]):
    """Not the builtin."""


@pytest.mark.parametrize("message", [Canary(), [Canary()], {"a": Canary()}, (Canary(),), Sub(), object, len, 1j])
def test_what_is_no_message_is_refused(message: Any):
    with pytest.raises(SerializationFailed):
        encode_letter("user/x", "", message)
    with pytest.raises(SerializationFailed):
        encode_value(message)


def test_a_registered_class_is_checked_when_it_is_decoded():
    with pytest.raises(SerializationFailed, match="does not decode"):
        decode_value(f"{__name__}.Parcelled", msgspec.msgpack.encode({"pid": 7}), MANY)


def test_depth_does_not_cost_the_stack():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationFailed):
        encode_letter("user/x", "", deep)
    with pytest.raises(SerializationFailed):
        decode_value("", b"\x91" * 100_000 + b"\xc0", MANY)


class Unwilling:
    """Neither encodes nor decodes, and what it raises has no text."""

    @classmethod
    def model_validate(cls, _value: Any) -> Any:
        raise NoText

    def model_dump(self, **_options: Any) -> Any:
        raise NoText


class NoText(Exception):  # noqa: N818  what a validator may raise
    def __str__(self) -> str:
        raise LookupError("refused")


def test_a_failure_without_a_text_is_one_of_serialization():
    register_message(Unwilling)
    with pytest.raises(SerializationFailed, match="LookupError"):
        encode_value(Unwilling())
    with pytest.raises(SerializationFailed, match="LookupError"):
        decode_value(f"{__name__}.Unwilling", msgspec.msgpack.encode(1), MANY)
