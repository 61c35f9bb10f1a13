"""Placed activations between their owner and their holder: leases, requests, and ends that one must learn of."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import inaho
from inaho import ActivationFailed
from inaho.events import ActivationFailed as ActivationFailedEvent
from inaho.runtime.placement.activation_requests import ActivationRequest
from inaho.runtime.placement.placement_actor import PlacementActor
from support.placed_grains import Near, key_at, lease_of


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
    caller._node.caching_callers.ended = lambda *_: None  # the notice to those who keep the address is lost
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


async def test_where_tells_who_placed_it(fleet: Any):
    owner, holder, third = await fleet.members(3, Near)
    key = key_at(owner)
    await holder.grain(Near, key).add()
    for cluster in (owner, holder, third):
        told = await cluster.where(Near, key)
        assert told.owner == owner.authority
        assert told.holder.authority == holder.authority
        assert f"; its owner {owner.authority} placed it there." in told.reason
