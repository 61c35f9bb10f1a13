"""Calls of one node to one identity run in the order in which they were made, through moves of the identity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from inaho import Grain, Struct
from inaho.runtime.calls.call_order import CallOrder
from inaho.testing import SimCluster
from inaho.types import TopologySnapshot


class State(Struct):
    last: int = -1


class Log(Grain):
    """Remembers what ran, over all nodes."""

    ran: ClassVar[dict[str, list[int]]] = {}

    async def put(self, number: int) -> None:
        self.ran.setdefault(self.key, []).append(number)
        await asyncio.sleep(0.002)

    async def end(self) -> None:
        self.deactivate()


class Kept(Grain[State]):
    """With state, so that a move hands it over."""

    ran: ClassVar[dict[str, list[int]]] = {}

    async def put(self, number: int) -> None:
        self.ran.setdefault(self.key, []).append(number)
        if not number % 50:
            self.state.last = number
            await self.save()
        await asyncio.sleep(0.002)


class Placed(Grain, placement="least_loaded"):
    ran: ClassVar[dict[str, list[int]]] = {}

    async def put(self, number: int) -> None:
        self.ran.setdefault(self.key, []).append(number)
        await asyncio.sleep(0.002)

    async def end(self) -> None:
        self.deactivate()


class Slow(Grain):
    """Takes a moment to come up."""

    ran: ClassVar[dict[str, list[int]]] = {}

    async def on_activate(self) -> None:
        await asyncio.sleep(0)

    async def put(self, number: int) -> None:
        self.ran.setdefault(self.key, []).append(number)


KINDS = [Log, Kept, Placed]


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    for kind in (*KINDS, Slow):
        kind.ran.clear()


def check(kind: Any, keys: list[str], count: int) -> None:
    ran: dict[str, list[int]] = kind.ran
    for key in keys:
        assert sorted(ran[key]) == list(range(count)), f"{key}: not each once"
        assert ran[key] == sorted(ran[key]), f"{key}: out of order"


async def calls(
    sim: SimCluster, at: int, kind: Any, keys: list[str], count: int, trouble: Callable[[], object]
) -> None:
    """Makes calls in two parts: the first all at once, the second by and by while the trouble has its effects."""
    node = sim.node(at)
    begun = [asyncio.create_task(node.grain(kind, key).put(n)) for n in range(count // 2) for key in keys]
    await asyncio.sleep(0.1)
    trouble()
    for number in range(count // 2, count):
        begun += [asyncio.create_task(node.grain(kind, key).put(number)) for key in keys]
        await asyncio.sleep(0.003)
    await asyncio.gather(*begun)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["join", "leave"])
def test_calls_in_flight_keep_their_order_through_a_move(what: str, kind: Any, simulation_seed: int) -> None:
    with SimCluster(nodes=3, seed=simulation_seed, grains=KINDS) as sim:
        keys = [f"k{number}" for number in range(12)]

        def trouble() -> None:
            if what == "join":
                sim._add()
            else:
                leaving.append(asyncio.ensure_future(sim.node(2).leave()))

        leaving: list[asyncio.Future[None]] = []
        sim.run(calls(sim, 0, kind, keys, 300, trouble))
        check(kind, keys, 300)


def test_sends_that_a_move_refuses_in_the_same_moment_keep_their_order(simulation_seed: int) -> None:
    """The loop has started the Task of the first one then, and not that of the second."""
    with SimCluster(nodes=1, seed=simulation_seed, grains=[Slow]) as sim:
        cluster = sim.node(0)
        apply_topology = cluster._node.topology_changes.apply
        keys: list[str] = []

        def send_and_apply(snapshot: TopologySnapshot) -> None:
            if len(snapshot.members) > 1:
                new = [f"{len(keys) + number}" for number in range(20)]
                for key in new:
                    for number in range(3):
                        cluster.send(cluster.grain(Slow, key).put, number)
                keys.extend(new)
            apply_topology(snapshot)

        cluster._node.topology_changes.apply = send_and_apply  # type: ignore[method-assign]

        async def scenario() -> None:
            sim._add()
            await sim.until(lambda: len(Slow.ran) == len(keys) > 0 and not cluster._sends.under_way)

        sim.run(scenario())
        assert cluster._node.context.retries >= 2
        check(Slow, keys, 3)


def test_a_client_keeps_the_order_too(simulation_seed: int) -> None:
    with SimCluster(nodes=2, seed=simulation_seed, grains=KINDS) as sim:
        keys = [f"k{number}" for number in range(12)]
        client = sim.client()

        async def scenario() -> None:
            begun = [asyncio.create_task(client.grain(Log, key).put(n)) for n in range(200) for key in keys]
            await asyncio.sleep(0.1)
            index = sim._add()
            for number in range(200, 300):
                begun += [asyncio.create_task(client.grain(Log, key).put(number)) for key in keys]
                await asyncio.sleep(0.003)
            await sim.until(lambda: sim.is_member(index))
            await asyncio.gather(*begun)

        sim.run(scenario())
        check(Log, keys, 300)


@pytest.mark.parametrize("kind", [Log, Placed])
def test_activations_that_end_keep_the_order(kind: Any, simulation_seed: int) -> None:
    with SimCluster(nodes=2, seed=simulation_seed, grains=KINDS) as sim:
        keys = [f"k{number}" for number in range(8)]

        async def scenario() -> None:
            begun: list[asyncio.Task[None]] = []
            for number in range(300):
                begun += [asyncio.create_task(sim.node(0).grain(kind, key).put(number)) for key in keys]
                if number in (100, 200):
                    begun += [asyncio.create_task(sim.node(0).grain(kind, key).end()) for key in keys]
                    await asyncio.sleep(0.02)
            await asyncio.gather(*begun)

        sim.run(scenario())
        check(kind, keys, 300)


def test_first_calls_of_all_keep_the_order_where_the_owner_is_dialled(simulation_seed: int) -> None:
    with SimCluster(nodes=3, seed=simulation_seed, grains=KINDS) as sim:
        keys = [f"k{number}" for number in range(12)]

        async def scenario() -> None:
            index = sim._add()
            begun: list[asyncio.Task[None]] = []
            for number in range(300):
                begun += [asyncio.create_task(sim.node(1).grain(Placed, key).put(number)) for key in keys]
                await asyncio.sleep(0.002)
            await sim.until(lambda: sim.is_member(index))
            await asyncio.gather(*begun)

        sim.run(scenario())
        check(Placed, keys, 300)


def test_a_call_that_others_in_line_may_wait_for_does_not_wait_behind_them() -> None:
    host, other = (SimpleNamespace(kind=SimpleNamespace(stateless_max=0), system=False) for _ in range(2))

    def turn_of(kind: object, key: str, depth: int) -> Any:
        turn = SimpleNamespace(depth=depth, grain=SimpleNamespace(_inaho_host=kind, _inaho_key=key))
        return SimpleNamespace(turn=turn)

    def applies(scope: Any) -> bool:
        return CallOrder.applies(cast(Any, host), "k", scope)

    assert applies(None)
    assert applies(SimpleNamespace(turn=None))
    assert applies(turn_of(other, "k", 0))
    assert not applies(turn_of(host, "k", 0))
    assert not applies(turn_of(other, "k", 1))


def test_lines_are_gone_when_all_is_sent(simulation_seed: int) -> None:
    with SimCluster(nodes=2, seed=simulation_seed, grains=KINDS) as sim:
        keys = [f"k{number}" for number in range(6)]
        sim.run(calls(sim, 0, Log, keys, 100, lambda: sim._add()))
        sim.run_for(2)
        for index in (0, 1, 2):
            for host in sim.node(index).runtime.hosts.values():
                assert not host.lines
