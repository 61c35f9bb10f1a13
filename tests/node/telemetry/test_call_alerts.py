"""Alerts about slow and failing calls, and expected exceptions, which are counted apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho import Grain
from inaho.config import AlertsConfig
from inaho.errors import ActivationFailed
from inaho.events import AlertCleared, AlertRaised
from support.metrics import Slow, Wallet, shown


@inaho.register_exception
class OutOfStockError(Exception):
    """A result that a shop expects."""


class LateError(inaho.GrainError):
    """Another one."""


class Shop(Grain):
    """Says no as it should."""

    async def buy(self) -> None:
        raise OutOfStockError("apple")

    async def wait(self) -> None:
        raise LateError(3)


async def test_slow_calls_raise_an_alert_that_ends_with_them(fleet: Any):
    alerts = AlertsConfig(window_s=1.0, window_slots=4, calls_min=5, latency_p99_s=0.05)
    cluster = await fleet.member(Slow, alerts=alerts)
    with cluster.system.events.subscribe(AlertRaised, AlertCleared) as events:
        slow = cluster.grain(Slow, "k")
        await asyncio.gather(*(cluster.grain(Slow, f"k{number}").lag(0.2) for number in range(10)))
        raised = await asyncio.wait_for(anext(events), 10)
        assert isinstance(raised, AlertRaised)
        assert (raised.kind, raised.measure, raised.threshold) == ("Slow", "latency_p99_s", 0.05)
        assert raised.figure > 0.1
        assert shown(cluster)["inaho.alerts.raised"] == {("Slow", "latency_p99_s"): 1}
        await slow.lag(0)
        cleared = await asyncio.wait_for(anext(events), 10)
        assert isinstance(cleared, AlertCleared)
        assert shown(cluster)["inaho.alerts.active"] == {}


async def test_failing_calls_raise_an_alert(fleet: Any):
    alerts = AlertsConfig(calls_min=5)
    cluster = await fleet.member(Wallet, alerts=alerts)
    with cluster.system.events.subscribe(AlertRaised) as events:
        for _ in range(5):
            with pytest.raises(ValueError, match="no"):
                await cluster.grain(Wallet, "k").refuse()
        raised = await asyncio.wait_for(anext(events), 10)
        assert (raised.measure, raised.figure, raised.threshold) == ("failure_ratio", 1.0, 0.01)


async def test_expected_exceptions_are_counted_apart_and_raise_no_alert(fleet: Any):
    alerts = AlertsConfig(calls_min=5)
    here, there = await fleet.members(2, Shop, alerts=alerts)
    with here.system.events.subscribe(AlertRaised) as events:
        for cluster in (here, there):
            shop = here.grain(Shop, fleet.key_at(cluster, Shop))
            for _ in range(5):
                with pytest.raises(OutOfStockError):
                    await shop.buy()
                with pytest.raises(LateError):
                    await shop.wait()
        figures = shown(here)
        counted = figures["inaho.rpc.client.exceptions"]
        assert counted["Shop", f"{__name__}.OutOfStockError"] == 10
        assert counted["Shop", f"{__name__}.LateError"] == 10
        assert sum(counted.values()) == 20
        assert sum(figures["inaho.rpc.client.failures"].values()) == 0
        here._metrics._look_due = 0.0
        here._metrics.tick(here._node.local.loop.time(), 0.0)
        assert here._metrics.counts.alerts.active == ()
        assert events.drain() == []


async def test_expected_exceptions_can_be_made_to_count(fleet: Any):
    cluster = await fleet.member(Shop, alerts=AlertsConfig(calls_min=5, count_registered=True))
    with cluster.system.events.subscribe(AlertRaised) as events:
        for _ in range(5):
            with pytest.raises(OutOfStockError):
                await cluster.grain(Shop, "k").buy()
        raised = await asyncio.wait_for(anext(events), 10)
    assert (raised.measure, raised.figure) == ("failure_ratio", 1.0)


class Closed(Grain):
    async def on_activate(self) -> None:
        raise OutOfStockError("no such shop")

    async def x(self) -> None: ...


async def test_an_expected_exception_that_leaves_on_activate_is_a_failure(fleet: Any):
    cluster = await fleet.member(Closed)
    with pytest.raises(ActivationFailed):
        await cluster.grain(Closed, "k").x()
    figures = shown(cluster)
    assert figures["inaho.rpc.client.failures"]["Closed", "activation_failed"] == 1
    assert sum(figures["inaho.rpc.client.exceptions"].values()) == 0
