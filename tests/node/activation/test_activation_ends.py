"""The last moments of activations: what is under way then, what waits for it, and what others are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inaho import ActivationFailed, ClusterIdentity, Grain, MemoryStorage, OwnershipChanged, Struct, method
from inaho.errors import Pending, Timeout


class Gate:
    """What grains and storages of a test wait at."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = 0

    async def wait(self) -> None:
        self.reached += 1
        await self.open.wait()


GATES: dict[str, Gate] = {}
SEEN: list[str] = []


@pytest.fixture(autouse=True)
def no_gates(fleet: Any) -> Any:
    GATES.clear()
    SEEN.clear()
    yield
    for gate in GATES.values():
        gate.open.set()


async def at(where: str) -> None:
    gate = GATES.get(where)
    if gate is not None:
        await gate.wait()


def waiting(fleet: Any) -> int:
    """How many turns wait for `Brief/a`."""
    grain = fleet.activation(Brief, "a")
    return 0 if grain is None else len(grain._inaho_turn.waiting)


async def turn_the_loop() -> None:
    """Long enough for whatever does not wait at a gate."""
    for _ in range(300):
        await asyncio.sleep(0)


class SlowStorage(MemoryStorage):
    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        await at("write")
        version = await super()._write(identity, data, expected_version=expected_version, epoch=epoch)
        await at("answer")
        return version


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value

    async def added(self) -> AsyncIterator[int]:
        yield await self.add()

    async def look(self) -> int:
        return self.state.value

    async def stop(self) -> None:
        self.deactivate()


class Failing(Grain[Count], on_failure="reset"):
    async def on_deactivate(self, reason: str) -> None:
        SEEN.append(reason)
        await at("stop")
        SEEN.append("ended")

    async def numbers(self) -> AsyncIterator[int]:
        try:
            yield 1
            await at("stream")
        finally:
            raise ValueError("broken")

    async def stop(self) -> None:
        self.deactivate()


class Log(Grain):
    async def last(self) -> None:
        self.deactivate()
        await at("turn")

    async def mark(self, text: str) -> None:
        SEEN.append(text)


class Brief(Grain):
    """Ends as soon as it is up."""

    async def on_activate(self) -> None:
        SEEN.append("up")
        await at("start")
        self.deactivate()

    async def on_deactivate(self, reason: str) -> None:
        SEEN.append(reason)

    async def mark(self, text: str) -> None:
        await at("turn")
        SEEN.append(text)

    @method(read_only=True)
    async def look(self, text: str) -> None:
        await at("turn")
        SEEN.append(text)

    async def numbers(self) -> AsyncIterator[int]:
        yield 1


class Unable(Grain, placement="prefer_local"):
    def __init__(self) -> None:
        raise ValueError("no")

    async def ask(self) -> None: ...


@pytest.mark.parametrize("where", ["write", "answer"])
async def test_the_next_owner_goes_on_with_what_a_stream_was_saving(fleet, eventually, where: str):
    """The walk that frees what nobody calls is held up, so that the new owner has to ask."""
    fleet.storage = SlowStorage()
    one = await fleet.member(Counter)
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        assert await one.grain(Counter, key).add() == 1
    saving = GATES[where] = Gate()
    streams = [asyncio.ensure_future(anext(one.grain(Counter, key).added())) for key in keys]
    await eventually(lambda: saving.reached == len(keys))
    draining = one._node.hosts["Counter"].draining
    draining.walking = True
    other = await fleet.member(Counter)
    moved = [key for key in keys if other._node.leases.owns("Counter", key)]
    await eventually(lambda: not any(one._node.leases.owns("Counter", key) for key in moved))
    calls = [asyncio.ensure_future(other.grain(Counter, key).add()) for key in moved]
    await eventually(lambda: other._node.bridge.taking_over.asked >= len(moved))
    await turn_the_loop()
    saving.open.set()
    assert await asyncio.gather(*calls) == [3] * len(moved)
    assert await asyncio.gather(*streams) == [2] * len(keys)
    draining.walking = False
    draining.begin()


async def test_the_next_activation_waits_for_what_a_stream_saves(fleet, eventually):
    fleet.storage = SlowStorage()
    member = await fleet.member(Counter)
    grain = member.grain(Counter, "a")
    assert await grain.add() == 1
    saving = GATES["write"] = Gate()
    stream = asyncio.ensure_future(anext(grain.added()))
    await eventually(lambda: saving.reached)
    await grain.stop()
    calls = [asyncio.ensure_future(call) for call in (grain.look(), grain.add())]
    await turn_the_loop()
    assert not any(call.done() for call in calls)
    saving.open.set()
    assert await asyncio.gather(stream, *calls) == [2, 2, 3]


async def test_a_hand_off_does_not_hide_that_others_have_saved_since(fleet, eventually):
    """As after a split of the cluster, when a third node had the identity on the other side."""
    one = await fleet.member(Counter)
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        await one.grain(Counter, key).add()
    draining = one._node.hosts["Counter"].draining
    draining.walking = True
    other = await fleet.member(Counter)
    key = next(key for key in keys if other._node.leases.owns("Counter", key))
    identity = ClusterIdentity("Counter", key)
    stored = await fleet.storage.load(identity)
    await fleet.storage.save(identity, b"\x81\xa5value\x32", expected_version=stored.version, epoch=stored.epoch)
    other._node.saved_versions.heard("Counter", {key: 2}, "127.0.0.1:9")
    assert await other.grain(Counter, key).look() == 50
    assert await other.grain(Counter, key).add() == 51
    draining.walking = False
    draining.begin()


async def test_a_stream_that_fails_while_its_activation_ends_does_not_end_it_twice(fleet, eventually):
    member = await fleet.member(Failing)
    grain = member.grain(Failing, "a")
    begun, stop = GATES["stream"], GATES["stop"] = Gate(), Gate()
    stream = grain.numbers()
    assert await anext(stream) == 1
    await eventually(lambda: begun.reached)
    await grain.stop()
    with pytest.raises(OwnershipChanged):
        await anext(stream)
    await eventually(lambda: stop.reached)
    await turn_the_loop()
    assert SEEN == ["requested"]
    stop.open.set()
    await eventually(lambda: fleet.activation(Failing, "a") is None)
    assert SEEN == ["requested", "ended"]


async def test_calls_that_waited_for_an_end_run_before_those_that_came_after_it(fleet, eventually):
    member = await fleet.member(Log)
    grain = member.grain(Log, "a")
    turn = GATES["turn"] = Gate()

    async def last_and_after() -> None:
        await grain.last()
        await grain.mark("after")

    calls = [asyncio.ensure_future(last_and_after())]
    await eventually(lambda: turn.reached)
    calls.append(asyncio.ensure_future(grain.mark("waited")))
    await turn_the_loop()
    turn.open.set()
    await asyncio.gather(*calls)
    assert SEEN == ["waited", "after"]


async def test_an_activation_that_asks_for_its_end_in_on_activate_runs_what_it_was_made_for(caller, eventually):
    """Its successor would ask for the same, and so on as fast as the processor can."""
    cluster = await caller(Brief)
    start = GATES["start"] = Gate()
    grain = cluster.grain(Brief, "a")
    calls = [asyncio.ensure_future(grain.mark("one"))]
    await eventually(lambda: start.reached)
    calls.append(asyncio.ensure_future(grain.mark("two")))
    await eventually(lambda: waiting(caller.fleet) == 2)
    start.open.set()
    await asyncio.gather(*calls)
    await eventually(lambda: SEEN[-1] == "requested")
    assert SEEN == ["up", "one", "requested", "up", "two", "requested"]


async def test_such_an_activation_ends_after_the_turns_that_run_together(fleet, eventually):
    member = await fleet.member(Brief)
    start, turn = GATES["start"], GATES["turn"] = Gate(), Gate()
    grain = member.grain(Brief, "a")
    calls = [asyncio.ensure_future(grain.look("looked")) for _ in range(2)]
    await eventually(lambda: waiting(fleet) == 2)
    start.open.set()
    await eventually(lambda: turn.reached == 2)
    calls.append(asyncio.ensure_future(grain.look("later")))
    await turn_the_loop()
    assert SEEN == ["up"]
    turn.open.set()
    await asyncio.gather(*calls)
    await eventually(lambda: SEEN[-1] == "requested")
    assert SEEN == ["up", "looked", "looked", "requested", "up", "later", "requested"]


async def test_such_an_activation_for_which_nobody_waits_any_more_ends(fleet, eventually):
    member = await fleet.member(Brief)
    start = GATES["start"] = Gate()
    call = asyncio.ensure_future(member.grain(Brief, "a").mark("never"))
    await eventually(lambda: start.reached)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    start.open.set()
    await eventually(lambda: fleet.activation(Brief, "a") is None)
    assert SEEN == ["up", "requested"]


async def test_a_stream_of_such_an_activation_is_refused_and_tried_again_after_a_pause(fleet):
    member = await fleet.member(Brief)
    with pytest.raises((Pending, Timeout)):  # whichever the deadline meets
        await anext(member.grain(Brief, "a", timeout=0.3).numbers())
    assert 0 < SEEN.count("up") < 300


async def test_calls_of_one_connection_keep_their_order_across_an_end(fleet, eventually):
    await fleet.member(Log)
    client = await fleet.client()
    for steps in range(5):  # of the loop, from when the later call leaves to when the activation ends
        turn = GATES["turn"] = Gate()
        SEEN.clear()
        grain = client.grain(Log, f"k{steps}")
        calls = [asyncio.ensure_future(grain.last())]
        await eventually(lambda turn=turn: turn.reached)
        calls.append(asyncio.ensure_future(grain.mark("earlier")))
        await turn_the_loop()
        calls.append(asyncio.ensure_future(grain.mark("later")))
        for _ in range(steps):
            await asyncio.sleep(0)
        turn.open.set()
        await asyncio.gather(*calls)
        assert SEEN == ["earlier", "later"]


async def test_nothing_is_kept_of_placed_activations_that_did_not_come_up(fleet):
    member = await fleet.member(Unable)
    for number in range(3):
        with pytest.raises(ActivationFailed):
            await member.grain(Unable, f"k{number}").ask()
    assert not member._node.placed_activations._reported_to.get("Unable")


async def test_saved_versions_that_do_not_fit_a_frame_are_told_in_pages(fleet, eventually, monkeypatch):
    monkeypatch.setattr("inaho.runtime.placement.placed_activations.PAGE_BYTES", 4096)
    frames = {"frame_bytes_max": 16384}
    one = await fleet.member(Counter, transport=frames)
    keys = [f"{number:03}".ljust(400, "x") for number in range(100)]
    for key in keys:
        await one.grain(Counter, key).add()
        await one.grain(Counter, key).stop()
    await eventually(lambda: not one._node.hosts["Counter"].activations)
    other = await fleet.member(Counter, transport=frames)
    moved = {key for key in keys if other._node.leases.owns("Counter", key)}
    await eventually(lambda: {key for _, key in other._node.saved_versions._heard} == moved)
