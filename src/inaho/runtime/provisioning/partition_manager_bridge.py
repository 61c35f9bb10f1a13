"""Holds the newest snapshot for the partition manager, or the reason why there is none (SPEC PR-3.2)."""

from __future__ import annotations

from inaho.core.provisioning.snapshot import ProviderSnapshot
from inaho.core.provisioning.topology_feed import Notice
from inaho.errors import PlacementPaused
from inaho.events import ProviderChanged, ProvisioningRestored, ProvisioningUnavailable

__all__ = ["PartitionManagerBridge"]


class PartitionManagerBridge:
    """The consumer of snapshots that answers questions about them.

    Attributes:
        changed: the last change of the provider in use; None before the first (SPEC PR-3.4).
        failure: why no provider is up; empty while one is.
    """

    name = "partitions"

    def __init__(self) -> None:
        self.changed: ProviderChanged | None = None
        self.failure = "no provider has answered yet"
        self._last: ProviderSnapshot | None = None
        self._closed = False

    @property
    def last(self) -> ProviderSnapshot | None:
        """The newest snapshot, also while no provider is up; None before the first."""
        return self._last

    def newest(self) -> ProviderSnapshot:
        """The newest snapshot of a provider that is up.

        Raises:
            PlacementPaused: no provider is up, or none has answered yet; the reason says why.
        """
        if self._last is None or self.failure:
            raise PlacementPaused(self.failure or "no provider has answered yet")
        return self._last

    def snapshot(self, snapshot: ProviderSnapshot) -> None:
        if not self._closed:
            self._last, self.failure = snapshot, ""

    def read_again(self, snapshot: ProviderSnapshot) -> None:
        """Nothing: it has this snapshot."""

    def notice(self, notice: Notice) -> None:
        if isinstance(notice, ProviderChanged):
            self.changed = notice
        elif isinstance(notice, ProvisioningUnavailable):
            self.failure = notice.reason
        elif isinstance(notice, ProvisioningRestored):
            self.failure = ""

    def close(self) -> None:
        self._closed = True
