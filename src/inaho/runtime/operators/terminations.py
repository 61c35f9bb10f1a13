"""Sends ends of activations to all nodes that subscribe to them (SPEC VA-2.3, VA-4.2, BS-3.3).

A subscription is a stream: a node on which a program subscribes to `ActivationTerminated` opens one to every member,
and closes it when no program subscribes any more. So a cluster without subscribers sends and keeps nothing, a client
subscribes as a member does, and the subscriptions of a dead node end with it.

Ends between two ticks are sent together. A subscriber that reads too slowly loses the oldest, and the next batch has
their number. Each end is sent at most once: a batch on its way when a connection breaks is not sent again.

Why not a message to all members at each end: a thousand activations that move would be a thousand messages to each of a
hundred nodes, most of which do not need them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from inaho.errors import InahoError
from inaho.errors.inspection import describe
from inaho.events import ActivationTerminated, TerminationsMissed
from inaho.runtime.grains.grain import Grain
from inaho.runtime.placement.system_calls import SystemCalls
from inaho.types import ClusterIdentity, MemberStatus, Struct

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node
    from inaho.types import Member

__all__ = ["TERMINATIONS_KEY", "Termination", "TerminationActor", "TerminationBatch", "Terminations"]

TERMINATIONS_KEY: Final = "terminations"

BATCH_MAX: Final = 256
"""Most terminations in one batch; with the longest keys they take a third of a frame."""

RETRY_S: Final = 1.0
"""Seconds before a member that could not be reached is asked again."""


class Termination(Struct, frozen=True, array_like=True):
    """The end of one activation.

    Attributes:
        kind, key: its identity.
        reason: as in `ActivationTerminated`.
        at: Unix seconds of the node where it ended.
    """

    kind: str
    key: str
    reason: str
    at: float


class TerminationBatch(Struct, frozen=True, array_like=True):
    """The activations that ended on one node since its last batch.

    Attributes:
        terminations: in their order.
        missed: number of earlier terminations that were dropped because this listener was too slow.
    """

    terminations: list[Termination]
    missed: int = 0


class TerminationActor(Grain, name="inaho.terminations", reentrant=True, idle_ttl_s=0):
    """Notifies other nodes of activations that end on this node; a system actor."""

    def __init__(self, terminations: Terminations) -> None:
        self._terminations = terminations

    async def watch(self) -> AsyncIterator[TerminationBatch]:
        """Batches from now on, until this node leaves."""
        terminations = self._terminations
        listener = terminations.admit()
        try:
            while batch := await listener.next_batch():
                yield batch
        finally:
            terminations.dismiss(listener)


class Listener:
    """One other node that subscribes to the ends of activations on this node.

    Args:
        waiting_max: terminations that may wait; `activation.terminations_max`.
    """

    def __init__(self, waiting_max: int, loop: asyncio.AbstractEventLoop) -> None:
        self.over = False
        self._waiting: deque[Termination] = deque(maxlen=waiting_max)
        self._missed = 0
        self._loop = loop
        self._wake: asyncio.Future[None] | None = None

    def add(self, termination: Termination) -> None:
        """Adds one; if there are too many, the oldest is dropped."""
        if len(self._waiting) == self._waiting.maxlen:
            self._missed += 1
        self._waiting.append(termination)

    def flush(self) -> None:
        """Lets the waiting terminations be sent."""
        if self._wake is not None and not self._wake.done() and (self._waiting or self._missed or self.over):
            self._wake.set_result(None)

    async def next_batch(self) -> TerminationBatch | None:
        """Returns the next batch, at a tick; None when there will be no more."""
        while not (self._waiting or self._missed):
            if self.over:
                return None
            self._wake = self._loop.create_future()
            await self._wake
            self._wake = None
        missed, self._missed = self._missed, 0
        count = min(BATCH_MAX, len(self._waiting))
        return TerminationBatch([self._waiting.popleft() for _ in range(count)], missed)


class Terminations:
    """Sends the ends on this node, and receives those on other nodes.

    Attributes:
        missed: terminations elsewhere that this node did not receive, because it was too slow.
    """

    def __init__(self, node: Node) -> None:
        self.missed = 0
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self._listeners: dict[Listener, None] = {}
        self._following: dict[str, asyncio.Task[Any]] = {}
        self._retry_at: dict[str, float] = {}
        self._calls = SystemCalls(node.local, node.peers, node.hosts, TerminationActor, TERMINATIONS_KEY)
        node.shutdown.parting.add_done_callback(self._end)

    # Activations end on this node.

    def ended(self, kind: str, key: str, reason: str) -> None:
        """An activation of this node has ended."""
        if self._local.events_wanted(ActivationTerminated):
            identity = ClusterIdentity(kind, key)
            self._local.publish(ActivationTerminated(identity=identity, reason=reason, authority=self._local.authority))
        if self._listeners:
            told = Termination(kind, key, reason, self._local.unix_time())
            for listener in self._listeners:
                listener.add(told)

    def admit(self) -> Listener:
        """Another node begins to listen."""
        listener = Listener(self._local.config.activation.terminations_max, self._local.loop)
        listener.over = self._node.shutdown.parting.done()
        self._listeners[listener] = None
        return listener

    def dismiss(self, listener: Listener) -> None:
        """That node no longer listens."""
        self._listeners.pop(listener, None)

    def _end(self, _: object) -> None:
        """The node leaves: listeners get the terminations that wait, and then their streams end."""
        for listener in self._listeners:
            listener.over = True
            listener.flush()

    # Activations end on other nodes.

    def tick(self, now: float, _lag_s: float) -> None:
        """Sends the ends since the last tick; listens to other members while a program here subscribes to ends."""
        for listener in self._listeners:
            listener.flush()
        if self._local.closing or not self._local.events_wanted(ActivationTerminated):
            for task in self._following.values():
                task.cancel()
            self._retry_at.clear()
            return
        for member in () if self._topology.snapshot is None else self._topology.snapshot.members:
            if (
                member.node_id not in self._following
                and member.node_id != self._local.node_id
                and member.status in (MemberStatus.UP, MemberStatus.LEAVING)
                and now >= self._retry_at.get(member.node_id, 0.0)
            ):
                self._follow(member)

    def _follow(self, member: Member) -> None:
        self._retry_at.pop(member.node_id, None)
        task = self._local.spawn(self._listen(member), name="inaho-terminations")
        self._following[member.node_id] = task
        task.add_done_callback(lambda _: self._following.pop(member.node_id, None))

    async def _listen(self, member: Member) -> None:
        try:
            async with aclosing(self._calls.stream(member, TerminationActor.watch)) as batches:
                async for batch in batches:
                    self._take(member, batch)
                    await asyncio.sleep(0)  # ten thousand terminations must not delay calls
        except InahoError as error:
            self._local.log.info(
                "subscribing to ends of activations on %s failed: %s", member.authority, describe(error)
            )
        known = (
            {}
            if self._topology.snapshot is None
            else {other.node_id: None for other in self._topology.snapshot.members}
        )
        self._retry_at = {node_id: at for node_id, at in self._retry_at.items() if node_id in known}
        self._retry_at[member.node_id] = self._local.loop.time() + RETRY_S

    def _take(self, member: Member, batch: TerminationBatch) -> None:
        node = self._node
        if batch.missed:
            self.missed += batch.missed
            self._local.publish(TerminationsMissed(authority=member.authority, count=batch.missed))
        node.ended_pids.drop(member.node_id, [(told.kind, told.key) for told in batch.terminations])
        for told in batch.terminations:
            identity = ClusterIdentity(told.kind, told.key)
            self._local.publish(
                ActivationTerminated(identity=identity, reason=told.reason, authority=member.authority, at=told.at)
            )
