"""Holds who is notified of the end of one actor.

Each watcher is in the list once and leaves it when it is notified, so `Terminated` comes exactly once.
"""

from __future__ import annotations

from inaho.actor.ref import ActorRef, StopReason, Terminated, Watcher

__all__ = ["Watchers"]


class Watchers:
    """The watchers of one actor. After `end` a new watcher is notified at once."""

    __slots__ = ("_reason", "_watchers")

    def __init__(self) -> None:
        self._watchers: dict[Watcher, None] = {}
        self._reason: StopReason | None = None

    def add(self, ref: ActorRef, watcher: Watcher) -> None:
        """Adds `watcher`, or notifies it at once that `ref` has ended before."""
        if self._reason is None:
            self._watchers[watcher] = None
        else:
            watcher.watched_terminated(Terminated(ref=ref, reason=self._reason, exists=False))

    def remove(self, watcher: Watcher) -> None:
        """Forgets `watcher`; does nothing if it is not there."""
        self._watchers.pop(watcher, None)

    def end(self, ref: ActorRef, reason: StopReason) -> None:
        """Notifies all that `ref` has ended. Later calls do nothing."""
        if self._reason is not None:
            return
        self._reason = reason
        watchers, self._watchers = self._watchers, {}
        for watcher in watchers:
            watcher.watched_terminated(Terminated(ref=ref, reason=reason, exists=True))
