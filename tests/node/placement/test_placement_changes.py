"""Placed activations when nodes die, join, leave, are blocked, or do not agree about the members."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import inaho
from inaho import Grain, MemberStatus, OwnershipChanged, StateConflict
from inaho.core.activation.lease import LeaseState
from support.placed_grains import Near, key_at, lease_of, up


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
    holder._node.placed_activations._reported_to["Near"][key] = "another"
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
    holder._node.placed_activations._reported_to["Near"][key] = "another"
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


async def kill(cluster: Any) -> None:
    """Ends a node without a word."""
    await cluster._node.lifecycle.stop()
