"""The public path of `inaho.testing.histories.freshness_checker`."""

from __future__ import annotations

from inaho.testing.histories.freshness_checker import Bounds, Contents, Disturbances, current_answers, fresh_answers

__all__ = ["Bounds", "Contents", "Disturbances", "current_answers", "fresh_answers"]
