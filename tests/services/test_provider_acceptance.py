"""A provider is accepted only after its server has been reached with its credentials (SPEC PR-1.4, PR-5.5)."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from inaho.config import ProviderDescriptor, ProvisioningConfig, SecretReference
from inaho.errors import ProviderInvalid, ProviderUnreachable
from inaho.testing.histories.grain_process import free_ports
from support.gate import Gate, Mode
from support.provider_back_ends.base import ServedBackEnd
from support.provider_back_ends.consul import ConsulBackEnd
from support.provider_back_ends.etcd import EtcdBackEnd
from support.provider_back_ends.kubernetes import KubernetesBackEnd
from support.provider_back_ends.postgresql import PostgresBackEnd
from support.provider_back_ends.redis import RedisBackEnd
from support.registries import TestedRegistry

SERVERS: dict[str, tuple[type[ServedBackEnd], str]] = {
    "consul": (ConsulBackEnd, "consul_server"),
    "etcd": (EtcdBackEnd, "etcd_server"),
    "kubernetes": (KubernetesBackEnd, "kubernetes_server"),
    "postgresql": (PostgresBackEnd, "postgres_topology"),
    "redis": (RedisBackEnd, "redis_topology"),
}
"""By back end its class and the fixture of its server."""


def back_end_of(request: pytest.FixtureRequest, kind: str) -> ServedBackEnd:
    made, server = SERVERS[kind]
    return made(request.getfixturevalue(server), f"accept-{secrets.token_hex(6)}")


def registry(folder: Path) -> TestedRegistry:
    return TestedRegistry(folder, config=ProvisioningConfig(request_timeout_s=2.0))


@pytest.mark.parametrize("kind", SERVERS)
async def test_pr_1_4_a_back_end_is_reached_before_it_is_accepted(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
):
    back_end, tested = back_end_of(request, kind), registry(tmp_path)
    await tested.registry.open([])
    [nobody] = free_ports(1)

    def definition(port: int) -> ProviderDescriptor:
        return ProviderDescriptor(name=kind, url=back_end.url(0, port), secrets=back_end.secrets)

    with pytest.raises(ProviderUnreachable, match=f"provider {kind}"):
        await tested.registry.add(definition(nobody))
    async with Gate.to_port(back_end.port) as gate:
        gate.set(Mode.SILENT)
        with pytest.raises(ProviderUnreachable, match=f"provider {kind}"):
            await tested.registry.add(definition(gate.port))
        assert (tested.names, await tested.stored(), tested.events) == ([], [], [])
        gate.set(Mode.PASS)
        added = await tested.registry.add(definition(gate.port))
    assert (tested.names, await tested.stored()) == ([kind], [kind])
    assert added.provider is not None
    await added.provider.close()


@pytest.mark.parametrize("kind", ["kubernetes", "postgresql", "redis"])
async def test_pr_5_5_refused_credentials_are_no_matter_of_connectivity(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    back_end, tested = back_end_of(request, kind), registry(tmp_path)
    await tested.registry.open([])
    wrong = {"token" if kind == "kubernetes" else "password": SecretReference(env="INAHO_TEST_SECRET")}
    monkeypatch.setenv("INAHO_TEST_SECRET", "hunter2")
    definition = ProviderDescriptor(
        name=kind, url=back_end.url(0, back_end.port), secrets={**back_end.secrets, **wrong}
    )
    with pytest.raises(ProviderInvalid, match=f"provider {kind}") as caught:
        await tested.registry.add(definition)
    assert caught.value.failure == "validation"
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ProviderInvalid, match=f"provider {kind}"):
        await tested.registry.open([definition])
    assert (tested.names, await tested.stored()) == ([], [])
