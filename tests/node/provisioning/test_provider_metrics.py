"""Metrics of providers: one set per provider and per remote (SPEC PR-4.5, PR-5.1)."""

from __future__ import annotations

from typing import Any

from inaho import Cluster
from inaho.errors import ProviderUnreachable
from inaho.providers.memory import MemoryProvider, MemoryTopology
from support.provided_fleet import ProvidedFleet
from support.waiting import until


def values(cluster: Cluster, name: str) -> dict[tuple[str, ...], float]:
    return {tuple(labels.values()): value for labels, value in cluster.metrics()[f"inaho.provider.{name}"]}


async def test_pr_4_5_health_is_a_metric_per_provider_and_per_remote(provided: ProvidedFleet):
    spare = MemoryTopology()

    def both() -> list[Any]:
        return [provided.provider("first"), MemoryProvider("second", spare)]

    first, second = await provided.member(providers=both()), await provided.member(providers=both())
    names = {first.authority, second.authority}
    await until(lambda: {remote for remote, _ in values(first, "remotes")} == names)
    assert set(values(first, "remotes").values()) == {1}
    assert values(first, "active") == {("first",): 1, ("second",): 0}
    assert values(first, "snapshot.seq_no")[("first",)] == provided.snapshot(first).seq_no

    provided.topology.fail(ProviderUnreachable("a test says so"))
    await until(lambda: values(first, "active") == {("first",): 0, ("second",): 1})
    assert values(first, "state")[("first", "down")] == 1
    assert values(first, "state")[("second", "up")] == 1
    assert values(first, "interruptions") == {("first",): 1, ("second",): 0}
    assert values(first, "fail_overs") == {(): 1}
    assert values(first, "snapshot.seq_no")[("second",)] > values(first, "snapshot.seq_no")[("first",)]

    spare.fail(ProviderUnreachable("a test says so"))
    await until(lambda: {state for _, state in values(first, "remotes")} == {"degraded"})
    assert values(first, "last_answer.age")[("second",)] >= 0
    provided.topology.fail(None)
    spare.fail(None)
    await until(lambda: {state for _, state in values(first, "remotes")} == {"up"})


async def test_pr_4_5_an_authority_that_was_blocked_and_is_no_member_is_no_remote(provided: ProvidedFleet):
    member = await provided.member()
    provided.topology.block("10.7.7.7:7700")
    await until(lambda: ("10.7.7.7:7700", "blocked") in values(member, "remotes"))
    provided.topology.unblock("10.7.7.7:7700")
    await until(lambda: list(values(member, "remotes")) == [(member.authority, "up")])
