"""Members with settings for alerts and metrics."""

from __future__ import annotations

from typing import Any

import pytest

from inaho.config import ClusterConfig


@pytest.fixture
async def fleet(fleet: Any) -> Any:
    """A fleet whose members also take the groups `alerts` and `metrics`."""
    plain = fleet.config

    def config(**groups: Any) -> ClusterConfig:
        own = {name: groups.pop(name) for name in ("alerts", "metrics") if name in groups}
        return plain(**groups).replace(**own)

    fleet.config = config
    return fleet
