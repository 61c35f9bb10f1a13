"""What takes too long to come up, to end or to be reset is given up, whatever became of its lease. In virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho import (
    ActivationFailed,
    ClusterIdentity,
    Grain,
    MemoryStorage,
    OwnershipChanged,
    StateConflict,
    Struct,
    Timeout,
)
from inaho.events import LeaseTimedOut
from inaho.testing import SimCluster

PENDING_S = 30.0
"""Default of `activation.lease_pending_s`."""

HANGS: set[str] = set()
"""Which hooks do not return. It is too late for those that are under way when one is taken out."""

LOG: list[str] = []


@pytest.fixture(autouse=True)
def nothing_hangs() -> None:
    HANGS.clear()
    LOG.clear()


async def at(where: str, *, deaf: bool = False) -> None:
    """Hangs if it is to. `deaf`: it does not heed its first cancellation."""
    if where not in HANGS:
        return
    LOG.append(f"{where} hangs")
    forever = asyncio.get_running_loop().create_future()
    try:
        await forever
    except asyncio.CancelledError:
        LOG.append(f"{where} cancelled")
        if not deaf:
            raise
        await asyncio.sleep(100.0)


class Slow(Grain):
    async def on_activate(self) -> None:
        await at("start")

    async def on_deactivate(self, reason: str) -> None:
        await at("stop")

    async def ping(self) -> str:
        return "pong"


@inaho.stateless(max=2)
class Worker(Grain):
    async def on_activate(self) -> None:
        await at("start")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(reason)

    async def ping(self) -> str:
        return "pong"


class Text(Struct):
    value: str = "new"


class SlowStorage(MemoryStorage):
    async def _load(self, identity: ClusterIdentity) -> Any:
        await at("load", deaf="deaf" in HANGS)
        return await super()._load(identity)


class Reset(Grain[Text], on_failure="reset"):
    async def on_activate(self) -> None:
        LOG.append("up")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(f"down: {reason}")
        await at("stop")
        try:
            await self.save()
        except StateConflict:
            LOG.append("not saved")

    async def fail(self) -> None:
        self.state.value = "half"
        raise ValueError("no")

    async def look(self) -> str:
        return self.state.value


def key_on(sim: SimCluster, index: int, kind: str) -> str:
    leases = sim.node(index)._node.leases
    return next(key for key in (f"k{number}" for number in range(500)) if leases.owns(kind, key))


async def until_logged(text: str) -> None:
    while text not in LOG:
        await asyncio.sleep(0.1)


def test_a_hook_that_hangs_after_its_lease_was_revoked_does_not_keep_the_identity(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Slow]) as sim:
        key = key_on(sim, 0, "Slow")
        assert sim.run(sim.node(0).grain(Slow, key).ping()) == "pong"
        HANGS.add("stop")
        sim.pause(0, 60.0)
        sim.run(until_logged("stop hangs"), within_s=120.0)
        HANGS.clear()
        sim.wait_converged()
        sim.run_for(PENDING_S + 1.0)
        assert sim.node(0)._node.leases.owns("Slow", key)
        assert sim.run(sim.node(1).grain(Slow, key).ping()) == "pong"
        assert LOG == ["stop hangs", "stop cancelled"]


def test_calls_of_an_activation_that_hangs_and_was_revoked_are_refused():
    """Another may have the identity, so its callers look for that one."""
    with SimCluster(nodes=1, seed=1, grains=[Slow]) as sim:
        node = sim.node(0)._node
        HANGS.add("start")

        async def scenario() -> None:
            call = asyncio.ensure_future(sim.node(0).grain(Slow, "a", timeout=99.0, retry=False).ping())
            await until_logged("start hangs")
            node.leases.revoke(node.local.node_id, "for the test")
            with pytest.raises(OwnershipChanged, match="revoked") as caught:
                await call
            assert not caught.value.maybe_executed

        sim.run(scenario())


def test_stateless_workers_that_do_not_come_up_are_given_up():
    """Each of them: those of one identity are told apart."""
    with SimCluster(nodes=1, seed=1, grains=[Worker]) as sim:
        grain = sim.node(0).grain(Worker, "a", timeout=99.0)
        HANGS.add("start")

        async def scenario() -> None:
            loop = asyncio.get_running_loop()
            began = loop.time()
            calls = [asyncio.ensure_future(grain.ping()) for _ in range(3)]
            await asyncio.wait(calls, timeout=PENDING_S - 1.0)
            assert not any(call.done() for call in calls)
            HANGS.clear()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(outcome == "pong" or isinstance(outcome, ActivationFailed) for outcome in outcomes)
            assert loop.time() < began + PENDING_S + 1.0
            assert await grain.ping() == "pong"

        sim.run(scenario())
        assert LOG == ["start hangs"] * 2 + ["start cancelled"] * 2
        assert sum(isinstance(each.event, LeaseTimedOut) for each in sim.events) == 2
        host = sim.node(0)._node.hosts["Worker"]
        assert sim.node(0)._node.activations.count == len(host.activations) + len(host.pool)


@pytest.mark.parametrize("deaf", [False, True], ids=["heeds", "deaf"])
def test_a_reset_that_hangs_ends_the_activation(deaf: bool):
    with SimCluster(nodes=1, seed=1, grains=[Reset], storage=SlowStorage()) as sim:
        grain = sim.node(0).grain(Reset, "a", timeout=999.0)

        async def scenario() -> None:
            await grain.look()
            HANGS.update({"load", "deaf"} if deaf else {"load"})
            with pytest.raises(ValueError, match="no"):
                await grain.fail()
            await until_logged("load hangs")
            HANGS.discard("load")
            assert await grain.look() == "new"
            await asyncio.sleep(200.0)
            assert await grain.look() == "new"

        sim.run(scenario())
        ending = [] if deaf else ["not saved"]  # a load that goes on lets nobody write, and its successor need not wait
        assert LOG[:2] == ["up", "load hangs"]
        assert sorted(LOG[2:-1]) == sorted(["load cancelled", "down: failed", *ending])
        assert LOG[-1] == "up"


def test_a_hook_that_hangs_after_a_reset_that_hung_has_its_own_time():
    with SimCluster(nodes=1, seed=1, grains=[Reset], storage=SlowStorage()) as sim:
        grain = sim.node(0).grain(Reset, "a", retry=False)

        async def scenario() -> None:
            await grain.look()
            HANGS.update({"load", "stop"})
            with pytest.raises(ValueError, match="no"):
                await grain.fail()
            await until_logged("stop hangs")
            HANGS.clear()
            with pytest.raises(Timeout):
                await grain.look()
            await asyncio.sleep(PENDING_S)
            assert await grain.look() == "new"

        sim.run(scenario())
        assert LOG == ["up", "load hangs", "load cancelled", "down: failed", "stop hangs", "stop cancelled", "up"]
