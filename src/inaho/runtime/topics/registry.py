"""The registry of topics: system grains, one per shard, that keep the definitions of topics.

A grain has one owner, hand-off, fail-over, and state that is fenced by version and epoch: so the first definition of a
name wins wherever two nodes make it, and a definition is there after all members have restarted. Every answer is given
after a save that contains what it says. Changes that come during a save share the next one.

A storage of the node alone (`memory`) cannot keep them when their node dies. Then the nodes that know a topic bring its
definition back (`TopicDefinitions`). With any other storage the registry is the truth, and nodes follow it.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from inaho.core.pubsub.definition import TopicDefinition
from inaho.core.pubsub.definition_table import DefinitionTable
from inaho.errors import InahoError, InvalidConfig
from inaho.errors.inspection import describe
from inaho.runtime.grains.grain import Grain, method
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.topics.news import TopicNews
from inaho.runtime.topics.shard import REGISTRY, TopicShard, decode_shard, shard_of
from inaho.types import Struct

__all__ = ["Compared", "TopicRegistry"]

REMOVE_AGAIN_S: Final = 1.0
REMOVE_AGAIN_MAX_S: Final = 60.0
"""Pause before logs that could not be removed are tried again, at first and at most."""

REMOVED_S: Final = 2.0
"""The creation of a topic waits so long until the logs of a deleted one of its name are removed."""


class Logs(Protocol):
    """The logs of topics at least once."""

    async def remove(self, definition: TopicDefinition) -> None:
        """Removes the logs and subscriptions of a deleted topic. It may be repeated."""
        ...


class Compared(Struct, frozen=True):
    """The answer to a node that compares what it knows with the registry.

    Attributes:
        changed: definitions that differ.
        deleted: names of topics that are deleted.
        unknown: names that the registry has lost, if its storage is of one node alone; the asker defines them again.
    """

    changed: list[TopicDefinition]
    deleted: list[str]
    unknown: list[str]


class TopicRegistry(Grain[TopicShard], name=REGISTRY, reentrant=True, idle_ttl_s=0):
    """Keeps the definitions of one shard; its key is the shard's number. `TopicDefinitions` calls it."""

    def __init__(self, local: LocalNode, news: TopicNews, logs: Logs) -> None:
        self._logs = logs
        self._local = local
        self._news = news

    async def on_activate(self) -> None:
        pubsub = self._local.config.pubsub
        stored = self.state
        if stored.definitions.topics and stored.shards != pubsub.shards:
            raise InvalidConfig(
                f"topics were saved in {stored.shards} shards, while pubsub.shards is {pubsub.shards} here: it cannot "
                "be changed once there are topics"
            )
        self._table = DefinitionTable(-(-pubsub.topics_max // pubsub.shards))
        self._table.restore(stored.definitions)
        self._changes = 0
        self._saved = 0
        self._saving: asyncio.Task[None] | None = None
        self._removing: asyncio.Task[None] | None = None
        self._removal: asyncio.Future[None] = self._local.loop.create_future()
        """Done when the logs of the next topic are removed."""
        self._remove_soon()

    async def on_deactivate(self, reason: str) -> None:
        """Saves what callers wait for; the new owner gets it with the state."""
        if self._removing is not None:
            self._removing.cancel()
        if reason in ("moved", "shutdown"):
            try:
                await self._save()
            except InahoError as error:
                self._local.log.warning("%s could not save at its end: %s", self.identity, describe(error))

    @method(idempotent=True)
    async def define(self, asked: TopicDefinition) -> TopicDefinition:
        """Creates a topic if there is none of that name; returns the definition that is in force, which is saved."""
        self._check_place(asked.name)
        await self._wait_removed(asked.name)
        definition, created = self._table.define(asked, self._local.unix_time())
        self._changes += created
        await self._save()
        if created:
            self._news.created(definition)
        return definition

    @method(read_only=True)
    async def find(self, name: str) -> TopicDefinition | None:
        """The definition of a topic; None if there is none."""
        self._check_place(name)
        definition = self._table.find(name)
        await self._save()
        return definition

    @method(idempotent=True)
    async def delete(self, name: str) -> TopicDefinition | None:
        """Deletes a topic; returns its definition, or None if there was none."""
        self._check_place(name)
        definition = self._table.delete(name)
        self._changes += definition is not None
        await self._save()
        if definition is not None:
            await self._news.deleted(definition)
            self._remove_soon()
        return definition

    @method(read_only=True)
    async def listed(self, after: str, count: int) -> list[TopicDefinition]:
        """The next definitions of the shard, sorted by name, at most `count`."""
        await self._save()
        return self._table.page(after, count)

    @method(read_only=True)
    async def compare(self, seen: list[tuple[str, float]]) -> Compared:
        """Compares names and times of creation that a node knows with the definitions."""
        await self._save()
        changed, deleted, unknown = self._table.compare(seen)
        if self._local.storage_is_private:
            return Compared(changed, deleted, unknown)
        return Compared(changed, [*deleted, *unknown], [])

    @method(idempotent=True)
    async def bring_back(self, definitions: list[TopicDefinition]) -> None:
        """Takes over definitions that this shard has lost, if its storage can lose them."""
        if self._local.storage_is_private:
            self._changes += sum(map(self._table.bring_back, definitions))
            await self._save()

    async def _wait_removed(self, name: str) -> None:
        """Returns when the logs of a deleted topic of that name are removed, or after `REMOVED_S`.

        Otherwise the keepers of the deleted topic might get what is published to the new one, and remove it.
        """
        deadline = self._local.loop.time() + REMOVED_S
        while any(each.name == name for each in self._table.removing) and self._removing is not None:
            left_s = deadline - self._local.loop.time()
            if left_s <= 0:
                return  # a keeper cannot be reached; the next one removes what is left
            await asyncio.wait([self._removal], timeout=left_s)

    def _remove_soon(self) -> None:
        if self._removing is None and self._table.removing:
            self._removing = self._local.spawn(self._remove_logs(), name="inaho-topics-remove")

    async def _remove_logs(self) -> None:
        """Removes the logs of deleted topics, however often that fails: nobody else knows them any more."""
        pause_s = REMOVE_AGAIN_S
        try:
            while removing := self._table.removing:
                for definition in removing:
                    try:
                        await self._logs.remove(definition)
                        removed = self._table.removed(definition)
                        self._removal.set_result(None)
                        self._removal = self._local.loop.create_future()
                        if removed:
                            self._changes += 1
                            await self._save()
                            pause_s = REMOVE_AGAIN_S
                    except InahoError as error:
                        self._local.log.warning(
                            "the logs of topic %r, which was deleted, could not be removed, retrying: %s",
                            definition.name, describe(error),
                        )  # fmt: skip
                if self._table.removing:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, REMOVE_AGAIN_MAX_S)
        finally:
            self._removing = None

    def _check_place(self, name: str) -> None:
        shards = self._local.config.pubsub.shards
        if shard_of(name, shards) != self.key:
            raise InvalidConfig(f"pubsub.shards is {shards} here and another number at the caller")

    async def _save(self) -> None:
        """Returns when all changes so far are saved. Changes that are made during a save share the next save."""
        change = self._changes
        while self._saved < change:
            if self._saving is None:
                self._saving = self._local.spawn(self._save_once(), name="inaho-topics-save")
            await asyncio.shield(self._saving)

    async def _save_once(self) -> None:
        changes = self._changes
        try:
            self.state = TopicShard(self._local.config.pubsub.shards, self._table.saved())
            await self.save()
            self._saved = changes
        finally:
            self._saving = None


TopicRegistry.inaho_kind.decode_state = decode_shard
