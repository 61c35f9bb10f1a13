"""The saved state when the owner of a grain changes: where the next activation begins, and who can no longer save."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from inaho import MemoryStorage, OwnershipChanged, StateConflict, StateMissing, StorageFailed, TopologyUnavailable
from inaho.events import HandOffCompleted, HandOffFailed
from inaho.testing import FaultyStorage, StorageFaults
from support.leased_grains import GATES, Count, Counter, Gate, Waiting, ledger_agrees


@pytest.fixture(autouse=True)
def no_gates() -> Any:
    GATES.clear()
    yield
    for gate in GATES.values():
        gate.open.set()


async def test_a_turn_whose_lease_was_revoked_cannot_save(fleet, eventually):
    member = await fleet.member(Waiting)
    grain = member.grain(Waiting, "a")
    await grain.ask()
    turn = GATES["turn"] = Gate()
    saving = asyncio.ensure_future(grain.save_at_gate())
    await eventually(lambda: turn.reached)
    member._node.topology_changes.stop_activations("others removed this node")
    turn.open.set()
    with pytest.raises(OwnershipChanged, match="revoked") as caught:
        await saving
    assert caught.value.maybe_executed
    await eventually(lambda: fleet.activation(Waiting, "a") is None)
    assert await fleet.storage.load(_identity(Waiting, "a")) is None


def _identity(kind: type[Any], key: str) -> Any:
    from inaho import ClusterIdentity

    return ClusterIdentity(kind.inaho_kind.name, key)


async def test_a_node_that_was_removed_activates_nothing_by_the_topology_from_before(fleet, eventually):
    one, other = await fleet.members(2, Counter)
    key = fleet.key_at(other, Counter)
    other._node.topology_changes.stop_activations("others removed this node")
    with pytest.raises(TopologyUnavailable):
        await other.grain(Counter, key, timeout=1.0).add()
    snapshot = other._node.topology.snapshot
    other._node.topology_changes.apply(msgspec.structs.replace(snapshot, version=snapshot.version + 1))
    assert other._node.bridge.previous.first("Counter", key).node_id == one.self.node_id
    assert await other.grain(Counter, key).add() == 1


async def test_the_next_owner_goes_on_with_the_state_as_it_stands(fleet, eventually):
    """The walk that frees what nobody calls is held up, so that the new owner has to ask."""
    one = await fleet.member(Counter)
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        await one.grain(Counter, key).add()
        await one.grain(Counter, key).mark("not saved")
    epochs = {key: await one.grain(Counter, key).epoch() for key in keys}
    one._node.hosts["Counter"].draining.walking = True
    other = await fleet.member(Counter)
    with other.system.events.subscribe(HandOffCompleted, capacity=100) as subscription:
        moved = [key for key in keys if other._node.leases.owns("Counter", key)]
        for key in moved:
            assert await other.grain(Counter, key).look() == Count(1, ["not saved"])
            assert await other.grain(Counter, key).epoch() > epochs[key]
            assert await other.grain(Counter, key).add() == 2
        told = [await anext(aiter(subscription)) for _ in moved]
    assert moved
    assert {event.identity.key for event in told} == set(moved)
    assert all(event.snapshot and event.version == 1 and event.from_authority == one.authority for event in told)
    one._node.hosts["Counter"].draining.walking = False
    one._node.hosts["Counter"].draining.begin()
    assert ledger_agrees(fleet)


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "drained"])
async def test_state_that_the_previous_owner_had_and_the_storage_has_not_is_an_error(fleet, eventually, asked: bool):
    one = await fleet.member(Counter, activation={"snapshot_bytes_max": 1})
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        await one.grain(Counter, key).add()
    one._node.hosts["Counter"].draining.walking = asked
    other = await fleet.member(Counter, storage=MemoryStorage(), activation={"snapshot_bytes_max": 1})
    moved = [key for key in keys if other._node.leases.owns("Counter", key)]
    if not asked:
        await eventually(lambda: len(other._node.saved_versions._heard) == len(moved))
    with other.system.events.subscribe(HandOffFailed, capacity=4) as subscription:
        with pytest.raises(StateMissing, match=f"{one.authority} had saved version 1, and .* has nothing") as caught:
            await other.grain(Counter, moved[0]).look()
        told = await anext(aiter(subscription))
    assert not caught.value.maybe_executed
    assert (told.identity.key, told.from_authority) == (moved[0], one.authority)
    assert fleet.activation(Counter, moved[0]) is None
    with pytest.raises(StateMissing):  # and so again
        await other.grain(Counter, moved[0]).look()
    one._node.hosts["Counter"].draining.walking = False
    one._node.hosts["Counter"].draining.begin()


async def test_an_activation_that_lived_through_a_split_begins_again_from_what_the_other_side_saved(fleet, eventually):
    member = await fleet.member(Counter)
    grain = member.grain(Counter, "a")
    await grain.add()
    identity = _identity(Counter, "a")
    stored = await fleet.storage.load(identity)
    await fleet.storage.save(identity, b"\x81\xa5value\x32", expected_version=stored.version, epoch=stored.epoch)
    assert (await grain.look()).value == 1
    member._node.saved_versions.heard("Counter", {"a": 2, "b": 7}, "127.0.0.1:9")
    assert (await grain.look()).value == 50
    assert await grain.add() == 51
    member._node.saved_versions.heard("Counter", {"a": 2}, "127.0.0.1:9")
    await grain.mark("kept")
    assert (await grain.look()).marks == ["kept"]


async def test_what_was_unloaded_before_it_moved_must_be_found_too(fleet, eventually):
    one = await fleet.member(Counter)
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        await one.grain(Counter, key).add()
        await one.grain(Counter, key).stop()
    await eventually(lambda: not one._node.hosts["Counter"].activations)
    other = await fleet.member(Counter, storage=MemoryStorage())
    moved = [key for key in keys if other._node.leases.owns("Counter", key)]
    await eventually(lambda: len(other._node.saved_versions._heard) == len(moved))
    with pytest.raises(StateMissing, match="had saved version 1"):
        await other.grain(Counter, moved[0]).look()
    for key in moved:
        state = await fleet.storage.load(_identity(Counter, key))
        await other._node.storage_access.storage.save(_identity(Counter, key), state.data, expected_version=0, epoch=0)
        assert (await other.grain(Counter, key).look()).value == 1
    assert not other._node.saved_versions._heard
    one._node.saved_versions.check()


async def test_a_node_that_was_removed_tells_what_it_saved_once_it_is_back(fleet, eventually):
    one, other = await fleet.members(2, Counter)
    key = fleet.key_at(other, Counter)
    await other.grain(Counter, key).add()
    other._node.topology_changes.stop_activations("others removed this node")
    await eventually(lambda: fleet.activation(Counter, key) is None)
    leaving = asyncio.ensure_future(other.leave())
    await eventually(lambda: one._node.saved_versions.expected("Counter", key))
    assert (await one.grain(Counter, key).look()).value == 1
    await leaving


async def test_an_owner_that_fell_silent_cannot_save_once_its_successor_has_read(fleet, eventually):
    fleet.settle = False
    one, other = await fleet.members(2, Counter, membership={"remove_unreachable_after_s": 0.2})
    saved, never = fleet.key_at(other, Counter, "saved"), fleet.key_at(other, Counter, "never")
    assert await other.grain(Counter, saved).add() == 1
    held = {key: await other.grain(Counter, key).epoch() for key in (saved, never)}
    await other._node.lifecycle.stop()
    await eventually(lambda: one._node.leases.owns("Counter", saved) and one._node.leases.owns("Counter", never))
    assert (await one.grain(Counter, saved).look()).value == 1
    assert (await one.grain(Counter, never).look()).value == 0
    for key, version in ((saved, 1), (never, 0)):
        with pytest.raises(StateConflict):
            await fleet.storage.save(_identity(Counter, key), b"", expected_version=version, epoch=held[key])
    assert await one.grain(Counter, saved).add() == 2
    assert await one.grain(Counter, never).add() == 1
    one._node.fencing.check()


async def test_after_a_hand_off_nothing_is_written_before_the_first_save(fleet, eventually):
    one = await fleet.member(Counter)
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        await one.grain(Counter, key).add()
    other = await fleet.member(Counter)
    saves = fleet.storage.saves
    assert [(await other.grain(Counter, key).look()).value for key in keys] == [1] * 20
    assert fleet.storage.saves == saves


@pytest.mark.parametrize(
    ("fault", "stored", "goes_on"), [("lose_answer", 1, False), ("lose_request", 0, False), ("refuse", 0, True)]
)
async def test_after_a_save_with_an_unknown_outcome_the_activation_begins_again(
    fleet, eventually, fault: str, stored: int, goes_on: bool
):
    member = await fleet.member(Counter, storage=FaultyStorage(fleet.storage, StorageFaults()))
    grain = member.grain(Counter, "a")
    await grain.look()
    activation = fleet.activation(Counter, "a")
    storage = member._node.storage_access.storage
    storage.faults = StorageFaults(**{fault: 1.0})
    with pytest.raises(StorageFailed) as caught:
        await grain.add()
    assert caught.value.maybe_executed
    storage.faults = StorageFaults()
    assert (await grain.look()).value == (1 if goes_on else stored)
    assert (fleet.activation(Counter, "a") is activation) == goes_on
