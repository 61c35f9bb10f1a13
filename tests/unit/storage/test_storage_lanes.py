"""Lanes gather what arrives together, keep the order, and leave nobody waiting for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from inaho.config import StorageConfig
from inaho.errors import InahoError, StateConflict, StorageFailed
from inaho.storage.server_queue import Lanes


class EchoLane:
    """Answers with the request, when it is let."""

    def __init__(self, way: asyncio.Event, batches: list[list[str]]) -> None:
        self.closed = False
        self._way = way
        self._batches = batches

    async def serve(self, batch: Sequence[str]) -> list[str | InahoError]:
        self._batches.append(list(batch))
        await self._way.wait()
        if "fault" in batch:
            raise ZeroDivisionError("a fault of ours")
        return [StateConflict("no") if request == "conflict" else request for request in batch]

    async def close(self) -> None:
        self.closed = True


class Bench:
    """Lanes with all that they made."""

    def __init__(self, lanes_max: int = 2, batch: int = 100, config: StorageConfig | None = None) -> None:
        self.way = asyncio.Event()
        self.batches: list[list[str]] = []
        self.made: list[EchoLane] = []
        self.lanes = Lanes[str, str](
            "bench", self._make, config or StorageConfig(), lanes_max=lanes_max, batch_requests_max=batch
        )

    def _make(self) -> EchoLane:
        self.made.append(EchoLane(self.way, self.batches))
        return self.made[-1]

    def send(self, *requests: str, size: int = 1) -> list[asyncio.Future[str]]:
        return [asyncio.ensure_future(self.lanes.submit(request, request, size)) for request in requests]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_arrives_together_leaves_together_and_the_rest_gathers() -> None:
    bench = Bench(lanes_max=1)
    first = bench.send("a", "b", "c")
    await turns()
    second = bench.send("d")
    await turns()
    second += bench.send("e")
    await turns()
    assert bench.batches == [["a", "b", "c"]]
    bench.way.set()
    assert await asyncio.gather(*first, *second) == ["a", "b", "c", "d", "e"]
    assert bench.batches == [["a", "b", "c"], ["d", "e"]]
    await bench.lanes.stop()
    assert len(bench.made) == 1
    assert bench.made[0].closed


async def test_lanes_are_made_at_need_and_no_more_than_allowed() -> None:
    bench = Bench(lanes_max=2, batch=2)
    requests = bench.send(*"abcdefg")
    await turns()
    assert bench.batches == [["a", "b"], ["c", "d"]]
    bench.way.set()
    assert await asyncio.gather(*requests) == list("abcdefg")
    assert len(bench.made) == 2
    bench.send("h")[0].cancel()
    await bench.lanes.stop()


async def test_batches_are_bounded_in_bytes() -> None:
    bench = Bench(lanes_max=1, config=StorageConfig(batch_bytes_max=10))
    bench.way.set()
    await asyncio.gather(*bench.send(*"abcde", size=6))
    assert bench.batches == [["a", "b"], ["c", "d"], ["e"]]
    await bench.lanes.stop()


async def test_outcomes_go_to_their_requests_and_faults_to_all() -> None:
    bench = Bench()
    bench.way.set()
    good, bad = bench.send("good", "conflict")
    assert await good == "good"
    with pytest.raises(StateConflict):
        await bad
    for request in bench.send("x", "fault"):
        with pytest.raises(StorageFailed, match="a fault of ours") as caught:
            await request
        assert caught.value.maybe_executed
    assert await bench.send("after")[0] == "after"
    assert bench.lanes.queued == 0
    await bench.lanes.stop()


async def test_cancelled_before_it_begins_it_does_not_begin_and_later_it_ends() -> None:
    bench = Bench(lanes_max=1)
    begun, waiting = bench.send("begun")[0], None
    await turns()
    waiting = bench.send("waiting")[0]
    await turns()
    begun.cancel()
    waiting.cancel()
    settled = [asyncio.ensure_future(bench.lanes.settled(key)) for key in ("begun", "waiting", "other")]
    await turns()
    assert [each.done() for each in settled] == [False, False, True]
    bench.way.set()
    await asyncio.gather(*settled)
    assert bench.batches == [["begun"]]
    await bench.lanes.stop()


async def test_a_request_that_finds_no_lane_in_time_fails_and_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    bench = Bench(lanes_max=1, config=StorageConfig(operation_timeout_s=1.0, queue_requests_max=3))
    requests = bench.send("slow", "x", "y", "z")
    late = bench.send("late")
    await turns()
    now = 2.0  # all of them are older than they may be
    bench.way.set()
    outcomes = await asyncio.gather(*requests, *late, return_exceptions=True)
    assert outcomes[:3] == ["slow", "x", "y"], "these had begun"
    for outcome in outcomes[3:]:
        assert isinstance(outcome, StorageFailed)
        assert "operation_timeout_s" in outcome.reason
        assert not outcome.maybe_executed
    await bench.lanes.stop()


async def test_stop_serves_what_was_accepted_and_refuses_the_rest() -> None:
    bench = Bench(lanes_max=1, config=StorageConfig(queue_requests_max=2))
    accepted = bench.send("a", "b")
    waiting = bench.send("c")
    await asyncio.sleep(0)
    stopping = asyncio.ensure_future(bench.lanes.stop())
    with pytest.raises(StorageFailed, match="closed"):
        await waiting[0]
    assert not stopping.done()
    bench.way.set()
    await stopping
    assert await asyncio.gather(*accepted) == ["a", "b"]
    with pytest.raises(StorageFailed, match="closed"):
        await bench.lanes.submit("d", "d", 1)
    assert all(lane.closed for lane in bench.made)
