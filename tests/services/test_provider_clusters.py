"""Clusters that find themselves through each back end with a server, and do not notice when it is away."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import inaho
from inaho import Cluster, ClusterConfig, MembershipConfig
from inaho.config import ProvisioningConfig
from inaho.events import ProvisioningRestored, ProvisioningUnavailable
from support.fleet import up
from support.gate import Gate, Mode
from support.provider_back_ends.base import CLUSTER, ServedBackEnd
from support.provider_back_ends.consul import ConsulBackEnd
from support.provider_back_ends.etcd import EtcdBackEnd
from support.provider_back_ends.kubernetes import KubernetesBackEnd
from support.provider_back_ends.postgresql import PostgresBackEnd
from support.provider_back_ends.redis import RedisBackEnd
from support.waiting import until

pytestmark = pytest.mark.integration

AT_ONCE = 12
LIMIT_S = 45.0

SERVERS: dict[str, tuple[type[ServedBackEnd], str]] = {
    "consul": (ConsulBackEnd, "consul_server"),
    "etcd": (EtcdBackEnd, "etcd_server"),
    "kubernetes": (KubernetesBackEnd, "kubernetes_server"),
    "postgresql": (PostgresBackEnd, "postgres_topology"),
    "redis": (RedisBackEnd, "redis_topology"),
}
"""By back end its class and the fixture of its server."""


class Echo(inaho.Grain):
    async def say(self, number: int) -> int:
        return number


class Cloud:
    """A cluster whose members find each other in one back end, through a gate."""

    def __init__(self, back_end: ServedBackEnd, gate: Gate) -> None:
        self.back_end = back_end
        self.gate = gate
        self.members: list[Cluster] = []
        self.config = ClusterConfig(
            name=CLUSTER,
            secret="s3cret",
            membership=MembershipConfig(join_timeout_s=30.0),
            provisioning=ProvisioningConfig(
                timeout_s=3.0, request_timeout_s=1.0, read_period_s=0.5, back_off_min_s=0.2, back_off_max_s=0.5,
                cool_down_s=1.0,
            ),
        )  # fmt: skip
        self._hosts = 0

    async def join(self, after_s: float = 0.0) -> Cluster:
        self._hosts += 1
        provider = self.back_end.provider(self._hosts, timeout_s=1.0, port=self.gate.port)
        await asyncio.sleep(after_s)
        member = await inaho.join(
            "127.0.0.1:0", providers=[provider], grains=[Echo], storage="memory", config=self.config
        )
        self.members.append(member)
        return member

    async def agree(self) -> None:
        """Returns when each member sees all of them."""
        names = {member.authority for member in self.members}
        await until(lambda: all({one.authority for one in up(member)} == names for member in self.members), LIMIT_S)

    async def close(self) -> None:
        await asyncio.gather(*(member.close() for member in self.members))


@pytest.fixture(params=SERVERS)
def served_back_end(request: pytest.FixtureRequest) -> ServedBackEnd:
    kind, server = SERVERS[request.param]
    return kind(request.getfixturevalue(server), f"clusters-{secrets.token_hex(6)}")


@pytest_asyncio.fixture
async def cloud(served_back_end: ServedBackEnd) -> AsyncIterator[Cloud]:
    async with Gate.to_port(served_back_end.port) as gate:
        made = Cloud(served_back_end, gate)
        try:
            yield made
        finally:
            gate.set(Mode.PASS)
            await made.close()


async def test_nodes_that_start_at_once_found_one_cluster(cloud: Cloud):
    chance = random.Random(7)
    await asyncio.gather(*(cloud.join(chance.uniform(0.0, 0.05)) for _ in range(AT_ONCE)))
    await cloud.agree()


@contextlib.asynccontextmanager
async def calls(cluster: Cluster) -> AsyncIterator[list[BaseException]]:
    """Calls many grains in a loop; in the end, what has failed."""
    failed: list[BaseException] = []
    done = 0

    async def call() -> None:
        nonlocal done
        while True:
            try:
                assert await cluster.grain(Echo, f"key-{done % 50}").say(done) == done
            except Exception as error:
                failed.append(error)
            done += 1
            await asyncio.sleep(0.002)

    task = asyncio.create_task(call())
    try:
        await until(lambda: done > 50)
        yield failed
        before = done
        await until(lambda: done > before + 50)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("name", ["killed", "paused", "silent"])
async def test_calls_go_on_while_the_back_end_is_away_and_a_new_member_is_found_after_it(cloud: Cloud, name: str):
    first, _second = await cloud.join(), await cloud.join()
    await cloud.agree()
    events: list[Any] = []
    for kind in (ProvisioningUnavailable, ProvisioningRestored):
        first.system.events.subscribe_callback(kind, events.append)
    server = cloud.back_end.process
    async with calls(first) as failed:
        if name == "killed":
            server.kill()
        elif name == "paused":
            server.pause()
        else:
            cloud.gate.set(Mode.SILENT)
        try:
            await until(lambda: [type(event) for event in events] == [ProvisioningUnavailable], LIMIT_S)
        finally:
            if name == "killed":
                server.start()
            elif name == "paused":
                server.resume()
            cloud.gate.set(Mode.PASS)
        await until(lambda: ProvisioningRestored in map(type, events), LIMIT_S)
        await cloud.join()
        await cloud.agree()
    assert failed == []
