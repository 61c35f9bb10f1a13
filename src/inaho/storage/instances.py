"""Detects that a storage has lost data that it had acknowledged.

A storage that comes back empty, or as an old backup had it, answers as if nothing were wrong: a grain whose state is
gone would begin again from nothing. So the storage itself holds a mark: a random id, made once, and a number that rises
with every commit. Both come with the answers to loads and writes. A storage object remembers the id and the greatest
number that it has seen. Another id, no id any more, or a smaller number: what was acknowledged is gone, and the object
refuses everything from then on until an operator accepts what is there.

Answers of concurrent requests overtake each other. So an answer is compared with what had been seen before its request
was made, and not with what has been seen since.

A storage that is spread over several servers has one mark for each part that can be lost alone.

What it cannot notice: a loss after which others have saved so much that the number is past what this object saw, or a
loss while the object did not exist. Then the versions of single records tell, where somebody knows them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final

import msgspec

from inaho.errors import StorageLost

__all__ = ["WHOLE", "Instances", "Mark", "new_instance"]

WHOLE: Final = b""
"""The part of a storage that has one only."""


class Mark(msgspec.Struct, frozen=True):
    """What tells one state of a storage from another.

    Attributes:
        instance: random, made with the storage; empty where the storage has none.
        commits: rises with every commit; by how much is the back end's.
    """

    instance: str = ""
    commits: int = 0

    def __str__(self) -> str:
        return f"instance {self.instance} at commit {self.commits}" if self.instance else "no instance"

    def contradicts(self, seen: Mark | None) -> bool:
        """Whether a storage that has this mark has lost something since it had `seen`."""
        return seen is not None and (self.instance != seen.instance or self.commits < seen.commits)


def new_instance() -> str:
    """An id that no storage has."""
    return uuid.uuid4().hex


class Instances:
    """What one storage object has seen of the marks of its storage.

    Args:
        name: gives the name of the storage, for messages.

    Attributes:
        lost: what was found, and refuses every operation; None in the usual case.
    """

    def __init__(self, name: Callable[[], str]) -> None:
        self.lost: str = ""
        self._name = name
        self._seen: dict[bytes, Mark] = {}
        self._watchers: list[Callable[[str], None]] = []

    def seen(self, part: bytes = WHOLE) -> Mark | None:
        """What to compare an answer with: ask before the request is made."""
        return self._seen.get(part)

    def marks(self) -> list[Mark]:
        """What was seen last of each part."""
        return [self._seen[part] for part in sorted(self._seen)]

    def check(
        self, seen: Mark | None, told: Mark, part: bytes = WHOLE, *, identity: str = "", rises: bool = True
    ) -> None:
        """Compares an answer with what had been seen before its request, and remembers it.

        Args:
            seen: from `seen`, before the request was made.
            told: what came with the answer.
            part: of the storage.
            identity: what the request was about, for the error.
            rises: whether `told.commits` is certain to stay, so that less of it later is a loss.

        Raises:
            StorageLost: something is lost. The same is raised by `refuse` from then on.
        """
        if told.contradicts(seen):
            self._loses(f"it had {seen}, and has {told} now")
            self.refuse(identity)
        known = self._seen.get(part)
        if not told.instance or (known is not None and (known.instance != told.instance or not rises)):
            return
        if known is None:
            self._seen[part] = told if rises else Mark(told.instance)
        elif told.commits > known.commits:
            self._seen[part] = told

    def refuse(self, identity: str) -> None:
        """Raises `StorageLost` once a loss was found."""
        if self.lost:
            raise StorageLost(
                f"{self._name()} has lost what it had acknowledged: {self.lost}",
                identity=identity,
            )

    def begin(self) -> None:
        """The storage was opened after nobody used it: what is there now is compared with from here on."""
        self._seen.clear()

    def accept(self) -> None:
        """Takes what is there for all there is."""
        self.lost = ""
        self._seen.clear()

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Has `watcher` told, in one sentence, when a loss is found."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[str], None]) -> None:
        """Ends `watch`."""
        self._watchers.remove(watcher)

    def _loses(self, what: str) -> None:
        if self.lost:
            return
        self.lost = what
        for watcher in tuple(self._watchers):
            watcher(f"{self._name()}: {what}")
