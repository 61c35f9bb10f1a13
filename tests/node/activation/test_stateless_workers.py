"""Stateless workers: several activations of one identity, on the node that calls."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest

import inaho
from inaho import ActivationFailed, Grain, InvalidGrain, ShuttingDown, Struct
from inaho.events import ActivationTerminated

numbers = itertools.count()


@inaho.stateless(max=3)
class Worker(Grain):
    gate: asyncio.Event
    ended: list[str]

    def __init__(self) -> None:
        self.number = next(numbers)

    async def work(self) -> tuple[int, str]:
        await Worker.gate.wait()
        return self.number, self.cluster.authority

    async def nested(self, depth: int) -> int:
        return 1 + await self.cluster.grain(Worker, self.key).nested(depth - 1) if depth else 1

    async def retire(self) -> int:
        self.deactivate()
        return self.number

    async def on_deactivate(self, reason: str) -> None:
        Worker.ended.append(reason)


@pytest.fixture(autouse=True)
def fresh() -> None:
    Worker.gate = asyncio.Event()
    Worker.ended = []


def pool_of(cluster: Any) -> Any:
    return cluster._node.hosts["Worker"].pool


def test_what_cannot_be_stateless_is_refused():
    class State(Struct):
        value: int = 0

    class Stateful(Grain[State]):
        pass

    class Placed(Grain, placement="prefer_local"):
        pass

    class Reminded(Grain):
        async def on_reminder(self, reminder: Any) -> None:
            pass

    class Plain(Grain):
        pass

    for cls in (Stateful, Placed, Reminded):
        with pytest.raises(InvalidGrain):
            inaho.stateless(max=2)(cls)
    with pytest.raises(InvalidGrain, match="at least 1"):
        inaho.stateless(max=0)(Plain)
    with pytest.raises(InvalidGrain):
        inaho.stateless(max=2)(object)  # type: ignore[type-var]
    assert inaho.stateless(max=2)(Plain) is Plain
    assert Plain.inaho_kind.stateless_max == 2


async def test_as_many_activations_as_are_allowed_and_no_more(fleet: Any, eventually: Any):
    cluster = await fleet.member(Worker)
    calls = [asyncio.create_task(cluster.grain(Worker, "w").work()) for _ in range(9)]
    await eventually(lambda: len(pool_of(cluster)) == 2)
    await asyncio.sleep(0)
    assert cluster._node.activations.count == 3
    assert cluster.metrics()["inaho.activations"] == [({"inaho.kind": "Worker"}, 3)]
    pool_of(cluster).check()
    Worker.gate.set()
    answers = await asyncio.gather(*calls)
    assert len({number for number, _ in answers}) == 3
    assert sorted(Counter(number for number, _ in answers).values()) == [3, 3, 3]


async def test_a_call_from_elsewhere_uses_the_pool_too(fleet: Any, eventually: Any):
    member = await fleet.member(Worker)
    client = await fleet.client()
    calls = [asyncio.create_task(client.grain(Worker, "w").work()) for _ in range(9)]
    await eventually(lambda: len(pool_of(member)) == 2)
    Worker.gate.set()
    assert len({number for number, _ in await asyncio.gather(*calls)}) == 3
    Worker.gate.clear()
    first = asyncio.create_task(client.grain(Worker, "w").work())
    second = asyncio.create_task(client.grain(Worker, "w").work())
    await eventually(lambda: sum(grain._inaho_turn is not None for grain in all_of(member)) == 2)
    assert len(pool_of(member)) == 2, "idle ones are taken before new ones are made"
    Worker.gate.set()
    await asyncio.gather(first, second)


def all_of(cluster: Any) -> list[Any]:
    host = cluster._node.hosts["Worker"]
    return [*host.activations.values(), *host.pool]


async def test_each_worker_has_its_own_timers(fleet: Any, eventually: Any):
    ticks: Counter[int] = Counter()

    @inaho.stateless(max=2)
    class Ticking(Grain):
        def __init__(self) -> None:
            self.number = next(numbers)

        async def on_activate(self) -> None:
            self.timer(self._tick, 0.01)

        def _tick(self) -> None:
            ticks[self.number] += 1

        async def work(self) -> int:
            await Worker.gate.wait()
            return self.number

        async def stop(self) -> None:
            self.deactivate()

    cluster = await fleet.member(Ticking)
    host = cluster._node.hosts["Ticking"]
    calls = [asyncio.create_task(cluster.grain(Ticking, "t").work()) for _ in range(2)]
    await eventually(lambda: len(host.pool) == 1 and len(host.timers) == 2)
    Worker.gate.set()
    assert len(set(await asyncio.gather(*calls))) == 2
    await eventually(lambda: len(ticks) == 2)
    [extra] = host.pool
    host.deactivate_soon(extra, "test")
    await eventually(lambda: len(host.pool) == 0)
    assert len(host.timers) == 1
    before = ticks.copy()
    await eventually(lambda: ticks[host.activations["t"].number] > before[host.activations["t"].number] + 1)
    assert ticks[extra.number] == before[extra.number]
    host.drop_all("test")
    await eventually(lambda: cluster._node.activations.count == 0)
    assert len(host.timers) == 0


async def test_every_host_runs_its_own_calls(fleet: Any):
    clusters = await fleet.members(3, Worker)
    Worker.gate.set()
    for cluster in clusters:
        for key in ("a", "b", "c", "d"):
            assert (await cluster.grain(Worker, key).work())[1] == cluster.authority


async def test_who_does_not_host_it_calls_the_owner(fleet: Any):
    clusters = await fleet.members(2, Worker)
    other = await fleet.member()
    Worker.gate.set()
    key = fleet.key_at(clusters[1], Worker)
    for _ in range(3):
        assert (await other.grain(Worker, key).work())[1] == clusters[1].authority


async def test_a_worker_may_call_itself_while_there_is_another(fleet: Any):
    cluster = await fleet.member(Worker)
    assert await cluster.grain(Worker, "w").nested(2) == 3
    with pytest.raises(inaho.CallCycle):
        await cluster.grain(Worker, "w").nested(3)


async def test_one_of_many_unloads_itself(fleet: Any, eventually: Any):
    cluster = await fleet.member(Worker)
    reference = cluster.grain(Worker, "w")
    first = asyncio.create_task(reference.work())
    await eventually(lambda: len(all_of(cluster)) == 1 and all_of(cluster)[0]._inaho_turn is not None)
    extra = await reference.retire()
    await eventually(lambda: len(all_of(cluster)) == 1)
    assert Worker.ended == ["requested"]
    Worker.gate.set()
    assert (await first)[0] != extra
    assert cluster._node.activations.count == 1


async def test_the_first_one_takes_the_others_along(fleet: Any, eventually: Any):
    cluster = await fleet.member(Worker)
    reference = cluster.grain(Worker, "w")
    calls = [asyncio.create_task(reference.work()) for _ in range(3)]
    await eventually(lambda: len(pool_of(cluster)) == 2)
    host = cluster._node.hosts["Worker"]
    host.deactivate_soon(host.activations["w"], "idle")
    late = asyncio.create_task(reference.work())
    Worker.gate.set()
    await asyncio.gather(*calls)
    await late
    await eventually(lambda: len(Worker.ended) == 3)
    assert Worker.ended == ["idle"] * 3
    assert len(pool_of(cluster)) == 0 and cluster._node.activations.count == 1


@pytest.mark.parametrize("busy", [0, 1])
async def test_idle_workers_are_unloaded_but_not_beside_a_busy_one(fleet: Any, eventually: Any, busy: int):
    cluster = await fleet.member(Worker, activation={"idle_ttl_s": 0.3})
    reference = cluster.grain(Worker, "w")
    host = cluster._node.hosts["Worker"]
    gates = [Worker.gate, asyncio.Event()]
    first = asyncio.create_task(reference.work())
    await eventually(lambda: "w" in host.activations and host.activations["w"]._inaho_turn is not None)
    Worker.gate = gates[1]  # each worker waits at its own
    second = asyncio.create_task(reference.work())
    await eventually(lambda: [grain for grain in host.pool if grain._inaho_turn is not None])
    calls = [first, second]
    gates[1 - busy].set()
    await calls[1 - busy]
    assert sum(grain._inaho_turn is not None for grain in all_of(cluster)) == 1
    Worker.gate = gates[1 - busy]
    await cluster.grain(Worker, "later").work()
    await eventually(lambda: "later" not in host.activations)  # and the other one has been idle for longer
    assert Worker.ended == ["idle"]
    assert len(host.pool) == 1 and cluster._node.activations.count == 2
    gates[busy].set()
    await calls[busy]
    await eventually(lambda: cluster._node.activations.count == 0)
    assert Worker.ended == ["idle"] * 3


async def test_leaving_ends_all_workers_after_their_turns(fleet: Any, eventually: Any):
    clusters = await fleet.members(2, Worker)
    one, other = clusters
    calls = [asyncio.create_task(one.grain(Worker, "w").work()) for _ in range(3)]
    await eventually(lambda: len(pool_of(one)) == 2)
    leaving = asyncio.create_task(one.leave())
    await eventually(lambda: one._node.local.shutting_down)
    Worker.gate.set()
    answers = await asyncio.gather(*calls)
    assert {authority for _, authority in answers} == {one.authority}
    await leaving
    assert Worker.ended == ["shutdown"] * 3
    assert (await other.grain(Worker, "w").work())[1] == other.authority


async def test_a_blocked_host_sends_its_calls_elsewhere(fleet: Any, eventually: Any):
    one, other = await fleet.members(2, Worker)
    Worker.gate.set()
    assert (await one.grain(Worker, "w").work())[1] == one.authority
    topology = one._node.topology.snapshot
    blocked = inaho.TopologySnapshot(
        **{name: getattr(topology, name) for name in topology.__struct_fields__}
        | {"blocked": (one.authority,), "version": topology.version + 1, "hash": topology.hash + 1}
    )
    one._node.topology_changes.apply(blocked)
    await eventually(lambda: one._node.activations.count == 0)
    assert (await one.grain(Worker, "w").work())[1] == other.authority


async def test_a_worker_that_cannot_be_made_fails_its_call_only(fleet: Any, eventually: Any):
    made = itertools.count()

    @inaho.stateless(max=2)
    class Fragile(Grain):
        def __init__(self) -> None:
            if next(made):
                raise ValueError("only one")

        async def work(self) -> int:
            await Worker.gate.wait()
            return 1

    cluster = await fleet.member(Fragile)
    first = asyncio.create_task(cluster.grain(Fragile, "f").work())
    await eventually(lambda: cluster._node.activations.count == 1)
    with pytest.raises(ActivationFailed, match="only one"):
        await cluster.grain(Fragile, "f").work()
    client = await fleet.client()
    with pytest.raises(ActivationFailed, match="only one"):
        await client.grain(Fragile, "f").work()
    Worker.gate.set()
    assert await first == 1
    assert cluster._node.activations.count == 1


async def test_a_node_that_leaves_makes_no_more(fleet: Any):
    cluster = await fleet.member(Worker)
    cluster._node.local.shutting_down = True
    with pytest.raises(ShuttingDown):
        await cluster.grain(Worker, "w", timeout=0.2).work()
    cluster._node.local.shutting_down = False


async def test_each_end_is_an_event(fleet: Any, eventually: Any):
    cluster = await fleet.member(Worker)
    seen: list[ActivationTerminated] = []
    with cluster.system.events.subscribe(ActivationTerminated) as subscription:
        calls = [asyncio.create_task(cluster.grain(Worker, "w").work()) for _ in range(3)]
        await eventually(lambda: len(pool_of(cluster)) == 2)
        Worker.gate.set()
        await asyncio.gather(*calls)
        cluster._node.hosts["Worker"].drop_all("test")
        async for event in subscription:
            seen.append(event)
            if len(seen) == 3:
                break
    assert [event.reason for event in seen] == ["test"] * 3
