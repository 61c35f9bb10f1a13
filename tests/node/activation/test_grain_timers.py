"""Timers of an activation: when they tick, that ticks are turns and never pile up. In virtual time."""

from __future__ import annotations

import asyncio

import pytest

from inaho import Grain, InvalidArguments, Overloaded, method
from support.timers import LOG, Own, Start, Ticker, now


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()


def test_a_timer_ticks_again_and_again_until_it_is_cancelled(start: Start):
    sim = start(Ticker)
    grain = sim.node(0).grain(Ticker, "a")
    sim.run(grain.begin(1.0, first_s=0.25))
    sim.run_for(3.0)
    assert LOG == [("tick", 0.25), ("tick", 1.25), ("tick", 2.25)]
    assert sim.run(grain.cancel()) is False
    sim.run_for(5.0)
    assert len(LOG) == 3
    assert sim.run(grain.counts()) == (3, 0, 0, False)


def test_a_timer_without_interval_ticks_once(start: Start):
    sim = start(Ticker)
    grain = sim.node(0).grain(Ticker, "a")
    sim.run(grain.begin(None, first_s=0.0))
    sim.run_for(5.0)
    assert LOG == [("tick", 0.0)]
    assert sim.run(grain.counts()) == (1, 0, 0, False)


def test_the_next_tick_is_counted_from_the_end_of_the_last(start: Start):
    sim = start(Ticker)
    sim.run(sim.node(0).grain(Ticker, "a").begin_slow(1.0, 2.5))
    sim.run_for(8.5)
    assert LOG == [("begin", 1.0), ("end", 3.5), ("begin", 4.5), ("end", 7.0), ("begin", 8.0)]


def test_ticks_and_calls_run_one_after_the_other_in_the_order_in_which_they_came(start: Start):
    sim = start(Ticker)
    grain = sim.node(0).grain(Ticker, "a")

    async def course() -> None:
        await grain.begin_slow(1.0, 2.0)
        first = asyncio.ensure_future(grain.work(1.5))
        await asyncio.sleep(1.2)  # the tick is due and waits
        second = asyncio.ensure_future(grain.work(0.1))
        await asyncio.gather(first, second)

    sim.run(course())
    assert LOG == ["work", "worked", ("begin", 1.5), ("end", 3.5), "work", "worked"]


class Asking(Grain):
    async def begin(self) -> None:
        self.timer(self.look, 1.0, None)
        self.timer("ask", 1.0, "b")

    async def look(self, other: str | None) -> None:
        context = self.context
        LOG.append((context.caller, context.caller_authority, round(context.deadline - now(), 3), context.epoch > 0))

    async def ask(self, other: str) -> None:
        await self.cluster.grain(Asking, other).asked()

    async def asked(self) -> None:
        LOG.append(str(self.context.caller))


def test_a_tick_has_the_context_of_a_turn_and_calls_in_the_name_of_its_grain(start: Start):
    sim = start(Asking)
    sim.run(sim.node(0).grain(Asking, "a").begin())
    sim.run_for(1.5)
    assert [(None, sim.authority(0), 5.0, True), "Asking/a"] == LOG


def test_a_waiting_tick_that_is_cancelled_does_not_run_and_a_running_one_ends(start: Start):
    sim = start(Ticker)
    grain = sim.node(0).grain(Ticker, "a")

    async def waiting() -> None:
        await grain.begin()
        busy = asyncio.ensure_future(grain.work(2.0))
        await asyncio.sleep(0.5)
        cancelled = asyncio.ensure_future(grain.cancel())  # before the tick, which comes at 1.0
        await asyncio.gather(busy, cancelled)

    sim.run(waiting())
    sim.run_for(3.0)
    assert LOG == ["work", "worked"]


def test_a_tick_may_cancel_its_own_timer_and_goes_on_to_its_end(start: Start):
    sim = start(Own)
    sim.run(sim.node(0).grain(Own, "a").begin())
    sim.run_for(10.0)
    assert LOG == ["begin", "end"]


class Many(Grain):
    async def begin(self, count: int) -> int:
        for _ in range(count):
            self.timer(self._tick, 100.0)
        return count

    def _tick(self) -> None:
        LOG.append("tick")

    async def wrong(self, what: str) -> None:
        if what == "name":
            self.timer("absent", 1.0)
        elif what == "interval":
            self.timer(self._tick, 0.0)
        elif what == "nan":
            self.timer(self._tick, float("nan"))
        elif what == "first":
            self.timer(self._tick, 1.0, first_s=-1.0)
        elif what == "timeout":
            self.timer(self._tick, 1.0, timeout_s=0.0)
        else:
            self.timer(self._tick, None)


def test_the_timers_of_an_activation_are_bounded(start: Start):
    sim = start(Many, activation={"timers_max": 3})
    grain = sim.node(0).grain(Many, "a")
    assert sim.run(grain.begin(3)) == 3
    with pytest.raises(Overloaded, match="timers_max"):
        sim.run(grain.begin(1))
    assert sim.run(sim.node(0).grain(Many, "b").begin(3)) == 3
    sim.run_for(101.0)
    assert LOG == ["tick"] * 6  # callbacks that are no coroutines


@pytest.mark.parametrize(
    ("what", "match"),
    [
        ("name", "absent"),
        ("interval", "interval_s"),
        ("nan", "interval_s"),
        ("first", "first_s"),
        ("timeout", "timeout_s"),
        ("neither", "needs first_s"),
    ],
)
def test_a_timer_that_cannot_be_is_refused_with_the_reason(start: Start, what: str, match: str):
    sim = start(Many)
    with pytest.raises(InvalidArguments, match=match):
        sim.run(sim.node(0).grain(Many, "a").wrong(what))


class TooSoon(Grain):
    def __init__(self) -> None:
        self.timer(LOG.append, 1.0, "tick")

    async def touch(self) -> None: ...


def test_a_timer_in_the_constructor_says_where_it_belongs(start: Start):
    sim = start(TooSoon)
    with pytest.raises(Exception, match="on_activate"):
        sim.run(sim.node(0).grain(TooSoon, "a").touch())


class Readers(Grain):
    async def begin(self) -> None:
        self.timer(self.look, 1.0)

    @method(read_only=True)
    async def look(self) -> None:
        LOG.append("begin")
        await asyncio.sleep(1.0)
        LOG.append("end")


def test_ticks_of_a_read_only_method_run_beside_readers(start: Start):
    sim = start(Readers)
    grain = sim.node(0).grain(Readers, "a")
    sim.run(grain.begin())
    sim.run_for(0.5)
    sim.run(grain.look())
    sim.run_for(0.6)
    assert LOG == ["begin", "begin", "end", "end"]


def test_a_paused_process_makes_up_for_no_ticks(start: Start):
    sim = start(Ticker)
    grain = sim.node(0).grain(Ticker, "a")
    sim.run(grain.begin())
    sim.run_for(1.5)
    sim.pause(0, 10.0)
    sim.run_for(10.9)
    assert LOG == [("tick", 1.0), ("tick", 11.5)]
