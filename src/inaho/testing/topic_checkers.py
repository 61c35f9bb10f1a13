"""The public path of `inaho.testing.histories.topic_checkers`, and of `topic_grain_checkers` beside it."""

from __future__ import annotations

from inaho.testing.histories.topic_checkers import (
    in_publishing_order,
    keys_in_order,
    losses_told,
    nothing_unhandled,
    one_log,
    only_to_subscribers,
    repeated,
)
from inaho.testing.histories.topic_grain_checkers import grain_losses_told

__all__ = [
    "grain_losses_told",
    "in_publishing_order",
    "keys_in_order",
    "losses_told",
    "nothing_unhandled",
    "one_log",
    "only_to_subscribers",
    "repeated",
]
