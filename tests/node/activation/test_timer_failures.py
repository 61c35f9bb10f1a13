"""Ticks that fail, are interrupted, or are skipped because no turn was free. In virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from inaho import Grain
from inaho.events import ActivationTerminated, TimerFailed
from support.timers import LOG, Start, Ticker, events


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()


class Failing(Grain, on_failure="stop"):
    async def begin(self) -> None:
        self.timer(self.fail, 1.0)

    async def fail(self) -> None:
        raise ValueError("no")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(reason)


class Enduring(Failing):
    """Keeps its state."""


def test_a_tick_that_raises_is_logged_and_an_event_and_the_timer_goes_on(
    start: Start, caplog: pytest.LogCaptureFixture
):
    sim = start(Enduring)
    with caplog.at_level(logging.WARNING, "inaho.node"):
        sim.run(sim.node(0).grain(Enduring, "a").begin())
        sim.run_for(3.5)
    failed = events(sim, TimerFailed)
    assert [(str(each.identity), each.timer, each.reason) for each in failed] == [
        ("Enduring/a", "fail", "ValueError: no")
    ] * 3
    told = [record for record in caplog.records if "timer fail" in record.message]
    assert len(told) == 3 and all(record.exc_info for record in told)


class Cancelled(Grain):
    """Its ticks wait for a Task that is cancelled, in their first step or later."""

    async def begin(self, pause_s: float | None) -> None:
        self.timer(self.wait, 1.0, pause_s)

    async def wait(self, pause_s: float | None) -> None:
        if pause_s is None:
            raise asyncio.CancelledError
        task = asyncio.ensure_future(asyncio.sleep(60.0))
        await asyncio.sleep(pause_s)
        task.cancel()
        await task


@pytest.mark.parametrize("pause_s", [None, 0.0, 0.1])
def test_a_tick_whose_cancellation_is_its_own_is_told(
    start: Start, caplog: pytest.LogCaptureFixture, pause_s: float | None
):
    sim = start(Cancelled)
    with caplog.at_level(logging.WARNING, "inaho.node"):
        sim.run(sim.node(0).grain(Cancelled, "a").begin(pause_s))
        sim.run_for(1.5)
    assert [(each.timer, each.reason) for each in events(sim, TimerFailed)] == [("wait", "CancelledError")]
    assert sum("timer wait" in record.message for record in caplog.records) == 1


def test_a_tick_that_the_end_of_its_node_interrupts_is_not_told(start: Start, caplog: pytest.LogCaptureFixture):
    sim = start(Ticker)
    with caplog.at_level(logging.WARNING, "inaho.node"):
        sim.run(sim.node(0).grain(Ticker, "a").begin_slow(1.0, 600.0, timeout_s=900.0))
        sim.run_for(1.5)
        assert LOG == [("begin", 1.0)]
        sim.leave(0)
    assert not events(sim, TimerFailed)
    assert not any("timer slowly" in record.message for record in caplog.records)


def test_a_tick_that_raises_meets_the_failure_policy(start: Start):
    sim = start(Failing)
    sim.run(sim.node(0).grain(Failing, "a").begin())
    sim.run_for(5.0)
    assert LOG == ["failed"]
    assert [each.reason for each in events(sim, ActivationTerminated)] == ["failed"]
    assert len(events(sim, TimerFailed)) == 1


def test_a_tick_is_interrupted_at_its_deadline(start: Start):
    sim = start(Ticker)
    grain = sim.node(0).grain(Ticker, "a")
    sim.run(grain.begin_slow(1.0, 60.0, timeout_s=0.5))
    sim.run_for(3.2)
    assert LOG == [("begin", 1.0), ("begin", 2.5)]
    assert [each.reason for each in events(sim, TimerFailed)] == ["interrupted after 0.5 s"] * 2
    assert sim.run(grain.counts()) == (2, 2, 0, True)


def test_a_tick_that_finds_no_turn_until_its_deadline_is_skipped(start: Start):
    sim = start(Ticker)
    grain = sim.node(0).grain(Ticker, "a")
    sim.run(grain.begin_slow(1.0, 0.0, timeout_s=0.5))
    sim.run(grain.work(2.0))
    assert LOG == ["work", "worked"]
    sim.run_for(0.6)  # the first waited from 1.0 to 1.5; the next comes a second later
    assert LOG[2:] == [("begin", 2.5), ("end", 2.5)]
    assert sim.run(grain.counts()) == (1, 0, 1, True)


def test_a_tick_that_a_full_queue_refuses_is_skipped(start: Start):
    sim = start(Ticker, activation={"queue_depth": 1})
    grain = sim.node(0).grain(Ticker, "a")

    async def course() -> None:
        await grain.begin()
        await asyncio.gather(grain.work(1.5), grain.work(0.0))

    sim.run(course())
    assert LOG == ["work", "worked", "work", "worked"]
    sim.run_for(1.0)
    assert LOG[4:] == [("tick", 2.0)]
    assert sim.run(grain.counts()) == (1, 0, 1, True)


def test_the_oldest_is_dropped_even_if_it_is_a_tick(start: Start):
    sim = start(Ticker, activation={"queue_depth": 1, "queue_policy": "drop_oldest"})
    grain = sim.node(0).grain(Ticker, "a")

    async def course() -> None:
        await grain.begin()
        busy = asyncio.ensure_future(grain.work(2.0))
        await asyncio.sleep(1.5)
        await asyncio.gather(busy, grain.work(0.0))

    sim.run(course())
    assert LOG == ["work", "worked", "work", "worked"]
    sim.run_for(1.0)
    assert LOG[4:] == [("tick", 2.5)]
