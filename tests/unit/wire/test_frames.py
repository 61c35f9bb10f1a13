"""Headers and optional fields: what is packed comes out again, and what is mutated is refused by name."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inaho.errors import FrameTooLarge, ProtocolViolation
from inaho.wire import frames
from inaho.wire.frames import (
    HEADER,
    HEADER_BYTES,
    HEADER_REST,
    WITH_CHAIN,
    WITH_DEADLINE,
    WITH_TRACE,
    CallFields,
    ChainLink,
    Definition,
    Goodbye,
    frame,
    pack_fields,
    unpack_fields,
)

U32_MAX = 0xFFFFFFFF
DEEP = b"\x91" * 60_000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
links = st.builds(ChainLink, texts, texts, texts, st.integers(0, 2**63 - 1))
chains = st.lists(links, max_size=5).map(tuple)
deadlines = st.none() | st.integers(0, U32_MAX)
bodies = st.binary(max_size=50)


def unpack(flags: int, data: bytes) -> tuple[CallFields, bytes]:
    fields, body = unpack_fields(flags, memoryview(data))
    return fields, bytes(body)


def with_size(data: bytes) -> bytes:
    return len(data).to_bytes(2, "little") + data


@given(bodies, st.integers(0, 255), st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, U32_MAX))
def test_a_frame_says_its_length_and_carries_its_numbers(
    body: bytes, kind: int, flags: int, method: int, correlation: int
) -> None:
    data = frame(kind, body, flags=flags, method=method, correlation=correlation)
    assert HEADER.unpack_from(data) == (HEADER_REST + len(body), kind, flags, method, correlation)
    assert data[HEADER_BYTES:] == body and len(data) == 4 + HEADER_REST + len(body)


def test_the_header_is_what_the_documentation_says() -> None:
    assert frame(1, b"b", flags=2, method=0x0304, correlation=0x05060708).hex() == "09000000010204030807060562"


def test_frame_types_and_flags_are_told_apart() -> None:
    types = [
        getattr(frames, name)
        for name in [
            "CALL",
            "REPLY",
            "ERROR",
            "CANCEL",
            "ITEMS",
            "END",
            "CREDIT",
            "DEFINE",
            "CONTROL",
            "TOPOLOGY",
            "GOODBYE",
            "KEEPS",
            "ENDED",
        ]
    ]
    assert len(set(types)) == len(types)
    assert WITH_DEADLINE | WITH_CHAIN | WITH_TRACE == WITH_DEADLINE + WITH_CHAIN + WITH_TRACE


@given(deadlines, chains, texts, bodies)
@example(None, (), "", b"")
@example(0, (), "", b"")
@example(
    U32_MAX, (ChainLink("Kind", "key", "node", 2**63),), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"x"
)
def test_fields_come_out_as_they_went_in_and_the_body_stays(
    deadline_ms: int | None, chain: tuple[ChainLink, ...], trace: str, body: bytes
) -> None:
    flags, data = pack_fields(deadline_ms, chain, trace)
    assert bool(flags & WITH_DEADLINE) == (deadline_ms is not None)
    assert bool(flags & WITH_CHAIN) == bool(chain) and bool(flags & WITH_TRACE) == bool(trace)
    assert unpack(flags, data + body) == (CallFields(deadline_ms, chain, trace), body)


def test_absent_fields_cost_nothing() -> None:
    assert pack_fields(None, (), "") == (0, b"")


@given(st.integers(-(2**70), 2**70))
def test_a_deadline_beyond_32_bits_is_held_to_them(deadline_ms: int) -> None:
    fields, _ = unpack(*pack_fields(deadline_ms, (), ""))
    assert fields.deadline_ms == min(max(deadline_ms, 0), U32_MAX)


def test_a_trace_that_has_no_encoding_does_not_fail_the_call() -> None:
    fields, _ = unpack(*pack_fields(None, (), "trace \ud800"))
    assert fields.trace == "trace ?"


@pytest.mark.parametrize("size", [0xFFFF, 0x10000])
def test_a_field_beyond_16_bits_of_length_is_refused_before_it_is_sent(size: int) -> None:
    if size <= 0xFFFF:
        assert unpack(*pack_fields(None, (), "t" * size))[0].trace == "t" * size
        return
    with pytest.raises(FrameTooLarge, match="65535"):
        pack_fields(None, (), "t" * size)
    with pytest.raises(FrameTooLarge, match="65535"):
        pack_fields(None, (ChainLink("Kind", "k" * size, "node", 1),), "")


@pytest.mark.parametrize("flags", [8, 16, 32, 64, 128, 255])
def test_unknown_flags_are_refused(flags: int) -> None:
    with pytest.raises(ProtocolViolation, match="unknown call flags"):
        unpack(flags, bytes(100))


@pytest.mark.parametrize(
    ("flags", "data"),
    [
        pytest.param(WITH_DEADLINE, b"\x01\x02\x03", id="half a deadline"),
        pytest.param(WITH_CHAIN, b"\x01", id="half a length"),
        pytest.param(WITH_CHAIN, with_size(b"\x90")[:-1], id="a chain that is cut off"),
        pytest.param(WITH_TRACE, b"\xff\xff" + bytes(100), id="a trace beyond its frame"),
        pytest.param(WITH_TRACE, with_size(b"\xff\xfe"), id="a trace that is no text"),
        pytest.param(WITH_CHAIN, with_size(b""), id="an empty chain"),
        pytest.param(WITH_CHAIN, with_size(b"\x90\x90"), id="two chains in one"),
        pytest.param(WITH_CHAIN, with_size(b"\xdd\xff\xff\xff\xff"), id="a chain of four billion links"),
        pytest.param(WITH_CHAIN, with_size(b"\xdb\xff\xff\xff\xff"), id="four billion characters"),
        pytest.param(WITH_CHAIN, with_size(DEEP), id="a deep chain"),
        pytest.param(WITH_CHAIN, with_size(b"\x91\x95\xa0\xa0\xa0\x01" + DEEP), id="a link with a deep fifth part"),
        pytest.param(WITH_CHAIN, with_size(msgspec.msgpack.encode([["Kind", "key", "node", "turn"]])), id="no number"),
    ],
)
def test_hostile_fields_are_refused_by_name(flags: int, data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        unpack(flags, data)


@given(deadlines, chains, texts, bodies, st.data())
def test_mutated_fields_decode_or_are_refused_and_nothing_else(
    deadline_ms: int | None, chain: tuple[ChainLink, ...], trace: str, body: bytes, data: st.DataObject
) -> None:
    flags, packed = pack_fields(deadline_ms, chain, trace)
    mutated = bytearray(packed + body)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(mutated)))
        mutated[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    flags ^= data.draw(st.sampled_from([0, 0, 0, 1, 2, 4, 8]))
    try:
        fields, rest = unpack(flags, bytes(mutated))
    except ProtocolViolation:
        return
    assert bytes(mutated).endswith(rest)
    assert all(isinstance(link, ChainLink) for link in fields.chain) and isinstance(fields.trace, str)


@given(st.integers(0, 7), st.binary(max_size=200))
def test_random_fields_decode_or_are_refused_and_nothing_else(flags: int, data: bytes) -> None:
    try:
        _, rest = unpack(flags, data)
    except ProtocolViolation:
        return
    assert data.endswith(rest)


@given(st.builds(Definition, texts, texts, texts, st.integers(0, 255), st.integers(0, 2**40), st.booleans()))
def test_a_definition_round_trips(definition: Definition) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(definition), type=Definition) == definition


@given(st.builds(Goodbye, texts, texts))
def test_a_goodbye_round_trips(goodbye: Goodbye) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(goodbye), type=Goodbye) == goodbye
