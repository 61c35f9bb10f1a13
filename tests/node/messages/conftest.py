"""Members with settings for the delivery of messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from inaho import Cluster, DeliveryConfig


@pytest.fixture
def fleet(fleet: Any) -> Any:
    """The fleet, with settings for delivery."""
    plain = fleet.config
    fleet.config = lambda *, delivery=None, **groups: plain(**groups).replace(
        delivery=DeliveryConfig(**(delivery or {}))
    )
    return fleet


@pytest.fixture(params=["memory", "tcp"])
async def pair(request: pytest.FixtureRequest, fleet: Any) -> AsyncIterator[tuple[Cluster, Cluster]]:
    """Two members that know each other."""
    fleet.over = request.param
    one, other = await fleet.members(2)
    yield one, other
    for cluster in (one, other):
        cluster._node.remoting.check()
