"""Starts the keepers of durable sends that this node owns and that have something in their log.

A grain without calls is not activated, and a keeper that is not active makes no call. So after each change of topology
a member looks into the logs of the partitions that it owns now, and starts the keepers that find something there. It
looks twice: at once, and when the other side of a split should have ended what it had. Between changes it does nothing:
a keeper that has started stays. So a cluster that sends nothing durable has no keeper.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from inaho.runtime.local.warnings import KeeperWarnings
from inaho.runtime.topic_logs.send_partition import KEEPER, log_of

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.storage_access import StorageAccess
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.topic_logs.send_calls import SendCalls

__all__ = ["SendWatch"]

AGAIN_S: Final = 2.0
"""Pause before the second look, and before another attempt."""

CHANGE_S: Final = 3600.0
"""How long one wait for a change of topology takes at most."""


class SendWatch:
    """Starts the keepers that a node owns.

    Args:
        local: a member.
        topology: its change may bring keepers here.
        storage_access: has the logs.
        host: the kind of the keepers.
        leases: which keepers this node owns.
        calls: wakes them.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        storage_access: StorageAccess,
        host: KindHost,
        leases: Leases,
        calls: SendCalls,
    ) -> None:
        self._local = local
        self._topology = topology
        self._storage_access = storage_access
        self._host = host
        self._leases = leases
        self._calls = calls
        self._keys = [str(number) for number in range(local.config.pubsub.send_partitions)]
        self._warnings = KeeperWarnings(local, "partitions of durable sends")

    async def run(self) -> None:
        """Goes on until the node leaves; ends at once if the storage has no logs that outlive it."""
        if self._local.storage_is_private or self._storage_access.storage.log is None:
            return
        seen, looks = None, 0
        while not self._local.shutting_down:
            if self._topology.snapshot is not seen:
                seen, looks = self._topology.snapshot, 2
            owned = [key for key in self._keys if self._leases.owns(KEEPER, key)]
            outcomes = await asyncio.gather(*(self._look(key) for key in owned))
            failed = {key: error for key, error in zip(owned, outcomes, strict=True) if error is not None}
            self._warnings.failed(failed)
            looks = looks - 1 if not failed else max(looks - 1, 1)
            if self._topology.snapshot is seen:
                await self._topology.wait(AGAIN_S if looks > 0 else CHANGE_S)

    async def _look(self, key: str) -> Exception | None:
        """Starts the keeper of that partition if there is something in its log. Returns the error if that failed."""
        if key not in self._host.activations:
            if not self._storage_access.storage.is_made:  # nothing was ever sent; do not make it for this question
                return None
            try:
                log = (await self._storage_access.opened()).log
                assert log is not None
                bounds = await log.bounds(log_of(key))
            except Exception as error:
                return error
            if bounds.first == bounds.end:
                return None
        return await self._calls.wake(key)
