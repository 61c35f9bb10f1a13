"""An operator has a member leave: what is handed over, what is told, and who learns of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from inaho import ClusterConfig, Grain, InvalidArguments, ShuttingDown, Struct
from inaho.cli.commands.drain import drain_member
from inaho.cli.output import Output
from inaho.errors import Unreachable
from inaho.events import ActivationStarted


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value


class Stubborn(Grain):
    async def hold(self) -> None:
        HELD.append(self.key)
        await GATE[0].wait()


HELD: list[str] = []
GATE: list[asyncio.Event] = []


@pytest.fixture(autouse=True)
def gate() -> Any:
    HELD.clear()
    GATE[:] = [asyncio.Event()]
    yield
    GATE[0].set()


def as_member(cluster: Any, seen_by: Any) -> Any:
    return next(member for member in seen_by.members() if member.authority == cluster.authority)


async def test_everything_is_handed_over_and_goes_on_elsewhere(fleet: Any, eventually: Any):
    fleet.settle = False
    one, two = await fleet.members(2, Counter)
    client = await fleet.client()
    keys = [f"k{number}" for number in range(30)]
    for key in keys:
        await client.grain(Counter, key).add()
    had = two._node.activations.count
    waiting = asyncio.ensure_future(two.wait_left())
    leaving = as_member(two, client)
    report = await client.drain_at(leaving)
    assert (report.authority, report.activations, report.handed_over) == (two.authority, had, had)
    assert (report.timed_out, report.timed_out_count, report.acknowledged) == ((), 0, True)
    assert 0 <= report.took_s < 5
    assert not two.ready
    await waiting
    assert await client.wait_gone(leaving, 5.0)
    for key in keys:
        assert await client.grain(Counter, key).add() == 2
    assert [member.authority for member in one.members()] == [one.authority]


async def test_a_member_can_be_drained_by_itself_and_twice_is_once(fleet: Any):
    fleet.settle = False
    one, two = await fleet.members(2, Counter)
    report, again, _ = await asyncio.gather(two.drain_at(two.self), one.drain_at(as_member(two, one)), two.leave())
    assert report == again
    assert await two.drain_at(two.self) == report


async def test_what_does_not_end_in_time_is_named(fleet: Any, eventually: Any):
    fleet.settle = False
    one, two = await fleet.members(2, Stubborn)
    keys = [fleet.key_at(two, Stubborn, prefix) for prefix in "ab"]
    calls = [asyncio.ensure_future(one.grain(Stubborn, key, retry=False).hold()) for key in keys]
    await eventually(lambda: len(HELD) == 2)
    report = await one.drain_at(as_member(two, one), drain_s=0.05)
    assert (report.activations, report.handed_over, report.timed_out_count) == (2, 0, 2)
    assert sorted(report.timed_out) == [f"Stubborn/{key}" for key in sorted(keys)]
    await two.wait_left()
    await two.close()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, ShuttingDown | Unreachable)
        assert outcome.maybe_executed


async def test_a_node_that_is_stopped_meanwhile_says_so(fleet: Any, eventually: Any):
    fleet.settle = False
    one, two = await fleet.members(2, Stubborn)
    call = asyncio.ensure_future(one.grain(Stubborn, fleet.key_at(two, Stubborn), retry=False).hold())
    await eventually(lambda: HELD)
    draining = asyncio.ensure_future(two.drain_at(two.self, drain_s=60.0))
    await eventually(lambda: two._node.local.shutting_down)
    await two._node.lifecycle.stop()
    with pytest.raises(ShuttingDown, match="stopped before it had left"):
        await draining
    await two.wait_left()
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], ShuttingDown | Unreachable)


@pytest.mark.parametrize("drain_s", [0.0, -1.0, 1e9, float("nan")])
async def test_an_impossible_time_is_refused(fleet: Any, drain_s: float):
    (one,) = await fleet.members(1, Counter)
    with pytest.raises(InvalidArguments, match="drain_s must be above 0"):
        await one.drain_at(one.self, drain_s=drain_s)
    assert one.ready


async def test_streams_of_events_end_when_the_node_leaves(fleet: Any, eventually: Any):
    fleet.settle = False
    one, two = await fleet.members(2, Counter)
    seen: list[str] = []

    async def follow() -> None:
        async for record in one.events_at(as_member(two, one), "MemberEvent", "ActivationStarted"):
            seen.append(record.name)

    following = asyncio.ensure_future(follow())
    await eventually(lambda: two._node.local.events_wanted(ActivationStarted))
    key = fleet.key_at(two, Counter)
    await one.grain(Counter, key).add()
    await eventually(lambda: seen == ["ActivationStarted"])
    await two.leave()
    await following
    assert "MemberLeaving" in seen


async def test_the_command_tells_what_happened(
    fleet: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, eventually: Any
):
    fleet.settle = False
    one, two, three = await fleet.members(3, Stubborn)
    client = await fleet.client()

    @asynccontextmanager
    async def connected(*, config: ClusterConfig) -> Any:
        yield client

    monkeypatch.setattr("inaho.connect", connected)
    code = await drain_member(Output(as_json=True), client.config, two.authority, None)
    told = msgspec.json.decode(capsys.readouterr().out)
    assert code == 0, told
    assert (told["authority"], told["activations"], told["left"]) == (two.authority, 0, True)
    key = fleet.key_at(three, Stubborn)
    call = asyncio.ensure_future(one.grain(Stubborn, key, retry=False).hold())
    await eventually(lambda: HELD)
    assert await drain_member(Output(as_json=False), client.config, three.authority, 0.05) == 1
    shown = capsys.readouterr()
    assert "handed over 0 of 1 activations" in shown.out and "has left" in shown.out
    assert f"1 leases timed out: Stubborn/{key}" in shown.err
    await three.close()
    await asyncio.gather(call, return_exceptions=True)
    with pytest.raises(Unreachable, match=f"members are {one.authority}"):
        await drain_member(Output(as_json=False), client.config, two.authority, None)
