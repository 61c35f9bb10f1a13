"""Metrics of real nodes: what was called is what is counted, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import inaho
from inaho import Grain
from inaho.config import CALL_TIMEOUT_MAX_S, MetricsConfig
from inaho.errors import MetricsOff, Pending, Timeout
from inaho.events import MemberUp, RetryThrottled
from inaho.observe.metrics import INSTRUMENTS
from support.metrics import Figures, Slow, Wallet, shown


class Never(Grain):
    async def on_activate(self) -> None:
        raise Pending("not yet")

    async def x(self) -> None: ...


@pytest.fixture
async def reader() -> AsyncIterator[InMemoryMetricReader]:
    """Reads what clusters export to `reader.provider`."""
    made = InMemoryMetricReader()
    made.provider = MeterProvider([made])  # type: ignore[attr-defined]
    yield made
    made.provider.shutdown()  # type: ignore[attr-defined]


def exported(reader: InMemoryMetricReader) -> dict[str, Figures]:
    """Node -> name -> values of labels in the order of the table -> value."""
    found: dict[str, Figures] = {}
    data = reader.get_metrics_data()
    order = {instrument.name: instrument.labels for instrument in INSTRUMENTS}
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    labels = point.attributes or {}
                    place = found.setdefault(str(labels["inaho.node"]), {}).setdefault(metric.name, {})
                    place[tuple(str(labels[name]) for name in order[metric.name])] = point.value  # type: ignore[union-attr]
    return found


async def call_both(fleet: Any) -> tuple[inaho.Cluster, inaho.Cluster]:
    """Two members; the first has called 3 grains of its own and 4 of the other, and had 2 failures."""
    here, there = await fleet.members(2, Wallet)
    for number in range(3):
        await here.grain(Wallet, fleet.key_at(here, Wallet, f"here{number}-")).put(1)
    for number in range(4):
        await here.grain(Wallet, fleet.key_at(there, Wallet, f"there{number}-")).put(1)
    for cluster in (here, there):
        with pytest.raises(ValueError, match="no"):
            await here.grain(Wallet, fleet.key_at(cluster, Wallet, "refuse-")).refuse()
    return here, there


async def test_an_exporter_gets_what_was_called(fleet: Any, eventually: Any, reader: InMemoryMetricReader):
    here, there = await call_both(fleet)
    for cluster in (here, there):
        cluster.export_metrics(reader.provider)  # type: ignore[attr-defined]
    figures = exported(reader)
    assert set(figures) == {here.authority, there.authority}
    mine, theirs = figures[here.authority], figures[there.authority]
    assert mine["inaho.rpc.client.calls"] == {("Wallet",): 9}
    assert mine["inaho.rpc.client.failures"][("Wallet", "_OTHER")] == 2
    assert "inaho.rpc.client.calls" not in theirs
    buckets = mine["inaho.rpc.client.call.duration.bucket"]
    counts = [value for (kind, _), value in buckets.items() if kind == "Wallet"]
    assert counts == sorted(counts)
    assert buckets[("Wallet", "+Inf")] == 7
    assert mine["inaho.activations"] == {("Wallet",): 4}
    assert theirs["inaho.activations"] == {("Wallet",): 5}
    assert mine["inaho.activations.started"] == {("Wallet",): 4}
    assert mine["inaho.members"] == {("joining",): 0, ("up",): 2, ("leaving",): 0, ("unreachable",): 0}
    assert mine["inaho.storage.saves"] == {(): 8}  # with the marker of the node that founded the cluster
    assert mine["inaho.storage.loads"] == {(): 10}
    assert mine["inaho.connections"][("out",)] == 1
    assert mine["inaho.connections.opened"][("out",)] == 1
    sent, received = mine["inaho.network.io"][("transmit",)], theirs["inaho.network.io"][("receive",)]
    assert 0 < received <= sent  # what is under way is sent already
    assert mine["inaho.pid_cache.entries"] == {(): 4}  # of the grain that raised it has learnt nothing
    await here.grain(Wallet, fleet.key_at(there, Wallet, "there0-")).put(1)
    again = exported(reader)[here.authority]
    assert again["inaho.rpc.client.calls"] == {("Wallet",): 10}
    assert again["inaho.pid_cache.hits"][()] > mine["inaho.pid_cache.hits"][()]

    def passed(cluster: inaho.Cluster, direction: str) -> float:
        return shown(cluster)["inaho.network.io"][direction,]

    await eventually(lambda: passed(there, "receive") == passed(here, "transmit") > sent)


async def test_an_exporter_may_ask_on_its_own_thread(fleet: Any, reader: InMemoryMetricReader):
    here, _ = await call_both(fleet)
    here.export_metrics(reader.provider)  # type: ignore[attr-defined]
    figures = await asyncio.to_thread(exported, reader)
    assert figures[here.authority]["inaho.rpc.client.calls"] == {("Wallet",): 9}


async def test_a_loop_that_does_not_answer_costs_an_exporter_one_wait(
    fleet: Any, reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
):
    cluster = await fleet.member(Wallet)
    cluster.export_metrics(reader.provider)  # type: ignore[attr-defined]
    monkeypatch.setattr("inaho.runtime.telemetry.node_metrics.ANSWER_S", 0.05)
    from threading import Thread

    found: list[Any] = []
    thread = Thread(target=lambda: found.append(exported(reader)))
    thread.start()
    thread.join()  # the loop is busy with this
    assert found == [{}]
    assert exported(reader)[cluster.authority]["inaho.activations"] == {("Wallet",): 0}


async def test_a_snapshot_needs_no_sdk_and_has_every_instrument(fleet: Any):
    here, there = await call_both(fleet)
    figures = here.metrics()
    assert list(figures) == [instrument.name for instrument in INSTRUMENTS]
    for instrument in INSTRUMENTS:
        assert all(set(labels) == set(instrument.labels) for labels, _ in figures[instrument.name])
    assert figures["inaho.rpc.client.calls"] == [({"inaho.kind": "Wallet"}, 9)]
    client = await fleet.client()
    await client.grain(Wallet, "k").put(1)
    assert shown(client)["inaho.rpc.client.calls"] == {("Wallet",): 1}
    assert shown(there)["inaho.connections"][("in",)] >= 1


async def test_the_number_of_activations_is_0_after_a_leave(fleet: Any):
    here, there = await call_both(fleet)
    await there.leave()
    figures = shown(there)
    assert figures["inaho.activations"] == {("Wallet",): 0}
    assert sum(value for (kind, _), value in figures["inaho.activations.ended"].items() if kind == "Wallet") == 5
    assert shown(here)["inaho.members.events"][("MemberLeaving",)] >= 1


async def test_idle_activations_are_counted_when_they_are_unloaded(fleet: Any, eventually: Any):
    cluster = await fleet.member(Wallet, activation={"idle_ttl_s": 0.2})
    await cluster.grain(Wallet, "k").put(1)
    await eventually(lambda: shown(cluster)["inaho.activations.passivated"] == {("Wallet",): 1})
    assert shown(cluster)["inaho.activations.ended"] == {("Wallet", "idle"): 1}
    await cluster.grain(Wallet, "k").put(1)
    figures = shown(cluster)
    assert figures["inaho.activations.started"] == {("Wallet",): 2}
    assert figures["inaho.leases.ended"] == {("refused",): 0, ("timed_out",): 0, ("revoked",): 0}


async def test_turns_that_run_and_wait_are_counted_by_kind(fleet: Any, eventually: Any):
    here, there = await fleet.members(2, Slow, Wallet)
    local, remote = (fleet.key_at(cluster, Slow) for cluster in (here, there))
    await here.grain(Wallet, fleet.key_at(here, Wallet)).put(1)

    def turns(cluster: inaho.Cluster) -> tuple[float, float]:
        figures = shown(cluster)
        for state in ("running", "waiting"):
            assert figures[f"inaho.rpc.server.turns.{state}"][("Wallet",)] == 0
        running, waiting = (figures[f"inaho.rpc.server.turns.{state}"][("Slow",)] for state in ("running", "waiting"))
        return running, waiting

    assert turns(here) == turns(there) == (0, 0)
    calls = [
        asyncio.ensure_future(here.grain(Slow, key, timeout=8).wait()) for key in (local, remote) for _ in range(4)
    ]
    await eventually(lambda: turns(here) == turns(there) == (1, 3))
    calls.pop().cancel()
    await eventually(lambda: turns(there) == (1, 2))
    for cluster, key in ((here, local), (there, remote)):
        cluster.runtime.hosts["Slow"].activations[key].waiting.set()
    await asyncio.gather(*calls)
    assert turns(here) == turns(there) == (0, 0)


async def test_time_outs_and_other_errors_have_their_code(fleet: Any):
    member = await fleet.member(Slow, Wallet)
    client = await fleet.client()
    with pytest.raises(inaho.Timeout):
        await client.grain(Slow, "k").hang()
    with pytest.raises(inaho.NoSuchKind):
        await client.call("Nobody", "k", "x")
    figures = shown(client)
    assert figures["inaho.rpc.client.timeouts"][("Slow",)] == 1
    assert figures["inaho.rpc.client.failures"][("Slow", "timeout")] == 1
    assert figures["inaho.rpc.client.failures"][("Nobody", "no_such_kind")] == 1
    assert figures["inaho.rpc.client.unresolved"][()] >= 1
    assert member.metrics()["inaho.rpc.client.calls"] == []


async def test_failures_on_the_callers_own_node_have_their_code(fleet: Any):
    member = await fleet.member(Slow, Wallet)
    await member.grain(Slow, "k").lag(0)
    with pytest.raises(inaho.Timeout):
        await member.grain(Slow, "k", timeout=0.05).hang()
    with pytest.raises(inaho.SerializationFailed):
        await member.grain(Wallet, "k").put(object())
    figures = shown(member)
    assert figures["inaho.rpc.client.timeouts"][("Slow",)] == 1
    assert figures["inaho.rpc.client.failures"][("Slow", "timeout")] == 1
    assert figures["inaho.rpc.client.failures"][("Wallet", "serialization_failed")] == 1
    assert figures["inaho.rpc.client.failures"][("Wallet", "_OTHER")] == 0


async def test_kinds_beyond_the_bound_are_taken_together(fleet: Any):
    cluster = await fleet.member(Slow, Wallet, metrics=MetricsConfig(kinds_max=1))
    await cluster.grain(Wallet, "k").put(1)
    assert shown(cluster)["inaho.rpc.client.calls"] == {("Wallet",): 1}
    await cluster.grain(Slow, "k").lag(0)
    figures = shown(cluster)
    assert figures["inaho.rpc.client.calls"] == {("Wallet",): 1, ("other",): 1}
    assert figures["inaho.activations"] == {("Wallet",): 1, ("other",): 1}


async def test_turned_off_it_says_so_and_events_still_flow(fleet: Any, reader: InMemoryMetricReader):
    cluster = await fleet.member(Wallet, metrics=MetricsConfig(enabled=False))
    with pytest.raises(MetricsOff, match=r"metrics\.enabled"):
        cluster.metrics()
    with pytest.raises(MetricsOff):
        cluster.export_metrics(reader.provider)  # type: ignore[attr-defined]
    events = cluster.events(MemberUp)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    other = await fleet.member(Wallet)
    assert (await waiting).authority == other.authority
    await events.aclose()


async def test_the_longest_call_has_a_bucket(fleet: Any):
    cluster = await fleet.member(Wallet)
    node = cluster._node
    for buckets in (node.hosts["Wallet"].latency, node.context.resolver.latency):
        assert (int((CALL_TIMEOUT_MAX_S + 3600.0) * 1e9) >> 10).bit_length() < len(buckets)


async def test_retry_warnings_are_held_back_and_their_number_is_told(fleet: Any, caplog: pytest.LogCaptureFixture):
    rpc = {"retry_warnings_max": 1, "retry_warnings_period_s": 0.8, "retry_base_s": 0.001, "retry_max_s": 0.01}
    await fleet.member(Never)
    client = await fleet.client(rpc=rpc)
    with client.system.events.subscribe(RetryThrottled) as events, caplog.at_level("INFO", "inaho.rpc"):
        with pytest.raises((Pending, Timeout)) as caught:  # between two attempts, or in the last one
            await client.grain(Never, "k", timeout=0.6).x()
        throttled = await asyncio.wait_for(anext(events), 10)
    assert (throttled.kind, throttled.period_s) == ("Never", 0.8)
    figures = shown(client)
    retries = figures["inaho.rpc.client.retries"][("Never",)]
    assert retries >= 2
    assert figures["inaho.rpc.client.retry_warnings.suppressed"] == {("Never",): retries - 1}
    assert throttled.suppressed == retries - 1
    assert figures["inaho.rpc.client.failures"] == {("Never", caught.value.code): 1, ("Never", "_OTHER"): 0}
    lines = [record.getMessage() for record in caplog.records if record.name == "inaho.rpc"]
    assert len(lines) == 2
    assert "Never/k.x failed at attempt 1, retrying" in lines[0]
    assert lines[1] == f"{retries - 1} further retries of Never within 0.8 s were not logged"
