"""Members in pods find each other, found one cluster, and go on while the API server is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

import inaho
from inaho import Cluster
from inaho.events import ProviderHealthChanged
from inaho.providers import kubernetes
from support.kubernetes_clients import TOKEN_VARIABLE, Pods
from support.kubernetes_server import TOKEN, KubernetesServer
from support.provided_fleet import ProvidedFleet
from support.waiting import until

pytestmark = pytest.mark.integration

PODS = ("shop-0", "shop-1", "shop-2")


@pytest_asyncio.fixture
async def pods(kubernetes_server: KubernetesServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pods]:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setattr(kubernetes, "PING_S", 0.2)
    made = Pods(kubernetes_server)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[ProvidedFleet]:
    fleet = ProvidedFleet()
    yield fleet
    await fleet.close()


def registered(pods: Pods, name: str) -> str:
    """The authority in the annotation of a pod; empty if there is none."""
    annotations = pods.server.get("pods", name)["metadata"].get("annotations", {})
    return json.loads(annotations.get("inaho.dev/member", '{"authority": ""}'))["authority"]


def knows(cluster: Cluster, count: int) -> bool:
    """Whether a member sees so many members."""
    return len(cluster.members()) == count


async def test_pods_that_start_together_found_one_cluster_and_leave_their_annotations_clean(
    pods: Pods, fleet: ProvidedFleet
):
    await asyncio.gather(*(fleet.member(providers=[pods.start(name)]) for name in PODS))
    await until(lambda: all(knows(cluster, 3) for cluster in fleet.clusters))
    assert sorted(registered(pods, name) for name in PODS) == sorted(each.authority for each in fleet.clusters)
    record = json.loads(pods.server.get("configmaps", "inaho-shop")["data"]["record"])
    assert (record["generation"], record["authority"] in {each.authority for each in fleet.clusters}) == (1, True)
    async with inaho.connect(providers=[pods.start()], config=fleet.config) as client:
        assert await fleet.answers(client) == {each.authority for each in fleet.clusters}
    await fleet.close()
    assert [registered(pods, name) for name in PODS] == ["", "", ""]


async def test_calls_go_on_while_the_server_is_away_and_a_new_pod_joins_when_it_is_back(
    pods: Pods, fleet: ProvidedFleet
):
    first = await fleet.member(providers=[pods.start(PODS[0])])
    second = await fleet.member(providers=[pods.start(PODS[1])])
    await until(lambda: knows(first, 2) and knows(second, 2))
    pods.server.make_pod(PODS[2])
    states = fleet.events(first, ProviderHealthChanged)
    pods.server.kill()
    await until(lambda: states and states[-1].state == "down")
    both = {first.authority, second.authority}
    assert await fleet.answers(second) == both
    pods.server.start()
    third = await fleet.member(providers=[pods.restart(PODS[2])])
    await until(lambda: all(knows(cluster, 3) for cluster in (first, second, third)))
    await until(lambda: states[-1].state == "up")
