"""Providers of processes in pods of the double, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from inaho.config import SecretReference
from inaho.core.provisioning.descriptor import parse_url
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.providers.base import ProviderRead
from inaho.providers.kubernetes import KubernetesProvider
from inaho.providers.setup import ProviderSetup, Secrets
from support.kubernetes_server import CLUSTER, KubernetesServer

REQUEST_TIMEOUT_S = 0.5
WAIT_S = 10.0
TTL_S = 15.0
TOKEN_VARIABLE = "INAHO_TEST_KUBERNETES_TOKEN"


IN_ENVIRONMENT = SecretReference(env=TOKEN_VARIABLE)


def setup_of(url: str, cluster: str = CLUSTER, token: SecretReference | None = IN_ENVIRONMENT) -> ProviderSetup:
    """The setup of a provider with that URL."""
    secrets = Secrets({"token": token} if token else {})
    return ProviderSetup("kube", parse_url(url), cluster, secrets, REQUEST_TIMEOUT_S)


class Pods:
    """Makes pods, and the providers of the processes in them."""

    def __init__(self, server: KubernetesServer) -> None:
        self.server = server
        self._made: list[KubernetesProvider] = []

    def start(self, pod: str = "") -> KubernetesProvider:
        """The provider of a process in a new pod; without a pod that of a client."""
        if pod:
            self.server.make_pod(pod)
        return self.restart(pod)

    def restart(self, pod: str, url: str = "") -> KubernetesProvider:
        """The provider of a new process in the pod."""
        wanted = self.server.pod_url(pod) if pod else self.server.url
        self._made.append(KubernetesProvider(setup_of(url or wanted)))
        return self._made[-1]

    async def close(self) -> None:
        """Closes all providers."""
        for provider in self._made:
            await provider.close()


def member(ip: str = "10.0.0.1", node_id: str = "a", cluster: str = CLUSTER) -> ProviderMember:
    """The entry of a process."""
    return ProviderMember(f"{ip}:7700", node_id, 1, cluster=cluster)


class Following:
    """What an open watch has said."""

    def __init__(self, watch: AsyncIterator[ProviderRead | None]) -> None:
        self._watch = watch

    async def until(self, condition: Callable[[ProviderRead], bool]) -> ProviderRead:
        """The first read that meets the condition."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = await anext(self._watch)
                if found is not None and condition(found):
                    return found

    async def end(self) -> None:
        """Reads until it ends by itself or raises."""
        async with asyncio.timeout(WAIT_S):
            async for _ in self._watch:
                pass


@asynccontextmanager
async def following(provider: KubernetesProvider) -> AsyncIterator[Following]:
    """A watch from now on, which has begun."""
    position = (await provider.read()).position
    async with aclosing(provider.watch(position)) as watch:
        yield Following(watch)


def nodes(found: ProviderRead) -> list[str]:
    """The node ids of the members, sorted."""
    return sorted(each.node_id for each in found.members)
