"""Calls the registry of topics from any node: ordinary calls of grains, with deadline, retries and errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from inaho.errors import StateConflict
from inaho.runtime.calls.reference import make_reference
from inaho.runtime.topics.registry import TopicRegistry
from inaho.runtime.topics.shard import REGISTRY, shard_of

if TYPE_CHECKING:
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["RegistryCalls"]

Answer = TypeVar("Answer")

CONFLICTS_MAX: Final = 5
"""How often a request is made that meets an outdated activation of the registry."""


class RegistryCalls:
    """Calls the registry, from any node.

    Args:
        local: the node.
        context: through which calls go.
        hosts: kinds of the node, by name.
        learn: makes a kind known to this node that it does not host.
    """

    def __init__(
        self,
        local: LocalNode,
        context: ClusterContext,
        hosts: Mapping[str, KindHost],
        learn: Callable[[GrainKind], KindHost],
    ) -> None:
        self._local = local
        self._context = context
        self._hosts = hosts
        self._learn = learn

    def shard(self, key: str) -> TopicRegistry:
        """A reference to a shard, by its number."""
        host = self._hosts.get(REGISTRY) or self._learn(TopicRegistry.inaho_kind)
        reference: TopicRegistry = make_reference(self._context, host, key, timeout_s=None, retry=True)
        return reference

    @property
    def shards(self) -> list[str]:
        """Keys of all shards."""
        return [str(number) for number in range(self._local.config.pubsub.shards)]

    async def define(self, asked: TopicDefinition) -> TopicDefinition:
        """See `TopicRegistry.define`."""
        return await self._repeated(lambda: self._shard_of(asked.name).define(asked))

    async def find(self, name: str) -> TopicDefinition | None:
        """See `TopicRegistry.find`."""
        return await self._repeated(lambda: self._shard_of(name).find(name))

    async def delete(self, name: str) -> TopicDefinition | None:
        """See `TopicRegistry.delete`."""
        return await self._repeated(lambda: self._shard_of(name).delete(name))

    def _shard_of(self, topic: str) -> TopicRegistry:
        return self.shard(shard_of(topic, self._local.config.pubsub.shards))

    async def _repeated(self, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """Repeats a request that met an outdated activation: that has saved nothing, and has ended."""
        for _ in range(CONFLICTS_MAX - 1):
            try:
                return await request()
            except StateConflict:
                pass
        return await request()
