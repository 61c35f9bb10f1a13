"""The provider for Kubernetes when the API server fails: killed, paused, cut off, overloaded, its history lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from inaho.core.provisioning.founding import ClusterRecord
from inaho.errors import ProviderStreamFailed, ProviderUnreachable
from inaho.providers import kubernetes
from support.gate import Gate, Mode
from support.kubernetes_clients import TOKEN_VARIABLE, TTL_S, Pods, following, member, nodes
from support.kubernetes_server import TOKEN, KubernetesServer

PING_S = 0.2
RECORD = ClusterRecord("00c0ffee00c0ffee", 1, "10.0.0.1:7700", "a")


@pytest_asyncio.fixture
async def pods(kubernetes_server: KubernetesServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pods]:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setattr(kubernetes, "PING_S", PING_S)
    made = Pods(kubernetes_server)
    yield made
    await made.close()


async def test_a_server_that_was_killed_and_started_again(pods: Pods):
    provider, other = pods.start("shop-0"), pods.start("shop-1")
    await provider.register(member(), TTL_S)
    assert await provider.write_record(RECORD, "")
    async with following(provider) as watch:
        await watch.until(lambda found: nodes(found) == ["a"])
        pods.server.kill()
        with pytest.raises(ProviderUnreachable):
            await watch.end()
    with pytest.raises(ProviderUnreachable):
        await provider.read()
    pods.server.start()
    assert nodes(await provider.read()) == ["a"]
    assert (await provider.read_record())[0] == RECORD
    assert await provider.renew(member(), TTL_S)
    async with following(provider) as watch:
        await other.register(member("10.0.0.2", "b"), TTL_S)
        await watch.until(lambda found: nodes(found) == ["a", "b"])


async def test_a_server_that_is_paused_is_noticed_by_an_open_watch(pods: Pods):
    provider = pods.start("shop-0")
    await provider.register(member(), TTL_S)
    async with following(provider) as watch:
        await watch.until(lambda found: nodes(found) == ["a"])
        pods.server.pause()
        try:
            with pytest.raises(ProviderUnreachable, match="no answer within"):
                await watch.end()
            with pytest.raises(ProviderUnreachable, match="no answer within"):
                await provider.renew(member(), TTL_S)
        finally:
            pods.server.resume()
    assert await provider.renew(member(), TTL_S)
    assert nodes(await provider.read()) == ["a"]


async def test_connections_that_are_cut_silently_are_given_up(pods: Pods):
    async with Gate.to_port(pods.server.port) as gate:
        pods.server.make_pod("shop-0")
        url = pods.server.pod_url("shop-0").replace(str(pods.server.port), str(gate.port))
        provider = pods.restart("shop-0", url=url)
        await provider.register(member(), TTL_S)
        async with following(provider) as watch:
            await watch.until(lambda found: nodes(found) == ["a"])
            gate.set(Mode.SILENT)
            with pytest.raises(ProviderUnreachable, match="no answer within"):
                await watch.end()
        gate.set(Mode.PASS)
        assert await provider.renew(member(), TTL_S)
        await provider.close()


@pytest.mark.parametrize("as_event", [False, True])
async def test_a_lost_history_ends_the_watch(pods: Pods, as_event: bool):
    provider, other = pods.start("shop-0"), pods.start("shop-1")
    old = (await provider.read()).position
    await other.register(member("10.0.0.2", "b"), TTL_S)
    pods.server.lose_history(as_event=as_event)
    with pytest.raises(ProviderStreamFailed, match="410"):
        await anext(provider.watch(old))
    async with following(provider) as watch:
        await provider.register(member(), TTL_S)
        await watch.until(lambda found: nodes(found) == ["a", "b"])


async def test_a_version_that_went_back_ends_the_watch(pods: Pods):
    """After a restore of etcd from a backup."""
    provider = pods.start("shop-0")
    old = (await provider.read()).position
    pods.server.order("rewind", by=500)
    with pytest.raises(ProviderUnreachable, match="Too large resource version"):
        await anext(provider.watch(old))
    async with following(provider) as watch:
        await provider.register(member(), TTL_S)
        await watch.until(lambda found: nodes(found) == ["a"])


async def test_an_error_event_ends_the_watch_and_a_close_ends_it_in_peace(pods: Pods):
    provider = pods.start("shop-0")
    await provider.register(member(), TTL_S)
    async with following(provider) as watch:
        await watch.until(lambda found: nodes(found) == ["a"])
        pods.server.end_watches("error", {"kind": "Status", "code": 500, "message": "etcd lost its leader"})
        with pytest.raises(ProviderStreamFailed, match="500 etcd lost its leader"):
            await watch.end()
    async with following(provider) as watch:
        await watch.until(lambda found: nodes(found) == ["a"])
        pods.server.end_watches("close")
        await watch.end()
    async with following(provider) as watch:
        await watch.until(lambda found: nodes(found) == ["a"])
        pods.server.end_watches("cut")
        with pytest.raises(ProviderUnreachable, match="broke"):
            await watch.end()


async def test_an_event_that_cannot_be_read_ends_the_watch(pods: Pods):
    provider = pods.start("shop-0")
    async with following(provider) as watch:
        await watch.until(lambda found: not found.members)
        pods.server.annotate("shop-0", member="{")
        with pytest.raises(ProviderStreamFailed, match="the pod shop-0"):
            await watch.end()


async def test_a_bookmark_moves_the_position_on(pods: Pods):
    provider = pods.start("shop-0")
    await provider.register(member(), TTL_S)
    async with following(provider) as watch:
        first = await watch.until(lambda found: nodes(found) == ["a"])
        pods.server.make_pod("stray", labels={"app": "stray"})
        pods.server.order("bookmark")
        later = await watch.until(lambda found: found.position != first.position)
        assert (later.members, int(later.position) > int(first.position)) == (first.members, True)


async def test_a_silent_watch_of_a_server_that_answers_is_a_sign_of_life_and_reads_see_more(pods: Pods):
    provider, other = pods.start("shop-0"), pods.start("shop-1")
    await provider.register(member(), TTL_S)
    async with following(provider) as watch:
        await watch.until(lambda found: nodes(found) == ["a"])
        pods.server.order("silence", silent=True)
        await other.register(member("10.0.0.2", "b"), TTL_S)
        before = pods.server.counts()["get configmaps"]
        for _ in range(3):
            await watch.until(lambda found: nodes(found) == ["a"])
        assert pods.server.counts()["get configmaps"] > before
        assert nodes(await provider.read()) == ["a", "b"]
        pods.server.order("silence", silent=False)
        await watch.until(lambda found: nodes(found) == ["a", "b"])


async def test_a_watch_is_begun_again_after_its_time(pods: Pods, monkeypatch: pytest.MonkeyPatch):
    provider = pods.start("shop-0")
    monkeypatch.setattr(kubernetes, "WATCH_S", 1)
    async with following(provider) as watch:
        pods.server.order("silence", silent=True)
        await watch.end()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_is_overloaded_cannot_be_reached(pods: Pods, status: int):
    provider = pods.start("shop-0")
    pods.server.fault(status, times=3, retry_after_s=1)
    for request in (provider.read(), provider.register(member(), TTL_S), provider.read_record()):
        with pytest.raises(ProviderUnreachable, match=f"status {status}"):
            await request
    await provider.register(member(), TTL_S)
    assert nodes(await provider.read()) == ["a"]


async def test_an_answer_that_is_late_is_given_up(pods: Pods):
    provider = pods.start("shop-0")
    pods.server.fault(0, "list", delay_s=30.0)
    with pytest.raises(ProviderUnreachable, match="no answer within"):
        await provider.read()
    assert (await provider.read()).members == ()


async def test_a_deregistration_that_meets_another_change_is_sent_again(pods: Pods):
    provider = pods.start("shop-0")
    await provider.register(member(), TTL_S)
    pods.server.fault(409, "patch", "pods", times=2)
    await provider.deregister()
    assert (await provider.read()).members == ()
    await provider.register(member(), TTL_S)
    pods.server.fault(409, "patch", "pods", times=100)
    with pytest.raises(ProviderStreamFailed, match="changes too often"):
        await provider.deregister()


async def test_a_read_that_is_older_than_the_watch_is_made_again(pods: Pods):
    """Else a member that the watch has announced would be gone until the next read."""
    provider, other = pods.start("shop-0"), pods.start("shop-1")
    async with following(provider) as watch:
        await watch.until(lambda found: not found.members)
        pods.server.fault(0, "list", "pods", delay_s=0.3, late=True)
        reading = asyncio.create_task(provider.read())
        async with asyncio.timeout(5.0):
            while pods.server.counts()["list pods"] < 2:
                await asyncio.sleep(0.01)
        await other.register(member("10.0.0.2", "b"), TTL_S)
        await watch.until(lambda found: nodes(found) == ["b"])
        assert nodes(await reading) == ["b"]
