"""The writer of a log: appends together, unknown outcomes, another keeper, room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho.errors import LogConflict, ShuttingDown, StorageFailed
from inaho.runtime.topic_logs.log_writer import LogWriter
from support.failing_logs import FailingLog, local_node, refused, unanswered

LOG = "orders/0"


class World:
    """One writer on a log that can fail."""

    def __init__(self) -> None:
        self.log = FailingLog()
        self.lost: list[LogConflict] = []
        self.stored: list[tuple[int, str]] = []
        self.writer: LogWriter

    async def begin(self, **bounds: Any) -> World:
        opened = await self.log.open_log(LOG, epoch=5)
        limits = {"records_max": 100, "bytes_max": 1000, "queue_bytes_max": 1000, **bounds}
        self.writer = LogWriter(local_node(), self.log, LOG, opened, lost=self.lost.append, **limits)
        return self

    def put(self, *records: str) -> asyncio.Future[int]:
        return self.writer.put(
            [record.encode() for record in records], lambda offset: self.stored.append((offset, records[0]))
        )

    async def content(self) -> list[str]:
        return [each.data.decode() for each in await self.log.read(LOG, self.writer.first, records_max=1000)]


async def world(**bounds: Any) -> World:
    return await World().begin(**bounds)


async def test_what_waits_is_appended_together_and_each_gets_its_offset():
    it = await world()
    it.log.gate.clear()
    first = [it.put("a"), it.put("b", "c")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [it.put(str(number)) for number in range(5)]
    it.log.gate.set()
    assert await asyncio.gather(*first) == [0, 1]
    assert await asyncio.gather(*later) == [3, 4, 5, 6, 7]
    assert it.log.sizes == [3, 5]
    assert await it.content() == ["a", "b", "c", "0", "1", "2", "3", "4"]
    assert it.stored == [(0, "a"), (1, "b"), (3, "0"), (4, "1"), (5, "2"), (6, "3"), (7, "4")]
    assert it.writer.end == 8 and not it.writer.busy


async def test_an_append_stays_within_its_bounds_and_a_put_is_never_split():
    it = await world(records_max=4, bytes_max=10)
    puts = [it.put("1", "2", "3"), it.put("4"), it.put("5"), it.put("x" * 9), it.put("y" * 30), it.put(*"abcdef")]
    assert await asyncio.gather(*puts) == [0, 3, 4, 5, 6, 7]
    assert it.log.sizes == [4, 2, 1, 6]


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("open_failures", [0, 2])
async def test_an_append_with_an_unknown_outcome_is_looked_up(commits: bool, open_failures: int):
    it = await world()
    it.log.commits, it.log.open_failures = commits, open_failures
    it.log.outcomes.append(unanswered())
    unknown, later = it.put("a"), None
    for _ in range(3):
        await asyncio.sleep(0)
    later = it.put("b")
    if commits:
        assert await unknown == 0 and await later == 1
        assert await it.content() == ["a", "b"]
        assert it.stored == [(0, "a"), (1, "b")]
    else:
        with pytest.raises(StorageFailed) as caught:
            await unknown
        assert not caught.value.maybe_executed
        assert await later == 0
        assert await it.content() == ["b"]
        assert it.stored == [(0, "b")]


async def test_a_refused_append_fails_those_in_it_and_nobody_else():
    it = await world()
    it.log.outcomes.append(refused())
    one, other = it.put("a"), it.put("b")
    for each in (one, other):
        with pytest.raises(StorageFailed):
            await each
    assert await it.put("c") == 0
    assert it.stored == [(0, "c")]


@pytest.mark.parametrize("how", ["append", "look up", "trim"])
async def test_a_newer_keeper_ends_the_writer(how: str):
    it = await world()
    assert await it.put("a") == 0
    await it.log.open_log(LOG, epoch=6)
    if how == "look up":
        it.log.commits = False
        it.log.outcomes.append(unanswered())
    if how == "trim":
        with pytest.raises(LogConflict):
            await it.writer.trim(1)
    else:
        with pytest.raises(LogConflict):
            await it.put("b")
    assert len(it.lost) == 1
    with pytest.raises(LogConflict):
        await it.put("c")
    with pytest.raises(LogConflict):
        await it.writer.room()
    assert await it.content() == ["a"]
    assert it.stored == [(0, "a")]


async def test_room_waits_for_the_queue():
    it = await world(queue_bytes_max=10)
    it.log.gate.clear()
    await it.writer.room()
    it.put("a")
    for _ in range(3):
        await asyncio.sleep(0)
    it.put("x" * 10)
    waiting = asyncio.ensure_future(it.writer.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    it.log.gate.set()
    await asyncio.wait_for(waiting, 10)


async def test_a_closed_writer_refuses_what_waits_and_ends_the_append_under_way():
    it = await world()
    it.log.gate.clear()
    under_way = it.put("a")
    for _ in range(3):
        await asyncio.sleep(0)
    waiting = it.put("b")
    it.writer.close(ShuttingDown("the keeper ends"))
    with pytest.raises(ShuttingDown):
        await waiting
    it.log.gate.set()
    assert await under_way == 0
    await it.writer.finished()
    with pytest.raises(ShuttingDown):
        await it.put("c")
    assert await it.content() == ["a"]


async def test_a_caller_that_gives_up_takes_nothing_with_it():
    it = await world()
    it.log.gate.clear()
    future = it.put("a")

    async def call() -> int:
        return await asyncio.shield(future)

    caller = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    caller.cancel()
    it.log.gate.set()
    assert await future == 0
    assert it.stored == [(0, "a")]


async def test_a_trim_removes_what_is_before_and_never_twice():
    it = await world()
    await it.put("a", "b")
    await it.put("c")
    await it.writer.trim(2)
    await it.writer.trim(1)
    assert it.writer.first == 2 and await it.content() == ["c"]
