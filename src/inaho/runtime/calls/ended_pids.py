"""Drops entries of the PidCache whose activations have ended, and keeps the order of calls (SPEC BS-3.3).

An entry is dropped at once when no call can be on its way to the former node. If one can, a later call that asks the
owner anew could overtake it. So the entry is dropped and a line is opened (`call_order`): later calls of the identity
wait in it until the former node has answered or refused the calls that were sent before.

A line costs a Task and a question to the former node, so only `LINES_MAX` of them are open at a time. Further entries
are kept: the next call goes to the former node too, is refused there behind the calls before it, and joins a line.

Why not keep every entry if calls may be on their way to its node, as `CallOrder.still_there` does: it is not known of
which identities these calls are, so a busy caller would drop nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from inaho.runtime.calls.first_calls import first_calls_of

if TYPE_CHECKING:
    from inaho.core.identity.pid_cache import PidCache
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.calls.call_order import CallOrder, Line
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.local.local_node import LocalNode
    from inaho.types import Pid

__all__ = ["LINES_MAX", "EndedPids"]

LINES_MAX: Final = 64
"""Lines that ends keep open at a time: their Tasks and questions take a millisecond or two of the loop together."""


class EndedPids:
    """Drops entries of the PidCache of one node that point to ended activations.

    Args:
        local: the node.
        hosts: kinds of the node, by name.
        pid_cache: of the node.
        connections: dialled ones, by authority.
        order: of the calls of the node.
    """

    def __init__(
        self,
        local: LocalNode,
        hosts: Mapping[str, KindHost],
        pid_cache: PidCache,
        connections: Mapping[str, Outgoing],
        order: CallOrder,
    ) -> None:
        self._local = local
        self._hosts = hosts
        self._pid_cache = pid_cache
        self._connections = connections
        self._order = order
        self._lines: dict[tuple[str, str], Line] = {}
        """Lines that were opened here and may be open."""

    def drop(self, node_id: str, identities: Iterable[tuple[str, str]]) -> None:
        """Activations on that node have ended. An entry that points to another node, or to another boot, stays.

        Args:
            node_id: of the node.
            identities: kinds and keys.
        """
        self._lines = {
            (kind, key): line for (kind, key), line in self._lines.items() if self._hosts[kind].lines.get(key) is line
        }
        used: dict[str, list[Outgoing]] = {}
        for kind, key in identities:
            host = self._hosts.get(kind)
            pid = self._pid_cache.peek(kind, key)
            if host is None or pid is None or pid.node_id != node_id or key in host.lines:
                continue
            if pid.authority not in used:  # looked at once: it takes some microseconds
                used[pid.authority] = self._used_lately(pid)
            former = [] if host.system else [*used[pid.authority]]
            calls = first_calls_of(host, key)
            if calls is not None and calls.connection not in former:
                former.append(calls.connection)
            if former and len(self._lines) >= LINES_MAX:
                continue
            for event in self._pid_cache.invalidate_at(kind, key, node_id, "terminated"):
                self._local.publish(event)
            for connection in former:
                self._lines[kind, key] = self._order.hold(host, key, connection)

    def _used_lately(self, pid: Pid) -> list[Outgoing]:
        """The connection to that node, if calls may be on their way on it."""
        connection = self._connections.get(pid.authority)
        if connection is None or connection.peer.node_id != pid.node_id or not connection.used_lately:
            return []
        return [connection]
