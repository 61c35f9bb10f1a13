"""A node that an operator has blocked: what it loses, in which order, and how it comes back (SPEC VA-1.4, BS-2.3)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from inaho import ClusterConfig, Grain, OwnershipChanged, Struct
from inaho.cli.commands.block import set_blocked
from inaho.cli.output import Output
from inaho.core.activation.lease import LeaseState
from inaho.errors import InvalidConfig, Overloaded
from inaho.events import BlockListApplied, BlockListChanged, PidInvalidated
from inaho.wire.stored import unpack_state


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value

    async def where(self) -> str:
        return self.cluster.authority

    async def save_at_gate(self) -> None:
        self.state.value += 100
        HELD.append(self.key)
        await GATE[0].wait()
        await self.save()


HELD: list[str] = []
GATE: list[asyncio.Event] = []


@pytest.fixture(autouse=True)
def gate() -> Any:
    HELD.clear()
    GATE[:] = [asyncio.Event()]
    yield
    GATE[0].set()


KEYS = [f"k{number}" for number in range(30)]


async def active_everywhere(fleet: Any, count: int = 2) -> Any:
    members = await fleet.members(count, Counter)
    for key in KEYS:
        await members[0].grain(Counter, key).add()
    return members


async def test_what_it_had_answers_elsewhere_with_its_state_and_comes_back(fleet: Any, eventually: Any):
    one, two, three = await active_everywhere(fleet, 3)
    client = await fleet.client()
    mine = [key for key in KEYS if two._node.leases.owns("Counter", key)]
    assert mine
    assert await one.block(two.authority)
    assert not await one.block(two.authority)
    for node in (one, two, three, client):
        await eventually(lambda node=node: node.blocked() == (two.authority,))
    assert two.ready is False and one.ready is True
    for key in mine:
        assert await client.grain(Counter, key).where() != two.authority
        assert await client.grain(Counter, key).add() == 2
    assert await two.grain(Counter, mine[0]).add() == 3, "it may still call"
    await eventually(lambda: not two._node.hosts["Counter"].activations)
    assert len(two._node.leases.ledger) == 0
    assert [member.status.name for member in one.members()] == ["UP"] * 3
    assert await client.unblock(two.authority)
    assert not await client.unblock(two.authority)
    await eventually(lambda: two.ready)
    for key in mine:
        await eventually(lambda key=key: two._node.leases.owns("Counter", key))
        assert await client.grain(Counter, key).where() == two.authority
    assert await client.grain(Counter, mine[1]).add() == 3


async def test_first_the_ledger_then_the_cache_then_the_event(fleet: Any, eventually: Any):
    """What each sees at the moment when it is told."""
    one, two = await active_everywhere(fleet)
    node = two._node
    mine = [key for key in KEYS if node.leases.owns("Counter", key)]
    held = [node.leases.ledger.get("Counter", key) for key in mine]
    caches: list[tuple[str, bool, int]] = []
    order: list[str] = []

    def cached() -> int:
        return sum(one._node.pid_cache.get("Counter", key, one._node.local.now) is not None for key in mine)

    def states() -> bool:
        return all(lease.state is LeaseState.REVOKED for lease in held)

    stops = [
        node.local.events.subscribe_callback(BlockListApplied, lambda _: caches.append(("event at two", states(), 0))),
        one._node.local.events.subscribe_callback(PidInvalidated, lambda _: order.append("cache")),
        one._node.local.events.subscribe_callback(
            BlockListApplied, lambda _: order.append(f"event with {cached()} entries left")
        ),
    ]
    assert cached() == len(mine) > 0
    original = one._node.leases.apply_topology

    def applied(*arguments: Any) -> Any:
        silent = original(*arguments)
        order.append(f"ledger with {cached()} entries left")
        return silent

    one._node.leases.apply_topology = applied
    await two.block(two.authority)
    await eventually(lambda: any(entry.startswith("event") for entry in order))
    assert order[-3:] == [f"ledger with {len(mine)} entries left", "cache", "event with 0 entries left"]
    assert caches == [("event at two", True, 0)]
    one._node.leases.apply_topology = original
    for stop in stops:
        stop()
    await eventually(lambda: not node.hosts["Counter"].activations)


async def test_the_event_alone_empties_the_cache_too(fleet: Any):
    one, two = await active_everywhere(fleet)
    cache = one._node.pid_cache
    assert len(cache) > 0
    with one.system.events.subscribe(PidInvalidated) as told:
        one._node.local.publish(BlockListApplied(authority=two.authority, version=99))
        assert [(event.authority, event.reason) for event in told.drain()] == [(two.authority, "blocked")]
    assert len(cache) == 0
    before = len(cache)
    one._node.block_list.close()
    await one.grain(Counter, next(key for key in KEYS if two._node.leases.owns("Counter", key))).where()
    one._node.local.publish(BlockListApplied(authority=two.authority, version=99))
    assert len(cache) == before + 1, "it listened by that subscription"


async def test_clients_hear_of_it_once(fleet: Any, eventually: Any):
    one, two = await active_everywhere(fleet)
    client = await fleet.client()
    with (
        client.system.events.subscribe(BlockListApplied) as at_client,
        one.system.events.subscribe(BlockListApplied, BlockListChanged) as at_member,
    ):
        await client.block(two.authority)
        await client.block("127.0.0.1:1")
        assert [event.authority for event in at_client.drain()] == [two.authority, "127.0.0.1:1"]
        await eventually(lambda: sum(isinstance(event, BlockListApplied) for event in at_member._buffer) == 2)
        told = [(type(event).__name__, event.authority) for event in at_member.drain()]
        assert told.count(("BlockListApplied", two.authority)) == 1
    await eventually(lambda: not two._node.hosts["Counter"].activations)


async def test_a_turn_on_a_blocked_node_cannot_save(fleet: Any, eventually: Any):
    one, two = await active_everywhere(fleet)
    key = next(key for key in KEYS if two._node.leases.owns("Counter", key))
    saving = asyncio.ensure_future(one.grain(Counter, key, retry=False).save_at_gate())
    await eventually(lambda: HELD)
    lease = fleet.activation(Counter, key)._inaho_lease
    await one.block(two.authority)
    await eventually(lambda: lease.state is LeaseState.REVOKED)
    entries = (await one.where(Counter, key)).history
    assert [(entry.what, entry.reason) for entry in entries if entry.what == "revoked"] == [
        ("revoked", f"an operator blocked {two.authority}")
    ]
    GATE[0].set()
    with pytest.raises(OwnershipChanged, match="revoked") as caught:
        await saving
    assert caught.value.maybe_executed
    await eventually(lambda: two._node.activations.count == 0)
    record = await fleet.storage.load(fleet_identity(key))
    assert msgspec.msgpack.decode(unpack_state(record.data))["value"] < 100


def fleet_identity(key: str) -> Any:
    from inaho import ClusterIdentity

    return ClusterIdentity("Counter", key)


async def test_a_blocked_owner_that_does_not_answer_is_asked_once_and_briefly(
    fleet: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
):
    """It may be blocked because it is wedged: its turn never ends, and the new owner goes on without it."""
    monkeypatch.setattr("inaho.runtime.placement.taking_over.BLOCKED_RELEASE_S", 0.05)
    one, two = await active_everywhere(fleet)
    first, second = [key for key in KEYS if two._node.leases.owns("Counter", key)][:2]
    calls = [asyncio.ensure_future(one.grain(Counter, key, retry=False).save_at_gate()) for key in (first, second)]
    await eventually(lambda: len(HELD) == 2)
    await one.block(two.authority)
    asked = one._node.bridge.taking_over.asked
    assert await one.grain(Counter, first).add() == 2
    assert one._node.bridge.taking_over.asked == asked + 1
    assert await one.grain(Counter, second).add() == 2
    assert one._node.bridge.taking_over.asked == asked + 1
    GATE[0].set()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, OwnershipChanged)
    assert await one.grain(Counter, first).add() == 3
    await eventually(lambda: not two._node.hosts["Counter"].activations)


async def test_impossible_blocks_are_refused(fleet: Any, monkeypatch: pytest.MonkeyPatch):
    one, two = await fleet.members(2, Counter)
    client = await fleet.client()
    for cluster in (one, client):
        with pytest.raises(InvalidConfig):
            await cluster.block("no authority")
    monkeypatch.setattr(one._node.control.driver.control._view.table.blocks, "_size_max", 0)
    monkeypatch.setattr(two._node.control.driver.control._view.table.blocks, "_size_max", 0)
    monkeypatch.setattr("inaho.runtime.control.block_list.BlockList.seen", _not_seen)
    with pytest.raises(Overloaded, match="block list"):
        await one.block(two.authority)


async def _not_seen(self: Any, authority: str, *, blocked: bool) -> bool:
    return self.has(authority) == blocked


async def test_the_commands_say_what_they_did(
    fleet: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    one, two = await fleet.members(2, Counter)
    client = await fleet.client()

    @asynccontextmanager
    async def connected(*, config: ClusterConfig) -> Any:
        yield client

    monkeypatch.setattr("inaho.connect", connected)
    as_json, as_text = Output(as_json=True), Output(as_json=False)
    assert await set_blocked(as_json, client.config, two.authority, blocked=True) == 0
    told = msgspec.json.decode(capsys.readouterr().out)
    assert told == {
        "authority": two.authority,
        "blocked": True,
        "changed": True,
        "member": True,
        "all_blocked": [two.authority],
    }
    assert await set_blocked(as_text, client.config, two.authority, blocked=True) == 0
    assert capsys.readouterr().out == f"{two.authority} is blocked, as it was before\n"
    assert await set_blocked(as_text, client.config, two.authority, blocked=False) == 0
    assert capsys.readouterr().out == f"{two.authority} is not blocked\n"
    assert await set_blocked(as_text, client.config, "127.0.0.1:1", blocked=True) == 0
    assert "it will be blocked if it joins" in capsys.readouterr().err
    assert one.blocked() or client.blocked()
