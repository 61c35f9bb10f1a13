"""Events of connections, and of the association with one authority (SPEC CL-4)."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = [
    "AuthorityConnected",
    "AuthorityDisconnected",
    "AuthorityEvent",
    "AuthorityQuarantined",
    "AuthorityReleased",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionRefused",
    "QueueDrained",
]


class ConnectionOpened(Event, frozen=True, kw_only=True):
    """A connection was authenticated."""

    authority: str
    node_id: str


class ConnectionClosed(Event, frozen=True, kw_only=True):
    """A connection ended; `reason` says how."""

    authority: str
    node_id: str
    reason: str


class ConnectionRefused(Event, frozen=True, kw_only=True):
    """A handshake failed, in or out: wrong secret, wrong cluster, garbage, no common version."""

    authority: str
    code: str
    reason: str


class AuthorityEvent(Event, frozen=True, kw_only=True):
    """Base of events about the association with one authority (SPEC CL-4.5); `node_id` is empty while unknown."""

    authority: str
    node_id: str
    reason: str = ""


class AuthorityConnected(AuthorityEvent, frozen=True, kw_only=True):
    """Messages can be sent; `reconnected`: whether they could before; `failures`: how many dials had failed."""

    reconnected: bool
    failures: int = 0


class AuthorityDisconnected(AuthorityEvent, frozen=True, kw_only=True):
    """The connection for messages ended; they wait in the delay queue."""


class AuthorityQuarantined(AuthorityEvent, frozen=True, kw_only=True):
    """Nothing is sent to the authority or accepted from it for `for_s` seconds."""

    for_s: float


class AuthorityReleased(AuthorityEvent, frozen=True, kw_only=True):
    """A quarantine ended: its time was up, an operator ended it, or another process is there now."""


class QueueDrained(AuthorityEvent, frozen=True, kw_only=True):
    """After a reconnection the waiting messages, `count` of them, were sent in order (SPEC CL-3.5)."""

    count: int
