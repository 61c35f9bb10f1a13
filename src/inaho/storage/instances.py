"""Detects that a storage has lost data that it had acknowledged.

A storage that comes back empty, or with the state of an old backup, answers as if nothing were wrong, and a grain whose
state is gone would begin with an empty state. So the storage itself holds a mark: a random id, made once, and a number
that rises with every commit. Both come with the answers to loads and writes. A storage object remembers the id and the
greatest number that it has seen. Another id, no id any more, or a smaller number means that acknowledged data is lost.
Then the object refuses everything until an operator accepts the present content.

Answers of concurrent requests overtake each other. So an answer is compared with what had been seen before its request
was made, and not with what has been seen since.

A storage that is spread over several servers has one mark for each part that can be lost alone.

A loss is not noticed if others have saved so much after it that the number is past what this object saw, or if the
object did not exist at the time of the loss. Then the versions of single records show it, if a node knows them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final

import msgspec

from inaho.errors import StorageLost

__all__ = ["WHOLE", "Instances", "Mark", "new_instance"]

WHOLE: Final = b""
"""The part of a storage that has only one."""


class Mark(msgspec.Struct, frozen=True):
    """The mark of a storage: it changes when the storage loses data.

    Attributes:
        instance: random, made with the storage; empty if the storage has none.
        commits: rises with every commit; the back end decides by how much.
    """

    instance: str = ""
    commits: int = 0

    def __str__(self) -> str:
        return f"instance {self.instance} at commit {self.commits}" if self.instance else "no instance"

    def contradicts(self, seen: Mark | None) -> bool:
        """Whether a storage that has this mark has lost data since it had `seen`."""
        return seen is not None and (self.instance != seen.instance or self.commits < seen.commits)


def new_instance() -> str:
    """An id that no storage has."""
    return uuid.uuid4().hex


class Instances:
    """The marks of its storage that one storage object has seen.

    Args:
        name: returns the name of the storage, for messages.

    Attributes:
        lost: the error of a loss that was found, which refuses every operation; None in the usual case.
    """

    def __init__(self, name: Callable[[], str]) -> None:
        self.lost: str = ""
        self._name = name
        self._seen: dict[bytes, Mark] = {}
        self._watchers: list[Callable[[str], None]] = []

    def seen(self, part: bytes = WHOLE) -> Mark | None:
        """The mark to compare an answer with: call it before the request is made."""
        return self._seen.get(part)

    def marks(self) -> list[Mark]:
        """The last mark of each part."""
        return [self._seen[part] for part in sorted(self._seen)]

    def check(
        self, seen: Mark | None, told: Mark, part: bytes = WHOLE, *, identity: str = "", rises: bool = True
    ) -> None:
        """Compares the mark of an answer with the mark before its request, and remembers it.

        Args:
            seen: from `seen`, before the request was made.
            told: the mark that came with the answer.
            part: of the storage.
            identity: what the request was about, for the error.
            rises: whether `told.commits` is durable, so that a smaller number later is a loss.

        Raises:
            StorageLost: data is lost. `refuse` raises the same from then on.
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
                f"{self._name()} has lost acknowledged data: {self.lost}",
                identity=identity,
            )

    def begin(self) -> None:
        """The storage was opened again: the present mark is the first one to compare with."""
        self._seen.clear()

    def accept(self) -> None:
        """Accepts the present content."""
        self.lost = ""
        self._seen.clear()

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Calls `watcher`, with one sentence, when a loss is found."""
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
