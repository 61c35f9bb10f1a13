"""Portable hashes: the partition of an identity, and the score of a node for a partition.

Every node must give the same answer whatever its platform, release of Python or `PYTHONHASHSEED`, because owners are
computed on each node and never asked for. Everything here is XXH3 (64 bits), a published function with reference
vectors and an implementation in every language that might join a cluster:

- identity:  `XXH3_64(utf8(kind + "/" + key))`, seed 0. A kind has no slash, so no two identities share a text.
- partition: the low bits of that hash.
- node:      `XXH3_64(utf8(authority))`, seed 0, written as 8 bytes big-endian: the node's digest.
- score of a node for a partition: `XXH3_64(digest, seed = partition)`. The highest score owns the partition
  (rendezvous, Thaler and Ravishankar 1998).

Why the digest and not the authority in the score: 8 bytes take the shortest path through XXH3 (57 ns with the call,
a hand-written mixer in Python takes five times that), and no node pays for having a long name.

Weights follow Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005): with u uniform in (0, 1), the
node with the greatest `-weight / ln(u)` wins, and wins a share of the partitions in proportion to its weight. u is
taken from the very score that decides between equal weights, so both forms rank equal weights alike.
"""

from __future__ import annotations

from math import log

from xxhash import xxh3_64_intdigest

__all__ = ["identity_hash", "node_digest", "partition_of", "rendezvous_score", "weighted_claim"]

_UNIT = 2.0**-52
"""52 bits of the score become u: `(n + 1/2) / 2**52` is exact in a double and is never 0 or 1."""


def identity_hash(kind: str, key: str) -> int:
    """The 64-bit hash of an identity, equal on every node (SPEC VA-1.1).

    Args:
        kind: name of the grain class; must hold no slash (`identity.validate_kind`).
        key: of the grain; may hold slashes.

    Returns:
        An integer from 0 to 2**64 - 1.
    """
    return xxh3_64_intdigest(f"{kind}/{key}".encode())


def partition_of(identity: int, partitions: int) -> int:
    """The partition of an identity's hash.

    Args:
        identity: what `identity_hash` returned.
        partitions: how many there are; a power of two.

    Returns:
        An integer from 0 to `partitions - 1`.
    """
    return identity & (partitions - 1)


def node_digest(authority: str) -> bytes:
    """The 8 bytes that stand for a node in `rendezvous_score`.

    The boot id is no part of it: a node that restarts on its authority gets its partitions back.
    """
    return xxh3_64_intdigest(authority.encode()).to_bytes(8, "big")


def rendezvous_score(digest: bytes, partition: int) -> int:
    """How strongly a node claims a partition; among equal weights the highest score owns it.

    Args:
        digest: of the node, from `node_digest`.
        partition: its number.

    Returns:
        An integer from 0 to 2**64 - 1.
    """
    return xxh3_64_intdigest(digest, partition)


def weighted_claim(score: int, weight: float) -> float:
    """The score of a node made comparable with those of nodes of another weight.

    It is `ln(u) / weight`, which ranks as `-weight / ln(u)` does and cannot divide by zero. Where two claims are
    equal the scores decide. The logarithm of two C libraries may differ in the last bit; that matters only where two
    nodes of unequal weight come within 2**-52 of each other, and never between equal weights.

    Args:
        score: from `rendezvous_score`.
        weight: of the node; above 0 and finite.

    Returns:
        A number below 0; the greatest wins.
    """
    return log(((score >> 12) + 0.5) * _UNIT) / weight
