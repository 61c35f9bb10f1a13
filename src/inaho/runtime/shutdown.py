"""Leaving without failing a call (SPEC VA-2.5, BS-3.4).

The order is the protocol: the node takes nothing new, others are told that it leaves and own its partitions from then
on, running turns end, what others wait for is handed over and acknowledged, what is left of leases is given up, the
leave is agreed on, what was to be sent is sent, and only then are connections closed. Calls that arrive meanwhile are
refused with `ShuttingDown`, which callers retry elsewhere by themselves.

One time limit, `activation.drain_s`, holds for each step that waits for others, so a node always ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from inaho.core.inputs import Drained, LeaveRequested
from inaho.errors import ShuttingDown

if TYPE_CHECKING:
    from inaho.runtime.node import Node

__all__ = ["Shutdown"]

FAREWELL_S: Final = 1.0
"""How long a node that has left goes on answering callers that have not heard of it."""


class Shutdown:
    """The graceful end of one node.

    Attributes:
        begun: the node is leaving.
        left: done when it has left; for those who did not ask for it themselves (`inaho drain`).
    """

    def __init__(self, node: Node) -> None:
        self.begun = False
        self.left: asyncio.Future[None] = node.loop.create_future()
        self._node = node
        self._empty: asyncio.Future[None] | None = None

    async def leave(self) -> None:
        """Hands everything over and leaves. The second to ask waits for the first."""
        node = self._node
        if self.begun:
            await asyncio.shield(self.left)
            return
        self.begun = True
        if node.closing:  # it was stopped at once
            self.left.set_result(None)
            return
        drain_s = node.config.activation.drain_s
        node.shutting_down = True
        joined = node.driver is not None and node.driver.joined.done()
        try:
            if node.driver is not None and joined:
                node.driver.feed(LeaveRequested(drain_s))
            await self._end_activations(drain_s)
            if node.driver is not None and joined:
                await node.bridge.wait_handed_over(drain_s)
                node.driver.feed(Drained())
                await asyncio.wait((node.driver.left,), timeout=drain_s)
                if not node.driver.left.done():
                    node.log.warning("leaving was not acknowledged within %s s", drain_s)
            await node.acceptor.farewell(
                ShuttingDown("this node has left the cluster", authority=node.authority), FAREWELL_S
            )
        finally:
            if not self.left.done():
                self.left.set_result(None)

    async def _end_activations(self, within_s: float) -> None:
        """Ends all activations after their turns; gives up the leases of those that do not in time, and says so."""
        node = self._node
        for host in node.hosts.values():
            host.drop_all("shutdown")
        if node.activation_count:
            self._empty = node.loop.create_future()
            await asyncio.wait((self._empty,), timeout=within_s)
        if node.activation_count:
            node.log.warning("%d activations did not end within %s s", node.activation_count, within_s)
            for host in node.hosts.values():
                if not host.system:
                    for grain in list(host.activations.values()):
                        node.leases.time_out(grain._inaho_lease)

    def activation_ended(self) -> None:
        """The node's last activation may have ended."""
        if not self._node.activation_count and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)
