"""Hostile bytes from good ones: seeded, so that a failure is replayed by its number."""

from __future__ import annotations

from random import Random

from inaho.wire.frames import HEADER

__all__ = ["chunks", "mutated"]

_INTERESTING = (0, 1, 7, 8, 0x7F, 0x80, 0xC0, 0xC1, 0xDD, 0xDF, 0xFF)
_LENGTHS = (0, 1, 7, 8, 9, 0xFFFF, 1 << 20, (1 << 20) + 1, 0x7FFFFFFF, 0xFFFFFFFF)
_BOMBS = (
    b"\x91" * 5_000,
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\x81\xa1a" * 2_000,
)


def mutated(random: Random, frames: list[bytes]) -> bytes:
    """A stream of good frames of which some are damaged, doubled, dropped, moved or invented."""
    stream = [random.choice(frames) for _ in range(random.randint(1, 8))]
    for _ in range(random.randint(0, 4)):
        position = random.randrange(len(stream))
        stream[position] = _damage(random, bytearray(stream[position]), frames)
    if random.random() < 0.3:
        random.shuffle(stream)
    if random.random() < 0.5:
        stream = [random.choice(frames[:8]) if not index else part for index, part in enumerate(stream)]
    data = b"".join(stream)
    return data[: random.randrange(len(data) + 1)] if random.random() < 0.2 else data


def _damage(random: Random, data: bytearray, frames: list[bytes]) -> bytes:
    choice = random.randrange(8) if len(data) >= HEADER.size else 7  # it was damaged before
    if choice == 0:  # any byte
        data[random.randrange(len(data))] = random.choice((*_INTERESTING, random.randrange(256)))
    elif choice == 1:  # bytes more or less
        position = random.randrange(len(data) + 1)
        data[position : position + random.randint(0, 4)] = random.randbytes(random.randint(0, 4))
    elif choice == 2:  # another length
        data[:4] = random.choice(_LENGTHS).to_bytes(4, "little")
    elif choice == 3:  # another type, flags, method or call, with a body of the right length
        length, kind, flags, method, correlation = HEADER.unpack_from(data)
        header = HEADER.pack(
            length, random.choice((kind, random.randrange(14))), random.choice((flags, flags, random.randrange(256))),
            random.choice((method, random.randrange(12), 0xFFFF)), random.choice((correlation, random.getrandbits(32))),
        )  # fmt: skip
        data[: HEADER.size] = header
    elif choice == 4:  # the body of another frame
        return _with_body(data, random.choice(frames)[HEADER.size :])
    elif choice == 5:  # a bomb
        body = bytes(data[HEADER.size :])
        cut = random.randrange(len(body) + 1)
        return _with_body(data, body[:cut] + random.choice(_BOMBS) + body[cut:])
    elif choice == 6:  # a body that was damaged without its length
        body = bytearray(data[HEADER.size :])
        for _ in range(random.randint(1, 3)):
            if body:
                body[random.randrange(len(body))] = random.choice((*_INTERESTING, random.randrange(256)))
        return _with_body(data, bytes(body))
    else:  # noise
        return random.randbytes(random.randint(0, 40))
    return bytes(data)


def _with_body(data: bytearray, body: bytes) -> bytes:
    _, kind, flags, method, correlation = HEADER.unpack_from(data)
    return HEADER.pack(HEADER.size - 4 + len(body), kind, flags, method, correlation) + body


def chunks(random: Random, data: bytes) -> list[bytes]:
    """`data` as reads of a socket might cut it."""
    if random.random() < 0.5 or len(data) < 2:
        return [data] if data else []
    cuts = sorted({random.randrange(1, len(data)) for _ in range(random.randint(1, 6))})
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
