"""Turns snapshots into changes for remoting: who has come, gone, been blocked, been unblocked (SPEC PR-4).

Each change is taken once, whatever comes again or late. While the provider is the membership and none is up, what is
known of the members may be stale: remoting then opens no channel to an authority that it has not reached before
(SPEC PR-4.3). Channels that exist, and that break and are dialled again, go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.core.provisioning.remote_topology import RemoteTopologyLog, changes
from inaho.core.provisioning.snapshot import ProviderSnapshot
from inaho.core.provisioning.topology_feed import Notice
from inaho.events import ProviderHealthChanged, ProvisioningRestored, ProvisioningUnavailable, RemoteTopologyChanged

if TYPE_CHECKING:
    from inaho.runtime.connections.associations import Associations
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["RemotingBridge"]


class RemotingBridge:
    """The consumer of snapshots that tells remoting what has changed.

    Args:
        local: the node.
        associations: may be told to open no new channels.

    Attributes:
        log: which changes were taken.
        stale: the list of members may be stale: the provider in use is not up.
    """

    name = "remoting"

    def __init__(self, local: LocalNode, associations: Associations) -> None:
        self.log = RemoteTopologyLog()
        self._local = local
        self._associations = associations
        self._decides = local.config.membership.source == "provider"
        self._before: ProviderSnapshot | None = None
        self._not_up: dict[str, str] = {}
        """By provider that is not up: its state and the reason."""
        self.stale = False

    @property
    def remotes(self) -> dict[str, str]:
        """`up` or `blocked` by authority; those that are gone and not blocked are not in it."""
        return dict.fromkeys(self.log.members, "up") | dict.fromkeys(self.log.blocked, "blocked")

    def snapshot(self, snapshot: ProviderSnapshot) -> None:
        before, self._before = self._before, snapshot
        for event in changes(before, snapshot):
            if not self.log.accepts(event):
                continue
            self._local.publish(
                RemoteTopologyChanged(
                    provider=event.provider,
                    change=event.kind.value,
                    authority=event.authority,
                    node_id=event.node_id,
                    seq_no=event.seq_no,
                    hash=event.hash,
                )
            )
        self._trust(self._not_up.get(snapshot.provider, ""))

    def _trust(self, stale: str) -> None:
        self.stale = bool(stale)
        self._associations.trust_members(stale if self._decides else "")

    def read_again(self, snapshot: ProviderSnapshot) -> None:
        """Nothing: its changes were taken."""

    def notice(self, notice: Notice) -> None:
        if isinstance(notice, ProvisioningUnavailable):
            self._trust(f"no provider is up ({notice.reason})")
        elif isinstance(notice, ProvisioningRestored):
            self._trust(self._not_up.get(notice.provider, ""))
        elif isinstance(notice, ProviderHealthChanged):
            self._not_up.pop(notice.provider, None)
            if notice.state != "up":
                self._not_up[notice.provider] = f"provider {notice.provider} is {notice.state}: {notice.reason}"
            if self._before is not None and notice.provider == self._before.provider:
                self._trust(self._not_up.get(notice.provider, ""))

    def close(self) -> None:
        """Nothing: the last snapshot stays."""
