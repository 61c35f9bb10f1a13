"""The provider for Kubernetes passes the conformance suite, against the double of the API server."""

from __future__ import annotations

from typing import Any

import pytest

from inaho.config import SecretReference
from inaho.core.provisioning.descriptor import parse_url
from inaho.providers.base import TopologyProvider
from inaho.providers.kubernetes import KubernetesProvider
from inaho.providers.setup import ProviderSetup, Secrets
from inaho.testing.provider_conformance import BackEnd, ProviderConformance
from inaho.testing.provider_conformance.base import LIFETIME_S, MakeProvider, authorities, member
from support.kubernetes_server import TOKEN, KubernetesServer


class Pods(BackEnd):
    """The pods of one label. A registration does not run out, so an operator removes it."""

    def __init__(self, server: KubernetesServer, label: str) -> None:
        self.server = server
        self.labels = {"app.kubernetes.io/name": label}
        self._pods: list[str] = []

    def pod_of(self, host: int) -> str:
        """The pod of a host, made when it is asked for."""
        name = f"{self.labels['app.kubernetes.io/name']}-{host}"
        if name not in self._pods:
            self._pods.append(name)
            self.server.make_pod(name, labels=self.labels)
        return name

    def entry_of(self, authority: str) -> str:
        return f"the pod {self._written(authority)}"

    async def write_member(self, authority: str, text: str) -> None:
        self.server.make_pod(self._written(authority), labels=self.labels, annotations={"inaho.dev/member": text})
        self._pods.append(self._written(authority))

    async def remove_member(self, authority: str) -> None:
        self.server.delete_pod(self._pod_at(authority))

    async def block(self, authority: str) -> None:
        self.server.annotate(self._pod_at(authority), blocked="true")

    async def unblock(self, authority: str) -> None:
        self.server.annotate(self._pod_at(authority), blocked=None)

    async def expire(self, authority: str) -> None:
        self.server.annotate(self._pod_at(authority), member=None)

    async def lose_history(self) -> None:
        self.server.lose_history()

    def _written(self, authority: str) -> str:
        return f"{self.labels['app.kubernetes.io/name']}-{authority.replace(':', '-')}"

    def _pod_at(self, authority: str) -> str:
        for name in self._pods:
            metadata: dict[str, Any] = self.server.get("pods", name)["metadata"]
            if f'"{authority}"' in metadata.get("annotations", {}).get("inaho.dev/member", ""):
                return name
        return self._written(authority)


class TestKubernetesProvider(ProviderConformance):
    many = 600  # more than one page

    @pytest.fixture
    def back_end(self, kubernetes_server: KubernetesServer, prefix: str) -> Pods:
        return Pods(kubernetes_server, prefix)

    @pytest.fixture
    def make_provider(self, back_end: Pods, prefix: str, monkeypatch: pytest.MonkeyPatch) -> MakeProvider:
        monkeypatch.setenv("KUBERNETES_TOKEN", TOKEN)
        secrets = Secrets({"token": SecretReference(env="KUBERNETES_TOKEN")})

        def make(host: int) -> TopologyProvider:
            url = parse_url(back_end.server.pod_url(back_end.pod_of(host)))
            return KubernetesProvider(ProviderSetup("kube", url, prefix, secrets, 5.0))

        return make

    async def test_blocked_authorities(
        self, registering: TopologyProvider, other: TopologyProvider, back_end: BackEnd
    ) -> None:
        """A pod is blocked, so only an authority that has registered can be."""
        me, neighbour = member(0), member(1)
        await self.answer(registering.register(me, LIFETIME_S))
        await self.answer(other.register(neighbour, LIFETIME_S))
        for each in (me, neighbour):
            await back_end.block(each.authority)
        found = await self.answer(other.read())
        assert sorted(found.blocked_nodes) == [me.authority, neighbour.authority]
        assert authorities(found) == [me.authority, neighbour.authority]
        await back_end.unblock(me.authority)
        assert (await self.answer(other.read())).blocked_nodes == (neighbour.authority,)

    async def test_a_block_is_reported(
        self, watching: TopologyProvider, other: TopologyProvider, back_end: BackEnd
    ) -> None:
        await self.answer(other.register(neighbour := member(1), LIFETIME_S))
        position = (await self.answer(watching.read())).position
        await back_end.block(neighbour.authority)
        found = await self.follow(watching, position, lambda found: bool(found.blocked_nodes), self.hint_s)
        assert found.blocked_nodes == (neighbour.authority,)
