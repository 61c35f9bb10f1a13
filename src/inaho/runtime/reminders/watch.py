"""Keeps the keepers of reminders active that this node owns.

A grain without calls is not activated, and a keeper that is not active watches no clock. So each member that hosts a
kind with reminders calls its keepers, after every change of topology and from time to time.
"""

from __future__ import annotations

import asyncio
from typing import Final

from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.activation.leases import Leases
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.topology import Topology
from inaho.runtime.local.warnings import KeeperWarnings
from inaho.runtime.reminders.keeper_calls import KeeperCalls
from inaho.runtime.reminders.shard import KEEPER

__all__ = ["ReminderWatch"]

WATCH_S: Final = 2.0
"""A member checks the keepers that it owns at least this often, in seconds."""


class ReminderWatch:
    """Keeps the keepers running that a node owns.

    Args:
        local: a member that hosts a kind with reminders.
        topology: its change may bring keepers here.
        host: the kind of the keepers.
        leases: which keepers this node owns.
        calls: wakes them.
    """

    def __init__(
        self, local: LocalNode, topology: Topology, host: KindHost, leases: Leases, calls: KeeperCalls
    ) -> None:
        self._local = local
        self._topology = topology
        self._host = host
        self._leases = leases
        self._calls = calls
        self._keys = [str(number) for number in range(local.config.activation.reminder_shards)]
        self._warnings = KeeperWarnings(local, "reminder shards")

    async def run(self) -> None:
        """Goes on until the node leaves. After a change of topology keepers that stayed look twice whether another has
        saved: at once, and when the other side of a split should have ended what it had."""
        seen, looks = None, 0
        while not self._local.shutting_down:
            if self._topology.snapshot is not seen:
                seen, looks = self._topology.snapshot, 2
            owned = [key for key in self._keys if self._leases.owns(KEEPER, key)]
            asleep = [key for key in owned if looks or key not in self._host.activations]
            outcomes = await asyncio.gather(*(self._calls.wake(key) for key in asleep))
            self._warnings.failed(
                {key: error for key, error in zip(asleep, outcomes, strict=True) if error is not None}
            )
            looks = max(0, looks - 1)
            if self._topology.snapshot is seen:
                await self._topology.wait(WATCH_S)
