"""What the tests of all back ends with a server share: providers of one prefix, and the server itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from inaho.config import ProviderDescriptor, ProvisioningConfig, SecretReference
from inaho.providers.backends import make_provider
from inaho.providers.base import TopologyProvider
from inaho.testing.provider_conformance import BackEnd
from support.service_servers import Server

CLUSTER = "conformance"
TIMEOUT_S = 5.0


class ServedBackEnd(BackEnd):
    """A back end with a server.

    Args:
        server: runs.
        prefix: of the test.

    Attributes:
        secrets: of its providers.
    """

    secrets: Mapping[str, SecretReference] = {}

    def __init__(self, server: Any, prefix: str) -> None:
        self.server = server
        self.prefix = prefix

    @property
    def process(self) -> Server:
        """The process that is killed and paused."""
        found: Server = self.server
        return found

    @property
    def port(self) -> int:
        """Of the server."""
        found: int = self.server.port
        return found

    @abstractmethod
    def url(self, host: int, port: int) -> str:
        """The URL of the provider of that host, for a server at that port of this machine."""

    def provider(self, host: int = 0, *, timeout_s: float = TIMEOUT_S, port: int | None = None) -> TopologyProvider:
        """A provider, through a gate at that port if one is given."""
        descriptor = ProviderDescriptor(
            name=f"host-{host}", url=self.url(host, port or self.port), secrets=self.secrets
        )
        return make_provider(descriptor, CLUSTER, ProvisioningConfig(request_timeout_s=timeout_s))

    async def forget(self, authority: str) -> None:
        """Removes a registration while its process lives."""
        await self.remove_member(authority)
