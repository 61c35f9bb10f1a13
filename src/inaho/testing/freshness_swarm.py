"""The public path of `inaho.testing.histories.freshness_swarm`."""

from __future__ import annotations

from inaho.testing.histories.freshness_swarm import FreshnessSwarm

__all__ = ["FreshnessSwarm"]
