"""Timers end with their activation, and do not keep it from its end unless they are told to. In virtual time."""

from __future__ import annotations

import asyncio

import pytest

from inaho import Grain, Struct
from inaho.events import ActivationPassivated
from support.timers import LOG, Own, Start, Ticker, events


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()


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
