"""A member that is stopped (SIGSTOP), taken for gone, and goes on: it must notice, and do no harm."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.chaos_processes import ChaosProcess, ChaosProcesses, Refused, key_at
from support.member_processes import settings

BACK_S = 25.0
"""From SIGCONT until it is up again everywhere. It takes 5 s at most, which `sim/test_sim_members.py` asserts."""

LATE_S = 4.0
"""Long enough that the member is stopped before its late save, short enough that it is due when it goes on."""


async def started(chaos: ChaosProcesses, storage: str) -> list[ChaosProcess]:
    """Three members that know each other; the first is the seed."""
    first = await chaos.start(settings(), storage)
    rest = [chaos.spawn(settings(seeds=(first.authority,)), storage) for _ in range(2)]
    for member in rest:
        await member.ready()
    members = [first, *rest]
    for member in members:
        await member.sees_up(members)
    return members


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_a_stopped_member_is_replaced_and_comes_back_harmless(chaos: ChaosProcesses, tmp_path: Path) -> None:
    members = await started(chaos, f"sqlite:{tmp_path / 'state.sqlite'}")
    first, second, stopped = members
    others = (first, second)
    kept, contested = await key_at(first, "Tally", stopped), await key_at(first, "Late", stopped)
    assert await first.call("Tally", kept, "add", 5) == 5
    assert await first.call("Late", contested, "add", 1) == 1
    before = max(seen.incarnation for seen in await first.members() if seen.node_id == stopped.node_id)

    late = asyncio.create_task(first.call("Late", contested, "add_late", 100, LATE_S, timeout_s=25.0))
    await stopped.says("late_begun", key=contested)
    since = {member: len(member.lines) for member in members}
    stopped.pause()
    for other in others:
        await other.told_of("MemberUnreachable", stopped, since[other])
        await other.told_of("MemberRemoved", stopped, since[other])
        await other.sees_up(others)
    with pytest.raises(Refused) as lost:
        await late
    assert lost.value.maybe_executed is True
    for other in others:
        assert await other.call("Tally", kept, "where") != stopped.authority
        assert await other.call("Late", contested, "where") != stopped.authority
    assert await first.call("Tally", kept, "add", 1) == 6
    assert await second.call("Late", contested, "add", 1) == 2

    stopped.resume()
    async with asyncio.timeout(BACK_S):
        refused = await stopped.says("late_save", since[stopped], key=contested)
        assert refused["code"] in ("state_conflict", "ownership_changed")  # by the storage, or by its own lease
        learnt = await stopped.says("SelfRemoved", since[stopped])
        assert learnt["member"]["node_id"] == stopped.node_id
        for key, kind in ((kept, "Tally"), (contested, "Late")):
            await stopped.says("ActivationTerminated", since[stopped], identity={"kind": kind, "key": key})
        for other in others:
            line = await other.told_of("MemberUp", stopped, since[other])
            assert line["member"]["incarnation"] > before
        for member in members:
            await member.sees_up(members)
    for member in members:
        assert await member.call("Tally", kept, "value") == 6
        assert await member.call("Late", contested, "value") == 2
    assert await stopped.call("Tally", kept, "add", 1) == 7
    for member in members:
        assert member.removed() <= {stopped.node_id}
        member.check_unharmed()


KEYS = 15


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_a_member_that_wakes_alone_answers_what_the_dead_saved(chaos: ChaosProcesses, tmp_path: Path) -> None:
    """Those who replaced it have saved and were killed: it hears of nobody, and must look into the storage."""
    members = await started(chaos, f"sqlite:{tmp_path / 'state.sqlite'}")
    stopped, second, third = members
    keys = [key for key in map(str, range(200)) if await second.call("Tally", key, "where") == stopped.authority][:KEYS]
    assert len(keys) == KEYS
    for key in keys:
        assert await second.call("Tally", key, "add", 1) == 1
    since = {member: len(member.lines) for member in members}
    stopped.pause()
    for other in (second, third):
        await other.told_of("MemberRemoved", stopped, since[other])
    for key in keys:
        assert await second.call("Tally", key, "add", 1, timeout_s=20.0) == 2
    for other in (second, third):
        other.kill()
    calls = [asyncio.create_task(stopped.call("Tally", key, "value", timeout_s=20.0)) for key in keys]
    await asyncio.sleep(0)  # the commands wait in the pipe of the stopped process
    stopped.resume()
    async with asyncio.timeout(60.0):
        for key, answer in zip(keys, await asyncio.gather(*calls, return_exceptions=True), strict=True):
            while isinstance(answer, Refused):  # alone it may lose its place, and found anew
                try:
                    answer = await stopped.call("Tally", key, "value", timeout_s=20.0)
                except Refused as error:
                    answer = error
            assert answer == 2
