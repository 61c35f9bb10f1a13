"""Durable sends on nodes: stored, in order, delayed, listed, cancelled, given up and sent again. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest

import inaho
from inaho import DurableSend, Grain, InvalidArguments, InvalidConfig, MemoryStorage, Overloaded
from inaho.config import ClusterConfig, PubSubConfig
from inaho.errors import MessageTooLarge, ShuttingDown
from inaho.events import DurableSendFailed
from inaho.runtime.topic_logs.send_keeper import SendKeeper
from inaho.runtime.topic_logs.send_partition import KEEPER, log_of, partition_of
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from support.durable_sends import FAIL, LOG, SIM, Cart, begin, items, keeper_of, send

Start = Callable[..., SimCluster]


@pytest.fixture
def start() -> Generator[Start]:
    yield begin
    for sim in SIM:
        for index in range(len(sim._nodes)):
            if sim.is_member(index):
                for keeper in sim.node(index)._node.hosts[KEEPER].activations.values():
                    if hasattr(keeper, "_sends"):  # it has started
                        keeper._sends.check()
        sim.check()
        sim.__exit__(None, None, None)
    SIM.clear()


def failures(sim: SimCluster) -> list[DurableSendFailed]:
    return [each.event for each in sim.events if isinstance(each.event, DurableSendFailed)]


def test_a_send_is_stored_and_then_runs(start: Start):
    sim = start()
    handle = sim.run(send(sim.node(0), "a", "apple", n=2))
    assert isinstance(handle, DurableSend)
    assert (handle.kind, handle.key, handle.method, handle.attempts, handle.dead) == ("Cart", "a", "add", 0, False)
    sim.run_for(1.0)
    assert items() == ["2 apple"]
    assert sim.run(sim.node(1).durable_sends(Cart, "a")) == []


def test_sends_run_in_order_also_those_that_were_not_awaited_in_between(start: Start):
    sim = start()

    async def send_all() -> None:
        await asyncio.gather(*(send(sim.node(0), "a", str(number)) for number in range(300)))

    sim.run(send_all())
    sim.run_for(5.0)
    assert items() == [str(number) for number in range(300)]


def test_a_client_sends_too(start: Start):
    sim = start()
    client = sim.client()
    sim.run(send(client, "a", "apple"))
    late = sim.run(send(client, "a", "late", after=100.0))
    sim.run_for(1.0)
    assert items() == ["apple"]
    assert sim.run(client.durable_sends("Cart", "a")) == [late]
    assert sim.run(client.cancel_send(late))


def test_a_delayed_send_comes_at_its_time_and_holds_back_nobody(start: Start):
    sim = start()
    began = sim.time
    sim.run(send(sim.node(0), "a", "late", after=5.0))
    sim.run(send(sim.node(0), "a", "soon"))
    sim.run_for(10.0)
    assert items() == ["soon", "late"]
    assert LOG[1][2] - began == pytest.approx(5.0, abs=0.1)


def test_a_cancelled_send_does_not_run(start: Start):
    sim = start()
    late = sim.run(send(sim.node(0), "a", "late", after=5.0))
    assert sim.run(sim.node(1).cancel_send(late))
    assert not sim.run(sim.node(1).cancel_send(late))
    sim.run_for(10.0)
    assert items() == []


def test_a_failing_send_holds_back_its_grain_only_and_becomes_a_dead_letter(start: Start):
    sim = start(config=ClusterConfig(pubsub=PubSubConfig(send_attempts_max=3)))
    FAIL["bad"] = 1000
    bad = sim.run(send(sim.node(0), "a", "bad"))
    sim.run(send(sim.node(0), "a", "next"))
    sim.run(send(sim.node(0), "b", "other"))
    sim.run_for(0.4)
    assert (items(), items("b")) == (["bad"], ["other"])
    sim.run_for(10.0)
    assert items() == ["bad", "bad", "bad", "next"]
    [letter] = sim.run(sim.node(2).dead_sends())
    assert (letter.id, letter.dead, letter.attempts) == (bad.id, True, 3)
    assert "no bad" in letter.reason
    told = failures(sim)
    assert [(each.attempt, each.given_up) for each in told] == [(1, False), (2, False), (3, True)]
    assert all(each.id == bad.id and each.method == "add" and each.identity.key == "a" for each in told)

    FAIL.clear()
    assert sim.run(sim.node(1).send_again(letter))
    assert not sim.run(sim.node(1).send_again(letter))
    sim.run_for(1.0)
    assert items()[-1] == "bad"
    assert sim.run(sim.node(0).dead_sends()) == []


def test_what_no_node_can_call_now_waits_for_ever_and_is_no_attempt(start: Start):
    class Rare(Grain, role="rare"):
        async def add(self, item: str) -> None:
            LOG.append((self.key, item, 0.0))

    sim = start(grains=(Cart, Rare))

    async def store() -> DurableSend:
        return await sim.node(0).send(sim.node(0).grain(Rare, "a").add, "x", durable=True)

    sim.run(store())
    sim.run_for(1000.0)
    [waiting] = sim.run(sim.node(0).durable_sends(Rare, "a"))
    assert (waiting.attempts, waiting.dead) == (0, False)
    assert not any(each.given_up for each in failures(sim))
    assert items() == []


def test_an_id_is_stored_once(start: Start):
    sim = start()
    first = sim.run(send(sim.node(0), "a", "apple", id="order 7"))
    again = sim.run(send(sim.node(1), "a", "apple", id="order 7"))
    assert (first.id, again.id) == ("order 7", "order 7")
    sim.run_for(1.0)
    sim.run(send(sim.node(2), "a", "apple", id="order 7"))
    sim.run(send(sim.node(2), "b", "apple", id="order 7"))
    sim.run_for(1.0)
    assert (items(), items("b")) == (["apple"], ["apple"])


def test_a_method_with_parameters_of_these_names_gets_them(start: Start):
    sim = start()
    cluster = sim.node(0)
    cart = cluster.grain(Cart, "a")

    async def send_all() -> None:
        cluster.send(cart.plan, durable=True, after=1.0)
        cluster.send(cart.plan, False, after=2.0)
        stored = await cluster.send(cart.plan, False, 3.0, durable=True, after=5.0, id="mine")  # type: ignore[call-overload]
        assert stored.due - sim.unix_time() == pytest.approx(5.0, abs=0.5)

    sim.run(send_all())
    sim.run_for(1.0)
    assert items() == ["plan True 1.0 ", "plan False 2.0 "]
    sim.run_for(5.0)
    assert items()[2:] == ["plan False 3.0 mine"]


def test_a_send_that_is_not_durable_after_all(start: Start):
    sim = start()
    options: dict[str, Any] = {"durable": False}

    async def send_plainly() -> None:
        assert sim.node(0).send(sim.node(0).grain(Cart, "a").add, "x", **options) is None

    sim.run(send_plainly())
    sim.run_for(1.0)
    assert items() == ["x"]


async def bad_type(cluster: inaho.Cluster) -> None:
    await send(cluster, "a", 5)  # type: ignore[arg-type]


async def too_large(cluster: inaho.Cluster) -> None:
    await send(cluster, "a", "x" * 300_000)


async def negative(cluster: inaho.Cluster) -> None:
    await send(cluster, "a", "x", after=-1.0)


async def long_id(cluster: inaho.Cluster) -> None:
    await send(cluster, "a", "x", id="x" * 201)


async def missing(cluster: inaho.Cluster) -> None:
    await cluster.send(cluster.grain(Cart, "a").add, durable=True)


async def no_reference(cluster: inaho.Cluster) -> None:
    await cluster.send(Cart().add, "x", durable=True)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (bad_type, InvalidArguments), (too_large, MessageTooLarge), (negative, InvalidArguments),
        (long_id, InvalidArguments), (missing, TypeError), (no_reference, InvalidArguments),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_at_once(start: Start, wrong: Any, error: type[Exception]):
    sim = start(nodes=1)
    with pytest.raises(error):
        sim.run(wrong(sim.node(0)))
    sim.run_for(1.0)
    assert items() == []


def test_a_full_partition_refuses_and_takes_again(start: Start):
    sim = start(config=ClusterConfig(pubsub=PubSubConfig(sends_max=2)))
    for _ in range(2):
        late = sim.run(send(sim.node(0), "a", "late", after=100.0))
    with pytest.raises(Overloaded, match="sends_max"):
        sim.run(send(sim.node(0), "a", "one more"))
    assert sim.run(sim.node(0).cancel_send(late))
    sim.run(send(sim.node(0), "a", "one more"))
    sim.run_for(1.0)
    assert items() == ["one more"]


async def test_a_storage_of_one_node_alone_stores_none():
    network = MemoryTransport(MemoryNetwork())
    async with inaho.join("127.0.0.1:7700", grains=[Cart], storage="memory", transport=network) as cluster:
        with pytest.raises(InvalidConfig, match="outlives"):
            await send(cluster, "a", "apple")
    with pytest.raises(ShuttingDown):
        await send(cluster, "a", "apple")


def test_a_storage_without_logs_stores_none(start: Start):
    class Logless(MemoryStorage):
        @property
        def log(self) -> None:  # type: ignore[override]
            return None

    sim = start(storage=Logless())
    with pytest.raises(InvalidConfig, match="no logs"):
        sim.run(send(sim.node(0), "a", "apple"))


def test_another_number_of_partitions_is_refused_once_there_are_sends(start: Start):
    storage = MemoryStorage()
    sim = start(storage=storage)
    sim.run(send(sim.node(0), "a", "late", after=1e6))
    partition = partition_of("Cart", "a", 16)
    other = start(storage=storage, config=ClusterConfig(pubsub=PubSubConfig(send_partitions=17)))
    with pytest.raises(InvalidConfig, match="send_partitions"):
        other.run(other.node(0).grain(SendKeeper, partition).verify())


def test_a_cluster_that_sends_nothing_durable_has_no_keeper(start: Start):
    sim = start()
    sim.run(sim.node(0).grain(Cart, "a").add("x"))
    sim.run_for(100.0)
    assert not any(sim.node(index)._node.hosts[KEEPER].activations for index in range(3))


def test_the_log_does_not_grow_with_what_has_run(start: Start):
    sim = start(nodes=1)

    async def send_many() -> None:
        for _ in range(30):
            await asyncio.gather(*(send(sim.node(0), "a", "x") for _ in range(200)))

    sim.run(send(sim.node(0), "a", "late", after=1e6))
    sim.run(send_many())
    sim.run_for(10.0)
    sim.run(send(sim.node(0), "a", "last"))
    sim.run_for(1.0)
    assert len(items()) == 6001
    log = sim.storage.log
    assert log is not None
    bounds = sim.run(log.bounds(log_of(partition_of("Cart", "a", 16))))
    assert bounds.end > 6000
    assert bounds.end - bounds.first < 6000
    sim.crash(0)
    sim.restart(0)
    sim.run_for(20.0)
    [late] = sim.run(sim.node(0).durable_sends(Cart, "a"))
    assert late.due > sim.unix_time() + 1e5


def test_the_end_of_everything_loses_nothing(start: Start):
    sim = start(nodes=2)
    sim.run(send(sim.node(0), "a", "late", after=20.0))
    sim.run(send(sim.node(0), "b", "soon"))
    sim.crash(0)
    sim.crash(1)
    sim.run_for(30.0)
    assert items() == []
    sim.restart(0)
    sim.run_for(10.0)
    assert items() == ["late"]
    assert "soon" in items("b")


def test_the_keepers_of_a_node_that_leaves_go_on_elsewhere(start: Start):
    sim = start()
    sim.run(send(sim.node(0), "a", "late", after=20.0))
    FAIL["bad"] = 2
    sim.run(send(sim.node(0), "a", "bad"))
    sim.run_for(0.3)
    sim.leave(keeper_of(sim))
    sim.run_for(40.0)
    assert items() == ["bad", "bad", "bad", "late"]
    keeper_of(sim)


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0])
def test_a_delay_keeps_its_length_when_the_clock_of_the_keeper_is_set(start: Start, by_s: float):
    sim = start()
    began = sim.time
    sim.run(send(sim.node(0), "a", "late", after=50.0))
    local = sim.node(keeper_of(sim))._node.local
    sim.run_for(10.0)
    local.unix_time = lambda: sim.unix_time() + by_s
    sim.run_for(120.0)
    assert items() == ["late"]
    assert LOG[0][2] - began == pytest.approx(50.0, abs=0.1)


def test_the_clock_is_set_and_then_the_keeper_dies(start: Start):
    sim = start()
    began = sim.time
    sim.run(send(sim.node(0), "a", "late", after=100.0))
    for index in range(3):  # all clocks of the machines are set, as by one time server
        local = sim.node(index)._node.local
        local.unix_time = lambda: sim.unix_time() + 3600.0
    sim.run_for(40.0)  # keepers look at their clock in between
    sim.crash(keeper_of(sim))
    sim.run_for(100.0)
    assert items() == ["late"]
    assert LOG[0][2] - began == pytest.approx(100.0, abs=1.0)


def test_an_operator_ends_a_keeper_and_it_begins_again(start: Start):
    sim = start()
    sim.run(send(sim.node(0), "a", "late", after=10.0))
    index = keeper_of(sim)
    host = sim.node(index)._node.hosts[KEEPER]
    host.deactivate_soon(host.activations[partition_of("Cart", "a", 16)], "requested")
    sim.run_for(20.0)
    assert items() == ["late"]
