"""The asyncio shell of the control plane: passes inputs to `ControlNode`, carries out its effects, owns its timer.

All decisions are in `core`; this module only carries them out (its shape is that of aioquic's driver). The machine gets
the boot clock (`LocalNode.boot_time`), which also runs while the computer is suspended, so a node knows how long it was
suspended. Timers use the clock of the loop, which stops meanwhile. So they are set as a duration, and the `Ticker`
notices late ones.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from inaho.core.effects import (
    ApplyTopology,
    CloseConnection,
    Effect,
    Joined,
    JoinFailed,
    Left,
    Publish,
    Send,
    StopActivations,
)
from inaho.core.inputs import Input, Tick
from inaho.core.messages import ControlMessage
from inaho.core.node import ControlNode
from inaho.errors import JoinRefused, ProtocolViolation, RemoteError, error_from_code
from inaho.wire.codec import DECODE_ERRORS, decoder, encode

if TYPE_CHECKING:
    from inaho.events import Event
    from inaho.runtime.connections.peer_connections import PeerConnections
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.control.ports import TopologyEffects
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["Driver", "decode_control"]

EARLY_S: Final = 0.002
"""A timer may fire this much early: event loops round to a millisecond."""

_decode: Final = decoder(ControlMessage)


def decode_control(body: memoryview) -> ControlMessage:
    """A control message. Raises `ProtocolViolation` for anything else."""
    try:
        message: ControlMessage = _decode(body)
    except DECODE_ERRORS as error:
        raise ProtocolViolation(f"a control message cannot be decoded: {error}") from error
    return message


class MembershipFollower(Protocol):
    """Learns changes of the membership, to bound the age of this node's answers."""

    def notice(self, event: Event) -> None:
        """The control plane has published this event."""
        ...

    def founded(self) -> None:
        """This node has founded its cluster."""
        ...

    def joined(self) -> None:
        """This node was admitted to a cluster."""
        ...


class Driver:
    """Runs the control plane of one node.

    Args:
        local: the node.
        control: the machine.
        peers: take control messages to other members.
        connections: closed when the machine rejects a peer.
        freshness: follows the membership.
        topology: applies topologies.

    Attributes:
        joined: done when the cluster has admitted the node; fails with the refusal.
        left: done when a leave is complete.
    """

    def __init__(
        self,
        local: LocalNode,
        control: ControlNode,
        peers: Peers,
        connections: PeerConnections,
        freshness: MembershipFollower,
        topology: TopologyEffects,
    ) -> None:
        self.control = control
        self.joined: asyncio.Future[None] = local.loop.create_future()
        self.left: asyncio.Future[None] = local.loop.create_future()
        self._local = local
        self._peers = peers
        self._connections = connections
        self._freshness = freshness
        self._topology = topology
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def feed(self, given: Input) -> None:
        """Runs one step of the machine."""
        self._step(self._local.boot_time(), given)

    def _step(self, now: float, given: Input) -> None:
        if self._stopped:
            return
        try:
            for effect in self.control.step(now, given):
                self._carry_out(effect)
        finally:
            self._arm()  # after a step that failed, the next one must still run

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.control.next_deadline()
        if deadline is not None and not self._stopped:
            delay_s = max(0.0, deadline - self._local.boot_time())
            self._timer = self._local.loop.call_later(delay_s, self._tick, deadline)

    def _tick(self, deadline: float) -> None:
        self._timer = None
        self._step(self._on_time(deadline), Tick())

    def _on_time(self, deadline: float) -> float:
        """The time of a tick: its deadline if the timer fired a little early, by rounding or resolution.

        Otherwise the machine would have nothing to do yet and would be called again at once; in virtual time, without
        end.
        """
        now = self._local.boot_time()
        return deadline if now < deadline <= now + EARLY_S else now

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._peers.send_control(effect.authority, encode(effect.message))
            case Publish():
                self._freshness.notice(effect.event)
                self._local.publish(effect.event)
            case ApplyTopology():
                self._topology.apply(effect.snapshot)
            case Joined():
                if effect.founded:
                    self._freshness.founded()
                else:
                    self._freshness.joined()
                if not self.joined.done():
                    self.joined.set_result(None)
            case JoinFailed():
                if not self.joined.done():
                    error = error_from_code(effect.code, effect.reason, authority=self._local.authority)
                    if isinstance(error, RemoteError):  # a code that only the control plane uses
                        error = JoinRefused(effect.reason, authority=self._local.authority)
                    self.joined.set_exception(error)
            case Left():
                if not self.left.done():
                    self.left.set_result(None)
            case StopActivations():
                self._topology.stop_activations(effect.reason)
            case CloseConnection():
                self._connections.reject(effect.authority, effect.reason)

    def stop(self) -> None:
        """Ends the steps of the machine."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for future in (self.joined, self.left):
            future.cancel()
