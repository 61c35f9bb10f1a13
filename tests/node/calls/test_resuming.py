"""`inaho.resuming`: streams are opened again when their activation moves or ends. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

import inaho
from inaho import Grain, InvalidConfig, OwnershipChanged, Timeout, Unreachable
from inaho.testing.cluster.sim_cluster import SimCluster

OPENED: list[str] = []


@pytest.fixture(autouse=True)
def empty() -> None:
    OPENED.clear()


class Ledger(Grain):
    async def watch(self, after: int = 0) -> AsyncIterator[int]:
        OPENED.append("watch")
        number = after
        while True:
            number += 1
            yield number
            await asyncio.sleep(0.1)

    async def silent(self) -> AsyncIterator[int]:
        OPENED.append("silent")
        await asyncio.sleep(3600.0)
        yield 1

    async def ending(self) -> AsyncIterator[int]:
        OPENED.append("ending")
        self.deactivate()
        await asyncio.sleep(3600.0)
        yield 1

    async def short(self) -> AsyncIterator[int]:
        OPENED.append("short")
        yield 1
        yield 2

    async def broken(self) -> AsyncIterator[int]:
        OPENED.append("broken")
        yield 1
        raise ValueError("broken off")

    async def stop(self) -> None:
        self.deactivate()


class Reader:
    """Reads one stream through `resuming`.

    Attributes:
        items: that came.
        error: with which it ended.
        over: it has ended.
    """

    def __init__(self) -> None:
        self.items: list[int] = []
        self.error: BaseException | None = None
        self.over = False

    async def start(self, open_stream: Callable[[], AsyncIterator[int]], **bounds: Any) -> None:
        """Reads from now on."""
        self._task = asyncio.ensure_future(self._read(open_stream, bounds))

    async def _read(self, open_stream: Callable[[], AsyncIterator[int]], bounds: dict[str, Any]) -> None:
        try:
            async for item in inaho.resuming(open_stream, **bounds):
                self.items.append(item)
        except Exception as error:
            self.error = error
        finally:
            self.over = True


def key_at(sim: SimCluster, index: int) -> str:
    """A key that this node owns."""
    leases = sim.node(index)._node.leases
    return next(key for key in map(str, range(1000)) if leases.owns("Ledger", key))


@pytest.mark.parametrize("how", ["stop", "leave", "crash", "block", "join"])
def test_a_stream_with_a_position_goes_on_without_a_gap_whatever_ends_its_activation(how: str):
    with SimCluster(nodes=3, seed=7, grains=[Ledger]) as sim:
        key = key_at(sim, 1)
        reference = sim.node(0).grain(Ledger, key)
        reader = Reader()
        sim.run(reader.start(lambda: reference.watch(reader.items[-1] if reader.items else 0)))
        sim.run_for(1.0)
        if how == "stop":
            sim.run(reference.stop())
        elif how == "leave":
            sim.leave(1)
        elif how == "crash":
            sim.crash(1)
        elif how == "block":
            sim.run(sim.node(0).block(sim.authority(1)))
        else:
            while sim.node(1)._node.leases.owns("Ledger", key):
                sim.add()
                sim.run_for(3.0)
        sim.run_for(30.0)
        before = len(reader.items)
        sim.run_for(2.0)
        assert reader.error is None and len(reader.items) >= before + 10
        assert reader.items == list(range(1, len(reader.items) + 1))
        assert OPENED.count("watch") >= 2


def test_without_it_the_error_names_it():
    with SimCluster(nodes=2, seed=1, grains=[Ledger]) as sim:

        async def read(key: str) -> str:
            items = sim.node(0).grain(Ledger, key).watch(0)
            await anext(items)
            if key == far:
                sim.crash(1)
            else:
                await sim.node(0).grain(Ledger, key).stop()
            with pytest.raises((OwnershipChanged, Unreachable)) as caught:
                async for _ in items:
                    pass
            return str(caught.value)

        far = key_at(sim, 1)
        assert "inaho.resuming" in sim.run(read(key_at(sim, 0)))
        assert "inaho.resuming" in sim.run(read(far))


def test_it_ends_where_the_generator_ends_and_raises_what_the_method_raises():
    with SimCluster(nodes=1, seed=1, grains=[Ledger]) as sim:
        short, broken = Reader(), Reader()
        sim.run(short.start(sim.node(0).grain(Ledger, "a").short))
        sim.run(broken.start(sim.node(0).grain(Ledger, "a").broken))
        sim.run_for(1.0)
        assert short.over and short.items == [1, 2] and short.error is None
        assert isinstance(broken.error, ValueError) and broken.items == [1]
        assert OPENED == ["short", "broken"]


def test_attempts_without_an_item_are_bounded():
    with SimCluster(nodes=1, seed=1, grains=[Ledger]) as sim:
        reader = Reader()
        sim.run(reader.start(sim.node(0).grain(Ledger, "a").ending, attempts=3))
        sim.run_for(60.0)
        assert isinstance(reader.error, OwnershipChanged) and reader.items == []
        assert OPENED == ["ending"] * 4


def test_a_stream_that_was_open_for_long_has_worked_though_it_gave_nothing():
    with SimCluster(nodes=1, seed=1, grains=[Ledger]) as sim:
        reference = sim.node(0).grain(Ledger, "a")
        reader = Reader()
        sim.run(reader.start(reference.silent, attempts=1, within_s=10.0))
        for _ in range(4):
            sim.run_for(20.0)
            sim.run(reference.stop())
        sim.run_for(1.0)
        assert not reader.over and OPENED == ["silent"] * 5
        sim.run(reference.stop())
        sim.run_for(1.0)
        assert isinstance(reader.error, OwnershipChanged)


def test_what_could_not_be_opened_is_not_tried_again():
    with SimCluster(nodes=1, seed=1, grains=[Ledger]) as sim:
        calls: list[int] = []

        async def refused() -> AsyncIterator[int]:
            calls.append(1)
            raise Unreachable("nobody is there", maybe_executed=False)
            yield 1

        async def late() -> AsyncIterator[int]:
            calls.append(2)
            raise Timeout("too long")
            yield 1

        for open_stream in (refused, late):
            reader = Reader()
            sim.run(reader.start(open_stream))
            sim.run_for(1.0)
            assert isinstance(reader.error, Unreachable | Timeout)
        assert calls == [1, 2]


def test_closing_it_closes_the_stream():
    with SimCluster(nodes=1, seed=1, grains=[Ledger]) as sim:

        async def read_one() -> int:
            async with aclosing(inaho.resuming(lambda: sim.node(0).grain(Ledger, "a").watch(0))) as items:
                return await anext(items)

        assert sim.run(read_one()) == 1
        sim.run_for(1.0)
        assert len(sim.node(0)._node.hosts["Ledger"].streams) == 0


@pytest.mark.parametrize("bounds", [{"attempts": 0}, {"within_s": 0.0}, {"within_s": float("nan")}])
def test_bounds_are_checked(bounds: dict[str, Any]):
    with SimCluster(nodes=1, seed=1, grains=[Ledger]) as sim:
        reader = Reader()
        sim.run(reader.start(sim.node(0).grain(Ledger, "a").short, **bounds))
        sim.run_for(0.1)
        assert isinstance(reader.error, InvalidConfig)
