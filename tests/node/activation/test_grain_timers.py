"""Timers of an activation: ticks are turns, they never pile up, and they end with the activation. In virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import Any

import pytest

from inaho import ActivationConfig, ClusterConfig, Grain, InvalidArguments, Overloaded, RpcConfig, Struct, method
from inaho.events import ActivationPassivated, ActivationTerminated, TimerFailed
from inaho.testing.cluster.sim_cluster import SimCluster

LOG: list[Any] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()


Start = Callable[..., SimCluster]


@pytest.fixture
def start() -> Generator[Start]:
    """One node, or more; its invariants hold to the end."""
    started: list[SimCluster] = []

    def begin(*grains: Any, nodes: int = 1, activation: dict[str, Any] | None = None) -> SimCluster:
        config = ClusterConfig(activation=ActivationConfig(**(activation or {})), rpc=RpcConfig(timeout_s=5.0))
        sim = SimCluster(nodes=nodes, grains=grains, config=config)
        sim.__enter__()
        started.append(sim)
        return sim

    yield begin
    for sim in started:
        sim.check()
        sim.__exit__(None, None, None)


def now() -> float:
    return asyncio.get_running_loop().time()


class Ticker(Grain):
    """Its timers write to LOG."""

    async def begin(self, interval_s: float | None = 1.0, first_s: float | None = None) -> None:
        self.began = now()
        self.mine = self.timer(self.tick, interval_s, "tick", first_s=first_s)

    async def tick(self, what: str) -> None:
        LOG.append((what, round(now() - self.began, 3)))

    async def slowly(self, seconds: float) -> None:
        LOG.append(("begin", round(now() - self.began, 3)))
        await asyncio.sleep(seconds)
        LOG.append(("end", round(now() - self.began, 3)))

    async def begin_slow(self, interval_s: float, seconds: float, timeout_s: float | None = None) -> None:
        self.began = now()
        self.mine = self.timer(self.slowly, interval_s, seconds, timeout_s=timeout_s)

    async def work(self, seconds: float) -> None:
        LOG.append("work")
        await asyncio.sleep(seconds)
        LOG.append("worked")

    async def cancel(self) -> bool:
        self.mine.cancel()
        self.mine.cancel()
        return self.mine.active

    async def end(self) -> None:
        self.deactivate()

    async def counts(self) -> tuple[int, int, int, bool]:
        return self.mine.ticks, self.mine.failures, self.mine.skipped, self.mine.active

    async def touch(self) -> None:
        """Does nothing, and makes an activation."""


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


class Failing(Grain, on_failure="stop"):
    async def begin(self) -> None:
        self.timer(self.fail, 1.0)

    async def fail(self) -> None:
        raise ValueError("no")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(reason)


class Enduring(Failing):
    """Keeps its state."""


def events(sim: SimCluster, kind: type[Any]) -> list[Any]:
    return [each.event for each in sim.events if type(each.event) is kind]


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


class Own(Grain):
    async def begin(self) -> None:
        self.mine = self.timer(self.tick, 1.0)

    async def tick(self) -> None:
        LOG.append("begin")
        self.mine.cancel()
        await asyncio.sleep(1.0)
        LOG.append("end")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(reason)

    async def end(self) -> None:
        self.deactivate()


def test_a_tick_may_cancel_its_own_timer_and_goes_on_to_its_end(start: Start):
    sim = start(Own)
    sim.run(sim.node(0).grain(Own, "a").begin())
    sim.run_for(10.0)
    assert LOG == ["begin", "end"]


@pytest.mark.parametrize("after_s", [0.5, 1.5])
def test_timers_end_with_their_activation_whatever_stands_in_its_queue(start: Start, after_s: float):
    """Requested while nothing waits, and while a tick waits behind a call."""
    sim = start(Ticker)
    grain = sim.node(0).grain(Ticker, "a")

    async def course() -> None:
        await grain.begin()
        busy = asyncio.ensure_future(grain.work(after_s))
        ended = asyncio.ensure_future(grain.end())
        await asyncio.gather(busy, ended)
        await grain.touch()

    sim.run(course())
    sim.run_for(10.0)
    ticks = [each for each in LOG if each not in ("work", "worked")]
    assert ticks == []
    assert len(sim.node(0)._node.hosts["Ticker"].timers) == 0


def test_a_requested_end_waits_for_the_tick_that_runs(start: Start):
    sim = start(Own)
    grain = sim.node(0).grain(Own, "a")
    sim.run(grain.begin())
    sim.run_for(1.5)
    sim.run(grain.end())
    sim.run_for(1.0)
    assert LOG == ["begin", "end", "requested"]


class AtTheEnd(Grain):
    async def on_deactivate(self, reason: str) -> None:
        timer = self.timer(LOG.append, 0.1, "ticked")
        LOG.append(timer.active)
        await asyncio.sleep(1.0)

    async def end(self) -> None:
        self.deactivate()


def test_a_timer_of_an_activation_that_ends_never_ticks(start: Start):
    sim = start(AtTheEnd)
    sim.run(sim.node(0).grain(AtTheEnd, "a").end())
    sim.run_for(3.0)
    assert LOG == [False]


class Brief(Grain, idle_ttl_s=2.0):
    async def begin(self, keep_alive: bool = False) -> None:
        self.timer(self.tick, 0.3, keep_alive=keep_alive)

    async def tick(self) -> None:
        LOG.append("tick")
        await asyncio.sleep(0.2)

    async def on_activate(self) -> None:
        LOG.append("active")


def test_ticks_do_not_keep_an_activation_from_being_unloaded(start: Start):
    sim = start(Brief)
    sim.run(sim.node(0).grain(Brief, "a").begin())
    sim.run_for(4.0)
    assert len(events(sim, ActivationPassivated)) == 1
    before = len(LOG)
    sim.run_for(4.0)
    assert len(LOG) == before


def test_a_timer_with_keep_alive_keeps_its_activation(start: Start):
    sim = start(Brief)
    sim.run(sim.node(0).grain(Brief, "a").begin(keep_alive=True))
    sim.run_for(20.0)
    assert events(sim, ActivationPassivated) == []
    assert LOG.count("active") == 1


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


class Counter(Struct):
    value: int = 0


class Moving(Grain[Counter]):
    async def begin(self) -> None:
        self.timer(self.tick, 1.0)

    async def tick(self) -> None:
        self.state.value += 1
        await self.save()

    async def value(self) -> int:
        return self.state.value


def test_a_timer_dies_with_the_activation_that_moves_and_with_its_node(start: Start):
    sim = start(Moving, nodes=3)
    grain = sim.node(0).grain(Moving, "a")
    sim.run(grain.begin())
    sim.run_for(3.5)
    assert sim.run(grain.value()) == 3
    owner = next(index for index in range(3) if "a" in sim.node(index)._node.hosts["Moving"].activations)
    other = (owner + 1) % 3
    sim.leave(owner)
    sim.run_for(10.0)
    assert sim.run(sim.node(other).grain(Moving, "a").value()) == 3
    sim.run(sim.node(other).grain(Moving, "a").begin())
    sim.run_for(2.5)
    owner = next(
        index for index in range(3) if sim.is_member(index) and "a" in sim.node(index)._node.hosts["Moving"].activations
    )
    other = next(index for index in range(3) if sim.is_member(index) and index != owner)
    sim.crash(owner)
    sim.run_for(10.0)
    assert sim.run(sim.node(other).grain(Moving, "a").value()) == 5


def test_a_paused_process_makes_up_for_no_ticks(start: Start):
    sim = start(Ticker)
    grain = sim.node(0).grain(Ticker, "a")
    sim.run(grain.begin())
    sim.run_for(1.5)
    sim.pause(0, 10.0)
    sim.run_for(10.9)
    assert LOG == [("tick", 1.0), ("tick", 11.5)]
