"""Base of providers that only list addresses: nothing is watched, registered or recorded in their back ends.

Methods of capabilities that they lack are not called by the stream. Whoever calls them anyway gets an error, and not an
answer that looks as if something had been written.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderInvalid, ProviderUnreachable
from inaho.providers.base import ProviderRead
from inaho.providers.setup import ProviderSetup

__all__ = ["ReadOnlyProvider"]


class ReadOnlyProvider:
    """See the module. A subclass has `read` and `check`.

    Args:
        setup: of the provider.
        known: the options of its URL.

    Raises:
        ProviderInvalid: an option is unknown, or there is a path or a secret: these back ends have none.
    """

    capabilities: Capabilities = Capabilities()

    def __init__(self, setup: ProviderSetup, known: tuple[str, ...] = ()) -> None:
        self.name = setup.name
        self._scheme = setup.url.scheme
        self._closed = False
        unknown = sorted(set(setup.url.options) - set(known))
        if unknown:
            raise self._invalid(f"unknown option {', '.join(unknown)}; known are {', '.join(known) or 'none'}")
        if setup.url.path:
            raise self._invalid(f"the URL has a path, /{setup.url.path}; remove it")
        if setup.secrets.names:
            raise self._invalid(f"it needs no secret; remove {', '.join(setup.secrets.names)}")

    def watch(self, position: str) -> AsyncGenerator[ProviderRead | None]:
        """Refused: there is no watch."""
        raise self._lacks("watch")

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        """Refused: members cannot register."""
        raise self._lacks("register")

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        """Refused: members cannot register."""
        raise self._lacks("register")

    async def deregister(self) -> None:
        """Refused: members cannot register."""
        raise self._lacks("register")

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        """Refused: there is no record."""
        raise self._lacks("record")

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        """Refused: there is no record."""
        raise self._lacks("record")

    async def close(self) -> None:
        """See `TopologyProvider`."""
        self._closed = True

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ProviderUnreachable(f"provider {self.name} is closed")

    def _lacks(self, capability: str) -> ProviderInvalid:
        return self._invalid(f"it lacks the capability {capability}")

    def _invalid(self, reason: str) -> ProviderInvalid:
        return ProviderInvalid(f"provider {self.name} ({self._scheme}://): {reason}")
