"""The definitions of one shard of the registry: the first of a name wins, and a deletion is remembered for a while.

A node that was cut off may not have heard of a deletion, and one that has a topic in use offers its definition again if
the registry may have lost it. So the last deletions are kept: what they name is not brought back.

Why saved definitions are pairs of a name and the number of a profile: most topics of an application have the same
settings, and the whole shard is written at each change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from inaho.core.bounded_map import BoundedMap
from inaho.core.pubsub.definition import TopicDefinition
from inaho.errors import Overloaded

__all__ = ["DELETED_MAX", "DefinitionTable", "SavedDefinitions"]

DELETED_MAX: Final = 1000
"""Deletions that one shard remembers; the oldest is forgotten first."""


class SavedDefinitions(msgspec.Struct, frozen=True):
    """The definitions of one shard, as saved.

    Attributes:
        profiles: settings, each once; without name and time.
        topics: name, number of its profile, and `created_at` of each topic.
        deleted: names of the last deleted topics, each with its `created_at`.
        removing: deleted topics at least once whose logs are still to be removed.
    """

    profiles: tuple[TopicDefinition, ...] = ()
    topics: tuple[tuple[str, int, float], ...] = ()
    deleted: tuple[tuple[str, float], ...] = ()
    removing: tuple[TopicDefinition, ...] = ()


class DefinitionTable:
    """The topics of one shard.

    Args:
        topics_max: bound of the topics.
    """

    def __init__(self, topics_max: int) -> None:
        self._topics_max = topics_max
        self._topics: dict[str, TopicDefinition] = {}
        self._deleted: BoundedMap[str, float] = BoundedMap(DELETED_MAX)
        self._removing: BoundedMap[str, TopicDefinition] = BoundedMap(DELETED_MAX)

    def __len__(self) -> int:
        return len(self._topics)

    def define(self, asked: TopicDefinition, now: float) -> tuple[TopicDefinition, bool]:
        """Creates a topic, or finds it as it is.

        Args:
            asked: the definition for a new topic.
            now: Unix seconds.

        Returns:
            The definition that is in force, and whether this call has created it.

        Raises:
            InvalidTopic: a setting is out of range, or it could have no dead-letter topic.
            Overloaded: there are too many topics.
        """
        known = self._topics.get(asked.name)
        if known is not None:
            return known, False
        asked.check_new()
        if len(self._topics) >= self._topics_max:
            raise Overloaded(f"a shard of the registry has {self._topics_max} topics (pubsub.topics_max)")
        self._removing.pop(asked.name, None)  # the keepers of the new topic remove what is left of the old one
        created_at = max(now, self._deleted.pop(asked.name, 0.0) + 1e-6)  # the clock may have been set back
        definition = self._topics[asked.name] = replace(asked, created_at=created_at)
        return definition, True

    def find(self, name: str) -> TopicDefinition | None:
        """The definition of that topic; None if there is none."""
        return self._topics.get(name)

    def delete(self, name: str) -> TopicDefinition | None:
        """Deletes a topic; returns its definition, or None if there was none."""
        known = self._topics.pop(name, None)
        if known is not None:
            self._deleted.renew(name, known.created_at)
            if known.durable:
                self._removing[name] = known
        return known

    @property
    def removing(self) -> list[TopicDefinition]:
        """Deleted topics at least once whose logs are still to be removed."""
        return list(self._removing.values())

    def removed(self, definition: TopicDefinition) -> bool:
        """The logs of a deleted topic are removed; returns whether that changed anything."""
        if self._removing.get(definition.name) != definition:
            return False
        del self._removing[definition.name]
        return True

    def compare(self, seen: Sequence[tuple[str, float]]) -> tuple[list[TopicDefinition], list[str], list[str]]:
        """Compares what another node knows with this table.

        Args:
            seen: names and `created_at` of topics.

        Returns:
            The definitions that differ; the names of topics that were deleted; and those that are unknown here.
        """
        changed: list[TopicDefinition] = []
        deleted: list[str] = []
        unknown: list[str] = []
        for name, created_at in seen:
            known = self._topics.get(name)
            if known is not None:
                if known.created_at != created_at:
                    changed.append(known)
            elif self._deleted.get(name, -1.0) >= created_at:
                deleted.append(name)
            else:
                unknown.append(name)
        return changed, deleted, unknown

    def bring_back(self, definition: TopicDefinition) -> bool:
        """Takes a definition over that this table has lost; returns whether that changed anything."""
        name = definition.name
        if (
            name in self._topics
            or self._deleted.get(name, -1.0) >= definition.created_at
            or len(self._topics) >= self._topics_max
        ):
            return False
        self._topics[name] = definition
        self._removing.pop(name, None)
        return True

    def page(self, after: str, count: int) -> list[TopicDefinition]:
        """At most `count` definitions with names after `after`, sorted by name."""
        names = sorted(name for name in self._topics if name > after)
        return [self._topics[name] for name in names[:count]]

    def saved(self) -> SavedDefinitions:
        """What `restore` takes."""
        profiles: dict[TopicDefinition, int] = {}
        topics = tuple(
            (
                each.name,
                profiles.setdefault(replace(each, name="", created_at=0.0), len(profiles)),
                each.created_at,
            )
            for each in self._topics.values()
        )
        return SavedDefinitions(tuple(profiles), topics, tuple(self._deleted.items()), tuple(self._removing.values()))

    def restore(self, saved: SavedDefinitions) -> None:
        """Replaces all by what was saved."""
        self._topics = {
            name: replace(saved.profiles[number], name=name, created_at=at) for name, number, at in saved.topics
        }
        self._deleted.clear()
        self._deleted.update(saved.deleted)
        self._removing.clear()
        self._removing.update((each.name, each) for each in saved.removing)

    def __iter__(self) -> Iterator[TopicDefinition]:
        return iter(self._topics.values())

    def check(self) -> None:
        """Asserts the invariants."""
        self._deleted.check()
        self._removing.check()
        assert not self._removing.keys() & self._topics.keys()
        assert len(self._topics) <= self._topics_max
        for name, definition in self._topics.items():
            assert name == definition.name
            assert name not in self._deleted, f"{name} exists and is deleted"
            definition.check()
