"""Remembers which nodes have an activation of a placed kind in their PidCache, and notifies them of its end.

A caller that puts such an activation into its PidCache notifies the node that has it. When the activation ends, or has
ended already, that node notifies the caller, so that the next call does not go to a node that refuses it (SPEC BS-3.3).
A caller that is not notified, because its connection broke or the bound was reached, is refused at its next call and
asks the owner again.

Why not for other kinds: an entry of theirs names the owner, which activates the identity again when it is called. It is
right as long as the owner is the owner, and is dropped when a topology names another owner.

Why not by the owner: another node may be the owner by the time at which the activation ends, and would not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from inaho.core.bounded_map import BoundedMap
from inaho.wire.frames import ENDS_MAX

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.connections.incoming import Incoming
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["CachingCallers"]


class CachingCallers:
    """The callers of one node that keep where its placed activations are.

    Args:
        local: this node.
        hosts: kinds of this node, by name.
        connections: accepted ones, from callers.
    """

    def __init__(self, local: LocalNode, hosts: Mapping[str, KindHost], connections: Iterable[Incoming]) -> None:
        self._local = local
        self._hosts = hosts
        self._connections = connections
        self._callers: BoundedMap[tuple[str, str], dict[str, None]] = BoundedMap(local.config.activation.pid_cache_size)
        """By identity, node ids of those who keep it."""
        self._due: dict[str, list[tuple[str, str]]] = {}
        """By node id, what has ended and is told when the loop turns."""

    def __len__(self) -> int:
        return len(self._callers)

    def keeps(self, node_id: str, kind: str, key: str) -> None:
        """That caller keeps in its PidCache that the identity is here. It is told at once where it is not."""
        host = self._hosts.get(kind)
        if host is None or not host.kind.placed:  # a caller that has not the class cannot know
            return
        if key not in host.activations:
            self._tell(node_id, (kind, key))
        else:
            self._callers.setdefault((kind, key), {})[node_id] = None

    def ended(self, kind: str, key: str) -> None:
        """The activation is gone: tells all who keep it."""
        for node_id in self._callers.pop((kind, key), ()):
            self._tell(node_id, (kind, key))

    def _tell(self, node_id: str, identity: tuple[str, str]) -> None:
        if not self._due:
            self._local.loop.call_soon(self._tell_all)
        self._due.setdefault(node_id, []).append(identity)

    def _tell_all(self) -> None:
        due, self._due = self._due, {}
        for connection in self._connections:
            ends = due.get(connection.peer.node_id, [])
            for first in range(0, len(ends), ENDS_MAX):
                connection.push_ends(ends[first : first + ENDS_MAX])

    def check(self) -> None:
        """Asserts that what is kept is active here, and the bound."""
        self._callers.check()
        for kind, key in self._callers:
            assert key in self._hosts[kind].activations, f"{kind}/{key} is kept and not active"
