"""Which turns have failed for the failure policy: nested calls, interruptions, reads, streams, ticks of timers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import NoSuchMethod, Timeout
from support.failing_grains import GATES, LOG, Kept, RefusedError, Reset, Stopped


@pytest.fixture(autouse=True)
def empty() -> None:
    LOG.clear()
    GATES.clear()


async def settled(fleet: Any, eventually: Any) -> None:
    await eventually(fleet.at_rest)


@pytest.mark.parametrize("kind", [Reset, Stopped])
async def test_an_error_of_a_nested_call_counts_when_it_is_not_caught(caller, kind: type[Kept]):
    cluster = await caller(kind)
    grain = cluster.grain(kind, "a")
    await grain.mark("saved")
    await grain.catch()
    assert await grain.look() == ["saved", "whole"]
    with pytest.raises(NoSuchMethod):
        await grain.fail_elsewhere()
    assert await grain.look() == ["saved"]


@pytest.mark.parametrize("kind", [Reset, Stopped])
async def test_a_turn_that_is_interrupted_has_failed(caller, kind: type[Kept]):
    cluster = await caller(kind)
    grain = cluster.grain(kind, "a")
    await grain.mark("saved")
    GATES["deadline"] = asyncio.Event()
    with pytest.raises(Timeout):
        await cluster.grain(kind, "a", timeout=0.25).hang("deadline")
    assert await grain.look() == ["saved"]
    GATES["caller"] = asyncio.Event()
    call = asyncio.ensure_future(grain.hang("caller"))
    await GATES["caller"].wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert await grain.look() == ["saved"]


@pytest.mark.parametrize("kind", [Reset, Stopped])
async def test_a_read_only_turn_that_fails_disturbs_nobody(caller, kind: type[Kept]):
    cluster = await caller(kind)
    grain = cluster.grain(kind, "a")
    await grain.mark("saved")
    await grain.catch()
    with pytest.raises(RefusedError):
        await grain.fail_reading()
    assert await grain.look() == ["saved", "whole"]
    assert LOG == ["active", "caught"]


@pytest.mark.parametrize(("kind", "left"), [(Reset, ["saved"]), (Stopped, ["saved"]), (Kept, 4)])
async def test_a_stream_that_raises_has_failed(caller, eventually, kind: type[Kept], left: Any):
    cluster = await caller(kind)
    grain = cluster.grain(kind, "a")
    await grain.mark("saved")
    with pytest.raises(RefusedError):
        async for _ in grain.stream(True):
            pass
    marks = await grain.look()
    assert marks == left or len(marks) == left


async def test_a_consumer_that_breaks_off_its_stream_is_no_failure(caller, eventually):
    cluster = await caller(Reset)
    grain = cluster.grain(Reset, "a")
    await grain.mark("saved")
    stream = grain.stream(False)
    async for _ in stream:
        break
    await stream.aclose()
    await settled(caller.fleet, eventually)
    assert (await grain.look())[:2] == ["saved", "item 0"]


@pytest.mark.parametrize("kind", [Reset, Stopped])
async def test_a_timer_that_raises_has_failed(fleet, eventually, kind: type[Kept]):
    member = await fleet.member(kind)
    grain = member.grain(kind, "a")
    await grain.mark("saved")
    await grain.begin()
    await eventually(lambda: "tick" in LOG)
    assert await grain.look() == ["saved"]
