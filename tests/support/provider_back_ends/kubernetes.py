"""The double of the Kubernetes API, past its provider: each host is a pod."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from inaho.config import SecretReference
from support.kubernetes_server import NAMESPACE, TOKEN, KubernetesServer
from support.provider_back_ends.base import ServedBackEnd


class KubernetesBackEnd(ServedBackEnd):
    """The pods of one label. A registration does not run out, so an operator removes it."""

    server: KubernetesServer

    def __init__(self, server: KubernetesServer, prefix: str) -> None:
        super().__init__(server, prefix)
        file = server.folder / "token"
        file.write_text(TOKEN)
        self.secrets = {"token": SecretReference(file=str(file))}
        self.labels = {"app.kubernetes.io/name": prefix}
        self._pods: list[str] = []

    def url(self, host: int, port: int) -> str:
        name = f"{self.prefix}-{host}"
        if name not in self._pods:
            self._pods.append(name)
            self.server.make_pod(name, labels=self.labels)
        options = f"pod={name}&selector={quote(f'app.kubernetes.io/name={self.prefix}')}&record={self.prefix}"
        return f"kubernetes://127.0.0.1:{port}/{NAMESPACE}?tls=false&{options}"

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

    async def forget(self, authority: str) -> None:
        await self.expire(authority)  # the pod stays

    async def lose_history(self) -> None:
        self.server.lose_history()

    def _written(self, authority: str) -> str:
        return f"{self.prefix}-{authority.replace(':', '-')}"

    def _pod_at(self, authority: str) -> str:
        for name in self._pods:
            metadata: dict[str, Any] = self.server.get("pods", name)["metadata"]
            if f'"{authority}"' in metadata.get("annotations", {}).get("inaho.dev/member", ""):
                return name
        return self._written(authority)
