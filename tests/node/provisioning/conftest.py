"""A fleet whose members find each other through a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.provided_fleet import ProvidedFleet


@pytest.fixture
async def provided() -> AsyncIterator[ProvidedFleet]:
    """An empty fleet; everything that it started is ended."""
    fleet = ProvidedFleet()
    yield fleet
    await fleet.close()


@pytest.fixture
async def listed(provided: ProvidedFleet) -> AsyncIterator[ProvidedFleet]:
    """A fleet whose provider is the membership."""
    config = provided.config
    provided.config = config.replace(
        membership=config.membership.replace(source="provider"), rpc=config.rpc.replace(timeout_s=1.5)
    )
    yield provided
    provided.topology.fail(None)
