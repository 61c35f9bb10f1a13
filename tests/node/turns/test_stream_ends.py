"""How streams end with their activation, when neither their consumer nor their generator ends them. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inaho import Grain, MemoryStorage, OwnershipChanged, SerializationFailed, StorageFailed
from inaho.runtime.grains.activation import CURRENT
from inaho.testing.cluster.sim_cluster import SimCluster
from support.streams import LOG, PLACES, Consumer, Ticker, follow, key_at


@pytest.fixture(autouse=True)
def empty() -> None:
    LOG.clear()


class Failing(Ticker, on_failure="stop"): ...


class Resetting(Ticker, on_failure="reset"): ...


@PLACES
def test_a_stream_ends_before_its_activation_and_its_consumer_hears_why(place: int):
    with SimCluster(nodes=2, seed=1, grains=[Ticker]) as sim:
        key = key_at(sim, place, Ticker)
        consumer = follow(sim, Ticker, key)
        grain = sim.node(0).grain(Ticker, key)
        sim.run(grain.stop())
        sim.run_for(1.0)
        assert isinstance(consumer.error, OwnershipChanged) and consumer.error.maybe_executed
        assert "requested" in consumer.error.reason and f"Ticker/{key}" in str(consumer.error)
        assert LOG[-2:] == ["closed", "requested"]
        assert sim.run(grain.add()) == 1


@PLACES
def test_a_stream_that_waits_for_its_consumer_ends_too(place: int):
    with SimCluster(nodes=2, seed=1, grains=[Ticker]) as sim:
        key = key_at(sim, place, Ticker)
        consumer = follow(sim, Ticker, key, "steadily", pause_s=0.01)
        sim.run(sim.node(0).grain(Ticker, key).stop())
        sim.run_for(0.1)
        assert LOG == ["closed", "requested"] and not consumer.over
        sim.run_for(60.0)  # what has been yielded is still given out
        assert isinstance(consumer.error, OwnershipChanged)


def test_a_stream_lives_as_long_as_a_turn_that_runs():
    with SimCluster(nodes=1, seed=1, grains=[Ticker]) as sim:
        consumer = follow(sim, Ticker, "a")
        sim.run(sim.node(0).grain(Ticker, "a").long())
        sim.run_for(1.0)
        assert len(consumer.items) == 6
        assert isinstance(consumer.error, OwnershipChanged)
        assert LOG == ["begun", "closed", "requested"]


def test_a_turn_whose_failure_ends_the_activation_ends_its_streams():
    with SimCluster(nodes=1, seed=1, grains=[Failing]) as sim:
        consumer = follow(sim, Failing, "a")
        with pytest.raises(ValueError, match="no"):
            sim.run(sim.node(0).grain(Failing, "a").fail())
        sim.run_for(1.0)
        assert isinstance(consumer.error, OwnershipChanged) and set(consumer.items) == {0}
        assert LOG == ["begun", "closed", "failed"]


class NoLoads(MemoryStorage):
    """Does not load while told so."""

    broken = False

    async def load(self, identity: Any) -> Any:
        if self.broken:
            raise StorageFailed("not now")
        return await super().load(identity)


def test_an_activation_that_cannot_be_reset_ends_with_its_streams():
    storage = NoLoads()
    with SimCluster(nodes=1, seed=1, grains=[Resetting], storage=storage) as sim:
        consumer = follow(sim, Resetting, "a")
        storage.broken = True
        with pytest.raises(ValueError, match="no"):
            sim.run(sim.node(0).grain(Resetting, "a").fail())
        sim.run_for(1.0)
        assert isinstance(consumer.error, OwnershipChanged) and consumer.error.maybe_executed
        assert LOG == ["begun", "closed", "failed"]


def test_a_stream_may_end_the_activation_that_it_reads():
    with SimCluster(nodes=1, seed=1, grains=[Ticker]) as sim:
        consumer = follow(sim, Ticker, "a", "once")
        sim.run_for(5.0)
        assert consumer.items == [1] and isinstance(consumer.error, OwnershipChanged)
        assert LOG == ["requested"]


class SlowStorage(MemoryStorage):
    """Takes 100 ms per write, and 100 ms more to say so."""

    async def _write(self, *arguments: Any, **named: Any) -> int:
        await asyncio.sleep(0.1)
        version = await super()._write(*arguments, **named)
        await asyncio.sleep(0.1)
        return version


@pytest.mark.parametrize("later_s", [0.0, 0.05, 0.1, 0.15, 0.2])
def test_what_a_stream_is_saving_is_saved_and_told_before_the_activation_ends(later_s: float):
    with SimCluster(nodes=1, seed=1, grains=[Ticker], storage=SlowStorage()) as sim:
        consumer = follow(sim, Ticker, "a", "saving")
        sim.run_for(later_s)
        grain = sim.node(0).grain(Ticker, "a")
        sim.run(grain.stop())
        sim.run_for(1.0)
        assert isinstance(consumer.error, OwnershipChanged)
        assert sim.run(grain.add()) == consumer.items[-1] + 1


@PLACES
def test_a_generator_that_does_not_end_holds_up_the_end_for_seconds_only(place: int):
    with SimCluster(nodes=2, seed=1, grains=[Ticker]) as sim:
        key = key_at(sim, place, Ticker)
        consumer = follow(sim, Ticker, key, "hanging")
        sim.run(sim.node(0).grain(Ticker, key).stop())
        sim.run_for(1.0)
        assert isinstance(consumer.error, OwnershipChanged)
        assert LOG == ["closing"]
        sim.run_for(9.0)
        assert LOG == ["closing", "requested"]
        assert sim.run(sim.node(0).grain(Ticker, key).add()) == 1


def test_a_generator_that_catches_its_cancellation_is_closed_when_it_yields():
    with SimCluster(nodes=1, seed=1, grains=[Ticker]) as sim:
        consumer = follow(sim, Ticker, "a", "stubborn")
        sim.run(sim.node(0).grain(Ticker, "a").stop())
        sim.run_for(1.0)
        assert consumer.items == [1] and isinstance(consumer.error, OwnershipChanged)
        assert LOG == ["caught", "requested"]
        assert not len(sim.node(0)._node.hosts["Ticker"].streams)


class Brief(Ticker, idle_ttl_s=20.0): ...


def test_the_stream_of_a_former_activation_does_not_keep_its_successor_up():
    with SimCluster(nodes=1, seed=1, grains=[Brief]) as sim:
        consumer = follow(sim, Brief, "a", "deaf")
        grain = sim.node(0).grain(Brief, "a")
        sim.run(grain.stop())
        sim.run_for(10.0)
        assert consumer.items == [1] and isinstance(consumer.error, OwnershipChanged)
        assert LOG == ["caught", "requested", "caught"]
        sim.run(grain.add())
        sim.run_for(60.0)
        assert LOG[3:] == ["idle"]
        LOG.append("enough")
        sim.run_for(6.0)
        assert not len(sim.node(0)._node.hosts["Brief"].streams)


def test_an_activation_is_not_idle_while_it_streams():
    with SimCluster(nodes=1, seed=1, grains=[Brief]) as sim:
        consumer = follow(sim, Brief, "a")
        sim.run_for(100.0)
        assert not consumer.over and LOG == ["begun"]


class Feed(Grain, on_failure="stop"):
    """Yields things that come seldom, and begins more than it yields."""

    async def news(self) -> AsyncIterator[Any]:
        try:
            yield 1
            await asyncio.sleep(0.1)
            yield object()
            await asyncio.sleep(3600.0)
        finally:
            LOG.append("closed")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(reason)

    async def beginning_a_task(self) -> AsyncIterator[int]:
        async def lasting() -> None:
            while True:
                scope = CURRENT.get()
                LOG.append("none" if scope is None or scope.over else "inherits")
                await asyncio.sleep(1.0)

        self._task = asyncio.ensure_future(lasting())
        await asyncio.sleep(0)
        yield 1


@PLACES
def test_an_item_without_encoding_is_told_at_once_though_the_next_one_comes_in_an_hour(place: int):
    with SimCluster(nodes=2, seed=1, grains=[Feed]) as sim:
        consumer = Consumer(sim.node(0).grain(Feed, key_at(sim, place, Feed)).news())
        sim.run(consumer.start())
        sim.run_for(1.0)
        assert consumer.items == [1]
        assert isinstance(consumer.error, SerializationFailed) and consumer.error.maybe_executed
        assert LOG == ["closed", "failed"]


def test_a_task_that_a_stream_began_inherits_nothing_when_the_stream_has_ended():
    with SimCluster(nodes=1, seed=1, grains=[Feed]) as sim:
        consumer = Consumer(sim.node(0).grain(Feed, "a").beginning_a_task())
        sim.run(consumer.start())
        sim.run_for(1.5)
        assert consumer.items == [1]
        assert LOG == ["inherits", "none"]
