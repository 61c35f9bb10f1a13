"""Gives snapshots to the control plane, and pauses placement while there is nothing to place by.

What a snapshot means depends on `membership.source`:

- `gossip`: the snapshot says whom to contact. Who is a member, gossip decides; so a provider that is away, empty or
  late is a warning, and placement goes on.
- `provider`: the snapshot is the membership. It is applied before anything is placed by it. Placement pauses while it
  is empty and while no provider is up (SPEC PR-2.4, PR-5.3); activations that exist are served.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from inaho.core.inputs import Discovered, ProviderBlocks
from inaho.core.provisioning.snapshot import ProviderSnapshot
from inaho.core.provisioning.topology_feed import Notice
from inaho.events import ProviderChanged, ProvisioningRestored, ProvisioningUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from inaho.core.inputs import Input
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.provisioning.provider_membership import ProviderMembership

__all__ = ["PlacementSupervisorBridge"]

EMPTY: Final = "the provider lists no member"


class PlacementSupervisorBridge:
    """The consumer of snapshots that feeds the control plane.

    Args:
        local: the node; its placement may be paused.
        feed: takes inputs for the control plane.
        membership: where the provider is the membership; None beside gossip.

    Attributes:
        provider: the one in use; empty before the first.
    """

    name = "placement"

    def __init__(
        self, local: LocalNode, feed: Callable[[Input], None], membership: ProviderMembership | None = None
    ) -> None:
        self.provider = ""
        self._local = local
        self._feed = feed
        self._membership = membership
        self._closed = False
        self._listed = False

    def snapshot(self, snapshot: ProviderSnapshot) -> None:
        if self._closed:
            return
        self._feed(Discovered(tuple(member.authority for member in snapshot.members)))
        self._feed(ProviderBlocks(snapshot.blocks_in_force))
        if snapshot.members:
            self._go_on()
        elif self._membership or self._listed:  # beside gossip, the list is empty until the first member has registered
            # A node that starts finds an empty list where it is the first: no failure, it has not registered yet.
            self._pause(EMPTY, logging.ERROR if self._listed else logging.INFO)
        self._listed = bool(snapshot.members)
        self.read_again(snapshot)

    def read_again(self, snapshot: ProviderSnapshot) -> None:
        if self._membership is not None and not self._closed:
            self._membership.read(snapshot)

    def notice(self, notice: Notice) -> None:
        if isinstance(notice, ProviderChanged):
            self.provider = notice.provider
            self._local.log.log(
                logging.WARNING if notice.previous else logging.INFO,
                "the cluster is found through provider %s%s: %s",
                notice.provider, f" and no more through {notice.previous}" if notice.previous else "", notice.reason,
            )  # fmt: skip
        elif isinstance(notice, ProvisioningUnavailable):
            self._pause(f"no provider is up: {notice.reason}")
        elif isinstance(notice, ProvisioningRestored):
            if self._listed:
                self._go_on()
            elif self._membership is not None:
                self._pause(EMPTY)

    def _pause(self, reason: str, level: int = logging.ERROR) -> None:
        if self._membership is not None:
            self._local.placement_paused = reason
            self._local.log.log(level, "no new activations: %s", reason)
        else:
            self._local.log.warning("%s; the members that gossip knows go on, and new nodes may not find them", reason)

    def _go_on(self) -> None:
        if self._local.placement_paused:
            self._local.placement_paused = ""
            self._local.log.info("new activations are made again")

    def close(self) -> None:
        self._closed = True
