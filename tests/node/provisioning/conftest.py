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
