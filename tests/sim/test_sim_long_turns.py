"""Turns that outlast a leave, or the move of their partition."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Grain, ShuttingDown, Struct
from inaho.testing import SimCluster


class Number(Struct):
    value: int = 0


class Long(Grain[Number]):
    """Its turns take as long as they are told."""

    async def work(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        self.state.value += 1
        await self.save()
        return self.state.value

    async def value(self) -> tuple[int, str]:
        return self.state.value, self.cluster.authority


class SlowEnd(Grain):
    """Its `on_deactivate` hangs."""

    async def on_deactivate(self, reason: str) -> None:
        await asyncio.sleep(500.0)

    async def hello(self) -> str:
        return "hello"


def key_at(sim: SimCluster, number: int, kind: str, prefix: str = "k") -> str:
    """A key whose owner is that node."""
    authority = sim.node(number).authority
    lookup = sim.node(number).runtime.topology.lookup
    return next(
        key for key in (f"{prefix}{n}" for n in range(10_000)) if lookup.owner(kind, key).authority == authority
    )


async def failure_of(call: Any) -> Exception:
    with pytest.raises(ShuttingDown) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("seed", range(2))
def test_a_leave_interrupts_turns_after_drain_s(seed: int) -> None:
    with SimCluster(nodes=3, seed=seed, grains=[Long, SlowEnd]) as sim:
        drain_s = sim.node(1).config.activation.drain_s
        key = key_at(sim, 1, "Long")

        async def leave() -> tuple[float, Exception]:
            ending = key_at(sim, 1, "SlowEnd")
            await sim.node(0).grain(SlowEnd, ending).hello()
            call = asyncio.ensure_future(sim.node(0).grain(Long, key, timeout=300.0).work(200.0))
            await asyncio.sleep(1.0)
            began = sim.time
            sim.leave(1)
            error = await failure_of(call)
            return sim.time - began, error

        took_s, error = sim.run(leave())
        assert drain_s <= took_s < drain_s + 0.5
        assert error.maybe_executed is True
        sim.run_for(10.0)
        assert sim.run(sim.node(0).grain(Long, key).value())[0] == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_call_behind_a_long_turn_that_moves_waits_until_its_own_deadline(seed: int) -> None:
    """Longer than `activation.lease_pending_s`; calls keep their order, and one with less time gets a `Timeout`."""
    with SimCluster(nodes=2, seed=seed, grains=[Long]) as sim:
        keys = [f"k{n}" for n in range(20)]

        async def begin() -> list[asyncio.Future[Any]]:
            calls = [asyncio.ensure_future(sim.node(0).grain(Long, key, timeout=300.0).work(100.0)) for key in keys]
            await asyncio.sleep(1.0)
            return calls

        running = sim.run(begin())
        sim.add()
        sim.wait_converged()
        third = sim.node(2).authority
        moved = [key for key in keys if sim.node(2).runtime.topology.lookup.owner("Long", key).authority == third]
        assert moved

        async def wait() -> list[Any]:
            waiting = [asyncio.ensure_future(sim.node(0).grain(Long, key, timeout=200.0).value()) for key in moved]
            short = await asyncio.gather(
                *(sim.node(1).grain(Long, key, timeout=45.0).value() for key in moved), return_exceptions=True
            )
            assert {type(error).__name__ for error in short} == {"Timeout"}
            assert {await call for call in running} == {1}
            return [await call for call in waiting]

        assert sim.run(wait()) == [(1, third)] * len(moved)
