"""What the service of providers needs of other parts of a node, and what operators need of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inaho.core.provisioning.provider_state import ProviderState
from inaho.core.provisioning.snapshot import ProviderSnapshot
from inaho.core.provisioning.topology_feed import Notice

if TYPE_CHECKING:
    from inaho.config import ProviderDescriptor
    from inaho.providers.base import TopologyProvider

__all__ = ["ProviderOperations", "ProvisioningConsumer"]


class ProvisioningConsumer(Protocol):
    """Takes snapshots and notices, in order; each of the three bridges is one.

    Attributes:
        name: for logs and for the order of deliveries.
    """

    name: str

    def snapshot(self, snapshot: ProviderSnapshot) -> None:
        """Applies a snapshot that is newer than all before."""
        ...

    def notice(self, notice: Notice) -> None:
        """Takes a change of the provider in use, an end of a stream, a loss or return of all providers."""
        ...

    def close(self) -> None:
        """The node shuts down: no further snapshot comes; the last one stays for draining (SPEC PR-3.5)."""
        ...


class ProviderOperations(Protocol):
    """What people ask of the providers of one node."""

    def describe(self) -> tuple[ProviderState, ...]:
        """The providers as they are now, the highest priority first."""
        ...

    async def add(self, definition: ProviderDescriptor | TopologyProvider, *, priority: int = 0) -> None:
        """See `ProviderRegistry.add`."""
        ...

    async def remove(self, name: str) -> None:
        """See `ProviderRegistry.remove`."""
        ...
