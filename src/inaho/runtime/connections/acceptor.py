"""Accepts connections: one listener, the handshakes that are not complete, and the open connections.

It bounds the pending handshakes and the open connections. It publishes an event for each refused connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from inaho.core.rpc.throttle import WarningThrottle
from inaho.errors import InahoError, Overloaded, ShuttingDown
from inaho.errors.refusals import FINAL_REFUSALS
from inaho.events import ConnectionClosed, ConnectionOpened, ConnectionRefused
from inaho.runtime.connections.connection import all_lost
from inaho.runtime.connections.handshake import HandshakeGate, accept_factory
from inaho.runtime.connections.incoming import Incoming
from inaho.types import TopologySnapshot
from inaho.wire.codec import encode
from inaho.wire.frames import TOPOLOGY, TopologyPush, frame
from inaho.wire.handshake import PeerInfo

if TYPE_CHECKING:
    from inaho.config import TransportConfig
    from inaho.runtime.connections.associations import Associations
    from inaho.runtime.connections.own_handshake import OwnHandshake
    from inaho.runtime.connections.serving import Serving
    from inaho.runtime.grains.activation import Turn
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.transport.transport import Listener, Transport

__all__ = ["Acceptor"]

LOGGED: Final = (*FINAL_REFUSALS, Overloaded)
"""Refusals that are logged: a node or client is configured wrongly, or there are too many of them."""

PUSH_US: Final = 20
PUSHED_BYTES_PER_US: Final = 1_000
"""The time to send one client a topology: `PUSH_US` plus its bytes by `PUSHED_BYTES_PER_US`."""

REFUSALS_MAX: Final = 5
REFUSALS_PERIOD_S: Final = 10.0
"""At most so many refusals of one code are logged per period, then the number of the others. Each is an event."""


class Acceptor:
    """The incoming connections of one node.

    Args:
        local: the node.
        topology: of the node; sent to clients.
        transport: accepts the connections.
        handshake: what this node states about itself.
        associations: decides whether a peer may connect.
        serving: what the connections share.

    Attributes:
        connections: open ones, in the order in which they were accepted.
        callers: the newest of them from each peer, by its node id.
        turns_expired: the number of turns whose deadline passed while they ran or waited.
        orphans: suspended turns whose connection has ended. They keep their deadline, since a turn that waits for ever
            would block its activation for ever.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        transport: Transport,
        handshake: OwnHandshake,
        associations: Associations,
        serving: Serving,
    ) -> None:
        self.connections: dict[Incoming, None] = {}
        self.callers: dict[str, Incoming] = {}
        self.turns_expired = 0
        self.orphans: dict[Turn, None] = {}
        self._local = local
        self._topology = topology
        self._transport = transport
        self._handshake = handshake
        self._associations = associations
        self._serving = serving
        self._listener: Listener | None = None
        self._empty: asyncio.Future[None] | None = None
        self._throttle = WarningThrottle(REFUSALS_MAX, REFUSALS_PERIOD_S, len(LOGGED))
        self._gate = HandshakeGate(local.config.transport.handshakes_pending_max)

    async def listen(self, authority: str, bind: str) -> str:
        """Accepts connections at `bind`. Returns `authority` with the real port. Raises as `Transport.listen`."""
        factory = accept_factory(
            lambda: self._handshake.make("acceptor"),
            timeout_s=self._local.config.transport.handshake_timeout_s,
            gate=self._gate,
            established=self._accepted,
            failed=self._refused,
        )
        self._listener = await self._transport.listen(authority, factory, bind)
        return self._listener.authority

    def _refused(self, error: InahoError, address: str) -> None:
        if isinstance(error, LOGGED) and self._throttle.admit(error.code, self._local.loop.time()):
            self._local.log.warning(
                "a connection from %s was refused: %s: %s", address or "?", error.code, error.reason
            )
        self._local.publish(
            ConnectionRefused(authority=address or error.authority, code=error.code, reason=error.reason)
        )

    def _accepted(self, transport: asyncio.Transport, peer: PeerInfo) -> Incoming:
        if self._local.closing or self._empty is not None:
            raise ShuttingDown("the node is shutting down", authority=self._local.authority)
        if len(self.connections) >= self._local.config.transport.connections_max:
            raise Overloaded(
                f"{len(self.connections)} connections are open (transport.connections_max)",
                authority=self._local.authority,
            )
        self._associations.accepted(peer)
        connection = self.open(peer, self._local.config.transport)
        self._local.publish(ConnectionOpened(authority=peer.authority, node_id=peer.node_id))
        if peer.role == "client":
            self._local.loop.call_soon(self._push_first, connection)
        else:
            self._local.loop.call_soon(self._serving.events.accepted, peer)
        return connection

    def open(self, peer: PeerInfo, config: TransportConfig) -> Incoming:
        """Makes the connection of an authenticated peer, and keeps it until it is closed.

        Args:
            peer: as authenticated.
            config: limits of this connection.
        """
        connection = Incoming(peer, config, self._serving, self._closed)
        self.connections[connection] = None
        self.callers[peer.node_id] = connection
        return connection

    def _push_first(self, connection: Incoming) -> None:
        topology = self._topology.snapshot
        if topology is not None and not connection.closed:
            connection.push_topology(_topology_message(topology))

    def push_topology(self, snapshot: TopologySnapshot) -> None:
        """Sends all clients a new topology."""
        clients = [connection for connection in self.connections if connection.peer.role == "client"]
        if clients:
            self._local.slices.add("push-topology", self._push_to(clients, _topology_message(snapshot)))

    def _push_to(self, clients: list[Incoming], message: bytes) -> Iterator[int]:
        for connection in clients:
            if not connection.closed:
                connection.push_topology(message)
            yield PUSH_US + len(message) // PUSHED_BYTES_PER_US

    def _closed(self, connection: Incoming, orphans: list[Turn]) -> None:
        self.orphans.update(dict.fromkeys(orphans))
        if connection not in self.connections:
            return
        del self.connections[connection]
        if self.callers.get(connection.peer.node_id) is connection:
            del self.callers[connection.peer.node_id]
        if not self.connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)
        peer, reason = connection.peer, connection.closed
        if connection.violation:
            self._associations.violated(peer, connection.violation)
        self._local.publish(ConnectionClosed(authority=peer.authority, node_id=peer.node_id, reason=reason))
        if peer.role == "member":
            self._serving.events.incoming_closed(peer, reason)

    def expire(self, now: float) -> None:
        """Interrupts turns that have passed their deadline, and logs how many refusals were not logged."""
        for held in self._throttle.due(now):
            self._local.log.warning(
                "%d further connections that were refused (%s) within %g s were not logged",
                held.count, held.kind, REFUSALS_PERIOD_S,
            )  # fmt: skip
        for connection in self.connections:
            self.turns_expired += connection.expire(now)
        for turn in [turn for turn in self.orphans if turn.over or turn.deadline <= now]:
            del self.orphans[turn]
            if not turn.over:
                self.turns_expired += 1
                self._serving.runner.abandon(turn, "deadline")

    def close_peer(self, authority: str, error: InahoError) -> None:
        """Closes the connections that the peer has dialled."""
        for connection in list(self.connections):
            if connection.peer.authority == authority:
                connection.close(error)

    def stop_accepting(self) -> None:
        """Closes the listener."""
        if self._listener is not None:
            self._listener.close()

    async def farewell(self, error: InahoError, within_s: float) -> None:
        """Sends all callers a goodbye. Returns when they have closed, after their last answers, or after `within_s`."""
        if not self.connections:
            return
        self._empty = self._local.loop.create_future()
        for connection in self.connections:
            connection.announce(error)
        await asyncio.wait((self._empty,), timeout=within_s)

    def close_connections(self, error: InahoError) -> None:
        """Closes all connections with a goodbye, and ends pending handshakes."""
        self._gate.close(error)
        for connection in list(self.connections):
            connection.close(error)

    async def wait_closed(self, within_s: float) -> None:
        """Returns when the connections have ended, see `all_lost`, and the address is free again."""
        await all_lost(self.connections, within_s)
        if self._listener is not None:
            await self._listener.wait_closed()


def _topology_message(snapshot: TopologySnapshot) -> bytes:
    return frame(TOPOLOGY, encode(TopologyPush(snapshot)))
