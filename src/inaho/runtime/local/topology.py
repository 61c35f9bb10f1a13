"""The newest topology of one node, the owners that follow from it, and waiting for the next one.

There is one way to wait for a topology: `wait_until` checks a condition again at each new one. A loop in each part
would forget its deadline, or check once too often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from inaho.core.delivery.identity_table import holders
from inaho.core.identity.lookup import IdentityLookup
from inaho.runtime.local.local_node import LocalNode
from inaho.types import Member, TopologySnapshot

__all__ = ["Topology"]


class Topology:
    """Members and owners, for all parts of one node.

    Args:
        local: the node.
        described: what is known of a kind that no member hosts now, for the reason of a refusal; None if it is unknown
            here.

    Attributes:
        snapshot: the newest; None before the first.
        lookup: owners of identities by that snapshot. Another object after `forget_owners`.
        closed: the node has stopped: the list of members stays as it is.
    """

    def __init__(self, local: LocalNode, described: Callable[[str], str | None]) -> None:
        self.snapshot: TopologySnapshot | None = None
        self.closed = False
        self._local = local
        self._described = described
        self._waiters: list[asyncio.Future[None]] = []
        self.lookup = self._no_owners()

    @property
    def members(self) -> tuple[Member, ...]:
        """Of the newest snapshot; empty before the first."""
        return () if self.snapshot is None else self.snapshot.members

    @property
    def version(self) -> int:
        """Of the newest snapshot; 0 before the first."""
        return 0 if self.snapshot is None else self.snapshot.version

    def member(self, authority: str) -> Member | None:
        """The member that has that authority by the newest snapshot; None when there is none."""
        return holders(member for member in self.members if member.authority == authority).get(authority)

    def forget_owners(self) -> None:
        """Owners are unknown until the next snapshot: versions begin again, or this node has lost its place."""
        self.lookup = self._no_owners()

    def _no_owners(self) -> IdentityLookup:
        return IdentityLookup(self._local.config.activation, self._described)

    def wake(self) -> None:
        """Lets callers continue that wait for a topology: a new one is in force everywhere on this node."""
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """No further topology is applied; ends all waiting for one."""
        self.closed = True
        for future in self._waiters:
            future.cancel()

    async def wait(self, within_s: float) -> None:
        """Returns at the next topology, or after `within_s` seconds."""
        future = self._local.loop.create_future()
        self._waiters.append(future)
        try:
            await asyncio.wait((future,), timeout=within_s)
        finally:
            if future in self._waiters:
                self._waiters.remove(future)

    async def wait_until(self, condition: Callable[[], bool], within_s: float, *, each_s: float | None = None) -> bool:
        """Waits until `condition()` is true; it is checked now and at each new topology.

        Args:
            condition: must have no effect.
            within_s: seconds until this gives up.
            each_s: check also at this interval, in seconds, for conditions that may change without a new topology.

        Returns:
            Whether it is true.
        """
        loop = self._local.loop
        deadline = loop.time() + within_s
        while not condition():
            left_s = deadline - loop.time()
            if left_s <= 0:
                return False
            await self.wait(left_s if each_s is None else min(left_s, each_s))
        return True
