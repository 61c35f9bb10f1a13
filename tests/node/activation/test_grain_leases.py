"""Leases of activations in whole nodes: from the first moment to the last, and what ends them early."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import ActivationFailed
from inaho.core.activation.lease import LeaseState
from inaho.events import ActivationStarted, LeaseTimedOut, PassivationFrequent
from inaho.runtime.activation.passivation import REMEMBERED_MAX
from support.leased_grains import GATES, Counter, Gate, Waiting, ledger_agrees


@pytest.fixture(autouse=True)
def no_gates() -> Any:
    GATES.clear()
    yield
    for gate in GATES.values():
        gate.open.set()


def lease(cluster: Any, kind: type[Any], key: str) -> Any:
    return cluster._node.leases.ledger.get(kind.inaho_kind.name, key)


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
