"""Hashes are part of the protocol: these tests fail when a node would disagree with the rest of its cluster."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from inaho.core.identity.hashing import (
    identity_hash,
    node_digest,
    partition_of,
    rendezvous_score,
    weighted_claim,
)

PRIME_32 = 2654435761
PRIME_64 = 11400714785074694797

# Reference vectors of XXH3_64 (xxHash, xsum_sanity_check.c): length of the generated buffer, seed, digest.
XXH3_VECTORS = [
    (0, 0, 0x2D06800538D394C2),
    (1, 0, 0xC44BDFF4074EECDB),
    (1, PRIME_64, 0x032BE332DD766EF8),
    (6, 0, 0x27B56A84CD2D7325),
    (6, PRIME_64, 0x84589C116AB59AB9),
    (12, 0, 0xA713DAF0DFBB77E7),
    (12, PRIME_64, 0xE7303E1B2336DE0E),
    (24, 0, 0xA3FE70BF9D3510EB),
    (24, PRIME_64, 0x850E80FC35BDD690),
    (48, 0, 0x397DA259ECBA1F11),
    (48, PRIME_64, 0xADC2CBAA44ACC616),
    (80, 0, 0xBCDEFBBB2C47C90A),
    (80, PRIME_64, 0xC6DD0CB699532E73),
    (195, 0, 0xCD94217EE362EC3A),
    (195, PRIME_64, 0xBA68003D370CB3D9),
]

# What this project promises on top: kind, key, hash, partition of 4,096.
IDENTITY_VECTORS = [
    ("Cart", "alice", 0x4872B996F659117C, 380),
    ("Cart", "bob", 0xC21FEFB14B6DED81, 3457),
    ("ShoppingCart", "稲穂", 0x145F55E6BFE37E67, 3687),
    ("shop.Cart", "a/b/c", 0x6E2934F3C678BE85, 3717),
    ("A", "0", 0x092BFCD89D449C9C, 3228),
    ("Counter", "x" * 300, 0x33648277784E5261, 609),
]

# Authority, digest, partition, score.
SCORE_VECTORS = [
    ("127.0.0.1:7700", "3385deede72a7b16", 0, 0x162A8962C0149721),
    ("127.0.0.1:7700", "3385deede72a7b16", 1, 0x3FD9D9FD65B6FBF0),
    ("127.0.0.1:7700", "3385deede72a7b16", 4095, 0x1F9E3FE668FD7AD1),
    ("10.0.0.1:7700", "c4fdf39f9fc25e01", 0, 0xBA7C17C26BC4719C),
    ("10.0.0.1:7700", "c4fdf39f9fc25e01", 1, 0xE94CA9385D3ACDB4),
    ("10.0.0.1:7700", "c4fdf39f9fc25e01", 4095, 0xD223EFEFA9BAB15E),
    ("[::1]:7700", "50633faa9c3f787f", 0, 0xFA278199C474E3D2),
    ("[::1]:7700", "50633faa9c3f787f", 1, 0x00389A28139B02EA),
    ("[::1]:7700", "50633faa9c3f787f", 4095, 0x884D4754B9DF6409),
]


def reference_buffer(length: int) -> bytes:
    """The generator of the reference test."""
    state, out = PRIME_32, bytearray()
    for _ in range(length):
        out.append(state >> 56)
        state = state * PRIME_64 % 2**64
    return bytes(out)


@pytest.mark.parametrize(("length", "seed", "digest"), XXH3_VECTORS)
def test_the_hash_is_the_published_one(length: int, seed: int, digest: int) -> None:
    assert xxh3_64_intdigest(reference_buffer(length), seed) == digest


@pytest.mark.parametrize(("kind", "key", "digest", "partition"), IDENTITY_VECTORS)
def test_identity_vectors(kind: str, key: str, digest: int, partition: int) -> None:
    assert identity_hash(kind, key) == digest
    assert partition_of(digest, 4096) == partition


@pytest.mark.parametrize(("authority", "digest", "partition", "score"), SCORE_VECTORS)
def test_score_vectors(authority: str, digest: str, partition: int, score: int) -> None:
    assert node_digest(authority).hex() == digest
    assert rendezvous_score(bytes.fromhex(digest), partition) == score


def test_identities_spread_evenly() -> None:
    counts = [0] * 256
    for number in range(100_000):
        counts[partition_of(identity_hash("Cart", str(number)), 256)] += 1
    expected = 100_000 / 256
    chi_square = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_square < 350, "255 degrees of freedom: above 350 once in 40,000"


def test_scores_of_neighbouring_partitions_and_names_are_independent() -> None:
    """Authorities of one cluster differ in a digit and partitions are consecutive: neither may show."""
    digests = [node_digest(f"10.0.0.{number}:7700") for number in range(16)]
    wins = [0] * 16
    repeats = 0
    last = -1
    for partition in range(16_384):
        scores = [rendezvous_score(digest, partition) for digest in digests]
        winner = scores.index(max(scores))
        wins[winner] += 1
        repeats += winner == last
        last = winner
    chi_square = sum((count - 1024) ** 2 / 1024 for count in wins)
    assert chi_square < 45, "15 degrees of freedom: above 45 once in 10,000"
    assert abs(repeats - 1024) < 150, "a sixteenth of the neighbours share a winner by chance"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.floats(0.01, 100.0))
def test_equal_weights_rank_as_the_plain_scores_do(one: int, other: int, weight: float) -> None:
    if one > other:
        assert weighted_claim(one, weight) >= weighted_claim(other, weight)


@given(st.integers(0, 2**64 - 1), st.floats(1e-6, 1e6))
def test_a_claim_is_a_negative_number_for_every_score(score: int, weight: float) -> None:
    claim = weighted_claim(score, weight)
    assert claim < 0
    assert math.isfinite(claim)


@given(st.integers(0, 2**64 - 1), st.floats(0.1, 10.0))
def test_more_weight_makes_a_stronger_claim(score: int, weight: float) -> None:
    assert weighted_claim(score, weight * 2) > weighted_claim(score, weight)


def test_the_claim_ranks_as_the_papers_formula_does() -> None:
    chance = random.Random(5)
    for _ in range(2_000):
        pairs = [(chance.getrandbits(64), chance.choice([0.5, 1.0, 3.0])) for _ in range(5)]
        by_claim = max(pairs, key=lambda pair: weighted_claim(*pair))
        by_formula = max(pairs, key=lambda pair: -pair[1] / math.log((pair[0] + 0.5) / 2**64))
        assert by_claim == by_formula
