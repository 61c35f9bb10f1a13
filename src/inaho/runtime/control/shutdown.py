"""Leaves gracefully: the order of the steps, and their time limits (SPEC VA-2.5, BS-3.4).

The order of the steps is the protocol. The node takes nothing new. It announces that it leaves, and others own its
partitions from then on. Running turns end. What others wait for is handed over and acknowledged. Remaining leases are
given up. Other members acknowledge the leave. Messages that were to be sent are sent. Only then are connections closed.
Calls that arrive meanwhile are refused with `ShuttingDown`, and callers retry elsewhere.

One time limit, `activation.drain_s`, holds for turns: turns that still run then are interrupted. Each later step waits
for others until the same moment, and at least for `STEP_S`, so a node always ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from inaho.core.inputs import Drained, LeaveRequested
from inaho.errors import InahoError, ShuttingDown
from inaho.runtime.activation.all_activations import AllActivations
from inaho.runtime.control.control_plane import ControlPlane
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.topology import Topology
from inaho.types import MemberStatus, Struct

__all__ = ["DrainReport", "Shutdown"]

FAREWELL_S: Final = 1.0
"""Seconds for which a node that has left still refuses calls of nodes that do not know it yet."""

STEP_S: Final = 2.0
"""Least time for a step that waits for others, if turns have used all of `drain_s`; never more than `drain_s`."""

INTERRUPTED_S: Final = 1.0
"""Seconds for which interrupted turns may clean up before the leave continues."""

NAMED_MAX: Final = 100
"""Most identities that a report names; the others are counted."""


class DrainReport(Struct, frozen=True):
    """What happened to the activations of a leaving node (SPEC BS-3.4).

    Attributes:
        authority: of the node.
        activations: their number.
        handed_over: activations that ended, so that others may activate their identities.
        timed_out: identities whose activation did not end in time; at most 100 are named.
        timed_out_count: how many there were.
        acknowledged: the new owners have acknowledged the hand-over.
        took_s: seconds.
    """

    authority: str
    activations: int
    handed_over: int
    timed_out: tuple[str, ...]
    timed_out_count: int
    acknowledged: bool
    took_s: float


class Shutdown:
    """The graceful end of one node.

    Args:
        local: the node.
        topology: by which others own what this node owned.
        control: the control plane, which announces the leave.
        activations: to end.
        hand_over: takes the time limit of each step; hands over and sends everything that others wait for; returns
            whether the new owners have acknowledged it.
        farewell: takes the reason and a time limit in seconds; refuses calls that still arrive, then closes the
            connections.

    Attributes:
        begun: the node is leaving.
        drained: the report of the hand-over; available as soon as it is done, while the node can still answer.
        parting: done when all is handed over and only answers on their way are awaited. Streams end now.
        left: done when it has left; for a program that did not request it itself (`inaho drain`).
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        control: ControlPlane,
        activations: AllActivations,
        *,
        hand_over: Callable[[Callable[[], float]], Awaitable[bool]],
        farewell: Callable[[InahoError, float], Awaitable[None]],
    ) -> None:
        self.begun = False
        self.drained: asyncio.Future[DrainReport] = local.loop.create_future()
        self.parting: asyncio.Future[None] = local.loop.create_future()
        self.left: asyncio.Future[None] = local.loop.create_future()
        self._local = local
        self._topology = topology
        self._control = control
        self._activations = activations
        self._hand_over = hand_over
        self._farewell = farewell

    async def drain(self, drain_s: float | None = None) -> DrainReport:
        """Leaves, and returns as soon as everything is handed over, so that a remote caller still gets an answer.

        Args:
            drain_s: as for `leave`.

        Raises:
            ShuttingDown: the node was stopped before that.
        """
        self._begin(drain_s)
        await asyncio.wait((self.drained,))
        if self.drained.cancelled():
            raise ShuttingDown("the node was stopped before it had left", authority=self._local.authority)
        return self.drained.result()

    async def leave(self, drain_s: float | None = None) -> None:
        """Hands everything over and leaves. A second caller waits for the first leave.

        A caller that is cancelled only stops waiting: half a leave would leave a member that serves no calls.

        Args:
            drain_s: how long turns may still run; `activation.drain_s` unless given.
        """
        leaving = self._begin(drain_s)
        if leaving is not None:
            await asyncio.wait((leaving,))
            if not leaving.cancelled():  # otherwise the node was stopped at once
                leaving.result()
        await asyncio.shield(self.left)

    def _begin(self, drain_s: float | None) -> asyncio.Task[None] | None:
        """Starts the leave; returns None if it has begun before or the node was stopped."""
        if self.begun:
            return None
        self.begun = True
        if self._local.closing:
            self.stopped()
            return None
        return self._local.spawn(self._leave(drain_s), name="inaho-leave")

    async def _leave(self, drain_s: float | None) -> None:
        drain_s = self._local.config.activation.drain_s if drain_s is None else drain_s
        self._local.shutting_down = True
        joined = self._control.is_member
        started, had = self._local.loop.time(), self._activations.count
        acknowledged = True
        try:
            if joined:
                self._control.feed(LeaveRequested(drain_s))
            late = await self._activations.end(drain_s, min(drain_s, INTERRUPTED_S))
            self._log_released(had, len(late), started)
            if joined:
                await self._wait_disowned(self._left_s(started, drain_s))
                acknowledged = await self._hand_over(lambda: self._left_s(started, drain_s))
                self._control.feed(Drained())
            report = DrainReport(
                authority=self._local.authority,
                activations=had,
                handed_over=max(0, had - len(late)),
                timed_out=tuple(late[:NAMED_MAX]),
                timed_out_count=len(late),
                acknowledged=acknowledged,
                took_s=self._local.loop.time() - started,
            )
            if not self.drained.done():
                self.drained.set_result(report)
            if joined and not await self._control.wait_left(self._left_s(started, drain_s)):
                self._local.log.warning("no other member acknowledged in time that this node leaves")
            self._part()
            await self._farewell(
                ShuttingDown("this node has left the cluster", authority=self._local.authority), FAREWELL_S
            )
        finally:
            self.stopped()

    def _log_released(self, had: int, late: int, started: float) -> None:
        """Logs how the leases of this node have ended (SPEC VA-2, BS-3.4)."""
        if not self._local.client:
            level = logging.WARNING if late else logging.INFO
            self._local.log.log(
                level,
                "this node leaves and has released the leases of its activations (%d of %d, %d timed out) in %.2f s",
                max(0, had - late),
                had,
                late,
                self._local.loop.time() - started,
            )

    def _left_s(self, started: float, drain_s: float) -> float:
        """How long a step may wait for others."""
        return max(started + drain_s - self._local.loop.time(), min(drain_s, STEP_S))

    def stopped(self) -> None:
        """The node has left, or was stopped: ends all waiting for that."""
        self.drained.cancel()
        self._part()
        if not self.left.done():
            self.left.set_result(None)

    def _part(self) -> None:
        self._local.left = True
        if not self.parting.done():
            self.parting.set_result(None)

    async def _wait_disowned(self, within_s: float) -> None:
        """Returns when a topology gives all partitions of this node to others, or after `within_s`."""
        await self._topology.wait_until(lambda: not self._is_up(), within_s)

    def _is_up(self) -> bool:
        node_id = self._local.node_id
        return any(member.node_id == node_id and member.status is MemberStatus.UP for member in self._topology.members)
