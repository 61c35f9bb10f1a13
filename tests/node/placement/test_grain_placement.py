"""Placed kinds in whole nodes: on which node their activations come up, by role and by strategy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Cluster, Grain, InvalidGrain, Reminder, TopologyUnavailable
from inaho.runtime.reminders.shard import KEEPER
from support.placed_grains import Near, key_at, lease_of, up


class Spread(Grain, placement="least_loaded"):
    async def where(self) -> str:
        return self.cluster.authority


class Alarm(Grain, role="clock"):
    async def set(self) -> None:
        await self.remind("later", 3600.0)

    async def on_reminder(self, reminder: Reminder) -> None: ...


class Gpu(Grain, role="gpu"):
    async def where(self) -> str:
        return self.cluster.authority


class Usual(Grain):
    async def where(self) -> str:
        return self.cluster.authority


def of_users(member: Cluster) -> list[str]:
    """The kinds that a member hosts, without those of the runtime."""
    return [kind for kind in member.self.kinds if not kind.startswith("inaho.")]


# By role.


async def test_a_kind_with_a_role_lives_only_where_the_role_is(fleet: Any, eventually: Any):
    plain = await fleet.member(Gpu, Usual)
    await fleet.member(Gpu, Usual)
    config = fleet.config().replace(roles=("gpu",))
    fleet.config = lambda **groups: config
    gpu = await fleet.member(Gpu, Usual)
    await eventually(lambda: up(plain) == 3)
    assert gpu.self.roles == ("gpu",)
    assert of_users(plain) == ["Usual"]
    assert of_users(gpu) == ["Gpu", "Usual"]
    for key in "abcdef":
        assert await plain.grain(Gpu, key).where() == gpu.authority


async def test_without_a_host_of_that_role_a_call_waits_for_one(fleet: Any, eventually: Any):
    plain = await fleet.member(Gpu)
    with pytest.raises(TopologyUnavailable, match="kind Gpu, only on members with the role 'gpu'") as caught:
        await plain.grain(Gpu, "a", timeout=0.3).where()
    assert not caught.value.maybe_executed
    waiting = asyncio.create_task(plain.grain(Gpu, "a", timeout=20).where())
    await eventually(lambda: plain._node.context.retries > 2)
    config = fleet.config().replace(roles=("gpu",))
    fleet.config = lambda **groups: config
    gpu = await fleet.member(Gpu)
    assert await waiting == gpu.authority


async def test_a_member_without_the_role_keeps_no_reminders_of_the_kind(fleet: Any, eventually: Any):
    config = fleet.config()
    fleet.config = lambda **groups: config.replace(roles=("clock",))
    worker = await fleet.member(Alarm)
    fleet.config = lambda **groups: config
    gateway = await fleet.member(Alarm, storage="memory")
    await eventually(lambda: up(worker) == up(gateway) == 2)
    assert KEEPER in worker.self.kinds
    assert KEEPER not in gateway.self.kinds
    assert of_users(gateway) == []
    for key in "abcdef":
        await gateway.grain(Alarm, key).set()


# By strategy.


def test_an_unknown_strategy_is_refused():
    with pytest.raises(InvalidGrain, match="placement must be one of owner, prefer_local, least_loaded"):

        class Wrong(Grain, placement="anywhere"):
            pass


async def test_prefer_local_lives_with_its_first_caller(fleet: Any):
    clusters = await fleet.members(3, Near)
    for cluster in clusters:
        for owner in clusters:
            key = key_at(owner, prefix=f"{cluster.authority[-1]}{owner.authority[-1]}-")
            assert await cluster.grain(Near, key).where() == cluster.authority
            for other in clusters:
                assert await other.grain(Near, key).where() == cluster.authority
            assert lease_of(owner, key).holder == cluster._node.local.node_id
            assert lease_of(owner, key).epoch == lease_of(cluster, key).epoch


async def test_a_caller_that_hosts_nothing_gets_it_at_the_owner(fleet: Any):
    clusters = await fleet.members(3, Near)
    client = await fleet.client()
    key = key_at(clusters[1])
    assert await client.grain(Near, key).where() == clusters[1].authority
    bystander = await fleet.member()
    key = key_at(clusters[2])
    assert await bystander.grain(Near, key).where() == clusters[2].authority


async def test_least_loaded_spreads_over_all_hosts(fleet: Any):
    clusters = await fleet.members(3, Spread)
    for number in range(90):
        await clusters[0].grain(Spread, f"s{number}").where()
    counts = [len(cluster._node.hosts["Spread"].activations) for cluster in clusters]
    assert sum(counts) == 90
    assert all(15 <= count <= 45 for count in counts), counts


async def test_least_loaded_spares_the_node_that_others_say_is_loaded(fleet: Any, eventually: Any):
    clusters = await fleet.members(3, Spread, Near)
    for number in range(150):
        await clusters[0].grain(Near, f"n{number}").where()
    assert clusters[0]._node.activations.count == 150
    node_id = clusters[0]._node.local.node_id
    for cluster in clusters[1:]:
        await eventually(lambda node=cluster._node: dict(node.control.driver.control.loads()).get(node_id, 0) >= 130)
    for number in range(60):
        await clusters[number % 3].grain(Spread, f"s{number}").where()
    assert len(clusters[0]._node.hosts["Spread"].activations) == 0


async def test_many_first_callers_get_one_activation(fleet: Any):
    clusters = await fleet.members(3, Near)
    client = await fleet.client()
    for number in range(10):
        key = f"many{number}"
        callers = [*clusters, client] * 5
        answers = await asyncio.gather(*(caller.grain(Near, key).where() for caller in callers))
        assert len(set(answers)) == 1
        assert fleet.activation(Near, key).cluster.authority == answers[0]


async def test_the_owner_is_asked_once(fleet: Any):
    clusters = await fleet.members(2, Near)
    owner, caller = clusters
    key = key_at(owner)
    await owner.grain(Near, key).where()
    await caller.grain(Near, key).where()
    asked: list[str] = []
    locate = owner._node.directory.locate

    async def counted(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments[1])
        return await locate(*arguments, **options)

    owner._node.directory.locate = counted
    for _ in range(5):
        assert await caller.grain(Near, key).where() == owner.authority
    assert asked == []


async def test_a_call_by_name_finds_a_placed_kind(fleet: Any):
    clusters = await fleet.members(2, Near, Usual)
    client = await fleet.client()
    key = key_at(clusters[0])
    assert await clusters[1].grain(Near, key).where() == clusters[1].authority
    assert await client.call("Near", key, "where") == clusters[1].authority
    assert await client.call("Near", f"{key}-new", "add") == 1
    assert await client.call("Usual", "u", "where") in {cluster.authority for cluster in clusters}
