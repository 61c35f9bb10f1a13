"""Counts the messages of one node: dead letters, received ones, and those that could not be encoded.

The delay queue of each channel counts the messages that this node sends; `Remoting.counts` adds up all counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from inaho.actor.dead_letters import DeadLetters
    from inaho.errors import InahoError
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["DeliveryCounts", "MessageAccounts"]


class DeliveryCounts(msgspec.Struct, frozen=True):
    """Numbers of messages of this node so far, over all peers. `accepted` is the sum of the next five.

    Attributes:
        accepted: accepted for sending.
        delivered: acknowledged by the peer's node.
        dead_lettered: given up before they were sent.
        in_doubt: sent, and the connection broke before the acknowledgement.
        waiting: in the delay queues now.
        unacknowledged: sent, not yet acknowledged.
        refused: not accepted, and the sender got an error.
        drained: sent after a time in a delay queue.
        received: received from peers.
        stale: not delivered, since they arrived on a connection that a newer one had replaced.
        unserializable: could not be encoded or decoded.
    """

    accepted: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    in_doubt: int = 0
    waiting: int = 0
    unacknowledged: int = 0
    refused: int = 0
    drained: int = 0
    received: int = 0
    stale: int = 0
    unserializable: int = 0


class MessageAccounts:
    """Counts and records messages.

    Args:
        local: the node.
        dead_letters: of its actor system.

    Attributes:
        received, stale, unserializable_count: see `DeliveryCounts`.
    """

    def __init__(self, local: LocalNode, dead_letters: DeadLetters) -> None:
        self.received = 0
        self.stale = 0
        self.unserializable_count = 0
        self._local = local
        self._dead_letters = dead_letters

    def dead_letter(self, message: Any, recipient: str, sender: str, reason: str) -> None:
        """Records a message that reaches no actor."""
        self._dead_letters.record(message, recipient=recipient, sender=sender, reason=reason)

    def unserializable(self, path: str, type_name: str, direction: str, error: InahoError) -> None:
        """Counts and reports a message that cannot be encoded or decoded (SPEC CL-3.3)."""
        self.unserializable_count += 1
        kind, _, key = path.partition("/")
        self._local.serialization_failed(kind, key, type_name, direction, error.reason)
