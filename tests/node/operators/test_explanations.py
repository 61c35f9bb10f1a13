"""Where an identity is and why, asked of whole clusters."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from inaho import ActivationFailed, Cluster, ClusterConfig, Grain, InvalidArguments, MemberStatus, Struct
from inaho.cli.commands.grains import show_grains
from inaho.cli.commands.where import show_where
from inaho.cli.output import Output
from inaho.errors import InvalidPid, Pending
from inaho.runtime.operators.operations import ask_members
from inaho.runtime.operators.reports import ENTRIES_MAX
from inaho.types import Member


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value

    async def stop(self) -> None:
        self.deactivate()


class Plain(Grain):
    async def wait(self, name: str) -> None:
        GATES[name][0].set()
        await GATES[name][1].wait()


class Placed(Grain, placement="prefer_local"):
    async def touch(self) -> None: ...


class Slow(Grain):
    async def on_activate(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def touch(self) -> None: ...


GATES: dict[str, tuple[asyncio.Event, asyncio.Event]] = {}


def whats(found: Any) -> list[tuple[str, str]]:
    return [(entry.what, entry.authority) for entry in found.history]


async def test_members_and_clients_are_told_the_same_of_an_active_grain(fleet: Any):
    one, other = await fleet.members(2, Counter)
    client = await fleet.client()
    key = fleet.key_at(other, Counter)
    await client.grain(Counter, key).add()
    await client.grain(Counter, key).add()
    for asker in (one, other, client):
        found = await asker.where(Counter, key)
        assert str(found.identity) == f"Counter/{key}"
        assert (found.owner, found.owner_node_id) == (other.authority, other.self.node_id)
        assert found.holder is not None
        assert (found.holder.authority, found.holder.node_id) == (other.authority, other.self.node_id)
        assert (found.lease, found.running, found.queue_length, found.state_version) == ("active", 0, 0, 2)
        assert found.epoch == fleet.activation(Counter, key)._inaho_lease.epoch
        assert found.partition == one._node.topology.lookup.partition("Counter", key)
        assert (found.topology_hash, found.silent) == (other._node.topology.lookup.hash, ())
        assert whats(found) == [("started", other.authority)]
        assert abs(found.since - found.history[0].at) < 2
        assert found.idle_s < 5
        assert found.reason.startswith(f"Active on {other.authority} since ")
    assert (await one.where("Counter", key)).owner == other.authority


async def test_a_grain_that_was_never_called_is_nowhere_and_will_be_at_its_owner(fleet: Any):
    (one,) = await fleet.members(1, Counter)
    found = await one.where(Counter, "a")
    assert (found.holder, found.lease, found.epoch, found.since, found.history) == (None, "none", 0, 0.0, ())
    assert found.reason == (
        f"Not active, and no member remembers that it was. The next call activates it on {one.authority}. "
        f"{one.authority} owns partition {found.partition}, by rendezvous among the members that host the kind."
    )


async def test_turns_that_run_and_wait_are_counted(fleet: Any):
    (one,) = await fleet.members(1, Plain)
    GATES["a"] = (asyncio.Event(), asyncio.Event())
    calls = [asyncio.ensure_future(one.grain(Plain, "a").wait("a")) for _ in range(3)]
    await GATES["a"][0].wait()
    await asyncio.sleep(0)
    found = await one.where(Plain, "a")
    assert (found.running, found.queue_length, found.idle_s) == (1, 2, 0.0)
    GATES["a"][1].set()
    await asyncio.gather(*calls)


async def test_an_idle_end_is_remembered_with_its_reason(fleet: Any, eventually: Any):
    (one,) = await fleet.members(1, Counter)
    await one.grain(Counter, "a").add()
    await one.grain(Counter, "a").stop()
    await eventually(lambda: fleet.activation(Counter, "a") is None)
    found = await one.where(Counter, "a")
    assert whats(found) == [("started", one.authority), ("ended", one.authority)]
    assert found.reason.startswith(f"Not active: it ended ({found.history[-1].reason}) on {one.authority} at ")
    await one.grain(Counter, "a").add()
    again = await one.where(Counter, "a")
    assert ", again: it ended (" in again.reason
    assert again.epoch > found.history[-1].epoch


async def test_a_grain_that_moves_to_a_member_that_joined_says_from_where_and_why(fleet: Any, eventually: Any):
    one = await fleet.member(Counter)
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        await one.grain(Counter, key).add()
    other = await fleet.member(Counter)
    key = next(key for key in keys if other._node.leases.owns("Counter", key))
    await other.grain(Counter, key).add()
    await eventually(lambda: not other._node.bridge.previous.handoff)
    found = await one.where(Counter, key)
    assert found.reason.startswith(
        f"Moved from {one.authority} to {other.authority} because {other.authority} joined at "
    )
    assert found.move is not None
    assert (found.move.from_authority, found.move.because) == (one.authority, f"{other.authority} joined")
    assert [what for what, at in whats(found) if at == one.authority] == ["started", "ended"]
    assert [what for what, at in whats(found) if at == other.authority][-1] == "started"


async def test_a_grain_of_a_member_that_left_says_so(fleet: Any, eventually: Any):
    fleet.settle = False
    one, other = await fleet.members(2, Counter)
    key = fleet.key_at(other, Counter)
    await one.grain(Counter, key).add()
    await other.leave()
    await one.grain(Counter, key).add()
    found = await one.where(Counter, key)
    assert found.owner == one.authority
    assert found.move is not None
    assert (found.move.from_authority, found.move.because) == (other.authority, f"{other.authority} left")
    assert f"which came from {other.authority} at " in found.reason or found.reason.startswith("Moved from ")


async def test_a_silent_member_is_named_and_no_error(fleet: Any):
    fleet.settle = False
    one, other = await fleet.members(2, Counter, membership={"remove_unreachable_after_s": 30.0})
    key = fleet.key_at(one, Counter)
    await one.grain(Counter, key).add()
    await other._node.lifecycle.stop()
    found = await one.where(Counter, key)
    assert found.holder is not None
    assert [silent.authority for silent in found.silent] == [other.authority]
    assert found.silent[0].code and found.silent[0].reason


async def test_a_member_that_hangs_does_not_keep_the_others_waiting():
    asked: list[str] = []

    async def ask(one: Member) -> str:
        asked.append(one.authority)
        if one.authority == B:
            await asyncio.get_running_loop().create_future()
        return f"told by {one.authority}"

    answers, silent = await ask_members([member(A), member(B)], ask, 0.02)
    assert asked == [A, B]
    assert [(one.authority, told) for one, told in answers] == [(A, f"told by {A}")]
    assert [(each.authority, each.code) for each in silent] == [(B, "timeout")]


async def test_a_kind_that_nobody_hosts(fleet: Any):
    (one,) = await fleet.members(1, Counter)
    found = await one.where("Cuonter", "a")
    assert found.owner == ""
    assert found.reason.startswith("No member can own it: ")
    with pytest.raises(InvalidPid):
        await one.where("Counter", "")
    with pytest.raises(InvalidArguments):
        await one.where(int, "a")


async def test_what_is_active_is_counted_and_listed(fleet: Any):
    one, other = await fleet.members(2, Counter, Plain)
    client = await fleet.client()
    for number in range(30):
        await client.grain(Counter, f"k{number}").add()
    for asker in (one, client):
        found = await asker.grains(Counter, limit=3)
        assert found.count == 30
        assert [(told.kind, told.authority) for told in found.kinds] == [
            ("Counter", authority) for authority in sorted([one.authority, other.authority])
        ]
        for told in found.kinds:
            assert len(told.activations) == min(3, told.count)
            for each in told.activations:
                assert each.key.startswith("k")
                assert (each.lease, each.state_version, each.running, each.queue_length) == ("active", 1, 0, 0)
    everything = await one.grains()
    assert [told.kind for told in everything.kinds] == ["Counter", "Counter", "Plain", "Plain"]
    assert (await one.grains("Plain")).count == 0
    with pytest.raises(InvalidArguments, match="0 to 400"):
        await one.grains(limit=401)


async def test_a_node_is_ready_from_up_until_it_leaves(fleet: Any, eventually: Any):
    fleet.settle = False
    (one,) = await fleet.members(1, Counter)
    client = await fleet.client()
    assert one.ready and client.ready
    waiting = asyncio.ensure_future(one.wait_left())
    await one.leave()
    assert not one.ready
    await waiting
    await eventually(lambda: not client.ready)


async def test_a_placed_grain_names_its_owner_and_its_holder(fleet: Any):
    one, other = await fleet.members(2, Placed)
    key = next(key for key in (f"k{n}" for n in range(99)) if other._node.leases.owns("Placed", key))
    await one.grain(Placed, key).touch()
    for asker in (one, other):
        found = await asker.where(Placed, key)
        assert found.holder is not None
        assert (found.holder.authority, found.owner) == (one.authority, other.authority)
        assert found.reason.startswith(f"Active on {one.authority} since ")
        assert f"; its owner {other.authority} placed it there." in found.reason


async def test_refused_and_timed_out_leases_are_in_the_history(fleet: Any):
    one = await fleet.member(Slow, activation={"lease_pending_s": 0.05})
    with pytest.raises(ActivationFailed):
        await one.grain(Slow, "a").touch()
    node = one._node
    lease = node.leases.grant("Slow", "a")
    for _ in range(3):
        with pytest.raises(Pending):
            node.leases.grant("Slow", "a")
    node.leases.time_out(lease)
    found = await one.where(Slow, "a")
    told = [(entry.what, entry.epoch) for entry in found.history if entry.what in ("refused", "timed_out")]
    assert told[-2:] == [("refused", 0), ("timed_out", lease.epoch)]
    assert [what for what, _ in told].count("timed_out") == 2
    assert found.reason.startswith("Not active: it timed out (after ")


async def test_the_commands_write_tables_and_documents(
    fleet: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    fleet.settle = False
    one, other = await fleet.members(2, Counter, membership={"remove_unreachable_after_s": 30.0})
    client = await fleet.client()

    @asynccontextmanager
    async def connected(*, config: ClusterConfig) -> Any:
        yield client

    monkeypatch.setattr("inaho.connect", connected)
    key = fleet.key_at(one, Counter)
    await client.grain(Counter, key).add()
    as_json, as_text = Output(as_json=True), Output(as_json=False)
    assert await show_where(as_json, client.config, "Counter", key) == 0
    told = msgspec.json.decode(capsys.readouterr().out)
    assert told["identity"] == f"Counter/{key}"
    assert told["holder"] == {"authority": one.authority, "node_id": one.self.node_id}
    assert int(told["epoch"], 16) == fleet.activation(Counter, key)._inaho_lease.epoch
    assert [entry["what"] for entry in told["history"]] == ["started"]
    assert await show_where(as_text, client.config, "Counter", key) == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in (f"Counter/{key}", one.authority, "state version", "active since", "started"))
    assert await show_grains(as_json, client.config, "Counter", 5) == 0
    told = msgspec.json.decode(capsys.readouterr().out)
    assert (told["count"], [report["count"] for report in told["kinds"]]) == (1, [1, 0])
    assert await show_grains(as_text, client.config, "", 5) == 0
    shown = capsys.readouterr().out
    assert "1 activations in" in shown and key in shown
    await other._node.lifecycle.stop()
    assert await show_where(as_text, client.config, "Counter", key) == 0
    assert f"{other.authority} did not answer [" in capsys.readouterr().err
    assert await show_grains(as_text, client.config, "", 5) == 1
    assert f"{other.authority} did not answer [" in capsys.readouterr().err
    assert await show_where(as_text, client.config, "Nothing", key) == 1


A, B = "127.0.0.1:1", "127.0.0.1:2"


def member(authority: str, status: MemberStatus = MemberStatus.UP, node_id: str = "") -> Member:
    return Member(authority, node_id or authority, 1, status, ("K",))


async def test_an_answer_is_bounded(fleet: Any):
    (one,) = await fleet.members(1, Counter)
    for number in range(2 * ENTRIES_MAX):
        one._node.history.note("Counter", "a", "failed", "x" * 5000, number)
    found = await one.where(Counter, "a")
    assert len(found.history) == ENTRIES_MAX
    assert found.history[-1].epoch == 2 * ENTRIES_MAX - 1
    assert max(len(entry.reason) for entry in found.history) == 500
    assert isinstance(one, Cluster) and msgspec.json.encode(found)
