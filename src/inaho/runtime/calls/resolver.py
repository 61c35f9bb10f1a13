"""Finds the connection on which to call an identity.

The PidCache is asked first. On a miss the owner of the partition is called, which is one hop away and activates by
itself. For a placed kind the owner is asked where it has the activation (`placement.locator`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.errors import InahoError, Pending
from inaho.runtime.calls.first_calls import first_calls_of
from inaho.types import ClusterIdentity, Member, Pid

if TYPE_CHECKING:
    from inaho.core.identity.pid_cache import PidCache
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.placement.locator import Locator

__all__ = ["Resolver"]


class Resolver:
    """Resolves the calls of one node (SPEC VA-3).

    Args:
        local: this node.
        topology: of this node.
        pid_cache: where identities were reached last.
        peers: give the connections.
        leases: whether this node activates anything.
        locator: asks owners of placed kinds.

    Attributes:
        unresolved: calls without an owner.
        latency: as `KindHost.latency`, of resolutions on a miss of the PidCache.
    """

    def __init__(
        self, local: LocalNode, topology: Topology, pid_cache: PidCache, peers: Peers, leases: Leases, locator: Locator
    ) -> None:
        self.unresolved = 0
        self.latency = [0] * 42
        self._local = local
        self._topology = topology
        self._pids = pid_cache
        self._peers = peers
        self._connections = peers.connections
        self._leases = leases
        self._locator = locator

    # On the call path.

    def connection_for(self, kind: str, key: str) -> Outgoing | None:
        """The open connection to the node where the identity was last reached; None when there is none."""
        pid = self._pids.get(kind, key, self._local.now)
        if pid is None:
            return None
        connection = self._connections.get(pid.authority)
        if connection is None or connection.peer.node_id != pid.node_id:
            return None
        return connection

    def next_connection(self, host: KindHost, method: GrainMethod) -> Outgoing | None:
        """The open connection to the next member that hosts a stateless kind; None without one.

        Each method has its own order: with one order for all, two methods that are called alternately would each always
        reach the same members. Members without a connection are dialled in the background and take part when there is
        one.
        """
        members = self._topology.lookup.hosts(host.name)
        turn = host.turns.get(method.name, len(host.turns))
        for _ in members:
            turn += 1
            member = members[turn % len(members)]
            connection = self._connections.get(member.authority)
            if connection is None:
                self._peers.dial_in_background(member.authority)
            elif connection.peer.node_id == member.node_id and not connection.paused:
                host.turns[method.name] = turn
                return connection
        return None

    def connection_to_owner(self, host: KindHost, key: str) -> Outgoing | None:
        """The open connection to the owner; None when there is none, this node is the owner, or there is no owner.

        None too if the owner need not have the activation (`KindHost.apart`).
        """
        if host.apart or (host.lines and key in host.lines):
            return None
        if host.first_calls:
            calls = first_calls_of(host, key)
            if calls is not None and not calls.connection.ending:
                return calls.connection
        try:
            owner = self._topology.lookup.owner(host.name, key)
        except InahoError:
            return None  # `request` gets the same error, and raises it
        connection = self._connections.get(owner.authority)
        return connection if connection is not None and connection.peer.node_id == owner.node_id else None

    def learn(self, connection: Outgoing, host: KindHost, key: str) -> None:
        """The identity has answered on this connection; later calls go there unless some wait (`call_order`)."""
        if host.spread or key in host.lines:
            return
        pid = Pid(connection.peer.authority, connection.peer.node_id, ClusterIdentity(host.name, key))
        if (host.kind.placed or host.kind.is_unknown) and self._pids.peek(host.name, key) != pid:
            connection.keep(host.name, key)
        for event in self._pids.put(pid, self._local.now):
            self._local.publish(event)

    # Not on the call path.

    def knows(self, host: KindHost, key: str) -> bool:
        """Whether the node where the identity was last reached is known."""
        return self._pids.peek(host.name, key) is not None

    def forget(self, kind: str, key: str, why: str) -> None:
        """A call was refused by the node where the identity was last reached, or waits: drops the entry."""
        for event in self._pids.invalidate(kind, key, why):
            self._local.publish(event)

    def at_once(self, host: KindHost, key: str, method: GrainMethod, *, again: bool) -> tuple[bool, Outgoing | None]:
        """Whether the node to call is known at once, and the connection; None for this node. Raises as `owner`."""
        if key in host.activations:
            return True, None
        connection = self.next_connection(host, method) if host.spread else self.connection_for(host.name, key)
        if connection is None:
            if host.pool is not None and self._leases.open:
                return True, None
            calls = first_calls_of(host, key)
            if calls is not None and not calls.connection.ending:
                return not calls.connection.paused, calls.connection
            if host.kind.placed or (again and host.kind.is_unknown):
                return False, None
            try:
                owner = self._topology.lookup.owner(host.name, key)
            except InahoError:
                self.unresolved += 1
                raise
            if owner.node_id == self._local.node_id:
                return True, None
            connection = self._connections.get(owner.authority)
            if connection is None or connection.peer.node_id != owner.node_id:
                return False, None
            self.latency[0] += 1
        return not connection.paused, connection

    async def reach(self, host: KindHost, key: str, *, again: bool) -> Outgoing | None:
        """A connection to the node of the identity, with room to send; None when it is this node.

        Args:
            host, key: the identity.
            again: a call was refused by the node that was thought to have it.

        Raises:
            InahoError: it has no owner, or the owner cannot be reached. No call has run.
        """
        if key in host.activations:
            return None
        connection = self.connection_for(host.name, key)
        if connection is None:
            clock = self._local.loop.time
            began = clock()
            connection = await self._resolve(host, key, again)
            took = int((clock() - began) * 1e9) >> 10
            self.latency[min(took.bit_length(), len(self.latency) - 1)] += 1
            if connection is None:
                return None
        if connection.paused:
            await connection.room()
        return connection

    def _check_not_blocked(self, pid: Pid) -> None:
        """Raises `Pending` for an answer of an owner that had not heard yet that the node is blocked."""
        snapshot = self._topology.snapshot
        if snapshot is not None and snapshot.blocked and pid.authority in snapshot.blocked:
            raise Pending(
                "its owner answered before it knew that this node is blocked",
                identity=str(pid.identity),
                authority=pid.authority,
            )

    async def _resolve(self, host: KindHost, key: str, again: bool) -> Outgoing | None:
        """A connection to the node to call, dialled if needed; None when that is this node."""
        if host.pool is not None and self._leases.open:
            return None
        target: Member | Pid
        try:
            if host.kind.placed or (again and host.kind.is_unknown):
                target = await self._locator.find(host.name, key, verify=again)
                self._check_not_blocked(target)
            else:
                target = self._topology.lookup.owner(host.name, key)
        except InahoError:
            self.unresolved += 1
            raise
        if target.node_id == self._local.node_id:
            return None
        connection = self._connections.get(target.authority)
        if connection is None or connection.peer.node_id != target.node_id:
            connection = await self._peers.connect(target.authority, target.node_id)
        return connection
