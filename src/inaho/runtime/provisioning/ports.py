"""What the service of providers needs of other parts of a node."""

from __future__ import annotations

from typing import Protocol

from inaho.core.provisioning.snapshot import ProviderSnapshot
from inaho.core.provisioning.topology_feed import Notice

__all__ = ["ProvisioningConsumer"]


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
