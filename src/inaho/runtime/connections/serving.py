"""What all accepted connections of one node share: the kinds that are called, and the runner of their turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.connections.ports import CachedActivations, MessageParts, PeerEvents
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.turns.runner import TurnRunner

__all__ = ["Serving"]


class Serving:
    """The parts of a node that serve the calls of peers.

    Args:
        local: the node.
        hosts: kinds by name.
        runner: runs turns.
        events: gets control messages.
        messages: handles messages between actors.
        cached: notified which activations callers keep in their PidCaches.
    """

    __slots__ = ("cached", "events", "hosts", "local", "messages", "runner")

    def __init__(
        self,
        local: LocalNode,
        hosts: Mapping[str, KindHost],
        runner: TurnRunner,
        *,
        events: PeerEvents,
        messages: MessageParts,
        cached: CachedActivations,
    ) -> None:
        self.local = local
        self.hosts = hosts
        self.runner = runner
        self.events = events
        self.messages = messages
        self.cached = cached
