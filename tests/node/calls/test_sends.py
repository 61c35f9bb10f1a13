"""One-way calls, and Tasks that a turn starts and does not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

import inaho
from inaho import CallCycle, Grain, InvalidArguments, Overloaded, SerializationFailed
from inaho.events import CallFailed

LOG: list[Any] = []
GATES: dict[str, asyncio.Event] = {}
TASKS: list[asyncio.Future[Any]] = []


@pytest.fixture(autouse=True)
def clean():
    LOG.clear()
    GATES.clear()
    TASKS.clear()


async def in_task(call: Coroutine[Any, Any, None]) -> None:
    await asyncio.create_task(call)


async def in_gather(call: Coroutine[Any, Any, None]) -> None:
    await asyncio.gather(call)


async def in_wait(call: Coroutine[Any, Any, None]) -> None:
    (task,), _ = await asyncio.wait([asyncio.ensure_future(call)])
    task.result()


async def in_wait_for(call: Coroutine[Any, Any, None]) -> None:
    await asyncio.wait_for(call, 60.0)


async def in_shield(call: Coroutine[Any, Any, None]) -> None:
    await asyncio.shield(call)


async def in_as_completed(call: Coroutine[Any, Any, None]) -> None:
    for each in asyncio.as_completed([call]):
        await each


async def in_group(call: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(call)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def in_anyio_group(call: Coroutine[Any, Any, None]) -> None:
    anyio = import_module("anyio")
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: call)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def directly(call: Coroutine[Any, Any, None]) -> None:
    await call


WAYS = {
    way.__name__: way
    for way in (
        directly,
        in_task,
        in_gather,
        in_wait,
        in_wait_for,
        in_shield,
        in_as_completed,
        in_group,
        *([in_anyio_group] if find_spec("anyio") else []),
    )
}
"""Ways to wait for a call."""


class Noted(Grain):
    async def note(self, value: int, twice: bool = False) -> None:
        LOG.append(value * 2 if twice else value)

    async def note_list(self, values: list[int]) -> None:
        LOG.append(values)

    async def fails(self) -> None:
        raise ValueError("broken")

    async def waits(self, gate: str) -> None:
        await GATES[gate].wait()

    async def sends_to_itself(self, suspend: bool) -> None:
        me = self.cluster.grain(Noted, self.key)
        for value in (2, 3):
            self.cluster.send(me.note, value)
        if suspend:
            await asyncio.sleep(0.01)
        LOG.append(1)

    async def starts_a_task(self, suspend: bool) -> None:
        async def background() -> None:
            await self.cluster.grain(Noted, self.key).note(2)

        TASKS.append(asyncio.create_task(background()))
        TASKS[-1].add_done_callback(LOG.count)
        if suspend:
            await asyncio.sleep(0.01)
        LOG.append(1)

    async def keeps(self, how: str, kept: str, suspend: bool) -> None:
        waiting = WAYS[how](self.cluster.grain(Noted, self.key).note(2))
        if kept == "task":
            TASKS.append(asyncio.create_task(waiting))
        elif kept == "shield":
            TASKS.append(asyncio.shield(waiting))
        else:
            TASKS.append(asyncio.gather(waiting))
        if suspend:
            await asyncio.sleep(0.01)
        LOG.append(1)

    async def waits_for_itself(self, how: str, through: str) -> None:
        await WAYS[through](WAYS[how](self.cluster.grain(Noted, self.key).note(9)))

    async def leaves_a_task(self, gate: str) -> None:
        async def background() -> None:
            await GATES[gate].wait()
            LOG.append("inherits nothing")
            await self.cluster.grain(Noted, self.key).note(7)

        TASKS.append(asyncio.create_task(background()))


async def test_a_send_runs_and_copies_its_arguments_at_once(caller: Any, eventually: Any):
    cluster = await caller(Noted)
    reference = cluster.grain(Noted, "a")
    values = [1, 2]
    assert cluster.send(reference.note_list, values) is None
    values.append(3)
    for value in range(5):
        cluster.send(reference.note, value, twice=True)
    await eventually(lambda: len(LOG) == 6)
    assert LOG[0] == [1, 2] and sorted(LOG[1:]) == [0, 2, 4, 6, 8]
    await eventually(lambda: cluster._sends.under_way == 0)
    assert (cluster._sends.sent, cluster._sends.failed) == (6, 0)


async def test_sends_keep_their_order_at_an_activation(caller: Any, eventually: Any):
    cluster = await caller(Noted)
    reference = cluster.grain(Noted, "a")
    await reference.note(-1)
    for value in range(50):
        cluster.send(reference.note, value)
    await eventually(lambda: len(LOG) == 51)
    assert list(range(-1, 50)) == LOG


@pytest.mark.parametrize("suspend", [False, True])
async def test_a_send_to_itself_runs_behind_the_turn(caller: Any, eventually: Any, suspend: bool):
    cluster = await caller(Noted)
    await cluster.grain(Noted, "a").sends_to_itself(suspend)
    await eventually(lambda: LOG == [1, 2, 3])


async def test_a_send_that_cannot_be_made_raises_at_once(caller: Any):
    cluster = await caller(Noted, rpc={"sends_max": 1})
    reference: Any = cluster.grain(Noted, "a")
    GATES["a"] = asyncio.Event()
    with pytest.raises(TypeError):
        cluster.send(reference.note)
    with pytest.raises(InvalidArguments):
        cluster.send(reference.note, "text")
    with pytest.raises(SerializationFailed):
        cluster.send(reference.note, object())
    with pytest.raises(InvalidArguments):
        cluster.send(print, "x")  # type: ignore[arg-type]
    cluster.send(reference.waits, "a")
    with pytest.raises(Overloaded, match=r"rpc\.sends_max"):
        cluster.send(reference.waits, "a")
    GATES["a"].set()
    await reference.note(1)


async def test_the_failure_of_a_send_is_an_event_a_count_and_a_line(
    caller: Any, eventually: Any, caplog: pytest.LogCaptureFixture
):
    cluster = await caller(Noted)
    events = cluster.events(CallFailed)
    cluster.send(cluster.grain(Noted, "a").fails)
    event = await anext(events)
    assert (event.identity.key, event.method, event.code) == ("a", "fails", "")
    assert "broken" in event.reason and "fails of Noted/a failed" in caplog.text
    assert cluster._sends.failed == 1


@pytest.mark.parametrize("suspend", [False, True])
async def test_a_task_that_nobody_waits_for_calls_its_grain_behind_the_turn(
    caller: Any, eventually: Any, suspend: bool
):
    cluster = await caller(Noted)
    await cluster.grain(Noted, "a").starts_a_task(suspend)
    await eventually(lambda: LOG == [1, 2])
    await asyncio.gather(*TASKS)


@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize("kept", ["task", "shield", "gather"])
@pytest.mark.parametrize("how", WAYS)
async def test_a_task_that_nobody_waits_for_may_wait_in_any_way(
    caller: Any, eventually: Any, how: str, kept: str, suspend: bool
):
    cluster = await caller(Noted)
    await cluster.grain(Noted, "a").keeps(how, kept, suspend)
    await eventually(lambda: LOG == [1, 2])
    await asyncio.gather(*TASKS)


@pytest.mark.parametrize("through", ["directly", "in_task", "in_gather", "in_group"])
@pytest.mark.parametrize("how", WAYS)
async def test_a_self_call_that_the_turn_waits_for_is_a_cycle(caller: Any, how: str, through: str):
    cluster = await caller(Noted)
    reference = cluster.grain(Noted, "a")
    await reference.note(1)
    async with asyncio.timeout(6.0):  # at once, and not at the deadline, 8 s
        with pytest.raises(CallCycle, match="would wait for itself"):
            await reference.waits_for_itself(how, through)


async def test_a_task_that_outlives_its_turn_has_no_deadline_of_it(caller: Any, eventually: Any):
    cluster = await caller(Noted)
    GATES["a"] = asyncio.Event()
    await cluster.grain(Noted, "a").note(0)
    LOG.clear()
    await cluster.grain(Noted, "a", timeout=1.0).leaves_a_task("a")
    await asyncio.sleep(1.05)  # the deadline of the turn passes
    GATES["a"].set()
    await asyncio.gather(*TASKS)
    assert LOG == ["inherits nothing", 7]


class Together(Noted, reentrant=True):
    pass


class Placed(Noted, placement="prefer_local"):
    pass


class Slow(Noted):
    async def on_activate(self) -> None:
        await asyncio.sleep(0)


class Sender(Grain):
    async def go(self, kind: str, known: bool) -> None:
        reference = self.cluster.grain(KINDS[kind], self.key)
        await in_order(self.cluster, reference, known)

    async def nested(self, kind: str, known: bool) -> None:
        await self.cluster.grain(Sender, f"{self.key}-inner").go(kind, known)


KINDS: dict[str, type[Noted]] = {kind.__name__: kind for kind in (Noted, Together, Placed, Slow)}


async def in_order(cluster: Any, reference: Any, known: bool) -> None:
    """Sends and calls in turn; the log must have the numbers in order."""
    if known:
        await reference.note(-1)
    LOG.clear()
    for value in range(0, 6, 3):
        cluster.send(reference.note, value)
        cluster.send(reference.note, value + 1)
        assert value not in LOG  # no code of the callee runs in the step of its sender
        await reference.note(value + 2)
    assert list(range(6)) == LOG


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [False, True])
async def test_a_later_call_does_not_overtake_a_send(caller: Any, kind: str, known: bool):
    cluster = await caller(*KINDS.values())
    for key in "abcde":
        await in_order(cluster, cluster.grain(KINDS[kind], key), known)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [False, True])
async def test_a_later_call_of_a_grain_does_not_overtake_its_send(fleet: Any, kind: str, known: bool):
    member, _ = await fleet.members(2, *KINDS.values(), Sender)
    for number in range(12):  # some of them on the other member
        await member.grain(Sender, f"g{number}").go(kind, known)
        if known:
            await member.grain(Sender, f"n{number}").nested(kind, known)


async def test_a_call_that_follows_a_turn_runs_behind_what_that_has_sent_to_itself(caller: Any):
    cluster = await caller(Noted)
    reference = cluster.grain(Noted, "a")
    await reference.sends_to_itself(False)
    await reference.note(4)
    assert LOG == [1, 2, 3, 4]


class Chained(Grain):
    async def go(self, left: int) -> None:
        LOG.append(left)
        if left:
            self.cluster.send(self.cluster.grain(Chained, f"{left}").go, left - 1)


async def test_a_chain_of_sends_has_no_end(caller: Any, eventually: Any):
    cluster = await caller(Chained)
    cluster.send(cluster.grain(Chained, "first").go, 1500)
    await eventually(lambda: len(LOG) == 1501)


class Unmade(Grain):
    def __init__(self) -> None:
        raise ValueError("no such thing")

    async def note(self, value: int) -> None: ...


async def test_what_fails_in_the_first_step_fails_as_a_send_does(caller: Any, eventually: Any):
    cluster = await caller(Unmade, Noted, activation={"queue_depth": 1})
    cluster.send(cluster.grain(Unmade, "a").note, 1)
    await eventually(lambda: cluster._sends.failed == 1 and cluster._sends.under_way == 0)
    GATES["a"] = asyncio.Event()
    reference = cluster.grain(Noted, "a", retry=False)
    for method in (reference.waits, reference.waits, reference.waits):
        cluster.send(method, "a")
    await eventually(lambda: cluster._sends.failed == 2)
    GATES["a"].set()
    await eventually(lambda: cluster._sends.under_way == 0)
    assert cluster._sends.sent == 4


class Boss(Grain):
    async def go(self, key: str) -> str:
        return await self.cluster.grain(Hired, key).hi()

    async def name(self) -> str:
        return self.key


class Hired(Grain):
    async def on_activate(self) -> None:
        kind, _, key = self.key.partition("-")
        if kind == "boss":
            self.boss = await self.cluster.grain(Boss, key).name()
        elif kind == "itself":
            await self.cluster.grain(Hired, self.key).hi()
        with pytest.raises(RuntimeError):
            _ = self.context

    async def hi(self) -> str:
        return "hi"

    async def end(self) -> None:
        self.deactivate()

    async def on_deactivate(self, reason: str) -> None:
        kind, _, key = self.key.partition("-")
        try:
            if kind == "late":
                LOG.append(await self.cluster.grain(Boss, key).name())
            elif kind == "endless":
                await self.cluster.grain(Hired, self.key).hi()
        except CallCycle as error:
            LOG.append(error.code)


async def test_cycles_through_on_activate_are_told_at_once(caller: Any):
    cluster = await caller(Boss, Hired)
    async with asyncio.timeout(6.0):
        with pytest.raises(inaho.InahoError, match="would wait for itself: Boss/a -> Hired/boss-a -> Boss/a"):
            await cluster.grain(Boss, "a").go("boss-a")
        with pytest.raises(inaho.InahoError, match="would wait for itself"):
            await cluster.grain(Hired, "itself").hi()
        assert await cluster.grain(Hired, "boss-b").hi() == "hi"  # no cycle: nobody waits for it


async def test_a_call_to_itself_from_on_deactivate_is_a_cycle(caller: Any, eventually: Any):
    cluster = await caller(Boss, Hired)
    async with asyncio.timeout(6.0):
        await cluster.grain(Hired, "endless").end()
        await eventually(lambda: LOG == ["call_cycle"])


async def test_a_hook_that_calls_whom_nobody_waits_for_is_no_cycle(caller: Any, eventually: Any):
    cluster = await caller(Boss, Hired)
    await cluster.grain(Hired, "late-a").end()
    await eventually(lambda: LOG == ["a"])
