"""Builds an incarnation of a generation and the number of refutations within it.

`incarnation = generation << 20 | refutations`. Only an admission gives a new generation; a refutation by its subject
raises the low bits. So "removed" can be final for a whole generation, whatever refutations are still on their way. A
node that was removed while it ran and does not know it may refute an old accusation as often as it likes: it stays
removed until it has ended its activations and asked for admission again.

Why one number and not two fields: it orders statements, is part of marks, accusations and handshakes, and people read
it; two fields would have to be compared in that order everywhere. Generation 0 belongs to nodes that were never
admitted.
"""

from __future__ import annotations

from typing import Final

from inaho.errors import IllegalTransition

__all__ = [
    "GENERATION_MAX",
    "REFUTATIONS_TOLD_MAX",
    "first_of",
    "generation_of",
    "next_generation",
    "refutations_of",
    "refuting",
]

REFUTATION_BITS: Final = 20
REFUTATIONS_MAX: Final = (1 << REFUTATION_BITS) - 1
REFUTATIONS_TOLD_MAX: Final = REFUTATIONS_MAX // 2
"""Beyond it no refutation is believed: a node that refutes so often is removed and begins a new generation. So a lying
member can bring a node half of the way to the end of its generation and no further."""
GENERATION_MAX: Final = 2**40
"""No authority is admitted more often. A higher generation is refused: nothing within 63 bits could exceed it."""


def generation_of(incarnation: int) -> int:
    """How often the authority had been admitted, counted from 1."""
    return incarnation >> REFUTATION_BITS


def refutations_of(incarnation: int) -> int:
    """How often the node has refuted in this generation."""
    return incarnation & REFUTATIONS_MAX


def first_of(generation: int) -> int:
    """The incarnation with which a generation begins."""
    return generation << REFUTATION_BITS


def next_generation(incarnation: int) -> int:
    """The least incarnation of the generation after this one."""
    return first_of(generation_of(incarnation) + 1)


def refuting(incarnation: int) -> int:
    """The least incarnation of the same generation that exceeds this one.

    Raises:
        IllegalTransition: the generation is used up, which `REFUTATIONS_TOLD_MAX` prevents.
    """
    if refutations_of(incarnation) == REFUTATIONS_MAX:
        raise IllegalTransition(f"no refutation is left after incarnation {incarnation}")
    return incarnation + 1
