"""Turns that end at odd moments, or do not want to: nobody else pays for it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import sys
import time

import pytest

import inaho
from inaho import (
    ActivationConfig,
    ClusterConfig,
    Grain,
    InvalidArguments,
    InvalidConfig,
    InvalidGrain,
    MemoryStorage,
    RpcConfig,
    ShuttingDown,
    Timeout,
    method,
)
from inaho.events import ActivationStarted
from inaho.testing import SimCluster

GATES: dict[str, asyncio.Event] = {}
DONE: list[str] = []


class Slow(Grain):
    @method(timeout=1.0)
    async def wait(self) -> None:
        await asyncio.Event().wait()

    async def ping(self) -> str:
        return "pong"

    @method(timeout=300.0)
    async def gated(self, gate: str) -> None:
        await GATES[gate].wait()
        DONE.append(gate)

    @method(timeout=300.0)
    async def long(self) -> None:
        DONE.append("begun")
        await asyncio.sleep(200.0)
        DONE.append("ended")

    @method(timeout=1.0)
    async def stubborn(self) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1e6)
        return "interrupted"

    async def endless(self) -> None:
        while not GATES["end"].is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    async def usual(self) -> str:
        await asyncio.sleep(0)
        return "ok"


@pytest.fixture(autouse=True)
def clean():
    GATES.clear()
    DONE.clear()


def stall(seconds: float) -> None:
    """The process stands still."""
    time.sleep(seconds)


def key_on(sim: SimCluster, index: int) -> str:
    leases = sim.node(index)._node.leases
    return next(f"k{n}" for n in range(500) if leases.owns("Slow", f"k{n}"))


@pytest.mark.parametrize("crash", [False, True], ids=["client closes", "member crashes"])
def test_a_turn_keeps_its_deadline_when_its_callers_connection_ends(crash: bool):
    with SimCluster(nodes=3, seed=1, grains=[Slow]) as sim:
        key = key_on(sim, 0)

        async def scenario() -> str:
            caller = sim.node(1)
            call = asyncio.ensure_future(caller.grain(Slow, key).wait())
            await asyncio.sleep(0.3)
            if crash:
                sim.crash(1)
            else:
                await caller.close()
            await asyncio.sleep(2.0)
            await asyncio.wait([call], timeout=0.0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            return await sim.node(0).grain(Slow, key, timeout=0.5).ping()

        assert sim.run(scenario()) == "pong"
        assert not sim.node(0)._node.acceptor.orphans


def test_a_turn_that_is_about_to_begin_can_be_cancelled():
    with SimCluster(nodes=2, seed=1, grains=[Slow]) as sim:
        key = key_on(sim, 0)

        async def scenario() -> None:
            GATES["first"] = asyncio.Event()
            reference = sim.node(1).grain(Slow, key)
            first = asyncio.ensure_future(reference.gated("first"))
            await asyncio.sleep(0.1)
            second = asyncio.ensure_future(reference.long())
            await asyncio.sleep(0.1)
            queue = sim.node(0)._node.hosts["Slow"].activations[key]._inaho_turn
            (turn,) = queue.waiting
            GATES["first"].set()  # the first turn ends in the next step of its worker ...
            asyncio.get_running_loop().call_soon(turn.connection._cancel, turn.correlation)  # ... and this comes then
            await first
            await asyncio.sleep(250.0)
            second.cancel()

        sim.run(scenario())
        assert "ended" not in DONE


async def test_a_result_that_came_with_the_deadline_is_not_thrown_away():
    GATES.update(first=asyncio.Event(), second=asyncio.Event())
    async with inaho.join("127.0.0.1:0", grains=[Slow], storage=MemoryStorage()) as cluster:
        first = asyncio.ensure_future(cluster.grain(Slow, "a").gated("first"))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(cluster.grain(Slow, "a", timeout=0.3).gated("second"))
        await asyncio.sleep(0)
        GATES["first"].set()
        await first
        await asyncio.sleep(0)
        GATES["second"].set()  # it may go on ...
        stall(0.4)  # ... but the process stands still until its deadline
        try:
            await second
        except Timeout as error:
            assert error.maybe_executed or not DONE
        assert DONE == ["first", "second"]


@pytest.mark.parametrize("caller", [1, 0], ids=["remote", "local"])
def test_a_caught_cancellation_hides_neither_the_deadline_nor_the_callers_own(caller: int):
    with SimCluster(nodes=2, seed=1, grains=[Slow]) as sim:
        reference = sim.node(caller).grain(Slow, key_on(sim, 0))

        async def scenario() -> None:
            with pytest.raises(Timeout):
                await reference.stubborn()
            task = asyncio.ensure_future(reference.stubborn())
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert await reference.ping() == "pong"

        sim.run(scenario())


async def test_a_node_ends_whatever_its_turns_do(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr("inaho.runtime.local.tasks.STOP_ROUND_S", 0.05)
    GATES["end"] = asyncio.Event()
    storage = MemoryStorage()
    config = ClusterConfig(authority="127.0.0.1:0", activation=ActivationConfig(drain_s=0.1))
    cluster = await inaho.join(config=config, grains=[Slow], storage=storage)
    client = await inaho.connect([cluster.authority])
    with pytest.raises(Timeout):
        await client.grain(Slow, "a", timeout=0.1).endless()
    await client.close()
    async with asyncio.timeout(30.0):
        await cluster.close()
    assert "still run after their cancellation" in caplog.text
    GATES["end"].set()


async def test_a_deadline_counts_from_the_call_and_not_from_before_a_stall():
    config = ClusterConfig(authority="127.0.0.1:0", rpc=RpcConfig(timeout_s=0.5))
    async with inaho.join(config=config, grains=[Slow], storage=MemoryStorage()) as cluster:
        reference = cluster.grain(Slow, "a")
        await reference.ping()
        stall(0.7)
        assert await reference.usual() == "ok"


@pytest.mark.parametrize("caller", [0, 1], ids=["local", "remote"])
def test_a_call_after_the_inherited_deadline_is_not_made(caller: int):
    with SimCluster(nodes=2, seed=1, grains=[Slow]) as sim:
        reference = sim.node(caller).grain(Slow, key_on(sim, 0))

        async def scenario() -> None:
            await reference.ping()
            with inaho.deadline(0.1):
                await asyncio.sleep(1.0)
                with pytest.raises(Timeout) as caught:
                    await reference.ping()
            assert not caught.value.maybe_executed

        sim.run(scenario())


@pytest.mark.parametrize("seconds", [math.inf, math.nan, sys.maxsize, 1e300, 0.0])
async def test_a_timeout_that_is_none_is_refused_where_it_is_said(seconds: float):
    with pytest.raises(InvalidGrain):
        method(timeout=seconds)
    with pytest.raises(InvalidConfig):
        RpcConfig(timeout_s=seconds)
    async with inaho.join("127.0.0.1:0", grains=[Slow], storage=MemoryStorage()) as cluster:
        with pytest.raises(InvalidArguments):
            cluster.grain(Slow, "a", timeout=seconds)
        with pytest.raises(InvalidArguments):
            await cluster.call("Slow", "a", "ping", timeout=seconds)


async def test_a_closed_cluster_says_so_at_once_and_names_itself():
    async with inaho.join("127.0.0.1:0", grains=[Slow], storage=MemoryStorage()) as cluster:
        member = await inaho.join("127.0.0.1:0", seeds=[cluster.authority], grains=[Slow], storage=MemoryStorage())
        client = await inaho.connect([cluster.authority])
        for closed in (member, client):
            await closed.close()
            references = [closed.grain(Slow, f"k{number}") for number in range(20)]
            answers = await asyncio.gather(*(each.ping() for each in references), return_exceptions=True)
            assert {type(answer) for answer in answers} == {ShuttingDown}
            assert {answer.authority for answer in answers} == {closed.authority}  # type: ignore[union-attr]
            assert closed._node.context.retries == 0


async def test_events_come_from_when_they_were_asked_for():
    async with inaho.join("127.0.0.1:0", grains=[Slow], storage=MemoryStorage()) as cluster:
        events = cluster.events(ActivationStarted)
        await cluster.grain(Slow, "a").ping()
        assert (await anext(events)).identity.key == "a"
        subscriptions = len(cluster.system.events._sinks)
        cluster.events(ActivationStarted)
        gc.collect()
        await asyncio.sleep(0)  # it is closed on the loop
        assert len(cluster.system.events._sinks) == subscriptions
