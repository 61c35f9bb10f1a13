"""The provider for Kubernetes when the API server fails: killed, paused, cut off, overloaded, its history lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from inaho.core.provisioning.founding import ClusterRecord
from inaho.errors import ProviderStreamFailed, ProviderUnreachable
from inaho.providers import kubernetes
from inaho.providers.base import ProviderRead
from inaho.providers.entries import encode
from inaho.providers.kubernetes_pods import MEMBER
from support.gate import Gate, Mode
from support.kubernetes_clients import TOKEN_VARIABLE, TTL_S, Pods, following, member, nodes
from support.kubernetes_server import NAMESPACE, TOKEN, KubernetesServer

T = TypeVar("T")
PING_S = 0.2
RECORD = ClusterRecord("00c0ffee00c0ffee", 1, "10.0.0.1:7700", "a")


async def late_list(pods: Pods, request: Coroutine[Any, Any, T], **fault: Any) -> asyncio.Task[T]:
    """The request, while the answer to its list of pods, which is what they were, is on its way."""
    before = pods.server.counts().get("list pods", 0) + fault.get("after", 0)
    pods.server.fault(verb="list", resource="pods", delay_s=0.3, **({"late": True} | fault))
    task = asyncio.ensure_future(request)
    async with asyncio.timeout(5.0):
        while pods.server.counts().get("list pods", 0) <= before:
            await asyncio.sleep(0.01)
    return task


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


async def test_an_answer_to_another_request_is_a_sign_of_life_too(pods: Pods, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubernetes, "PING_S", 0.5)
    provider = pods.start("shop-0")
    await provider.register(member(), TTL_S)

    async def renew() -> None:
        while True:
            assert await provider.renew(member(), TTL_S)

    async with following(provider) as watch:
        renewing = asyncio.create_task(renew())
        for _ in range(2):
            await watch.until(lambda found: nodes(found) == ["a"])
        renewing.cancel()
        await asyncio.wait([renewing])
        assert renewing.cancelled()
    assert "get configmaps" not in pods.server.counts()


async def test_a_watch_is_begun_again_after_its_time(pods: Pods, monkeypatch: pytest.MonkeyPatch):
    provider = pods.start("shop-0")
    monkeypatch.setattr(kubernetes, "WATCH_S", 1)
    async with following(provider) as watch:
        pods.server.order("silence", silent=True)
        await watch.end()
    pods.server.order("silence", silent=True, endless=True)
    async with following(provider) as watch:
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
        reading = await late_list(pods, provider.read())
        await other.register(member("10.0.0.2", "b"), TTL_S)
        await watch.until(lambda found: nodes(found) == ["b"])
        assert nodes(await reading) == ["b"]


async def test_a_pod_that_was_replaced_meanwhile_is_not_annotated(pods: Pods):
    old = pods.start("shop-0")
    registering = await late_list(pods, old.register(member(node_id="old"), TTL_S))
    pods.server.delete_pod("shop-0")
    new = pods.start("shop-0")
    with pytest.raises(ProviderStreamFailed, match=r"the pod shop-0 cannot be annotated.*uid"):
        await registering
    assert (await new.read()).members == ()


async def test_a_process_that_leaves_does_not_remove_what_the_next_one_has_written_meanwhile(pods: Pods):
    old = pods.start("shop-0")
    await old.register(member(node_id="old"), TTL_S)
    leaving = await late_list(pods, old.deregister())
    new = pods.restart("shop-0")
    await new.register(member(node_id="new"), TTL_S)
    await leaving
    assert nodes(await new.read()) == ["new"]


async def test_pages_that_expire_leave_nothing_of_what_was_read_before(pods: Pods, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubernetes, "PAGE", 2)
    for number in range(3):
        await pods.start(f"shop-{number}").register(member(f"10.0.0.{number}", f"{number}"), TTL_S)
    reading = await late_list(pods, pods.start().read(), after=1, status=410, late=False)
    pods.server.delete_pod("shop-0")
    assert nodes(await reading) == ["1", "2"]


async def test_changes_that_come_together_are_one_read(pods: Pods):
    provider = pods.start("shop-0")
    texts = [encode(member(node_id=f"{number}")) for number in range(100)]
    seen: list[list[str]] = []

    def is_last(found: ProviderRead) -> bool:
        seen.append(nodes(found))
        return seen[-1] == ["99"]

    async with following(provider) as watch:
        pods.server.order("patch_often", namespace=NAMESPACE, name="shop-0", annotation=MEMBER, texts=texts)
        await watch.until(is_last)
    assert len(seen) < 50, seen
