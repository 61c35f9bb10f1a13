"""The provider for Kubernetes: pods and their lives, permissions, tokens, the record; against the double."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from inaho.config import SecretReference
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import checked
from inaho.errors import InvalidSnapshot, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers import kubernetes
from inaho.providers.kubernetes import KubernetesProvider
from support.certificates import CertificateAuthority
from support.kubernetes_clients import TOKEN_VARIABLE, TTL_S, Pods, following, member, nodes, setup_of
from support.kubernetes_server import NAMESPACE, TOKEN, KubernetesServer

GUIDE = Path(__file__).parents[2] / "docs" / "providers" / "kubernetes.md"
RECORD = ClusterRecord("00c0ffee00c0ffee", 1, "10.0.0.1:7700", "a")


@pytest_asyncio.fixture
async def pods(kubernetes_server: KubernetesServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pods]:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    made = Pods(kubernetes_server)
    yield made
    await made.close()


# Pods.


async def test_a_pod_that_has_ended_is_gone(pods: Pods):
    provider = pods.start("shop-0")
    await provider.register(member(), TTL_S)
    async with following(provider) as watch:
        pods.server.patch_pod("shop-0", {"status": {"phase": "Failed"}})
        assert nodes(await watch.until(lambda found: not found.members)) == []
    assert not await provider.renew(member(), TTL_S)
    assert (await provider.read()).members == ()


async def test_a_pod_that_is_being_deleted_stays_until_its_process_leaves(pods: Pods):
    provider, other = pods.start("shop-0"), pods.start("shop-1")
    await provider.register(member(), TTL_S)
    await other.register(member("10.0.0.2", "b"), TTL_S)
    pods.server.delete_pod("shop-0", grace_s=30)
    assert nodes(await other.read()) == ["a", "b"]
    assert await provider.renew(member(), TTL_S)
    async with following(other) as watch:
        await provider.deregister()
        await watch.until(lambda found: nodes(found) == ["b"])
        await other.deregister()
        await watch.until(lambda found: nodes(found) == [])


async def test_a_pod_that_was_killed_is_gone_when_it_is_removed(pods: Pods):
    provider, other = pods.start("shop-0"), pods.start("shop-1")
    await provider.register(member(), TTL_S)
    async with following(other) as watch:
        pods.server.delete_pod("shop-0")
        await watch.until(lambda found: not found.members)


async def test_a_container_that_starts_again_replaces_the_registration(pods: Pods):
    old = pods.start("shop-0")
    await old.register(member(node_id="a"), TTL_S)
    new = pods.restart("shop-0")
    await new.register(member(node_id="b"), TTL_S)
    assert nodes(await old.read()) == ["b"]
    assert not await old.renew(member(node_id="a"), TTL_S)


async def test_a_pod_with_the_address_of_another_counts_as_the_newer_one(pods: Pods):
    old = pods.start("shop-old")
    await old.register(member(node_id="old"), TTL_S)
    async with following(old) as watch:
        pods.server.delete_pod("shop-old", grace_s=30)
        new = pods.start("shop-new")
        await new.register(member(node_id="new"), TTL_S)
        await watch.until(lambda found: nodes(found) == ["new"])
        await old.deregister()
        assert nodes(await new.read()) == ["new"]
        pods.server.delete_pod("shop-old")
        assert nodes(await new.read()) == ["new"]


async def test_a_process_of_a_deleted_pod_leaves_its_successor_alone(pods: Pods):
    old = pods.start("shop-0")
    await old.register(member(node_id="old"), TTL_S)
    pods.server.delete_pod("shop-0")
    new = pods.start("shop-0")
    await new.register(member(node_id="new"), TTL_S)
    assert not await old.renew(member(node_id="old"), TTL_S)
    with pytest.raises(ProviderStreamFailed, match="another pod has its name shop-0"):
        await old.register(member(node_id="old"), TTL_S)
    await old.deregister()
    assert nodes(await new.read()) == ["new"]


async def test_a_block_ends_with_its_label(pods: Pods):
    provider = pods.start("shop-0")
    await provider.register(member(), TTL_S)
    async with following(provider) as watch:
        pods.server.patch_pod("shop-0", {"metadata": {"labels": {"inaho.dev/blocked": "true"}}})
        await watch.until(lambda found: found.blocked_nodes == ("10.0.0.1:7700",))
        pods.server.patch_pod("shop-0", {"metadata": {"labels": {"inaho.dev/blocked": None}}})
        await watch.until(lambda found: not found.blocked_nodes)


async def test_a_pod_of_another_cluster_under_the_label_is_refused_by_who_reads(pods: Pods):
    provider, foreign = pods.start("shop-0"), pods.start("foreign-0")
    await provider.register(member(), TTL_S)
    await foreign.register(member("10.0.0.2", "b", cluster="foreign"), TTL_S)
    found = await provider.read()
    with pytest.raises(InvalidSnapshot, match="cluster 'foreign'"):
        checked(found.members, found.blocked_nodes, 100, "shop")


async def test_a_pod_without_the_labels_cannot_register(pods: Pods):
    pods.server.make_pod("stray", labels={"app": "stray"})
    provider = pods.restart("stray")
    await provider.check()  # it may be a client
    with pytest.raises(ProviderInvalid, match=r"no running pod stray with the labels app.kubernetes.io/name=shop"):
        await provider.register(member(), TTL_S)


async def test_changes_that_do_not_matter_are_not_reported(pods: Pods):
    provider = pods.start("shop-0")
    await provider.register(member(), TTL_S)
    async with following(provider) as watch:
        for number in range(20):
            pods.server.patch_pod("shop-0", {"status": {"reason": f"{number}"}})
        pods.server.annotate("shop-0", blocked="true")
        found = await watch.until(lambda _: True)
    assert found.blocked_nodes == ("10.0.0.1:7700",)
    assert found.position == pods.server.get("pods", "shop-0")["metadata"]["resourceVersion"]


async def test_pages_that_expire_are_read_again_as_one(pods: Pods, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubernetes, "PAGE", 2)
    for number in range(5):
        await pods.start(f"shop-{number}").register(member(f"10.0.0.{number}", f"{number}"), TTL_S)
    assert nodes(await pods.start().read()) == ["0", "1", "2", "3", "4"]
    before = pods.server.counts()["list pods"]
    pods.server.fault(410, "list", "pods", after=1)
    assert nodes(await pods.start().read()) == ["0", "1", "2", "3", "4"]
    assert pods.server.counts()["list pods"] - before == 3


async def test_the_requests_of_each_method(pods: Pods):
    """What the guide counts."""
    provider = pods.start("shop-0")
    calls = {
        "register": (provider.register(member(), TTL_S), {"list pods": 1, "patch pods": 1}),
        "renew": (provider.renew(member(), TTL_S), {"list pods": 1}),
        "read": (provider.read(), {"list pods": 1}),
        "read_record": (provider.read_record(), {"get configmaps": 1}),
        "write_record": (provider.write_record(RECORD, ""), {"create configmaps": 1}),
        "deregister": (provider.deregister(), {"list pods": 1, "patch pods": 1}),
    }
    for name, (call, expected) in calls.items():
        before = pods.server.counts()
        await call
        after = pods.server.counts()
        assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)} == (
            expected
        ), name


# Tokens, permissions, certificates.


async def test_a_token_that_is_replaced_is_read_again(pods: Pods, tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    pods.server.make_pod("shop-0")
    url = pods.server.pod_url("shop-0")
    async with contextlib.aclosing(
        _Closing(KubernetesProvider(setup_of(url, token=SecretReference(file=str(file)))))
    ) as it:
        await it.provider.register(member(), TTL_S)
        pods.server.order("tokens", tokens={TOKEN: {"user": "u", "expires_at": time.time() - 1}, "next": {"user": "u"}})
        with pytest.raises(ProviderInvalid, match="the token is refused") as caught:
            await it.provider.read()
        assert TOKEN not in str(caught.value)
        file.write_text("next")
        assert nodes(await it.provider.read()) == ["a"]
        file.unlink()
        with pytest.raises(ProviderInvalid, match=r"provider kube: secret token: .* cannot be read"):
            await it.provider.read()


async def test_a_token_that_is_replaced_during_a_request_is_sent_again(pods: Pods, monkeypatch: pytest.MonkeyPatch):
    provider = pods.start("shop-0")
    pods.server.fault(401, "list", "pods", delay_s=0.2)
    reading = asyncio.create_task(provider.read())
    async with asyncio.timeout(5.0):
        while not pods.server.counts().get("list pods"):
            await asyncio.sleep(0.01)
    pods.server.set_tokens("next")
    monkeypatch.setenv(TOKEN_VARIABLE, "next")
    assert (await reading).members == ()


async def test_a_missing_permission_is_named(pods: Pods):
    provider = pods.start("shop-0")
    await provider.check()
    pods.server.grant(pods="list watch", configmaps="get")
    with pytest.raises(ProviderInvalid, match="may not patch pods, create configmaps, update configmaps in the namesp"):
        await provider.check()
    with pytest.raises(ProviderInvalid, match='cannot patch resource "pods" in API group "" in the namespace "shop"'):
        await provider.register(member(), TTL_S)
    with pytest.raises(ProviderInvalid, match='cannot create resource "configmaps"'):
        await provider.write_record(RECORD, "")
    await pods.start().check()  # a client only reads
    pods.server.grant(configmaps="get")
    with pytest.raises(ProviderInvalid, match='cannot list resource "pods"'):
        await pods.start("shop-1").check()


async def test_the_role_of_the_guide_has_each_permission_that_is_needed_and_no_other(pods: Pods):
    provider = pods.start("shop-0")
    found = re.findall(r"resources: \[(\w+)\].*verbs: \[([\w, ]+)\]", GUIDE.read_text())
    role = [(resource, verb) for resource, verbs in found for verb in verbs.split(", ")]
    assert len(role) == 6
    for missing in (None, *role):
        granted = [each for each in role if each != missing]
        pods.server.grant(
            **{name: " ".join(verb for of, verb in granted if of == name) for name in ("pods", "configmaps")}
        )
        if missing is None:
            await provider.check()
            await provider.register(member(), TTL_S)
            assert await provider.renew(member(), TTL_S)
            assert await provider.write_record(RECORD, "")
            assert await provider.write_record(RECORD, (await provider.read_record())[1])
            async with following(provider) as watch:
                await provider.deregister()
                await watch.until(lambda found: not found.members)
        else:
            with pytest.raises(ProviderInvalid, match=missing[1]):
                await provider.check()


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[KubernetesServer]:
    server = KubernetesServer(CertificateAuthority(tmp_path, "ours").issue("api", "127.0.0.1"))
    try:
        server.start()
        yield server
    finally:
        server.end()


async def test_in_a_pod_nothing_needs_to_be_configured(
    tls_server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    (folder / "namespace").write_text(NAMESPACE)
    (folder / "ca.crt").write_bytes((tmp_path / "ours.pem").read_bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(tls_server.port))
    monkeypatch.setenv("POD_NAME", "shop-0")
    tls_server.make_pod("shop-0")
    async with contextlib.aclosing(_Closing(KubernetesProvider(setup_of("kubernetes:///", token=None), folder))) as it:
        await it.provider.check()
        await it.provider.register(member(), TTL_S)
        assert nodes(await it.provider.read()) == ["a"]


async def test_a_certificate_that_does_not_verify_is_refused(
    tls_server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    CertificateAuthority(tmp_path, "theirs")
    url = f"kubernetes://127.0.0.1:{tls_server.port}/shop?ca={tmp_path / 'theirs.pem'}"
    async with contextlib.aclosing(_Closing(KubernetesProvider(setup_of(url)))) as it:
        with pytest.raises(ProviderInvalid, match="certificate"):
            await it.provider.read()


# The record.


async def test_an_answer_that_is_lost_hides_no_record(pods: Pods):
    provider = pods.start("shop-0")
    pods.server.fault(500, "create", "configmaps", late=True)
    with pytest.raises(ProviderUnreachable):
        await provider.write_record(RECORD, "")
    found, token = await provider.read_record()
    assert found == RECORD
    assert await provider.write_record(RECORD, token)


async def test_a_record_that_was_removed_is_not_replaced_by_an_update(pods: Pods):
    provider = pods.start("shop-0")
    assert await provider.write_record(RECORD, "")
    _, token = await provider.read_record()
    pods.server.order("remove", resource="configmaps", namespace=NAMESPACE, name="inaho-shop")
    assert not await provider.write_record(RECORD, token)
    assert await provider.read_record() == (None, "")


async def test_a_record_without_text_is_no_missing_record(pods: Pods):
    provider = pods.start("shop-0")
    await provider.write_record(RECORD, "")
    pods.server.order("patch", resource="configmaps", namespace=NAMESPACE, name="inaho-shop", patch={"data": None})
    with pytest.raises(InvalidSnapshot, match="ConfigMap shop/inaho-shop"):
        await provider.read_record()


class _Closing:
    """Closes the provider at the end."""

    def __init__(self, provider: KubernetesProvider) -> None:
        self.provider = provider

    async def aclose(self) -> None:
        await self.provider.close()
