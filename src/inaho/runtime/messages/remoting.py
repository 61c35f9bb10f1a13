"""Messages between actor systems: `tell`, `ask` and `watch` by Pid (SPEC CL-2, CL-3).

A reference to a remote actor is an ordinary `ActorRef` with another target (`RemoteTarget`). There is one `Channel` per
process to which messages go, and one `Inbox` per connection on which they arrive. This module finds the channel and the
inbox of a message, resolves Pids by the newest topology, and adds up the counts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from inaho.actor.ref import ActorRef, PoisonPill
from inaho.core.bounded_map import BoundedMap
from inaho.core.delivery.identity_table import IdentityTable, QuarantinedPid, Resolution, UnreachablePid
from inaho.core.identity.path import ActorPath, parse_path
from inaho.core.identity.pid import format_pid, pid_of
from inaho.errors import InvalidPid, Overloaded, Quarantined, Unreachable
from inaho.events import ResolutionOutOfOrder
from inaho.runtime.messages.accounts import DeliveryCounts, MessageAccounts
from inaho.runtime.messages.channel import Channel
from inaho.runtime.messages.inbox import Inbox
from inaho.runtime.messages.target import NoActor, RemoteTarget
from inaho.types import ClusterIdentity, MemberStatus, Pid
from inaho.wire.letters import register_message

if TYPE_CHECKING:
    from inaho.actor import ActorSystem
    from inaho.runtime.connections.associations import Associations
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.local.local_node import LocalNode
    from inaho.types import TopologySnapshot

__all__ = ["Remoting"]

register_message(PoisonPill, "inaho.PoisonPill")


_OUTCOMES = ("accepted", "delivered", "dead_lettered", "in_doubt", "refused", "drained")


class Remoting:
    """Remote actors as one node sees them.

    Args:
        local: this node.
        system: its actor system.
        associations: decide whether messages may be sent to a peer, and whether it may be dialled.
        peers: dialled connections.

    Attributes:
        system: of the argument.
        table: resolves Pids.
        accounts: counts the messages that this node receives or gives up.
    """

    def __init__(self, local: LocalNode, system: ActorSystem, associations: Associations, peers: Peers) -> None:
        self.system = system
        self.accounts = MessageAccounts(local, system.dead_letters)
        self.table = IdentityTable(
            lambda pid: format_pid(pid, local.config.name),
            associations.machine.refusal,
        )
        self._local = local
        self._associations = associations
        self._peers = peers
        self._channels: dict[str, Channel] = {}
        self._references: WeakValueDictionary[str, ActorRef] = WeakValueDictionary()
        self._newest: BoundedMap[str, Inbox] = BoundedMap(local.config.delivery.authorities_max)
        self._accepted = 0
        self._progress: asyncio.Future[None] | None = None
        """Done when a channel has no messages left that it can send; `flush` waits for it."""
        self._past = dict.fromkeys(_OUTCOMES, 0)

    # References.

    def resolve(self, pid: Pid) -> Resolution:
        """Resolves a Pid by the newest topology. Raises `InvalidPid`."""
        return self.table.resolve(pid)

    def actor(self, where: Pid | str) -> ActorRef:
        """The reference for a Pid or a canonical path; see `Cluster.actor`."""
        pid = self._pid_at(where) if isinstance(where, str) else where
        if pid.authority == self._local.authority and pid.node_id == self._local.node_id:
            return self._here(pid)
        resolution = self.resolve(pid)
        if isinstance(resolution, QuarantinedPid):
            raise Quarantined(resolution.reason, identity=str(pid.identity), authority=pid.authority)
        if isinstance(resolution, UnreachablePid):
            raise Unreachable(resolution.reason, identity=str(pid.identity), authority=pid.authority)
        return self._reference(pid, resolution.path)

    def pid(self, ref: ActorRef) -> Pid:
        """The Pid under which other nodes reach the actor; see `Cluster.pid`."""
        if isinstance(ref.target, RemoteTarget):
            return pid_of(parse_path(ref.path))
        if not self._local.authority:
            raise InvalidPid("no node can reach the actors of a client")
        pid = Pid(self._local.authority, self._local.node_id, _identity_of(self.name_of(ref)))
        format_pid(pid, self._local.config.name)  # raises for what has no canonical path
        return pid

    async def room(self, ref: ActorRef) -> None:
        """Returns when the queue to a remote actor has room; at once for a local actor."""
        if isinstance(ref.target, RemoteTarget):
            await ref.target.channel.room()

    def name_of(self, ref: ActorRef) -> str:
        """How a message names its sender: by local path, or by full path if it is remote; empty on a client."""
        if isinstance(ref.target, RemoteTarget):
            return ref.path
        return ref.path.split("/", 3)[3] if self._local.authority else ""

    def sender_of(self, signed: str, authority: str, node_id: str) -> ActorRef | None:
        """The reference to the sender that a peer has written as `signed`. Raises `InvalidPid` if that is no path."""
        in_full = "://" in signed
        pid = pid_of(self._parse(signed)) if in_full else Pid(authority, node_id, _identity_of(signed))
        if not pid.authority:
            return None
        if pid.authority == self._local.authority and pid.node_id == self._local.node_id:
            return self._here(pid)
        return self._reference(pid, format_pid(pid, self._local.config.name))

    def is_gone(self, ref: ActorRef) -> bool:
        """Whether the channel of this reference has ended, so that nothing can be sent through it."""
        return isinstance(ref.target, RemoteTarget) and bool(ref.target.channel.gone)

    def forget(self, ref: ActorRef) -> None:
        """Forgets the reference to an actor that has ended, since its path may soon name another one."""
        if self._references.get(ref.path) is ref:
            del self._references[ref.path]

    def _pid_at(self, path: str) -> Pid:
        parsed = self._parse(path)
        node_id = parsed.node_id
        if not node_id:
            member = self.table.member(parsed.authority)
            if member is None:
                raise Unreachable("no member has this authority", identity=path, authority=parsed.authority)
            node_id = member.node_id
        return Pid(parsed.authority, node_id, ClusterIdentity(parsed.kind, parsed.key))

    def _parse(self, path: str) -> ActorPath:
        parsed = parse_path(path)
        if parsed.cluster != self._local.config.name:
            raise InvalidPid(f"the path names cluster {parsed.cluster!r}, this is {self._local.config.name!r}")
        return parsed

    def _here(self, pid: Pid) -> ActorRef:
        path = f"{pid.identity.kind}/{pid.identity.key}"
        return self.system.find(path) or NoActor(self.accounts, f"inaho://{self.system.name}/{path}", self.system).ref

    def _reference(self, pid: Pid, path: str) -> ActorRef:
        known = self._references.get(path)
        if known is not None and not self.is_gone(known):
            return known
        channel = self._channel(pid.authority, pid.node_id)
        local = f"{pid.identity.kind}/{pid.identity.key}"
        ref = RemoteTarget(
            self,
            self.accounts,
            channel,
            local,
            path,
            self.system,
            frame_bytes_max=self._local.config.transport.frame_bytes_max,
        ).ref
        self._references[path] = ref
        return ref

    def _channel(self, authority: str, node_id: str) -> Channel:
        channel = self._channels.get(authority)
        if channel is None or channel.node_id != node_id:
            member = self.table.member(authority)
            made = Channel(self._local, self.accounts, authority, node_id, dial=self._dial, progressed=self.progressed)
            made.was_member = member is not None and member.node_id == node_id
            if channel is not None:
                if member is not None and member.node_id == channel.node_id:
                    made.end(f"node {member.node_id} has this authority now, not {node_id}")
                    return made
                self._end(channel, f"node {node_id} has this authority now, not {channel.node_id}")
            self._make_room()
            self._channels[authority] = made
            channel = made
            refusal = self._associations.machine.refusal(authority, node_id)
            if refusal is not None:
                channel.refuse(refusal)
            connection = self._peers.connections.get(authority)
            if connection is not None and connection.peer.node_id == node_id:
                channel.connected(connection)
        return channel

    def _dial(self, authority: str) -> None:
        if self._associations.may_dial(authority):
            self._peers.dial_in_background(authority)

    def _make_room(self) -> None:
        """Bounds the channels to authorities that are no members, of which peers may name many."""
        if len(self._channels) < self._local.config.delivery.authorities_max:
            return
        for channel in self._channels.values():
            if not channel.was_member:
                self._end(channel, "too many peers are known (delivery.authorities_max)")
                return
        raise Overloaded(f"{len(self._channels)} peers are known (delivery.authorities_max)")

    # Changes of peers.

    def apply_topology(self, snapshot: TopologySnapshot) -> None:
        """Ends the channels to former members, and holds the channels to unreachable ones."""
        newest = self.table.version
        if not self.table.update(snapshot):  # the node has accepted it, so the cluster or this node was started anew
            self._local.publish(
                ResolutionOutOfOrder(
                    authority=self._local.authority, version=snapshot.version, newest=newest, ignored=False
                )
            )
            self.table.forget()
            self.table.update(snapshot)
        for authority, channel in list(self._channels.items()):
            member = self.table.member(authority)
            if member is None:
                if channel.was_member:
                    self._end(channel, "its node was removed")
            elif member.node_id != channel.node_id:
                self._end(channel, f"node {member.node_id} has this authority now, not {channel.node_id}")
            else:
                channel.was_member = True
                unreachable = member.status >= MemberStatus.UNREACHABLE
                channel.hold("the member is unreachable" if unreachable else "")

    def connected(self, authority: str, connection: Outgoing) -> None:
        """A dialled connection is open."""
        channel = self._channels.get(authority)
        if channel is None:
            return
        if channel.node_id == connection.peer.node_id:
            channel.connected(connection)
        else:
            self._end(channel, f"node {connection.peer.node_id} answers there, not {channel.node_id}")

    def disconnected(self, connection: Outgoing) -> None:
        """A dialled connection accepts no more frames."""
        if connection.sender is not None:
            connection.sender.disconnected(connection)

    def quarantined(self, authority: str, error: Quarantined) -> None:
        """An authority is quarantined: gives up the messages that wait for it."""
        channel = self._channels.get(authority)
        if channel is not None:
            channel.refuse(error)

    def released(self, authority: str) -> None:
        """A quarantine has ended: accepts messages for that authority again."""
        channel = self._channels.get(authority)
        if channel is not None:
            channel.reopen()

    def tick(self, now: float) -> None:
        """Gives up messages that have waited too long."""
        for channel in list(self._channels.values()):
            channel.tick(now)

    async def flush(self, within_s: float) -> int:
        """Returns when peers have acknowledged all messages, or after `within_s` (SPEC VA-2.5, BS-3.4).

        It does not wait for messages that no peer will acknowledge: those to unreachable or quarantined members.

        Args:
            within_s: seconds, 0 or more.

        Returns:
            The number of messages that still wait or are unacknowledged.
        """
        loop = self._local.loop
        until = loop.time() + within_s
        while any(channel.may_finish for channel in self._channels.values()):
            left_s = until - loop.time()
            if left_s <= 0:
                break
            if self._progress is None or self._progress.done():
                self._progress = loop.create_future()
            await asyncio.wait((self._progress,), timeout=left_s)
        return sum(channel.queue.waiting + channel.queue.sent for channel in self._channels.values())

    def progressed(self) -> None:
        """A channel has no messages left, or none that it can send."""
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    def close(self) -> None:
        """This node stops: gives up waiting messages, and reports watched actors as terminated."""
        for channel in list(self._channels.values()):
            self._end(channel, "this node has stopped")

    def _end(self, channel: Channel, reason: str) -> None:
        if self._channels.get(channel.authority) is channel:
            del self._channels[channel.authority]
        channel.end(reason)
        self.progressed()
        for name in _OUTCOMES:
            self._past[name] += getattr(channel.queue, name)

    # Receiving.

    def inbox(self, connection: Connection) -> Inbox:
        """The inbox of a connection that was just accepted."""
        self._accepted += 1
        return Inbox(connection, self._accepted, self._local, self.system, self.accounts, self)

    def admit(self, inbox: Inbox, node_id: str) -> None:
        """The first message has arrived on a connection: of all connections of a process, only the newest is used."""
        known = self._newest.pop(node_id, None)
        if known is not None and known.number > inbox.number:
            inbox.stale = True
            inbox = known
        elif known is not None:
            known.stale = True
        self._newest[node_id] = inbox

    # Accounts.

    def counts(self) -> DeliveryCounts:
        """The counts of all channels and of this node, added up."""
        totals = dict(self._past)
        waiting = unacknowledged = 0
        for channel in self._channels.values():
            queue = channel.queue
            waiting += queue.waiting
            unacknowledged += queue.sent
            for name in _OUTCOMES:
                totals[name] += getattr(queue, name)
        return DeliveryCounts(
            **totals,
            waiting=waiting,
            unacknowledged=unacknowledged,
            received=self.accounts.received,
            stale=self.accounts.stale,
            unserializable=self.accounts.unserializable_count,
        )

    def check(self) -> None:
        """Asserts the invariants, among them that each accepted message is counted exactly once afterwards."""
        for authority, channel in self._channels.items():
            assert channel.authority == authority
            assert not channel.gone
            channel.check()
        counts = self.counts()
        ended = counts.delivered + counts.dead_lettered + counts.in_doubt
        assert counts.accepted == ended + counts.waiting + counts.unacknowledged
        self.table.check()


def _identity_of(path: str) -> ClusterIdentity:
    """`user/parent/child` as kind `user` and key `parent/child`."""
    kind, _, key = path.partition("/")
    return ClusterIdentity(kind, key)
