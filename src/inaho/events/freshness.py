"""Events of freshness: an answer may be old, or it is fresh again."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = ["DoubtBegan", "DoubtEnded", "FreshnessUnknown"]


class DoubtBegan(Event, frozen=True, kw_only=True):
    """A member may have taken over this node's activations: it is `unreachable` or `removed`, or this node was away."""

    authority: str
    node_id: str
    reason: str


class DoubtEnded(Event, frozen=True, kw_only=True):
    """The doubt of a member ended: it `left`, was `replaced`, or `confirmed` its release, or the doubt `expired`."""

    authority: str
    node_id: str
    outcome: str
    lasted_s: float


class FreshnessUnknown(Event, frozen=True, kw_only=True):
    """This node doubts members and cannot read the storage: its answers may be old (`activation.when_unproved`)."""

    authority: str
    reason: str
