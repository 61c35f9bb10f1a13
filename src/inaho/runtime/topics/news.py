"""Tells all members of topics that were created or deleted.

This is best effort, since the registry is the truth: a member that misses it learns of a new topic when it first uses
it, and of a deletion when it compares what it knows after the next change of the topology.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from inaho.errors import InahoError
from inaho.errors.inspection import describe
from inaho.runtime.topics.shard import page_of
from inaho.runtime.topics.topic_actor import TopicActor

if TYPE_CHECKING:
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.placement.system_calls import SystemCalls
    from inaho.types import Member

__all__ = ["TopicNews"]

WAITING_MAX: Final = 10_000
"""News that may wait; the oldest are dropped."""

ASKED_AT_ONCE_MAX: Final = 32
"""Members that are told at the same time."""

TOLD_S: Final = 2.0
"""Seconds for a member to take them; a wedged one must not delay the others for longer."""


class TopicNews:
    """Tells all members what the registry on this node has changed.

    Args:
        local: the node.
        topology: its members.
        calls: to their `TopicActor`.
    """

    def __init__(self, local: LocalNode, topology: Topology, calls: SystemCalls) -> None:
        self._local = local
        self._topology = topology
        self._calls = calls
        self._waiting: deque[tuple[TopicDefinition, bool]] = deque(maxlen=WAITING_MAX)
        self._telling: asyncio.Task[None] | None = None

    def created(self, definition: TopicDefinition) -> None:
        """A topic was created, and is saved."""
        self._tell(definition, exists=True)

    async def deleted(self, definition: TopicDefinition) -> None:
        """A topic was deleted, and that is saved; returns when all members that can be reached know it."""
        await asyncio.shield(self._tell(definition, exists=False))

    def _tell(self, definition: TopicDefinition, *, exists: bool) -> asyncio.Task[None]:
        self._waiting.append((definition, exists))
        if self._telling is None:
            self._telling = self._local.spawn(self._tell_all(), name="inaho-topic-news")
        return self._telling

    async def _tell_all(self) -> None:
        places = asyncio.Semaphore(ASKED_AT_ONCE_MAX)
        most = page_of(self._local.config.transport.frame_bytes_max)
        try:
            while self._waiting:
                news = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
                await asyncio.gather(*(self._tell_one(member, news, places) for member in self._topology.members))
        finally:
            self._telling = None

    async def _tell_one(
        self, member: Member, news: list[tuple[TopicDefinition, bool]], places: asyncio.Semaphore
    ) -> None:
        async with places:
            try:
                async with asyncio.timeout(TOLD_S):
                    await self._calls.ask(member, TopicActor.heard, news, timeout_s=TOLD_S)
            except (InahoError, TimeoutError) as error:
                self._local.log.debug("%s was not told of %d topics: %s", member, len(news), describe(error))
