"""Turns snapshots into changes for remoting: who has come, gone, been blocked, been unblocked (SPEC PR-4).

Each change is taken once, whatever comes again or late. While the provider is the membership and none is up, what is
known of the members may be stale: remoting then opens no channel to an authority that it has not reached before
(SPEC PR-4.3). Channels that exist, and that break and are dialled again, go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inaho.core.provisioning.remote_topology import RemoteTopologyKind, RemoteTopologyLog, changes
from inaho.core.provisioning.snapshot import ProviderSnapshot
from inaho.core.provisioning.topology_feed import Notice
from inaho.events import ProviderHealthChanged, ProvisioningRestored, ProvisioningUnavailable, RemoteTopologyChanged

if TYPE_CHECKING:
    from inaho.runtime.connections.associations import Associations
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["RemotingBridge"]

_STATES: Final = {
    RemoteTopologyKind.JOIN: "up",
    RemoteTopologyKind.UNBLOCKED: "up",
    RemoteTopologyKind.BLOCKED: "blocked",
}


class RemotingBridge:
    """The consumer of snapshots that tells remoting what has changed.

    Args:
        local: the node.
        associations: may be told to open no new channels.

    Attributes:
        log: which changes were taken.
        remotes: `up` or `blocked` by authority, in order; those that are gone are not in it.
        stale: the list of members may be stale: the provider in use is not up.
    """

    name = "remoting"

    def __init__(self, local: LocalNode, associations: Associations) -> None:
        self.log = RemoteTopologyLog()
        self.remotes: dict[str, str] = {}
        self._local = local
        self._associations = associations
        self._decides = local.config.membership.source == "provider"
        self._before: ProviderSnapshot | None = None
        self.stale = False

    def snapshot(self, snapshot: ProviderSnapshot) -> None:
        before, self._before = self._before, snapshot
        for event in changes(before, snapshot):
            if not self.log.accepts(event):
                continue
            if event.kind is RemoteTopologyKind.LEAVE:
                self.remotes.pop(event.authority, None)
            else:
                self.remotes[event.authority] = _STATES[event.kind]
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
        self._trust("")

    def _trust(self, stale: str) -> None:
        self.stale = bool(stale)
        self._associations.trust_members(stale if self._decides else "")

    def notice(self, notice: Notice) -> None:
        if isinstance(notice, ProvisioningUnavailable):
            self._trust(f"no provider is up ({notice.reason})")
        elif isinstance(notice, ProvisioningRestored):
            self._trust("")
        elif isinstance(notice, ProviderHealthChanged) and self._before is not None:
            if notice.provider == self._before.provider:
                stale = f"provider {notice.provider} is {notice.state}: {notice.reason}"
                self._trust("" if notice.state == "up" else stale)

    def close(self) -> None:
        """Nothing: the last snapshot stays."""
