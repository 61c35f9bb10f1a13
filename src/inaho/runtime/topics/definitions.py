"""What one node knows of topics: a cache of definitions, and the calls to the registry behind it.

A definition does not change while its topic exists, so a cached one needs no check. Two things may make it wrong: the
topic was deleted while this node could not be told, or the registry, on a storage of one node alone, has lost it with
that node. So after changes of the topology a node compares what it knows with the registry, and brings back what that
has lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from inaho.core.bounded_map import BoundedMap
from inaho.core.pubsub.definition import TopicDefinition
from inaho.errors import InahoError, NoSuchTopic
from inaho.errors.inspection import describe
from inaho.events import TopicCreated, TopicDeleted
from inaho.runtime.topics.delivery import KnownTopic
from inaho.runtime.topics.shard import page_of, shard_of

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topics.registry_calls import RegistryCalls
    from inaho.types import TopologySnapshot

__all__ = ["TopicDefinitions"]

CACHED_MAX: Final = 10_000
"""Topics that a node remembers without using them; the oldest is forgotten first."""

COMPARE_AFTER_S: Final = 1.0
"""Seconds from a change of the topology to the comparison, so that one comparison does for several changes."""

AGAIN_S: Final = 5.0
"""Seconds until a comparison that failed is repeated."""


class TopicDefinitions:
    """The topics that one node knows.

    Args:
        local: the node.
        registry: calls to the registry.
    """

    def __init__(self, local: LocalNode, registry: RegistryCalls) -> None:
        self._local = local
        self._registry = registry
        self._page = page_of(local.config.transport.frame_bytes_max)
        self._when_changed: list[Callable[[str], None]] = []
        self._when_deleted: list[Callable[[KnownTopic], None]] = []
        self._cached: BoundedMap[str, KnownTopic] = BoundedMap(CACHED_MAX)
        self._known: WeakValueDictionary[str, KnownTopic] = WeakValueDictionary()
        """All that are cached or in use: handles and subscriptions hold theirs."""
        self._comparing: asyncio.Task[None] | None = None
        self._compare_again = False

    def __len__(self) -> int:
        return len(self._known)

    def when_deleted(self, callback: Callable[[KnownTopic], None]) -> None:
        """Calls `callback` with each topic that this node knows and that is found to be deleted."""
        self._when_deleted.append(callback)

    def when_changed(self, callback: Callable[[str], None]) -> None:
        """Calls `callback` with the name of each topic that was created or deleted, known here before or not."""
        self._when_changed.append(callback)

    def known(self, name: str) -> KnownTopic | None:
        """The topic, if this node knows it."""
        return self._known.get(name)

    # Asking.

    async def get(self, name: str, asked: TopicDefinition | None, given: Sequence[str]) -> KnownTopic:
        """Finds a topic, or creates it.

        Args:
            name: of the topic.
            asked: its definition if it must be created; None only finds it.
            given: the settings in `asked` that must not differ.

        Raises:
            NoSuchTopic: there is none, and `asked` is None.
            TopicConflict: it exists with another setting.
            InahoError: as any call.
        """
        known = self._known.get(name)
        # It may have been deleted and created again. Members are told; clients are not.
        if known is None or self._local.client or _differs(known.definition, asked, given):
            ask = self._registry.find(name) if asked is None else self._registry.define(asked)
            found = await ask
            if found is None:
                if known is not None:
                    self._is_deleted(name, known.definition.created_at)
                raise NoSuchTopic(f"there is no topic {name!r}")
            known = self._learned(found)
        known.definition.check_same({each: getattr(asked, each) for each in given})
        return known

    async def find(self, name: str) -> TopicDefinition:
        """The definition of a topic. Raises `NoSuchTopic`."""
        return (await self.get(name, None, ())).definition

    async def define(self, definition: TopicDefinition) -> TopicDefinition:
        """Creates a topic if there is none of that name; returns the definition that is in force."""
        return (await self.get(definition.name, definition, ())).definition

    async def delete(self, name: str) -> TopicDefinition:
        """Deletes a topic; this node knows it when this returns. Raises `NoSuchTopic`."""
        definition = await self._registry.delete(name)
        if definition is None:
            raise NoSuchTopic(f"there is no topic {name!r}")
        self._is_deleted(name, definition.created_at)
        return definition

    async def listed(self) -> list[TopicDefinition]:
        """All topics, sorted by name."""
        shards = await asyncio.gather(*(self._list_shard(key) for key in self._registry.shards))
        return sorted((each for shard in shards for each in shard), key=lambda each: each.name)

    async def _list_shard(self, key: str) -> list[TopicDefinition]:
        found: list[TopicDefinition] = []
        while True:
            page = await self._registry.shard(key).listed(found[-1].name if found else "", self._page)
            found += page
            if len(page) < self._page:
                return found

    # Learning.

    def _learned(self, definition: TopicDefinition) -> KnownTopic:
        name = definition.name
        known = self._known.get(name)
        if known is not None and known.definition.created_at == definition.created_at:
            return known
        if known is not None:
            self._is_deleted(name, known.definition.created_at)
        self._known[name] = self._cached[name] = topic = KnownTopic(definition)
        self._tell_changed(name)
        return topic

    def _tell_changed(self, name: str) -> None:
        for callback in self._when_changed:
            callback(name)

    def _is_deleted(self, name: str, created_at: float) -> None:
        known = self._known.get(name)
        if known is None or known.definition.created_at > created_at:
            return
        known.deleted = True
        self._cached.pop(name, None)
        self._known.pop(name, None)
        for callback in self._when_deleted:
            callback(known)
        self._tell_changed(name)

    def heard(self, news: Iterable[tuple[TopicDefinition, bool]]) -> None:
        """The registry tells of topics that exist now (True) or were deleted (False)."""
        for definition, exists in news:
            name = definition.name
            if exists:
                known = self._known.get(name)
                if known is None or known.definition.created_at <= definition.created_at:
                    self._learned(definition)
                self._local.publish(TopicCreated(topic=name, delivery=definition.delivery))
            else:
                self._is_deleted(name, definition.created_at)
                self._local.publish(TopicDeleted(topic=name))

    # Comparing.

    def apply_topology(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """Members have come, gone, or fallen silent: compares all that this node knows, a moment later."""
        members = {(member.node_id, member.status) for member in snapshot.members}
        if before is None or members == {(member.node_id, member.status) for member in before.members}:
            return
        self._compare_again = True
        if self._comparing is None and self._known and not self._local.closing:
            self._comparing = self._local.spawn(self._compare_all(), name="inaho-topics-compare")

    async def _compare_all(self) -> None:
        try:
            while self._compare_again and not self._local.shutting_down:
                self._compare_again = False
                await asyncio.sleep(COMPARE_AFTER_S * (0.5 + self._local.entropy.random.random()))
                shards: dict[str, list[KnownTopic]] = {}
                for known in list(self._known.values()):
                    shard = shard_of(known.name, self._local.config.pubsub.shards)
                    shards.setdefault(shard, []).append(known)
                for key, topics in shards.items():
                    for first in range(0, len(topics), self._page):
                        await self._compare(key, topics[first : first + self._page])
        finally:
            self._comparing = None

    async def _compare(self, key: str, topics: list[KnownTopic]) -> None:
        shard = self._registry.shard(key)
        seen = [(known.name, known.definition.created_at) for known in topics]
        try:
            compared = await shard.compare(seen)
            lost = set(compared.unknown)
            if lost:
                await shard.bring_back([known.definition for known in topics if known.name in lost])
        except InahoError as error:
            self._local.log.debug("topics of shard %s could not be compared, retrying: %s", key, describe(error))
            self._compare_again = True
            await asyncio.sleep(AGAIN_S)
            return
        times = dict(seen)
        for name in compared.deleted:
            self._is_deleted(name, times[name])
        for definition in compared.changed:
            self._learned(definition)

    def close(self) -> None:
        """The node stops."""
        self._cached.clear()


def _differs(known: TopicDefinition, asked: TopicDefinition | None, given: Sequence[str]) -> bool:
    return any(getattr(known, setting) != getattr(asked, setting) for setting in given)
