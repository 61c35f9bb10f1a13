"""The last moments of activations: saves and turns that are under way, hooks that run once, and what is kept afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inaho import ActivationFailed, ClusterIdentity, Grain, MemoryStorage, RemoteError, Struct


class SlowStorage(MemoryStorage):
    """Saves stop at a gate when it is closed, before or after they are written.

    Attributes:
        gate: open, or closed.
        reached: saves that have stopped there.
    """

    def __init__(self, *, written: bool) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = 0
        self._written = written

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        if not self._written:
            await self._stop()
        version = await super()._write(identity, data, expected_version=expected_version, epoch=epoch)
        if self._written:
            await self._stop()
        return version

    async def _stop(self) -> None:
        if not self.gate.is_set():
            self.reached += 1
            await self.gate.wait()


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value

    async def look(self) -> int:
        return self.state.value

    async def stop(self) -> None:
        self.deactivate()

    async def numbers(self) -> AsyncIterator[int]:
        while True:
            self.state.value += 1
            await self.save()
            yield self.state.value


class Gate:
    """What grains of a test wait at."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = 0

    async def wait(self) -> None:
        self.reached += 1
        await self.open.wait()


GATES: dict[str, Gate] = {}
SEEN: list[str] = []


@pytest.fixture(autouse=True)
def gates() -> Any:
    SEEN.clear()
    GATES.update((name, Gate()) for name in ("stream", "stop", "turn"))
    yield
    for gate in GATES.values():
        gate.open.set()


class Failing(Grain[Count], on_failure="reset"):
    async def on_deactivate(self, reason: str) -> None:
        SEEN.append(reason)
        await GATES["stop"].wait()
        SEEN.append("ended")

    async def stop(self) -> None:
        self.deactivate()

    async def numbers(self) -> AsyncIterator[int]:
        yield 1
        await GATES["stream"].wait()
        raise ValueError("broken")


class Log(Grain):
    async def last(self) -> None:
        self.deactivate()
        await GATES["turn"].wait()

    async def mark(self, text: str) -> None:
        SEEN.append(text)


class Unable(Grain, placement="prefer_local"):
    def __init__(self) -> None:
        raise ValueError("no")

    async def look(self) -> None: ...


async def turn_the_loop() -> None:
    for _ in range(300):
        await asyncio.sleep(0)


@pytest.mark.parametrize("written", [False, True])
async def test_what_a_stream_saves_is_found_where_its_activation_moves(fleet, eventually, written: bool):
    """The walk that frees what nobody calls is held up, so that the new owner has to ask."""
    fleet.storage = storage = SlowStorage(written=written)
    one = await fleet.member(Counter)
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        assert await one.grain(Counter, key).add() == 1
    storage.gate.clear()
    streams = {key: one.grain(Counter, key).numbers() for key in keys}
    firsts = {key: asyncio.ensure_future(anext(stream)) for key, stream in streams.items()}
    await eventually(lambda: storage.reached == len(keys))
    draining = one._node.hosts["Counter"].draining
    draining.walking = True
    other = await fleet.member(Counter)
    moved = [key for key in keys if other._node.leases.owns("Counter", key)]
    calls = [asyncio.ensure_future(other.grain(Counter, key).add()) for key in moved]
    await eventually(lambda: other._node.bridge.asked >= len(moved))
    await turn_the_loop()
    storage.gate.set()
    print(await asyncio.gather(*calls, return_exceptions=True))
    print(await asyncio.gather(*firsts.values(), return_exceptions=True))
    draining.walking = False
    draining.begin()
    for stream in streams.values():
        await stream.aclose()


async def test_a_call_after_the_end_waits_for_what_a_stream_saves(fleet, eventually):
    fleet.storage = storage = SlowStorage(written=False)
    one = await fleet.member(Counter)
    grain = one.grain(Counter, "a")
    assert await grain.add() == 1
    storage.gate.clear()
    stream = grain.numbers()
    first = asyncio.ensure_future(anext(stream))
    await eventually(lambda: storage.reached)
    await grain.stop()
    calls = [asyncio.ensure_future(call) for call in (grain.look(), grain.add())]
    await turn_the_loop()
    assert not any(call.done() for call in calls)
    storage.gate.set()
    assert await asyncio.gather(first, *calls) == [2, 2, 3]
    await stream.aclose()


async def test_a_hand_off_does_not_hide_a_newer_version_that_was_heard_of(fleet, eventually):
    """As when a third node had the identity on the other side of a split: the hand-off has what was saved before."""
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


async def test_a_stream_that_fails_while_its_activation_ends_begins_no_second_end(fleet, eventually):
    one = await fleet.member(Failing)
    grain = one.grain(Failing, "a")
    stream = grain.numbers()
    assert await anext(stream) == 1
    await grain.stop()
    await eventually(lambda: GATES["stop"].reached)
    GATES["stream"].open.set()
    with pytest.raises(RemoteError, match="broken"):
        await anext(stream)
    await turn_the_loop()
    assert SEEN == ["requested"]
    GATES["stop"].open.set()
    await eventually(lambda: fleet.activation(Failing, "a") is None)
    assert SEEN == ["requested", "ended"]


async def test_what_waited_for_the_end_is_before_what_comes_after_it(fleet, eventually):
    one = await fleet.member(Log)
    grain = one.grain(Log, "a")

    async def last_and_after() -> None:
        await grain.last()
        await grain.mark("after")

    calls = [asyncio.ensure_future(last_and_after())]
    await eventually(lambda: GATES["turn"].reached)
    calls.append(asyncio.ensure_future(grain.mark("waited")))
    await turn_the_loop()
    GATES["turn"].open.set()
    await asyncio.gather(*calls)
    assert SEEN == ["waited", "after"]


async def test_nothing_is_kept_of_activations_that_did_not_come_up(fleet):
    one = await fleet.member(Unable)
    for number in range(3):
        with pytest.raises(ActivationFailed):
            await one.grain(Unable, f"k{number}").look()
    assert not one._node.holdings._told.get("Unable")


async def test_saved_versions_that_do_not_fit_a_frame_are_told_in_pages(fleet, eventually, monkeypatch):
    monkeypatch.setattr("inaho.runtime.holdings.PAGE_BYTES", 4096)
    small = {"frame_bytes_max": 16384}
    one = await fleet.member(Counter, transport=small)
    keys = [f"{number:03}".ljust(400, "x") for number in range(100)]
    for key in keys:
        await one.grain(Counter, key).add()
        await one.grain(Counter, key).stop()
    await eventually(lambda: not one._node.hosts["Counter"].activations)
    other = await fleet.member(Counter, transport=small)
    moved = {key for key in keys if other._node.leases.owns("Counter", key)}
    await eventually(lambda: {key for _, key in other._node.saved_versions._heard} == moved)
    other._node.saved_versions.check()
