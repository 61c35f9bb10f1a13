"""Activations that live are kept from Python's collector; those that have ended, and stopped nodes, are not."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pytest

import inaho
from inaho import ActivationConfig, ClusterConfig, Grain
from inaho.testing import SimCluster


class Circular(Grain):
    """Makes circles, as user code does: of its state, and with itself."""

    def __init__(self) -> None:
        self.itself = self
        self.helper = [self.ping]

    async def ping(self) -> int:
        return 1

    async def end(self) -> None:
        self.deactivate()


class Failing(Grain):
    def __init__(self) -> None:
        self.itself = self
        made.append(weakref.ref(self))

    async def on_activate(self) -> None:
        raise ValueError("this grain does not start")

    async def ping(self) -> int:
        return 1


made: list[weakref.ref[Any]] = []


async def test_an_activation_is_hidden_while_it_lives_and_collected_when_it_has_ended(fleet, eventually):
    member = await fleet.member(Circular)
    await member.grain(Circular, "a").ping()
    activation = weakref.ref(fleet.activation(Circular, "a"))
    assert not gc.is_tracked(activation())
    gc.collect()
    assert await member.grain(Circular, "a").ping() == 1, "it is in use, whatever the collector sees"
    await member.grain(Circular, "a").end()
    await eventually(lambda: not member._node.hosts["Circular"].activations)

    def is_collected() -> bool:
        gc.collect()
        return activation() is None

    await eventually(is_collected)


async def test_one_that_did_not_start_is_collected(fleet, eventually, caplog):
    caplog.set_level(logging.CRITICAL)  # a record of the failure keeps its frames, and with them the activation
    made.clear()
    member = await fleet.member(Failing)
    with pytest.raises(inaho.ActivationFailed):
        await member.grain(Failing, "a").ping()

    def is_collected() -> bool:
        gc.collect()
        return made[0]() is None

    await eventually(is_collected)


async def test_a_large_table_is_hidden_too_and_both_are_shown_when_the_node_stops(fleet, monkeypatch):
    monkeypatch.setattr("inaho.runtime.activation.kind_host.BIG_TABLE", 10)
    member = await fleet.member(Circular)
    host = member._node.hosts["Circular"]
    for number in range(9):
        await member.grain(Circular, f"k{number}").ping()
    assert gc.is_tracked(host.activations)
    await member.grain(Circular, "k9").ping()
    await member.grain(Circular, "k10").ping()
    assert not gc.is_tracked(host.activations)
    await member._node.lifecycle.stop()
    assert gc.is_tracked(host.activations)
    assert len(host.activations) == 11
    assert all(gc.is_tracked(activation) for activation in host.activations.values())


async def test_a_setting_shows_them_to_the_collector():
    config = ClusterConfig(authority="127.0.0.1:0", activation=ActivationConfig(collector_sees_activations=True))
    async with inaho.join(config=config, grains=[Circular], storage="memory") as member:
        await member.grain(Circular, "a").ping()
        assert gc.is_tracked(member._node.hosts["Circular"].activations["a"])


def test_a_node_that_crashed_is_collected():
    activations: list[weakref.ref[Any]] = []
    with SimCluster(seed=1, nodes=2, grains=[Circular]) as sim:

        async def scenario() -> None:
            client = sim.client()
            for number in range(20):
                await client.grain(Circular, f"k{number}").ping()
            host = sim.node(0).runtime.hosts["Circular"]
            activations.extend(weakref.ref(activation) for activation in host.activations.values())
            sim.crash(0)

        sim.run(scenario())
    assert activations
    gc.collect()
    assert [activation for activation in activations if activation() is not None] == []
