"""Leases of activations in whole nodes: from the first moment to the last, and what ends them early."""

# ruff: noqa: RUF012  Structs copy mutable defaults
from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from inaho import (
    ActivationFailed,
    Grain,
    MemoryStorage,
    OwnershipChanged,
    StateConflict,
    StateMissing,
    StorageFailed,
    Struct,
    TopologyUnavailable,
)
from inaho.core.activation.lease import LeaseState
from inaho.events import (
    ActivationStarted,
    HandOffCompleted,
    HandOffFailed,
    LeaseTimedOut,
    PassivationFrequent,
)
from inaho.runtime.activation.passivation import REMEMBERED_MAX
from inaho.testing import FaultyStorage, StorageFaults


class Count(Struct):
    value: int = 0
    marks: list[str] = []


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value

    async def mark(self, text: str) -> None:
        """Not saved."""
        self.state.marks.append(text)

    async def look(self) -> Count:
        return self.state

    async def stop(self) -> None:
        self.deactivate()

    async def epoch(self) -> int:
        return self.context.epoch


class Gate:
    """What grains of a test wait at."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = 0

    async def wait(self) -> None:
        self.reached += 1
        await self.open.wait()


GATES: dict[str, Gate] = {}


class Waiting(Grain[Count]):
    async def on_activate(self) -> None:
        await self._at("start")

    async def on_deactivate(self, reason: str) -> None:
        await self._at("stop")

    async def _at(self, where: str) -> None:
        gate = GATES.get(where)
        if gate is not None:
            await gate.wait()

    async def ask(self) -> int:
        return self.context.epoch

    async def stop(self) -> None:
        self.deactivate()

    async def save_at_gate(self) -> None:
        self.state.value += 1
        await self._at("turn")
        await self.save()


@pytest.fixture(autouse=True)
def no_gates() -> Any:
    GATES.clear()
    yield
    for gate in GATES.values():
        gate.open.set()


def lease(cluster: Any, kind: type[Any], key: str) -> Any:
    return cluster._node.leases.ledger.get(kind.inaho_kind.name, key)


def ledger_agrees(fleet: Any) -> bool:
    """Every activation has its lease in the ledger of its node, and every lease its activation."""
    for cluster in fleet.clusters:
        node = cluster._node
        node.leases.ledger.check()
        hosts = [host for host in node.hosts.values() if not host.system]
        active = [grain._inaho_lease for host in hosts for grain in host.activations.values()]
        if len(node.leases.ledger) != len(active) or not all(
            node.leases.ledger.get(held.kind, held.key) is held for held in active
        ):
            return False
    return True


async def test_an_activation_holds_a_lease_from_beginning_to_end(fleet, eventually):
    member = await fleet.member(Waiting)
    grain = member.grain(Waiting, "a")
    start = GATES["start"] = Gate()
    asking = asyncio.ensure_future(grain.ask())
    await eventually(lambda: start.reached)
    assert lease(member, Waiting, "a").state is LeaseState.PENDING
    start.open.set()
    epoch = await asking
    held = lease(member, Waiting, "a")
    assert (held.state, held.holder, held.epoch) == (LeaseState.ACTIVE, member.self.node_id, epoch)
    stop = GATES["stop"] = Gate()
    await grain.stop()
    await eventually(lambda: stop.reached)
    assert held.state is LeaseState.RELEASING
    stop.open.set()
    await eventually(lambda: held.state is LeaseState.RELEASED)
    assert lease(member, Waiting, "a") is None
    assert await grain.ask() > epoch
    assert ledger_agrees(fleet)


async def test_one_that_does_not_come_up_in_time_is_given_up(fleet, eventually):
    member = await fleet.member(Waiting, activation={"lease_pending_s": 0.5})
    GATES["start"] = Gate()
    with member.system.events.subscribe(LeaseTimedOut, capacity=4) as subscription:
        with pytest.raises(ActivationFailed, match="timed out"):
            await member.grain(Waiting, "a").ask()
        told = await anext(aiter(subscription))
    assert (str(told.identity), told.holder) == ("Waiting/a", member.self.node_id)
    assert lease(member, Waiting, "a") is None
    GATES["start"].open.set()
    assert await member.grain(Waiting, "a").ask() > told.epoch


async def test_one_that_does_not_end_in_time_is_given_up(fleet, eventually):
    member = await fleet.member(Waiting, activation={"lease_pending_s": 0.5})
    grain = member.grain(Waiting, "a")
    epoch = await grain.ask()
    GATES["stop"] = Gate()
    await grain.stop()
    assert await grain.ask() > epoch
    assert member._node.leases.ledger.timed_out == 1
    GATES["stop"].open.set()


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


async def test_what_moves_is_drained_in_slices_and_told_at_the_end(fleet, eventually, monkeypatch):
    monkeypatch.setattr("inaho.runtime.local.slices.TURN_US", 100)
    monkeypatch.setattr("inaho.runtime.activation.draining.STEP_US", 100)
    one = await fleet.member(Counter)
    for number in range(100):
        await one.grain(Counter, f"k{number}").look()
    other = await fleet.member(Counter)
    await eventually(lambda: one._node.bridge.told and not other._node.bridge.previous.handoff)
    kept = one._node.hosts["Counter"].activations
    assert 20 < len(kept) < 80
    assert all(one._node.leases.owns("Counter", key) for key in kept)
    assert ledger_agrees(fleet)


async def test_a_leave_logs_that_all_leases_are_released(fleet, caplog):
    member = await fleet.member(Counter)
    for key in ("a", "b"):
        await member.grain(Counter, key).add()
    with caplog.at_level("INFO", "inaho.node"):
        await member.leave()
    [line] = [record for record in caplog.records if "released the leases" in record.message]
    assert (line.levelname, "(2 of 2, 0 timed out)" in line.message) == ("INFO", True)
    assert len(member._node.leases.ledger) == 0


async def test_a_leave_gives_up_what_does_not_end_and_says_so(fleet, eventually, caplog):
    fleet.settle = False
    member = await fleet.member(Waiting, activation={"drain_s": 0.05})
    await member.grain(Waiting, "a").ask()
    GATES["stop"] = Gate()
    with member.system.events.subscribe(LeaseTimedOut, capacity=4) as subscription:
        await member.leave()
        told = await anext(aiter(subscription))
    assert told.identity.key == "a"
    assert len(member._node.leases.ledger) == 0
    [line] = [record for record in caplog.records if "released the leases" in record.message]
    assert (line.levelname, "(0 of 1, 1 timed out)" in line.message) == ("WARNING", True)
    GATES["stop"].open.set()


async def test_events_tell_a_first_activation_from_one_again_and_one_that_moved(fleet, eventually):
    one = await fleet.member(Counter, Brief, Waiting)
    with one.system.events.subscribe(ActivationStarted, capacity=16) as subscription:
        events = aiter(subscription)
        await one.grain(Counter, "a").look()
        await one.grain(Counter, "b").add()
        for key in ("a", "b"):
            await one.grain(Counter, key).stop()
            await one.grain(Counter, key).look()
        await one.grain(Brief, "c").look()
        await eventually(lambda: not one._node.hosts["Brief"].activations)
        await one.grain(Brief, "c").look()
        told = [(event.identity.key, event.origin) for event in [await anext(events) for _ in range(6)]]
    assert told == [("a", "first"), ("b", "first"), ("a", "first"), ("b", "again"), ("c", "first"), ("c", "again")]
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        await one.grain(Waiting, key).save_at_gate()
    stop = GATES["stop"] = Gate()  # so that nothing is drained before the new owner asks for it
    other = await fleet.member(Waiting)
    with other.system.events.subscribe(ActivationStarted, capacity=16) as subscription:
        key = next(key for key in keys if other._node.leases.owns("Waiting", key))
        asking = asyncio.ensure_future(other.grain(Waiting, key).ask())
        await eventually(lambda: other._node.bridge.taking_over.waits("Waiting", key) and stop.reached)
        stop.open.set()
        await asking
        assert (await anext(aiter(subscription))).origin == "moved"


class Brief(Counter, idle_ttl_s=0.03): ...


async def test_frequent_passivation_names_the_setting(fleet, eventually):
    member = await fleet.member(Brief)
    with member.system.events.subscribe(PassivationFrequent, capacity=4) as subscription:
        keys = [f"k{number}" for number in range(REMEMBERED_MAX // 8)]
        while not len(subscription):  # a window in which less than half came back in time is not told
            await asyncio.gather(*(member.grain(Brief, key).look() for key in keys))
            await eventually(lambda: not member._node.hosts["Brief"].activations)
        told = await anext(aiter(subscription))
    assert (told.kind, told.setting) == ("Brief", "idle_ttl_s of class Brief")
    assert told.returned >= told.unloaded / 2
