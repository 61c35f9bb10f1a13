"""Dials peers: one connection per peer, opened when first needed; decides when a redial may begin.

Calls wait for the dial. A few control messages per peer are kept. They are sent when the dial succeeds and dropped when
it fails, since the next round sends the same again. The outcome of a dial (refused, answered by another process) is
reported to `PeerEvents`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from inaho.errors import InahoError, Quarantined, ShuttingDown, Unreachable, WrongIncarnation
from inaho.errors.inspection import describe
from inaho.events import ConnectionClosed, ConnectionOpened, ConnectionRefused
from inaho.runtime.connections.connection import all_lost
from inaho.runtime.connections.handshake import dial_authenticated
from inaho.runtime.connections.outgoing import Outgoing
from inaho.runtime.transport.transport import DialFailed
from inaho.types import MemberStatus, TopologySnapshot
from inaho.wire.frames import HEADER_REST

if TYPE_CHECKING:
    from inaho.runtime.connections.associations import Associations
    from inaho.runtime.connections.own_handshake import OwnHandshake
    from inaho.runtime.connections.ports import CachedActivations, MessageParts, PeerEvents
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.transport.transport import Transport
    from inaho.wire.handshake import PeerInfo

__all__ = ["Peers"]

CONTROL_WAITING_MAX: Final = 16


class Peers:
    """The outgoing connections of one node.

    Args:
        local: the node.
        transport: dials.
        handshake: what this node states about itself.
        associations: decides whether and when a peer may be dialled.
        events: gets the outcomes of dials and the ends of connections.
        messages: sends messages between actors on the connections.
        cached: notified which activations have ended.

    Attributes:
        connections: open ones, by authority. The call path reads it directly.
        control_dropped: the number of control messages that were not sent.
    """

    def __init__(
        self,
        local: LocalNode,
        transport: Transport,
        handshake: OwnHandshake,
        associations: Associations,
        *,
        events: PeerEvents,
        messages: MessageParts,
        cached: CachedActivations,
    ) -> None:
        self.connections: dict[str, Outgoing] = {}
        self.control_dropped = 0
        self._local = local
        self._transport = transport
        self._handshake = handshake
        self._associations = associations
        self._events = events
        self._messages = messages
        self._cached = cached
        self._dials: dict[str, asyncio.Task[Outgoing]] = {}
        self._control: dict[str, list[bytes]] = {}
        # Dials that wait for the end of a pause.
        self._pausing: dict[str, asyncio.Future[None]] = {}
        # Connections after a goodbye: they get no new calls, and the pending calls keep their deadlines.
        self._ending: dict[Outgoing, str] = {}

    async def connect(self, authority: str, node_id: str) -> Outgoing:
        """The connection to that node, dialled if needed.

        Raises:
            Unreachable: it cannot be reached, or another process is there now.
            Quarantined: nothing is sent to it.
            ShuttingDown: this node is closing its connections.
            InahoError: the handshake failed with this error.
        """
        connection = self.connections.get(authority)
        if connection is None:
            self._associations.demand(authority)
            connection = await asyncio.shield(self._dial(authority))
        if node_id and connection.peer.node_id != node_id:
            raise Unreachable(
                f"node {connection.peer.node_id} answers there, not {node_id}: it was restarted", authority=authority
            )
        return connection

    def send_control(self, authority: str, body: bytes) -> None:
        """Sends a control message; dials in the background when there is no connection."""
        if len(body) > self._local.config.transport.frame_bytes_max - HEADER_REST:
            self.control_dropped += 1
            self._local.log.error(
                "a control message of %d bytes for %s exceeds transport.frame_bytes_max and was not sent",
                len(body),
                authority,
            )
            return
        connection = self.connections.get(authority)
        if connection is not None:
            if connection.paused:  # the peer does not read; the next round sends the message again
                self.control_dropped += 1
            else:
                connection.send_control(body)
            return
        if self._associations.machine.refusal(authority) is not None:
            self.control_dropped += 1
            return
        waiting = self._control.setdefault(authority, [])
        if len(waiting) >= CONTROL_WAITING_MAX:
            waiting.pop(0)
            self.control_dropped += 1
        waiting.append(body)
        self.dial_in_background(authority)

    def dial_in_background(self, authority: str) -> None:
        """Dials, unless the authority is quarantined; the outcome is reported to `PeerEvents`."""
        if self._local.closing or authority in self.connections:
            return
        if self._associations.machine.refusal(authority) is None:
            self._dial(authority)

    def _dial(self, authority: str) -> asyncio.Task[Outgoing]:
        task = self._dials.get(authority)
        if task is None:
            task = self._local.loop.create_task(self._dial_once(authority), name=f"inaho-dial-{authority}")
            self._dials[authority] = task
            task.add_done_callback(lambda done: self._dialled(authority, done))
        return task

    def end_pauses(self) -> None:
        """Skips the pause before a dial of peers that have contacted this node or were restarted."""
        for authority, pause in self._pausing.items():
            if not pause.done() and self._associations.pause_s(authority) <= 0:
                pause.set_result(None)

    async def _dial_once(self, authority: str) -> Outgoing:
        if self._local.closing:
            raise ShuttingDown("this node closes its connections, or has done so", authority=self._local.authority)
        self._associations.check_new(authority)

        def established(transport: asyncio.Transport, peer: PeerInfo) -> Outgoing:
            self._associations.demand(authority, peer.node_id)
            self._events.authenticated(peer)
            return Outgoing(
                peer,
                self._local.config.transport,
                self._local.loop,
                rpc=self._local.config.rpc,
                flight_bytes_max=self._local.config.pubsub.flight_bytes_max,
                ending_callback=self._ends,
                closed_callback=self._closed,
                topology_callback=lambda snapshot: self._events.topology_pushed(peer, snapshot),
                ends_callback=lambda identities: self._cached.ended(peer.node_id, identities),
            )

        pause_s = self._associations.pause_s(authority)
        if pause_s > 0:
            pause = self._pausing[authority] = self._local.loop.create_future()
            try:
                await asyncio.wait((pause,), timeout=pause_s)
            finally:
                del self._pausing[authority]
            self._associations.demand(authority)
        connection = await dial_authenticated(
            self._transport,
            authority,
            self._handshake.make("dialer"),
            self._local.config.transport.handshake_timeout_s,
            established,
        )
        if connection.ending:
            connection.close()  # it is in no table, and a peer that leaves waits for this end
            raise DialFailed("the connection ended at once", authority=authority)
        self.connections[authority] = connection
        self._associations.connected(authority, connection.peer)
        self._messages.connected(authority, connection)
        return connection

    def _dialled(self, authority: str, task: asyncio.Task[Outgoing]) -> None:
        self._dials.pop(authority, None)
        waiting = self._control.pop(authority, [])
        error: BaseException | None = (
            ShuttingDown("cancelled", authority=authority) if task.cancelled() else task.exception()
        )
        if error is None:
            connection = task.result()
            if connection.ending:
                if self.connections.get(authority) is connection:  # it had ended before this callback
                    del self.connections[authority]
                return
            self._local.publish(ConnectionOpened(authority=authority, node_id=connection.peer.node_id))
            self._events.connected(authority, connection.peer)
            for body in waiting:
                connection.send_control(body)
            return
        self.control_dropped += len(waiting)
        if not isinstance(error, InahoError):
            self._associations.failed(authority, Unreachable(repr(error), authority=authority))
            self._local.log.error("dialling %s failed", authority, exc_info=error)
            self._events.dial_failed(authority, "other", repr(error))
            return
        self._local.log.debug("dialling %s failed: %s", authority, describe(error))
        if not self._local.closing:
            self._associations.failed(authority, error)
        if isinstance(error, DialFailed):
            self._events.dial_failed(authority, error.cause_kind, error.reason)
        elif isinstance(error, WrongIncarnation | ShuttingDown | Quarantined):
            self._events.dial_failed(authority, "handshake", error.reason)
        else:
            self._local.publish(ConnectionRefused(authority=authority, code=error.code, reason=error.reason))
            self._events.refused(authority, error)

    def _ends(self, connection: Outgoing) -> None:
        """One side has sent a goodbye, so the peer reads no later frames: no new calls use the connection."""
        authority = self._authority_of(connection)
        if authority is not None:
            del self.connections[authority]
            self._ending[connection] = authority
            self._messages.disconnected(connection)
            self._associations.lost(authority, connection.closed or "closed by the peer")

    def _closed(self, connection: Outgoing, error: InahoError) -> None:
        self._ends(connection)
        authority = self._ending.pop(connection, None)
        if authority is not None:
            if connection.violation:
                self._associations.violated(connection.peer, connection.violation)
            self._events.outgoing_closed(authority, connection)
            self._local.publish(
                ConnectionClosed(authority=authority, node_id=connection.peer.node_id, reason=connection.closed)
            )

    def _authority_of(self, connection: Outgoing) -> str | None:
        """The dialled authority, which may differ from how the member itself spells it."""
        if self.connections.get(connection.peer.authority) is connection:
            return connection.peer.authority
        return next((name for name, other in self.connections.items() if other is connection), None)

    def topology_changed(self, before: TopologySnapshot | None, now: TopologySnapshot) -> None:
        """Aborts connections with members that died, so that calls to them fail now and not at their deadline.

        A member is dead when it was unreachable and is removed, or when another process has its authority. A member
        that left has drained, and may still answer.
        """
        known = {} if before is None else {member.node_id: member for member in before.members}
        holders = {member.authority: member.node_id for member in now.members}
        alive = set(holders.values())
        for connection in (*self.connections.values(), *self._ending):
            member = known.get(connection.peer.node_id)
            if member is None or member.node_id in alive:
                continue
            if member.status is MemberStatus.UNREACHABLE or member.authority in holders:
                connection.abort("the member was removed")

    def expire(self, now: float) -> int:
        """Fails calls whose deadline has passed."""
        expired = 0
        for connection in (*self.connections.values(), *self._ending):
            expired += connection.expire(now)
        return expired

    async def close(self, within_s: float) -> None:
        """Closes all connections, and cancels running dials; see `all_lost`."""
        dials: list[asyncio.Task[Any]] = list(self._dials.values())
        for task in dials:
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        connections = (*self.connections.values(), *self._ending)
        for connection in connections:
            connection.close()
        await all_lost(connections, within_s)
