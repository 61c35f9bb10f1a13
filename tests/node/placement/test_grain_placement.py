"""Placed kinds in whole nodes: where activations come up, who knows of it, and what becomes of them."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, ClassVar

import msgspec
import pytest

import inaho
from inaho import (
    ActivationFailed,
    Grain,
    InvalidGrain,
    MemberStatus,
    OwnershipChanged,
    Reminder,
    StateConflict,
    Struct,
    TopologyUnavailable,
)
from inaho.core.activation.lease import LeaseState
from inaho.events import ActivationFailed as ActivationFailedEvent
from inaho.runtime.placement.activation_requests import ActivationRequest
from inaho.runtime.placement.placement_actor import PlacementActor
from inaho.runtime.reminders.shard import KEEPER


class Count(Struct):
    value: int = 0


class Near(Grain[Count], placement="prefer_local"):
    failing: ClassVar[set[str]] = set()
    gates: ClassVar[dict[str, asyncio.Event]] = {}

    async def on_activate(self) -> None:
        if gate := self.gates.get(self.key):
            await gate.wait()
        if self.cluster.authority in self.failing or self.key in self.failing:
            raise ValueError("not today")

    async def where(self) -> str:
        return self.cluster.authority

    async def add(self, hold: str = "") -> int:
        if hold:
            await self.gates[hold].wait()
        self.state.value += 1
        await self.save()
        return self.state.value

    async def bump(self) -> int:
        self.state.value += 1
        return self.state.value

    async def epoch(self) -> int:
        return self.context.epoch

    async def leave(self) -> None:
        self.deactivate()


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


@pytest.fixture(autouse=True)
def fresh() -> None:
    Near.failing = set()
    Near.gates = {}


def lease_of(cluster: Any, key: str, kind: str = "Near") -> Any:
    return cluster._node.leases.ledger.get(kind, key)


def key_at(cluster: Any, kind: str = "Near", prefix: str = "k") -> str:
    return next(
        f"{prefix}{number}" for number in itertools.count() if cluster._node.leases.owns(kind, f"{prefix}{number}")
    )


# By role.


async def test_a_kind_with_a_role_lives_only_where_the_role_is(fleet: Any, eventually: Any):
    plain = await fleet.member(Gpu, Usual)
    await fleet.member(Gpu, Usual)
    config = fleet.config().replace(roles=("gpu",))
    fleet.config = lambda **groups: config
    gpu = await fleet.member(Gpu, Usual)
    await eventually(lambda: up(plain) == 3)
    assert gpu.self.roles == ("gpu",)
    assert plain.self.kinds == ("Usual",)
    assert gpu.self.kinds == ("Gpu", "Usual")
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
    assert gateway.self.kinds == ()
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


# What becomes of them.


async def test_an_ended_activation_frees_its_lease_at_the_owner(fleet: Any, eventually: Any):
    owner, caller = await fleet.members(2, Near)
    key = key_at(owner)
    await caller.grain(Near, key).leave()
    await eventually(lambda: lease_of(owner, key) is None)
    assert lease_of(caller, key) is None
    assert await owner.grain(Near, key).where() == owner.authority


async def test_a_caller_with_an_old_address_is_led_on(fleet: Any, eventually: Any):
    owner, caller, third = await fleet.members(3, Near)
    key = key_at(owner)
    assert await caller.grain(Near, key).add() == 1
    assert await third.grain(Near, key).add() == 2
    await caller.grain(Near, key).leave()
    await eventually(lambda: lease_of(owner, key) is None)
    assert await third.grain(Near, key).add() == 3
    assert await third.grain(Near, key).where() == third.authority


async def test_a_lost_word_of_an_end_is_found_out(fleet: Any, eventually: Any):
    owner, caller, third = await fleet.members(3, Near)
    key = key_at(owner)
    assert await caller.grain(Near, key).add() == 1

    async def lost(*arguments: Any) -> None:
        pass

    owner._node.directory.terminated = lost
    await caller.grain(Near, key).leave()
    await eventually(lambda: lease_of(caller, key) is None)
    assert lease_of(owner, key).holder == caller._node.local.node_id
    assert await third.grain(Near, key).add() == 2
    assert lease_of(owner, key).holder == third._node.local.node_id


async def test_a_failed_activation_releases_the_lease_and_is_told(fleet: Any, eventually: Any):
    owner, caller = await fleet.members(2, Near)
    key = key_at(owner)
    Near.failing = {caller.authority}
    with owner.system.events.subscribe(ActivationFailedEvent) as subscription:
        with pytest.raises(ActivationFailed, match="ValueError: not today"):
            await caller.grain(Near, key).where()
        event = await anext(subscription)
    assert event.identity == inaho.ClusterIdentity("Near", key)
    assert lease_of(owner, key) is None and lease_of(caller, key) is None
    Near.failing = set()
    assert await caller.grain(Near, key).where() == caller.authority
    Near.failing = {owner.authority}
    key = key_at(owner, prefix="again")
    with pytest.raises(ActivationFailed):
        await owner.grain(Near, key).where()
    assert lease_of(owner, key) is None


async def test_an_unknown_kind_is_answered_as_failed(fleet: Any):
    one, other = await fleet.members(2, Near)
    request = ActivationRequest("Nobody", "a", 1, one._node.topology.lookup.hash, one._node.local.node_id)
    response = await one._node.placement_calls.ask(other.self, PlacementActor.activate, request)
    assert response.code == "no_such_kind"


async def test_a_request_of_an_owner_of_another_view_is_refused(fleet: Any):
    one, other = await fleet.members(2, Near, gossip={"interval_s": 0.02, "convergence_s": 0.2})
    mine, yours = key_at(one), key_at(other)
    agreed = one._node.topology.lookup.hash
    for key, view in ((mine, agreed + 1), (yours, agreed)):
        request = ActivationRequest("Near", key, 1, view, one._node.local.node_id)
        response = await one._node.placement_calls.ask(other.self, PlacementActor.activate, request)
        assert response.code == "ownership_changed"
    assert other._node.activations.count == 0


async def test_a_request_is_the_same_again(fleet: Any):
    one, other = await fleet.members(2, Near)
    key = key_at(one)
    request = ActivationRequest("Near", key, 1 << 40, one._node.topology.lookup.hash, one._node.local.node_id)
    first = await one._node.placement_calls.ask(other.self, PlacementActor.activate, request)
    second = await one._node.placement_calls.ask(other.self, PlacementActor.activate, request)
    assert first == second and first.code == "" and first.epoch >= 1 << 40
    assert other._node.activations.count == 1
    record = await one._node.placement_calls.ask(other.self, PlacementActor.recall, "Near", key, first.epoch)
    assert record.was_active
    late = await one._node.placement_calls.ask(other.self, PlacementActor.activate, request)
    assert late.code == "ownership_changed", "the request was withdrawn before it arrived"


async def test_an_answer_that_is_lost_has_the_activation_taken_back(fleet: Any):
    owner, caller = await fleet.members(2, Near)
    key = key_at(owner)
    placed_activations = caller._node.placed_activations
    activate, tries = placed_activations.activate, itertools.count()

    async def lost(request: ActivationRequest) -> Any:
        response = await activate(request)
        if next(tries):
            return response
        assert key in caller._node.hosts["Near"].activations
        raise inaho.Timeout("the answer is lost", maybe_executed=True)

    placed_activations.activate = lost
    assert await caller.grain(Near, key).add() == 1
    assert owner._node.recalls.count == 1
    assert next(tries) == 2
    assert fleet.activation(Near, key).cluster.authority == caller.authority


async def test_a_host_that_takes_nothing_leaves_it_to_the_owner(fleet: Any):
    owner, caller = await fleet.members(2, Near)
    caller._node.local.shutting_down = True
    key = key_at(owner)
    assert await caller.grain(Near, key).where() == owner.authority
    caller._node.local.shutting_down = False


# Nodes come and go.


async def test_those_of_a_dead_holder_come_up_elsewhere(fleet: Any, eventually: Any):
    fleet.settle = False
    clusters = await fleet.members(3, Near, detection=FAST)
    owner, holder, third = clusters
    keys = [key_at(owner, prefix=f"d{number}-") for number in range(5)]
    for key in keys:
        assert await holder.grain(Near, key).add() == 1
        assert await third.grain(Near, key).add() == 2
    await kill(holder)
    await eventually(lambda: up(third) == 2 and up(owner) == 2)
    for key in keys:
        assert await third.grain(Near, key).add() == 3
        assert await owner.grain(Near, key).where() == third.authority


async def test_a_dead_owner_moves_nothing(fleet: Any, eventually: Any):
    fleet.settle = False
    clusters = await fleet.members(3, Near, detection=FAST)
    owner, holder, third = clusters
    keys = [key_at(owner, prefix=f"o{number}-") for number in range(8)]
    epochs = [await holder.grain(Near, key).epoch() for key in keys]
    assert [await holder.grain(Near, key).bump() for key in keys] == [1] * 8
    await kill(owner)
    await eventually(lambda: up(third) == 2 and up(holder) == 2)
    assert [await third.grain(Near, key).bump() for key in keys] == [2] * 8, "not moved, so nothing unsaved is lost"
    assert [await third.grain(Near, key).epoch() for key in keys] == epochs
    for key in keys:
        now = third if third._node.leases.owns("Near", key) else holder
        await eventually(lambda now=now, key=key: lease_of(now, key) is not None)
        assert lease_of(now, key).holder == holder._node.local.node_id


async def test_a_join_moves_nothing_and_the_new_owner_knows(fleet: Any, eventually: Any):
    first, second = await fleet.members(2, Near)
    keys = [f"j{number}" for number in range(40)]
    for key in keys:
        assert await second.grain(Near, key).bump() == 1
    newcomer = await fleet.member(Near)
    await eventually(lambda: all(up(cluster) == 3 for cluster in fleet.clusters))
    owned = [key for key in keys if newcomer._node.leases.owns("Near", key)]
    assert owned
    for key in keys:
        assert await newcomer.grain(Near, key).bump() == 2
        assert await first.grain(Near, key).bump() == 3
    for key in owned:
        assert lease_of(newcomer, key).holder == second._node.local.node_id
    newcomer._node.directory.check()


async def test_those_of_a_holder_that_leaves_go_on_with_their_state(fleet: Any, eventually: Any):
    clusters = await fleet.members(3, Near)
    owner, holder, third = clusters
    Near.gates["turn"] = asyncio.Event()
    keys = [key_at(owner, prefix=f"l{number}-") for number in range(6)]
    for key in keys:
        assert await holder.grain(Near, key).add() == 1
    running = asyncio.create_task(third.grain(Near, keys[0]).add("turn"))
    await eventually(lambda: holder._node.hosts["Near"].activations[keys[0]]._inaho_turn is not None)
    leaving = asyncio.create_task(holder.leave())
    await eventually(lambda: any(m.status is MemberStatus.LEAVING for m in owner.members()) or up(owner) == 2)
    calls = [asyncio.create_task(third.grain(Near, key).add()) for key in keys]
    Near.gates["turn"].set()
    assert await running == 2
    assert await asyncio.gather(*calls) == [3, *[2] * 5]
    await leaving
    assert {await third.grain(Near, key).where() for key in keys} <= {owner.authority, third.authority}


async def test_an_owner_that_leaves_moves_nothing(fleet: Any, eventually: Any):
    owner, holder, third = await fleet.members(3, Near)
    keys = [key_at(owner, prefix=f"w{number}-") for number in range(6)]
    for key in keys:
        assert await holder.grain(Near, key).bump() == 1
    await owner.leave()
    for key in keys:
        assert await third.grain(Near, key).bump() == 2


async def test_a_blocked_holder_loses_what_it_holds(fleet: Any, eventually: Any):
    owner, holder, third = await fleet.members(3, Near)
    key = key_at(owner)
    assert await holder.grain(Near, key).add() == 1
    grain = fleet.activation(Near, key)
    for cluster in (owner, holder, third):
        topology = cluster._node.topology.snapshot
        fields = {name: getattr(topology, name) for name in topology.__struct_fields__}
        fields |= {"blocked": (holder.authority,), "version": topology.version + 10, "hash": 12345}
        cluster._node.topology_changes.apply(inaho.TopologySnapshot(**fields))
    assert grain._inaho_lease.state is LeaseState.REVOKED
    with pytest.raises(OwnershipChanged):
        await grain.save()
    await eventually(lambda: holder._node.activations.count == 0)
    assert await third.grain(Near, key).add() == 2
    assert await third.grain(Near, key).where() == third.authority


async def test_a_holder_that_was_replaced_cannot_commit(fleet: Any, eventually: Any):
    owner, holder, third = await fleet.members(3, Near)
    key = key_at(owner)
    assert await holder.grain(Near, key).add() == 1
    zombie = holder._node.hosts["Near"].activations[key]
    owner._node.leases.revoke(holder._node.local.node_id, "test")  # as when it was unreachable for the owner alone
    assert await third.grain(Near, key).add() == 2
    assert third._node.hosts["Near"].activations[key]._inaho_lease.epoch > zombie._inaho_lease.epoch
    zombie.state.value = 100
    with pytest.raises(StateConflict):
        await zombie.save()
    await eventually(lambda: key not in holder._node.hosts["Near"].activations)
    assert await third.grain(Near, key).add() == 3


async def test_two_holders_become_one_when_views_agree_again(fleet: Any, eventually: Any):
    owner, holder, third = await fleet.members(3, Near)
    key = key_at(owner)
    await holder.grain(Near, key).bump()
    owner._node.leases.revoke(holder._node.local.node_id, "test")
    assert await third.grain(Near, key).where() == third.authority
    host = holder._node.hosts["Near"]
    assert key in host.activations
    holder._node.placed_activations._told["Near"][key] = "another"
    host.draining.begin()
    await eventually(lambda: key not in host.activations or key not in third._node.hosts["Near"].activations)
    answers = {await cluster.grain(Near, key).where() for cluster in (owner, holder, third)}
    assert len(answers) == 1
    assert fleet.activation(Near, key).cluster.authority in answers


async def test_one_that_lived_on_from_an_older_version_begins_again(fleet: Any, eventually: Any):
    """As after a split: of two activations one goes, and what it had saved must be seen through the other."""
    owner, holder, third = await fleet.members(3, Near)
    key = key_at(owner)
    assert await holder.grain(Near, key).bump() == 1  # nothing is saved here
    owner._node.leases.revoke(holder._node.local.node_id, "test")
    assert await third.grain(Near, key).add() == 1
    assert await third.grain(Near, key).add() == 2
    host = holder._node.hosts["Near"]
    host.activations[key]._inaho_lease.epoch += 1 << 40  # so that the one that has saved nothing stays
    holder._node.placed_activations._told["Near"][key] = "another"
    host.draining.begin()
    await eventually(lambda: key not in third._node.hosts["Near"].activations)
    await eventually(lambda: key not in host.activations)
    assert await owner.grain(Near, key).bump() == 3


async def test_an_owner_that_lost_its_lease_ends_what_is_left_and_begins_anew(fleet: Any):
    """Nobody else has it, so it comes up here again, once without and once with something to wait for."""

    class Quick(Grain, placement="prefer_local"):
        async def epoch(self) -> int:
            return self.context.epoch

    cluster = await fleet.member(Near, Quick)
    for kind in (Quick, Near):
        before = await cluster.grain(kind, "a").epoch()
        cluster._node.leases.revoke(cluster._node.local.node_id, "test")
        pid = await cluster._node.locator.find(kind.inaho_kind.name, "a", verify=True)
        assert pid.node_id == cluster._node.local.node_id
        assert await cluster.grain(kind, "a").epoch() > before
    cluster._node.directory.check()


async def test_where_tells_who_placed_it(fleet: Any):
    owner, holder, third = await fleet.members(3, Near)
    key = key_at(owner)
    await holder.grain(Near, key).add()
    for cluster in (owner, holder, third):
        told = await cluster.where(Near, key)
        assert told.owner == owner.authority
        assert told.holder.authority == holder.authority
        assert f"; its owner {owner.authority} placed it there." in told.reason


async def test_an_owner_that_was_thought_dead_asks_again(fleet: Any, eventually: Any):
    """Its own view has not changed, but others have placed by another one meanwhile."""
    owner, holder = await fleet.members(2, Near)
    key = key_at(owner)
    await holder.grain(Near, key).bump()
    owner._node.leases.ledger.revoke(holder._node.local.node_id, 0.0)
    owner._node.placed_activations.look = holder._node.placed_activations.look = lambda *arguments: None
    topology = owner._node.topology.snapshot
    fields = {name: getattr(topology, name) for name in topology.__struct_fields__}
    members = tuple(
        msgspec.structs.replace(member, incarnation=member.incarnation + (member.node_id == owner._node.local.node_id))
        for member in topology.members
    )
    owner._node.topology_changes.apply(
        inaho.TopologySnapshot(**(fields | {"members": members, "version": topology.version + 1}))
    )
    await eventually(lambda: lease_of(owner, key) is not None)
    assert await owner.grain(Near, key).bump() == 2


async def test_many_are_told_in_pages(fleet: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inaho.runtime.placement.placed_activations.PAGE_BYTES", 300)
    monkeypatch.setattr("inaho.runtime.placement.placed_activations.HELD_SLICE", 7)
    monkeypatch.setattr("inaho.runtime.placement.survey.FORGET_SLICE", 7)
    _, holder = await fleet.members(2, Near)
    keys = [f"page{number}" for number in range(60)]
    for key in keys:
        await holder.grain(Near, key).bump()
    newcomer = await fleet.member(Near)
    await eventually(lambda: all(up(cluster) == 3 for cluster in fleet.clusters))
    assert [await newcomer.grain(Near, key).bump() for key in keys] == [2] * 60


FAST = inaho.DetectionConfig(probe_interval_s=0.05, probe_timeout_s=0.04)


def up(cluster: Any) -> int:
    return sum(member.status is MemberStatus.UP for member in cluster.members())


async def kill(cluster: Any) -> None:
    """Ends a node without a word."""
    await cluster._node.lifecycle.stop()
