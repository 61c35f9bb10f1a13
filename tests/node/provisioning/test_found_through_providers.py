"""Members and clients that know no seeds find each other through a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

import inaho
from inaho import Cluster, ClusterConfig, MembershipConfig
from inaho.providers.memory import MemoryProvider, MemoryTopology
from support.fleet import up
from support.waiting import until


class Where(inaho.Grain):
    async def authority(self) -> str:
        return self.cluster.authority


CONFIG = ClusterConfig(name="shop", secret="s3cret", membership=MembershipConfig(found_after_s=0.05))


@pytest.fixture
def topology() -> MemoryTopology:
    return MemoryTopology()


@pytest.fixture
async def start(topology: MemoryTopology) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def member(config: ClusterConfig = CONFIG) -> Cluster:
            return await stack.enter_async_context(
                inaho.join(
                    "127.0.0.1:0",
                    providers=[MemoryProvider("memory", topology)],
                    grains=[Where],
                    storage="memory",
                    config=config,
                )
            )

        yield member


async def test_members_without_seeds_form_one_cluster_and_a_client_calls_it(start: Any, topology: MemoryTopology):
    first, second, third = await start(), await start(), await start()
    await until(lambda: all(len(up(each)) == 3 for each in (first, second, third)))
    async with inaho.connect(providers=[MemoryProvider("memory", topology)], config=CONFIG) as client:
        answers = {await client.grain(Where, f"key-{number}").authority() for number in range(40)}
    assert answers == {first.authority, second.authority, third.authority}


async def test_a_member_that_leaves_is_no_longer_registered(start: Any, topology: MemoryTopology):
    first, second = await start(), await start()
    await until(lambda: len(topology.members()) == 2)
    await second.close()
    assert [authority for authority, _ in topology.members()] == [first.authority]
