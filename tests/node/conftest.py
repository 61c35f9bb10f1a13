"""Fixtures of the tests of nodes: clusters in one process, ended whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from inaho import Cluster
from support.fleet import Fleet


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """An empty cluster in memory."""
    started = Fleet()
    yield started
    await started.close()


Caller = Callable[..., Awaitable[Cluster]]


@pytest.fixture(params=["local", "memory", "tcp"])
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    """`cluster = await caller(Kind, …, rpc={…})`: where calls come from, on the node of the grains or on another."""
    started = Fleet("tcp" if request.param == "tcp" else "memory")

    async def start(*grains: Any, **groups: Any) -> Cluster:
        member = await started.member(*grains, **groups)
        return member if request.param == "local" else await started.client(**groups)

    start.fleet = started  # type: ignore[attr-defined]
    start.place = request.param  # type: ignore[attr-defined]
    yield start
    await started.close()
