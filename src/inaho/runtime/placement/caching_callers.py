"""Remembers which nodes have an activation of a placed kind in their PidCache, and notifies them of its end.

A caller that puts such an activation into its PidCache notifies the node that has it. When the activation ends, or has
ended already, that node notifies the caller, so that the next call does not go to a node that refuses it (SPEC BS-3.3).
A caller that is not notified, because its connection broke or a bound was reached, is refused at its next call and asks
the owner again.

An activation may end and begin again on this node before a caller is notified. Then the entry of the caller is right,
the caller is not notified, and it stays remembered.

Ends are sent in slices, so that a hundred thousand of them do not delay calls. They wait while a caller does not read.

Why not for other kinds: an entry of theirs names the owner, which activates the identity again when it is called. It is
right as long as the owner is the owner, and is dropped when a topology names another owner.

Why not by the owner: another node may be the owner by the time at which the activation ends, and would not know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from inaho.core.identity.identity import KEY_BYTES_MAX, KIND_BYTES_MAX
from inaho.wire.frames import ENDS_MAX

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.connections.incoming import Incoming
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["CachingCallers"]

JOB: Final = "ends-to-callers"

BATCH_US: Final = 100
"""The cost of sending one full `ENDED` frame, for `Slices`."""

IDENTITY_BYTES: Final = KEY_BYTES_MAX + KIND_BYTES_MAX + 64
"""The longest identity in a frame, with more than its share of the header."""

GONE_MIN: Final = 16
"""An activation may have so many callers more than twice the connected ones; then those that left are forgotten."""


class CachingCallers:
    """The callers of one node that keep where its placed activations are.

    At most `activation.pid_cache_size` pairs of a caller and an activation are remembered; those of the activation that
    has been remembered for the longest time go first. At most so many ends wait to be sent.

    Args:
        local: this node.
        hosts: kinds of this node, by name.
        connections: accepted ones, by node id of the caller.
    """

    def __init__(self, local: LocalNode, hosts: Mapping[str, KindHost], connections: Mapping[str, Incoming]) -> None:
        self._local = local
        self._hosts = hosts
        self._connections = connections
        self._pairs_max = local.config.activation.pid_cache_size
        self._batch_max = min(ENDS_MAX, local.config.transport.frame_bytes_max // IDENTITY_BYTES)
        self._callers: dict[tuple[str, str], dict[str, None]] = {}
        """By identity, node ids of those who keep it."""
        self._pairs = 0
        self._due: dict[str, deque[tuple[str, str]]] = {}
        """By node id, ends that the caller is not notified of yet."""
        self._due_count = 0

    def __len__(self) -> int:
        return self._pairs

    def keeps(self, node_id: str, kind: str, key: str) -> None:
        """A caller keeps in its PidCache that the identity is here. It is notified if the identity is not here."""
        host = self._hosts.get(kind)
        if host is None or not host.kind.placed:  # a caller that has not the class cannot know
            return
        if key not in host.activations:
            self._notify(node_id, (kind, key))
            return
        callers = self._callers.setdefault((kind, key), {})
        if node_id in callers:
            return
        callers[node_id] = None
        self._pairs += 1
        if len(callers) > 2 * len(self._connections) + GONE_MIN:  # so that each one costs only a few steps
            for gone in [caller for caller in callers if caller not in self._connections]:
                del callers[gone]
                self._pairs -= 1
        while self._pairs > self._pairs_max:
            self._pairs -= len(self._callers.pop(next(iter(self._callers))))

    def ended(self, kind: str, key: str) -> None:
        """The activation is gone: all who keep it are notified."""
        callers = self._callers.pop((kind, key), None)
        if callers is not None:
            self._pairs -= len(callers)
            for node_id in callers:
                self._notify(node_id, (kind, key))

    def tick(self) -> None:
        """Continues with callers that did not read."""
        if self._due:
            self._start()

    def _notify(self, node_id: str, identity: tuple[str, str]) -> None:
        if node_id in self._connections and self._due_count < self._pairs_max:
            self._due.setdefault(node_id, deque()).append(identity)
            self._due_count += 1
            self._start()

    def _start(self) -> None:
        if JOB not in self._local.slices:
            self._local.slices.add(JOB, self._send_ends())

    def _send_ends(self) -> Iterator[int]:
        ready = [*self._due]
        while ready:
            for node_id in ready:
                self._send_batch(node_id)
                yield BATCH_US
            ready = [
                node_id
                for node_id in self._due
                if node_id not in self._connections or not self._connections[node_id].paused
            ]

    def _send_batch(self, node_id: str) -> None:
        ends = self._due[node_id]
        connection = self._connections.get(node_id)
        if connection is None:
            del self._due[node_id]
            self._due_count -= len(ends)
            return
        if connection.paused:
            return
        batch: list[tuple[str, str]] = []
        for _ in range(min(len(ends), self._batch_max)):
            kind, key = ends.popleft()
            self._due_count -= 1
            if key in self._hosts[kind].activations:
                self.keeps(node_id, kind, key)  # it has begun again
            else:
                batch.append((kind, key))
        if not ends:
            del self._due[node_id]
        if batch:
            connection.push_ends(batch)

    def check(self) -> None:
        """Asserts that what is kept is active here, and the bounds."""
        assert self._pairs == sum(map(len, self._callers.values())) <= self._pairs_max, f"{self._pairs} pairs"
        assert self._due_count == sum(map(len, self._due.values())) <= self._pairs_max, f"{self._due_count} ends wait"
        for kind, key in self._callers:
            assert key in self._hosts[kind].activations, f"{kind}/{key} is kept and not active"
