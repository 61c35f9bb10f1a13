"""A grain that is subscribed to topics and records what it gets, for `topic_checkers`.

Each activation is a subscriber of its own in the history, which belongs to the node of the activation. So a message
that reaches an activation whose node has died, or that has ended, shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from inaho.core.pubsub.message import Message
from inaho.runtime.grains.grain import Grain
from inaho.runtime.grains.subscribing import subscribe
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.histories.grain_history import Journal
from inaho.testing.histories.topic_history import Handled, Publishing, Subscribed, Unsubscribed
from inaho.testing.histories.topic_workload import delivered

__all__ = [
    "KEPT",
    "KEPT_NAME",
    "LOOSE",
    "LOOSE_NAME",
    "UNKEYED",
    "HostedByOddNodes",
    "TopicListener",
    "grain_of",
    "listener_with",
]

LOOSE: Final = "loose"
KEPT: Final = "kept"

UNKEYED: Final = "unkeyed"
"""The grain that gets messages that have no key."""

LOOSE_NAME: Final = "TopicListener.on_loose"
KEPT_NAME: Final = "TopicListener.on_kept"
"""Names of the subscriptions."""

Handle = Callable[[Message[str]], Awaitable[bool]]


def _grain_of(text: str) -> str:
    """Another key than that of the message, if that has none: the grain gets messages of several keys."""
    return text.partition("/")[2] or UNKEYED


def grain_of(publish: Publishing) -> str:
    """Key of the grain that gets a message."""
    return _grain_of(publish.message)


class HostedByOddNodes(SimCluster):
    """A cluster in which nodes 1, 3 and so on host the grains: the others publish to one of these."""

    def _boot(self, config: Any, address: str, index: int) -> Any:
        grains = self._grains
        self._grains = grains if index % 2 else ()
        try:
            return super()._boot(config, address, index)
        finally:
            self._grains = grains


class TopicListener(Grain):
    """Gets the messages of a topic at most once, and of one at least once. Use `listener_with`."""

    journal: ClassVar[Journal]
    handle: ClassVar[Handle]
    numbers: ClassVar[itertools.count[int]]

    async def on_activate(self) -> None:
        """Records the subscriptions of this activation."""
        node, number = self.cluster.self.node_id, next(self.numbers)
        now = self.journal.now()
        self._subscribers: dict[str, str] = {}
        for topic, name, group in ((LOOSE, LOOSE_NAME, ""), (KEPT, KEPT_NAME, KEPT_NAME)):
            subscriber = self._subscribers[topic] = f"{name}/{self.key}-{number}"
            self.journal.write(
                Subscribed(
                    at=now, topic=topic, subscriber=subscriber, node=node, since=now, group=group,
                    earliest=bool(group), grain=self.key, method=name,
                )
            )  # fmt: skip

    async def on_deactivate(self, reason: str) -> None:
        """Records their ends."""
        for subscriber in self._subscribers.values():
            self.journal.write(Unsubscribed(at=self.journal.now(), subscriber=subscriber))

    @subscribe(LOOSE, key=_grain_of)
    async def on_loose(self, message: Message[str]) -> None:
        """Records it."""
        self.journal.write(delivered(self.journal, LOOSE, self._subscribers[LOOSE], message))

    @subscribe(KEPT, key=_grain_of)
    async def on_kept(self, message: Message[str]) -> None:
        """Records it, and handles it, or fails."""
        subscriber = self._subscribers[KEPT]
        self.journal.write(delivered(self.journal, KEPT, subscriber, message))
        if not await type(self).handle(message):
            raise ValueError("not this time")
        self.journal.write(Handled(at=self.journal.now(), subscriber=subscriber, message=message.value))


def listener_with(journal: Journal, handle: Handle) -> type[TopicListener]:
    """A `TopicListener` that writes into `journal`; `handle` says whether a message at least once is done."""
    body = {"journal": journal, "handle": staticmethod(handle), "numbers": itertools.count(1), "__module__": __name__}
    return type("TopicListener", (TopicListener,), body)
