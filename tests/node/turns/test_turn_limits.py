"""What ends a turn early, or keeps it from beginning: deadlines, cancellation, the end of its node."""

from __future__ import annotations

import asyncio

import pytest

import inaho
from inaho import Timeout
from support.slow_grain import Slow


async def test_a_methods_timeout(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()  # what follows begins in time, on a busy machine too
    for _ in range(2):
        with pytest.raises(Timeout) as caught:
            await grain.short()
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.maybe_executed
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log == ["+short", "xshort"] * 2)
    assert await grain.quick() == "quick"


async def test_an_attempt_that_takes_too_long_is_followed_by_another(caller, eventually):
    cluster = await caller(Slow, rpc={"retry_attempts": 2})
    await cluster.grain(Slow, "a").quick()
    assert await cluster.grain(Slow, "a").patient(1) == "found"
    slow = caller.fleet.activation(Slow, "a")
    assert slow.log == ["+patient", "xpatient"]
    assert cluster._node.context.retries == 1
    slow.log.clear()
    with pytest.raises(Timeout) as caught:
        await cluster.grain(Slow, "a").patient(9)
    assert caught.value.maybe_executed
    await eventually(lambda: slow.log == ["+patient", "xpatient"] * 2)


async def test_attempts_end_with_the_call(caller, eventually):
    cluster = await caller(Slow)
    await cluster.grain(Slow, "a").quick()
    with pytest.raises(Timeout):
        await cluster.grain(Slow, "a", timeout=0.25).patient(9)
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log == ["+patient", "xpatient"])
    assert cluster._node.context.retries == 0


async def test_a_references_timeout(caller, eventually):
    cluster = await caller(Slow)
    await cluster.grain(Slow, "a").quick()
    grain = cluster.grain(Slow, "a", timeout=0.25)
    with pytest.raises(Timeout, match="Slow/a"):
        await grain.wait()
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log == ["+wait", "xwait"])
    assert await grain.quick() == "quick"


async def test_a_reference_may_wait_longer_than_usual(caller):
    cluster = await caller(Slow, rpc={"timeout_s": 2.0})
    await cluster.grain(Slow, "a").quick()
    left = await cluster.grain(Slow, "a", timeout=50.0).left()
    assert 40 < left <= 50


async def test_a_deadline_holds_for_all_calls_in_it(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    with inaho.deadline(3.0):
        assert 0 < await grain.left() <= 3.0
        assert 0 < await grain.ask_left("b") <= 3.0
        with inaho.deadline(50.0):  # an inner one cannot lengthen it
            assert await grain.left() <= 3.0
    assert await grain.left() > 3.0
    with inaho.deadline(0.25), pytest.raises(Timeout):
        await grain.wait()
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log[-1] == "xwait")


async def test_a_deadline_reaches_across_nodes(fleet, eventually):
    one, other = await fleet.members(2, Slow)
    near, far = fleet.key_at(one, Slow), fleet.key_at(other, Slow)
    client = await fleet.client()
    await client.grain(Slow, near).quick()
    with inaho.deadline(3.0):
        assert 0 < await client.grain(Slow, near).ask_left(far) <= 3.0
    with inaho.deadline(0.5), pytest.raises(Timeout):
        await client.grain(Slow, near).ask_wait(far)
    await eventually(lambda: fleet.activation(Slow, far).log == ["+wait", "xwait"])
    await eventually(lambda: fleet.activation(Slow, near).log)
    with pytest.raises(Timeout):
        await client.grain(Slow, near).bounded_inside(far)


async def test_a_call_that_waited_in_vain_has_not_run(fleet, eventually):
    member = await fleet.member(Slow)
    grain = member.grain(Slow, "a")
    await grain.quick()
    slow = fleet.activation(Slow, "a")
    holding = asyncio.ensure_future(grain.wait("first"))
    await eventually(lambda: slow.log == ["+first"])
    with inaho.deadline(0.05), pytest.raises(Timeout, match="queue") as caught:
        await grain.wait("second")
    assert not caught.value.maybe_executed
    slow.gate.set()
    await holding
    assert slow.log == ["+first", "-first"]


async def test_a_far_call_that_waited_in_vain_does_not_run_later(fleet, eventually):
    await fleet.member(Slow)
    client = await fleet.client()
    grain = client.grain(Slow, "a")
    await grain.quick()
    slow = fleet.activation(Slow, "a")
    holding = asyncio.ensure_future(grain.wait("first"))
    await eventually(lambda: slow.log == ["+first"])
    with inaho.deadline(0.05), pytest.raises(Timeout):
        await grain.wait("second")
    await eventually(lambda: not slow._inaho_turn.waiting)
    slow.gate.set()
    await holding
    assert await grain.quick() == "quick"
    assert slow.log == ["+first", "-first"]


@pytest.mark.parametrize("first", [True, False], ids=["activating", "active"])
async def test_cancelling_a_call_that_runs(caller, eventually, first):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    if not first:
        await grain.quick()
    for _ in range(2):
        call = asyncio.ensure_future(grain.wait())
        await eventually(lambda: (slow := caller.fleet.activation(Slow, "a")) and slow.log[-1:] == ["+wait"])
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        slow = caller.fleet.activation(Slow, "a")
        await eventually(lambda: slow.log[-1] == "xwait")  # noqa: B023
    assert await grain.quick() == "quick"


async def test_cancelling_a_call_that_waits(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    slow = caller.fleet.activation(Slow, "a")
    holding = asyncio.ensure_future(grain.wait("first"))
    await eventually(lambda: slow.log == ["+first"])
    call = asyncio.ensure_future(grain.wait("second"))
    await eventually(lambda: getattr(slow._inaho_turn, "waiting", None))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: not slow._inaho_turn.waiting)
    slow.gate.set()
    assert await holding == "first"
    assert slow.log == ["+first", "-first"]


@pytest.mark.parametrize("steps", range(6))
async def test_cancelling_a_call_at_any_moment(caller, steps):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    calls = [asyncio.ensure_future(grain.wait(str(number))) for number in range(3)]
    for _ in range(steps):
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*calls, return_exceptions=True))
    assert await grain.quick() == "quick"


async def test_cancelling_reaches_through_a_chain(fleet, eventually):
    one, other = await fleet.members(2, Slow)
    near, far = fleet.key_at(one, Slow), fleet.key_at(other, Slow)
    client = await fleet.client()
    call = asyncio.ensure_future(client.grain(Slow, near).ask_wait(far))
    await eventually(lambda: (slow := fleet.activation(Slow, far)) and slow.log == ["+wait"])
    call.cancel()
    await eventually(lambda: fleet.activation(Slow, far).log == ["+wait", "xwait"])
    await eventually(lambda: fleet.activation(Slow, near).log == ["CancelledError"])
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_method_that_will_not_be_cancelled(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    slow = caller.fleet.activation(Slow, "a")
    call = asyncio.ensure_future(grain.stubborn())
    await eventually(lambda: slow.log == ["+stubborn"])
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await eventually(lambda: slow.log == ["+stubborn", "xstubborn"])
    assert await grain.quick() == "quick"


async def test_timeouts_of_the_caller_are_those_of_asyncio(caller, eventually):
    cluster = await caller(Slow)
    grain = cluster.grain(Slow, "a")
    await grain.quick()
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.2):
            await grain.wait()
    assert type(caught.value) is TimeoutError
    slow = caller.fleet.activation(Slow, "a")
    await eventually(lambda: slow.log == ["+wait", "xwait"])
    assert await grain.quick() == "quick"


async def test_a_node_that_stops_says_so(fleet, eventually):
    member = await fleet.member(Slow, activation={"drain_s": 0.05})
    client = await fleet.client()
    grain = client.grain(Slow, "a", retry=False)
    call = asyncio.ensure_future(grain.wait())
    await eventually(lambda: (slow := fleet.activation(Slow, "a")) and slow.log)
    fleet.settle = False
    await member.close()
    with pytest.raises((inaho.ShuttingDown, inaho.Unreachable)) as caught:
        await call
    assert caught.value.maybe_executed
