"""The gateway of a client: chooses a member that sends it topologies, and another one when that member is lost.

Any member can be the gateway. When no connection is left, all known members and the seeds are dialled, and the first to
answer is the new gateway; calls wait meanwhile as they wait for any dial. A silent connection gets a ping
(`detection.probe_interval_s`); when no answer has come for `detection.lag_wedged_s`, other members are dialled too. A
client does not decide which members are dead. The members do, and the new gateway sends a topology without the dead
one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from inaho.config.shared import adopt_settings
from inaho.errors import InahoError, TopologyUnavailable
from inaho.errors.refusals import FINAL_REFUSALS
from inaho.events import ResolutionOutOfOrder
from inaho.runtime.control.membership_log import MEMBERSHIP_LOGGER
from inaho.wire.frames import WATCH, frame

if TYPE_CHECKING:
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.control.ports import TopologyEffects
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.types import TopologySnapshot
    from inaho.wire.handshake import PeerInfo

__all__ = ["Gateway"]

_HEARTBEAT: Final = frame(WATCH, b"inaho/heartbeat")
"""Watches an actor that does not exist. Any answer shows that the member is not wedged."""


ASKED_MIN: Final = 3
"""Least number of pings without an answer: if the loop of this node was blocked, there was only one."""


LOST_S: Final = 1.0
"""Seconds without an answer before the first log line. A leaving gateway is usually replaced sooner."""

NAMED_MAX: Final = 5
"""Members that a log line names."""

LOST_AGAIN_S: Final = 60.0
"""Seconds between further log lines."""

_log: Final = logging.getLogger(MEMBERSHIP_LOGGER)


class _Traffic(NamedTuple):
    """Bytes that a connection has received, since when no more came, when the last ping was sent, and how many."""

    received: int
    at: float
    asked_at: float
    asked: int = 0


class Gateway:
    """Finds and keeps a member for one client.

    Args:
        local: the client.
        topology: the newest one that a member has sent.
        peers: connections of the client.
        effects: applies a new topology.

    Attributes:
        discovered: authorities that a provider lists, dialled beside the seeds.
    """

    def __init__(self, local: LocalNode, topology: Topology, peers: Peers, effects: TopologyEffects) -> None:
        self.discovered: tuple[str, ...] = ()
        self._local = local
        self._topology = topology
        self._peers = peers
        self._effects = effects
        self._traffic: dict[Outgoing, _Traffic] = {}
        self._refusals: dict[str, InahoError | None] = {}
        """The outcome of the last question to each seed; None for a seed that has not answered."""
        self._lost_at: float | None = None
        self._logged_at: float | None = None

    async def find(self) -> None:
        """Returns when a member has sent the topology.

        Raises:
            TopologyUnavailable: no seed sent it within `membership.join_timeout_s`; the reason has the answer of each.
            InahoError: all seeds refused for good; this is the refusal of the first seed.
        """
        config = self._local.config.membership
        deadline = self._local.loop.time() + config.join_timeout_s
        pause_s = config.join_retry_s
        while True:
            await self._ask_all(deadline)
            if self._topology.snapshot is not None:
                _log.info(
                    "client of cluster %r: connected, members: %d",
                    self._local.config.name,
                    len(self._topology.snapshot.members),
                )
                return
            errors = list(self._refusals.values())
            if errors and errors[0] is not None and all(isinstance(error, FINAL_REFUSALS) for error in errors):
                raise errors[0]  # as long as one seed may admit it, refusals of the others are not final
            if self._local.loop.time() + pause_s >= deadline:
                answers = "; ".join(f"{authority}: {reason}" for authority, reason in self.answers_of_seeds().items())
                answers = answers or "no seed is given, and no provider lists a member"
                raise TopologyUnavailable(f"no seed answered within {config.join_timeout_s:g} s: {answers}")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, config.join_retry_s * 8)

    def answers_of_seeds(self) -> dict[str, str]:
        """By seed, why it has sent no topology."""
        return {
            authority: "no answer yet" if error is None else error.reason for authority, error in self._refusals.items()
        }

    async def _ask_all(self, deadline: float) -> None:
        """Asks all seeds at once, so that a silent one delays no other, and records each failure."""
        loop = self._local.loop
        asked = {loop.create_task(self._ask(authority)): authority for authority in self._candidates()}
        self._refusals = {authority: self._refusals.get(authority) for authority in asked.values()}
        try:
            while asked and self._topology.snapshot is None:
                left_s = max(deadline - loop.time(), 0.0)
                done, _ = await asyncio.wait(asked, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                for task in done:
                    self._refusals[asked.pop(task)] = task.result()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _ask(self, authority: str) -> InahoError:
        """Asks one seed. Returns why it has sent no topology."""
        try:
            await self._peers.connect(authority, "")
        except InahoError as error:
            return error
        if self._topology.snapshot is None:
            await self._topology.wait(self._local.config.transport.handshake_timeout_s)
        return TopologyUnavailable("it sent no topology", authority=authority)

    def adopt(self, settings: Mapping[str, int]) -> None:
        """Takes over the settings that all members share. Raises `InvalidConfig` for invalid values."""
        before = self._local.config
        self._local.config = config = adopt_settings(before, settings)
        if config.activation.partitions != before.activation.partitions:
            self._topology.forget_owners()
            if self._topology.snapshot is not None:
                self._topology.lookup.update_topology(self._topology.snapshot)

    def topology_pushed(self, peer: PeerInfo, snapshot: TopologySnapshot) -> None:
        """A member sends the newest topology.

        Versions begin again when all members have ended and a new cluster begins. A sender that the present topology
        does not name may belong to that new cluster. So its topology is accepted with any version, unless a member of
        the present topology is still connected.
        """
        current = self._topology.snapshot
        if current is None or snapshot.version > current.version:
            self._effects.apply(snapshot)
        elif not self._knows_any(current, peer):
            self._topology.forget_owners()  # versions have begun again
            self._effects.apply(snapshot)
        elif snapshot.version < current.version:
            self._local.publish(
                ResolutionOutOfOrder(
                    authority=peer.authority, version=snapshot.version, newest=current.version, ignored=True
                )
            )

    def _knows_any(self, topology: TopologySnapshot, peer: PeerInfo) -> bool:
        """Whether `peer`, or another connected peer, is a member in `topology`."""
        known = {member.node_id for member in topology.members}
        return peer.node_id in known or any(
            connection.peer.node_id in known for connection in self._peers.connections.values()
        )

    def keep(self) -> None:
        """Looks for another gateway when no connection is left, or none of them answers."""
        if self._local.closing or self._topology.snapshot is None:
            return
        now = self._local.loop.time()
        before = self._traffic
        self._traffic = {}
        alive = False
        for connection in self._peers.connections.values():
            known = before.get(connection)
            if known is None or known.received != connection.bytes_received:
                known = _Traffic(connection.bytes_received, now, now)
            elif now - known.asked_at >= self._local.config.detection.probe_interval_s:
                if not connection.paused:  # a paused one has unanswered frames already
                    connection.send(_HEARTBEAT, b"")
                known = known._replace(asked_at=now, asked=known.asked + 1)
            self._traffic[connection] = known
            alive = alive or known.asked < ASKED_MIN or now - known.at < self._local.config.detection.lag_wedged_s
        self._log_state(now, alive=alive)
        if not alive:
            for authority in self._candidates():
                self._peers.dial_in_background(authority)

    def _log_state(self, now: float, *, alive: bool) -> None:
        """Logs that no member answers any more, and when one does again."""
        name = self._local.config.name
        if alive:
            if self._logged_at is not None and self._lost_at is not None:
                _log.info("client of cluster %r: a member answers again after %.1f s", name, now - self._lost_at)
            self._lost_at = self._logged_at = None
            return
        if self._lost_at is None:
            self._lost_at = now
        if now - self._lost_at >= LOST_S and (self._logged_at is None or now - self._logged_at >= LOST_AGAIN_S):
            self._logged_at = now
            _log.warning(
                "client of cluster %r: no member has answered for %.1f s, so calls wait or fail; dialling %s",
                name, now - self._lost_at, ", ".join(self._candidates()[:NAMED_MAX]),
            )  # fmt: skip

    def _candidates(self) -> tuple[str, ...]:
        topology = self._topology.snapshot
        members = () if topology is None else topology.members
        return tuple(
            dict.fromkeys((*(member.authority for member in members), *self._local.config.seeds, *self.discovered))
        )
