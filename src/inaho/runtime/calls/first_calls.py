"""Counts the calls of an identity that were sent before any of them is answered: later calls go to the same node.

The PidCache learns a node from its first answer. Until then, a change of owners must not send the next call elsewhere,
since it could overtake these (`call_order`). The counts are in a table of the kind (`KindHost.first_calls`), which is
mostly empty, so the call path needs one look at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.connections.outgoing import Outgoing

__all__ = ["FirstCalls", "begin_first_call", "end_first_call", "first_calls_of"]


class FirstCalls:
    """Calls of one identity that were sent before any of them is answered. Later calls go to the same node.

    Attributes:
        connection: on which they were sent.
        count: their number; above 0.
    """

    __slots__ = ("connection", "count")

    def __init__(self, connection: Outgoing) -> None:
        self.connection = connection
        self.count = 0


def first_calls_of(host: KindHost, key: str) -> FirstCalls | None:
    """Those of an identity; None when there are none."""
    calls = host.first_calls.get(key)
    return calls if isinstance(calls, FirstCalls) else None


def begin_first_call(host: KindHost, key: str, connection: Outgoing) -> None:
    """A call was sent whose identity is not in the PidCache."""
    calls = host.first_calls.get(key)
    if not isinstance(calls, FirstCalls) or calls.connection is not connection:
        calls = host.first_calls[key] = FirstCalls(connection)
    calls.count += 1


def end_first_call(host: KindHost, key: str) -> None:
    """Such a call was answered, or its caller gave up."""
    calls = host.first_calls.get(key)
    if isinstance(calls, FirstCalls):
        calls.count -= 1
        if not calls.count:
            del host.first_calls[key]
