"""The public path of `inaho.testing.histories.grain_checkers`."""

from __future__ import annotations

from inaho.testing.histories.grain_checkers import (
    Agreement,
    PromiseBroken,
    Views,
    epochs_in_order,
    epochs_of_their_own,
    fenced_commits,
    fresh_reads,
    growing_counts,
    nothing_lost,
    one_activation,
    settled,
)

__all__ = [
    "Agreement",
    "PromiseBroken",
    "Views",
    "epochs_in_order",
    "epochs_of_their_own",
    "fenced_commits",
    "fresh_reads",
    "growing_counts",
    "nothing_lost",
    "one_activation",
    "settled",
]
