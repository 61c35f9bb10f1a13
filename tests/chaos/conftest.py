"""Fixtures of this folder: members that are stopped or cut off, and networks of their own, ended whatever happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.chaos_processes import ChaosProcesses
from support.network_namespaces import Islands, why_not


@pytest.fixture
def chaos() -> Iterator[ChaosProcesses]:
    """Members and clients for one test."""
    started = ChaosProcesses()
    yield started
    started.end()


@pytest.fixture
def islands(chaos: ChaosProcesses) -> Iterator[Islands]:
    """Three network namespaces that reach each other through a fourth.

    Takes `chaos`, so that the processes inside end before their network does.
    """
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    made = Islands(3)
    try:
        made.build()
        yield made
    finally:
        chaos.end()
        made.remove()
