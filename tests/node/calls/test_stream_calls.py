"""Streams: in order, bounded, closed when nobody listens, the same on one node as between two."""

# ruff: noqa: N818, PT012  names of a story; an `async for` is what raises
from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

import inaho
from inaho import (
    FrameTooLarge,
    Grain,
    GrainError,
    RemoteError,
    SerializationFailed,
    ShuttingDown,
    Struct,
    Timeout,
    method,
)
from inaho.testing import SimCluster


class Reading(Struct):
    values: list[int]


class Broken(GrainError):
    pass


class Abort(BaseException):
    pass


class Source(Grain):
    def __init__(self) -> None:
        self.log: list[str] = []
        self.produced = 0
        self.gate = asyncio.Event()
        self.shared = Reading([1])

    async def count(self, to: int, suspend: bool = False) -> AsyncIterator[int]:
        try:
            for number in range(to):
                self.produced += 1
                yield number
                if suspend:
                    await asyncio.sleep(0)
            self.log.append("end")
        finally:
            self.log.append("finally")

    async def forever(self) -> AsyncIterator[int]:
        self.log.append("begin")
        try:
            while True:
                self.produced += 1
                yield self.produced
        finally:
            self.log.append("finally")

    async def silent(self) -> AsyncIterator[int]:
        self.log.append("begin")
        try:
            await self.gate.wait()
            yield 1
        finally:
            self.log.append("finally")

    async def large(self, size: int, count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            self.produced += 1
            yield bytes(size)

    async def failing(self, after: int, what: str) -> AsyncIterator[int]:
        for number in range(after):
            yield number
        raise {
            "broken": Broken("midway"),
            "value": ValueError("midway"),
            "abort": Abort("midway"),
            "cancelled": asyncio.CancelledError("midway"),
            "refusal": ShuttingDown("one that it asked"),
        }[what]

    async def opaque(self, after: int) -> AsyncIterator[Any]:
        for number in range(after):
            yield number
        yield object()

    async def wrong(self) -> AsyncIterator[int]:
        yield "text"  # type: ignore[misc]

    async def sharing(self) -> AsyncIterator[Reading]:
        yield self.shared
        yield self.shared

    @method(timeout=0.5)
    async def short(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def call(self) -> str:
        return "called"

    async def relay(self, key: str, to: int) -> AsyncIterator[int]:
        async for item in self.cluster.grain(Source, key).count(to):
            yield item * 2


async def test_values_and_their_order(caller):
    cluster = await caller(Source)
    grain = cluster.grain(Source, "a")
    for to in (0, 1, 255, 256, 257, 3000):
        assert [item async for item in grain.count(to)] == list(range(to))
    assert [item async for item in grain.count(600, suspend=True)] == list(range(600))


async def test_two_streams_and_calls_at_once(caller):
    cluster = await caller(Source)
    grain = cluster.grain(Source, "a")
    one, two = grain.count(2000, suspend=True), grain.count(500)
    mixed = []
    async for item in one:
        mixed.append(item)
        if item == 5:
            assert await grain.call() == "called"
            assert [other async for other in two] == list(range(500))
    assert mixed == list(range(2000))


async def test_a_stalled_consumer_bounds_both_sides(caller, eventually):
    cluster = await caller(Source, rpc={"stream_window_items": 64})
    grain = cluster.grain(Source, "a")
    stream = grain.forever()
    assert await anext(stream) == 1
    source = caller.fleet.activation(Source, "a")
    await eventually(lambda: source.produced >= 64)
    for _ in range(200):
        await asyncio.sleep(0)
    assert source.produced <= 64
    taken = [await anext(stream) for _ in range(500)]
    assert taken == list(range(2, 502))
    for _ in range(200):
        await asyncio.sleep(0)
    assert source.produced <= 501 + 64
    await stream.aclose()


async def test_large_items_are_bounded_by_bytes(caller, eventually):
    window = 1 << 16
    cluster = await caller(Source, rpc={"stream_window_bytes": window})
    grain = cluster.grain(Source, "a")
    stream = grain.large(20_000, 300)
    assert len(await anext(stream)) == 20_000
    source = caller.fleet.activation(Source, "a")
    for _ in range(300):
        await asyncio.sleep(0)
    assert source.produced * 20_000 <= 4 * window
    rest = 0
    async for item in stream:
        rest += len(item)
    assert rest == 299 * 20_000


async def test_breaking_off_closes_the_generator(caller, eventually):
    cluster = await caller(Source)
    grain = cluster.grain(Source, "a")
    async for item in grain.forever():
        if item == 3:
            break
    source = caller.fleet.activation(Source, "a")
    await eventually(lambda: source.log == ["begin", "finally"])
    async with contextlib.aclosing(grain.silent()) as stream:
        waiting = asyncio.ensure_future(anext(stream))
        await eventually(lambda: source.log[-1] == "begin")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await eventually(lambda: source.log == ["begin", "finally"] * 2)
    assert await grain.call() == "called"


@pytest.mark.parametrize("steps", range(6))
async def test_giving_up_at_any_moment_leaves_nothing(caller, steps):
    cluster = await caller(Source)
    grain = cluster.grain(Source, "a")
    await grain.call()
    tasks = [asyncio.ensure_future(anext(grain.silent())) for _ in range(2)]
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await grain.call() == "called"


@pytest.mark.parametrize(
    ("what", "kind"),
    [("broken", Broken), ("value", ValueError), ("abort", RemoteError), ("cancelled", RuntimeError)],
)
@pytest.mark.parametrize("after", [0, 1, 300])
async def test_an_exception_comes_after_the_items(caller, what, kind, after):
    cluster = await caller(Source)
    grain = cluster.grain(Source, "a")
    got = []
    with pytest.raises(kind) as caught:
        async for item in grain.failing(after, what):
            got.append(item)
    assert type(caught.value) is kind
    assert got == list(range(after))


async def test_a_refusal_that_a_generator_met_is_not_tried_again(caller):
    cluster = await caller(Source)
    with pytest.raises(ShuttingDown) as caught:
        await anext(cluster.grain(Source, "a").failing(0, "refusal"))
    assert caught.value.maybe_executed


@pytest.mark.parametrize("after", [0, 5, 300])
async def test_an_item_without_encoding(caller, after):
    cluster = await caller(Source)
    grain = cluster.grain(Source, "a")
    got = []
    with pytest.raises(SerializationFailed, match="opaque"):
        async for item in grain.opaque(after):
            got.append(item)
    assert got == list(range(after))
    assert await grain.call() == "called"


async def test_an_item_that_breaks_its_annotation(caller):
    cluster = await caller(Source)
    with pytest.raises(inaho.SchemaMismatch, match="wrong"):
        await anext(cluster.grain(Source, "a").wrong())


async def test_an_item_over_the_limit(fleet):
    await fleet.member(Source, transport={"frame_bytes_max": 65536})
    client = await fleet.client(transport={"frame_bytes_max": 65536})
    grain = client.grain(Source, "a")
    with pytest.raises(FrameTooLarge, match="frame_bytes_max"):
        await anext(grain.large(70_000, 1))
    assert sum([len(item) async for item in grain.large(30_000, 50)]) == 30_000 * 50
    assert await grain.call() == "called"


async def test_items_are_not_shared(caller):
    cluster = await caller(Source)
    got = [item async for item in cluster.grain(Source, "a").sharing()]
    got[0].values.append(5)
    assert got[1].values == [1]
    assert caller.fleet.activation(Source, "a").shared.values == [1]


async def test_a_stream_that_is_not_iterated_costs_nothing(caller):
    cluster = await caller(Source)
    grain = cluster.grain(Source, "a")
    with pytest.raises(TypeError, match="count"):
        grain.count()  # type: ignore[call-arg]
    grain.count(5)
    assert await grain.call() == "called"
    assert caller.fleet.activation(Source, "a").log == []


async def test_a_stream_has_its_deadline(caller, eventually):
    cluster = await caller(Source)
    grain = cluster.grain(Source, "a")
    await grain.call()  # what follows begins in time, on a busy machine too
    got = []
    with pytest.raises(Timeout):
        async for item in grain.short():
            got.append(item)
    assert got == [1]
    with inaho.deadline(0.3), pytest.raises(Timeout):
        await anext(grain.silent())
    source = caller.fleet.activation(Source, "a")
    await eventually(lambda: source.log == ["begin", "finally"])


async def test_streams_through_another_grain(fleet):
    one, other = await fleet.members(2, Source)
    near, far = fleet.key_at(one, Source), fleet.key_at(other, Source)
    client = await fleet.client()
    assert [item async for item in client.grain(Source, near).relay(far, 700)] == [2 * number for number in range(700)]


class Brief(Source, idle_ttl_s=0.05): ...


async def test_an_activation_stays_while_it_streams(caller, eventually):
    cluster = await caller(Brief)
    grain = cluster.grain(Brief, "a")
    stream = grain.silent()
    first = asyncio.ensure_future(anext(stream))
    await eventually(lambda: (found := caller.fleet.activation(Brief, "a")) and found.log == ["begin"])
    source = caller.fleet.activation(Brief, "a")
    other = cluster.grain(Brief, "b")
    await other.call()
    await eventually(lambda: caller.fleet.activation(Brief, "b") is None)  # it was idle for as long
    assert caller.fleet.activation(Brief, "a") is source
    source.gate.set()
    assert await first == 1
    assert [item async for item in stream] == []
    await eventually(lambda: caller.fleet.activation(Brief, "a") is None)


callers: set[str] = set()


class Numbers(Grain):
    async def count_to(self, end: int) -> AsyncIterator[int]:
        for number in range(end):
            callers.add(sys._getframe(1).f_code.co_name)
            yield number


def test_nothing_of_python_is_between_a_stream_and_its_generator() -> None:
    with SimCluster(nodes=1, grains=[Numbers]) as sim:

        async def read_all() -> list[int]:
            return [number async for number in sim.node(0).grain(Numbers, "a").count_to(10)]

        assert sim.run(read_all()) == list(range(10))
    assert callers == {"_produce"}
