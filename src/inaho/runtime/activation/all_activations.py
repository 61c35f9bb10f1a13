"""Ends all activations of a node that leaves, within `activation.drain_s`.

Each kind ends its own activations, in slices (`draining`). This module has what concerns all kinds: one time limit for
all of them, and what happens to those that do not end within it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from inaho.core.activation.lease import Lease
from inaho.runtime.activation.activation_count import ActivationCount
from inaho.runtime.activation.kind_host import KindHost
from inaho.runtime.activation.leases import Leases
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.turns.runner import TurnRunner

__all__ = ["AllActivations"]


class AllActivations:
    """Ends all activations of one node.

    Args:
        local: the node.
        hosts: its kinds, by name.
        count: its activations.
        leases: of its activations.
        runner: of its turns.
        look_into: asks another node whether it still needs an overdue lease.
    """

    def __init__(
        self,
        local: LocalNode,
        hosts: Mapping[str, KindHost],
        count: ActivationCount,
        leases: Leases,
        runner: TurnRunner,
        look_into: Callable[[Lease], None],
    ) -> None:
        self._local = local
        self._hosts = hosts
        self._count = count
        self._leases = leases
        self._runner = runner
        self._look_into = look_into

    @property
    def count(self) -> int:
        """The number of activations."""
        return self._count.count

    def expire(self) -> None:
        """Gives up activations that take too long to start or end; looks into overdue leases of other nodes."""
        for host in self._hosts.values():
            host.ending.give_up_late()
        for lease in self._leases.expire():
            self._look_into(lease)

    def drop(self, reason: str) -> None:
        """Has all activations end after their running turns."""
        for host in self._hosts.values():
            host.drop_all(reason)

    async def end(self, within_s: float, interrupted_s: float) -> list[str]:
        """Ends all activations after their turns. Interrupts those that do not end in time, and logs how many.

        Args:
            within_s: how long turns may continue, in seconds.
            interrupted_s: how long interrupted turns may clean up, in seconds.

        Returns:
            The identities of the interrupted activations.
        """
        self.drop("shutdown")
        if await self._count.wait_none(within_s):
            return []
        self._local.log.warning(
            "%d activations did not end within %s s (activation.drain_s) and are interrupted", self.count, within_s
        )
        self._runner.leaving = True
        late: list[str] = []
        for host in self._hosts.values():
            if not host.system:
                for grain in (*host.activations.values(), *(host.pool or ())):
                    late.append(f"{host.name}/{grain._inaho_key}")
                    self._leases.time_out(grain._inaho_lease)
                    host.draining.interrupt(grain)
        await self._count.wait_none(interrupted_s)
        return late
