"""The bytes of `PUBLISH` and `PUBLISHED`, as members of this release send them to each other."""

from __future__ import annotations

from inaho.wire.codec import encode
from inaho.wire.frames import BEGINS, CONFIRM, LAST, PUBLISH, PUBLISHED, frame
from inaho.wire.publications import encode_batch, prefix_of

BATCH = (
    "40000000 17 03 0500 09000000"  # length, PUBLISH, BEGINS and CONFIRM, generation 5, 9 messages lost before
    "95"  # an array of 5
    "a6 707269636573"  # prices
    "cf 0000000000000010"  # first sequence number 16
    "cb 41d95c9e10000000"  # published_at
    "92 a0 a4 41434d45"  # keys: none, ACME
    "dd 00000002"  # 2 values
    "82 a56f776e6572 a161 a6616d6f756e74 01"
    "02"
)
TAIL = (
    "28000000 17 04 0500 00000000"  # LAST
    "95 a6 707269636573 cf 0000000000000012 cb 41d95c9e10000000 c0 dd 00000000"
)
CONFIRMATION = "08000000 18 00 0000 00000000"


def test_the_bytes_of_a_batch() -> None:
    values = [encode({"owner": "a", "amount": 1}), encode(2)]
    body = encode_batch(prefix_of("prices"), 16, 1702000704.0, ["", "ACME"], values)
    made = frame(PUBLISH, body, flags=BEGINS | CONFIRM, method=5, correlation=9)
    assert made.hex() == bytes.fromhex(BATCH).hex()


def test_the_bytes_of_a_last_number() -> None:
    body = encode_batch(prefix_of("prices"), 18, 1702000704.0, None, ())
    assert frame(PUBLISH, body, flags=LAST, method=5).hex() == bytes.fromhex(TAIL).hex()


def test_the_bytes_of_a_confirmation() -> None:
    assert frame(PUBLISHED).hex() == bytes.fromhex(CONFIRMATION).hex()
