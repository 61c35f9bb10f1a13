"""The stored form of an append, and how reads gather records from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.errors import InvalidArguments, LogTrimmed, StorageFailed
from inaho.storage.log import LogBounds, LogRecord
from inaho.storage.log.chunks import ReadPortion, check_offset, decode_chunk, encode_chunk

APPENDS = st.lists(st.lists(st.binary(max_size=8), min_size=1, max_size=4), max_size=5)


@given(records=st.lists(st.binary(max_size=300), min_size=1, max_size=40))
def test_records_come_back_as_they_were(records: list[bytes]) -> None:
    assert decode_chunk("log", 0, encode_chunk(tuple(records))) == records


def test_framing_is_small() -> None:
    assert len(encode_chunk([bytes(150)] * 64)) - 64 * 150 <= 64 * 2 + 3


@pytest.mark.parametrize("value", [b"", b"\x92\xc4\x01a", b"\x91\xa1a", b"\x91\x01", b"\xff", b"\x91\xc4\x01a\x00"])
def test_damaged_value_names_log_and_offset(value: bytes) -> None:
    with pytest.raises(StorageFailed, match="'orders/3' from offset 17") as caught:
        decode_chunk("orders/3", 17, value)
    assert caught.value.maybe_executed is False


@given(appends=APPENDS, data=st.data(), records_max=st.integers(1, 8), bytes_max=st.integers(1, 30))
def test_read_is_a_slice_of_what_was_appended(
    appends: list[list[bytes]], data: st.DataObject, records_max: int, bytes_max: int
) -> None:
    everything = [record for append in appends for record in append]
    offset = data.draw(st.integers(0, len(everything)))
    portion = ReadPortion("log", offset, records_max=records_max, bytes_max=bytes_max)
    first = 0
    for append in appends:
        if first + len(append) > offset and not portion.add_encoded(first, encode_chunk(append)):
            break
        first += len(append)
    expected: list[LogRecord] = []
    for at in range(offset, len(everything)):
        if len(expected) == records_max or sum(len(each.data) for each in expected) >= bytes_max:
            break
        expected.append(LogRecord(at, everything[at]))
    assert portion.records == expected
    assert portion.full == (len(expected) == records_max or sum(len(each.data) for each in expected) >= bytes_max)


def test_missing_chunk_is_no_end_of_the_log() -> None:
    portion = ReadPortion("log", 0, records_max=10, bytes_max=100)
    assert portion.add(0, [b"a", b"b"])
    with pytest.raises(StorageFailed, match="no records from offset 2 to 3"):
        portion.add(3, [b"d"])


def test_offsets_that_are_not_in_the_log() -> None:
    bounds = LogBounds(first=5, end=7, epoch=1, size_bytes=2)
    for offset in (5, 6, 7):
        check_offset("log", bounds, offset)
    with pytest.raises(LogTrimmed, match="begins at offset 5"):
        check_offset("log", bounds, 4)
    with pytest.raises(InvalidArguments, match="after its end 7"):
        check_offset("log", bounds, 8)
