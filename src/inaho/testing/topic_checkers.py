"""The public path of `inaho.testing.histories.topic_checkers`."""

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

__all__ = [
    "in_publishing_order",
    "keys_in_order",
    "losses_told",
    "nothing_unhandled",
    "one_log",
    "only_to_subscribers",
    "repeated",
]
