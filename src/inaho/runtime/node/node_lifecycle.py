"""Starts and ends one node: the order in which its parts begin and are closed.

A member opens its storage, listens, and only then joins, because others dial it as soon as they know it. The end goes
from the outside in: no new connections, no new turns, then what runs, then what is connected, and the storage last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Final, Protocol

from inaho.actor.uninterrupted import uninterrupted
from inaho.authority import own_addresses
from inaho.core.inputs import Start
from inaho.core.node import ControlNode
from inaho.errors import ShuttingDown
from inaho.observe.metrics import Sample
from inaho.runtime.control.driver import Driver
from inaho.runtime.reminders.shard import KEEPER
from inaho.runtime.reminders.watch import ReminderWatch
from inaho.runtime.topic_logs.send_partition import KEEPER as SENDS
from inaho.runtime.topic_logs.send_watch import SendWatch
from inaho.runtime.turns.runner import STOP_ROUNDS
from inaho.types import Member, MemberStatus

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.node.parts import NodeParts

__all__ = ["NodeLifecycle"]

SHOWN_AT_ONCE: Final = 5_000
"""Activations given back to the collector per iteration of the loop: about two milliseconds."""


class Provisioning(Protocol):
    """The providers of a node."""

    async def begin(self) -> bool:
        """Registers this node and finds others; returns whether a record decides who founds the cluster.

        Raises:
            TopologyUnavailable: no provider has answered in time, and there are no seeds.
        """
        ...

    def tick(self, now: float, lag_s: float) -> None:
        """Called ten times a second."""
        ...

    def metric_values(self) -> Iterator[tuple[str, Sequence[Sample]]]:
        """Names of instruments, each with its values."""
        ...

    async def end(self) -> None:
        """Removes the registrations of this node; nothing comes from a provider after it."""
        ...


class NodeLifecycle:
    """Starts and stops one node.

    Args:
        node: whose parts these are.

    Attributes:
        provisioning: the providers of this node; None if it has none.
    """

    def __init__(self, node: NodeParts) -> None:
        self._node = node
        self._local = node.local
        self._attached: list[Callable[[], None]] = []
        self.provisioning: Provisioning | None = None
        self._stopping: asyncio.Task[None] | None = None

    def attach(self, *, tick: Callable[[float, float], None], close: Callable[[], None] | None = None) -> None:
        """Adds a part from above, such as telemetry.

        Args:
            tick: called at each tick, see `Ticker.each`.
            close: called first when the node stops.
        """
        self._node.ticker.each(tick)
        if close is not None:
            self._attached.append(close)

    def attach_provisioning(self, provisioning: Provisioning) -> None:
        """Adds the providers of this node, which say where its cluster is. Call it before the node starts."""
        self.provisioning = provisioning
        self._node.ticker.each(provisioning.tick)

    async def start_member(self) -> None:
        """Opens the storage if grains here have state, binds and joins; returns when this node is up.

        Raises:
            InvalidConfig: the storage cannot work as it is configured. A storage that is down is no error: it may come
                up.
            AuthorityInUse, InvalidConfig: it cannot bind.
            JoinRefused, TopologyUnavailable: the cluster did not admit it, or no seed answered.
            AuthenticationFailed, VersionMismatch, WrongCluster: all seeds refuse it for that reason.
        """
        node, local, config = self._node, self._local, self._local.config
        if any(map(_needs_storage_early, node.hosts.values())):
            await node.storage_access.open_early()
        if not config.authority.endswith(":0"):
            local.authority = config.authority  # a peer may dial before `listen` returns
        local.authority = await node.acceptor.listen(*own_addresses(config.authority, config.bind))
        driver = Driver(
            local,
            ControlNode(config, self._member(), local.entropy.random),
            node.peers,
            node.connections,
            node.freshness,
            node.topology_changes,
        )
        node.control.begin(driver)
        node.ticker.start()
        by_record = False if self.provisioning is None else await self.provisioning.begin()
        driver.feed(Start(config.seeds, by_record))
        with node.join_watch.searching(driver.control.seed_answers):
            await driver.joined
        self._node.program_end.watch()
        if KEEPER in node.hosts:
            watch = ReminderWatch(local, node.topology, node.hosts[KEEPER], node.leases, node.keeper_calls)
            local.spawn(watch.run(), name="inaho-reminder-watch")
        sends = SendWatch(local, node.topology, node.storage_access, node.hosts[SENDS], node.leases, node.send_calls)
        local.spawn(sends.run(), name="inaho-send-watch")
        await node.topics.begin()

    def _member(self) -> Member:
        """This node's own record for its join request."""
        local = self._local
        return Member(
            authority=local.authority,
            node_id=local.node_id,
            incarnation=0,  # admission gives one
            status=MemberStatus.JOINING,
            kinds=tuple(sorted(n for n, host in self._node.hosts.items() if host.hosted and not host.system)),
            weight=local.config.weight,
            roles=tuple(sorted(local.config.roles)),
        )

    async def start_client(self) -> None:
        """Connects to a member and returns when the topology is known. Raises as `Gateway.find`."""
        node = self._node
        assert node.gateway is not None
        node.ticker.start()
        if self.provisioning is not None:
            await self.provisioning.begin()
        with node.join_watch.searching(node.gateway.answers_of_seeds):
            await node.gateway.find()
        self._node.program_end.watch()

    async def stop(self) -> None:
        """Closes everything. Call `Shutdown.leave` before it for a graceful end.

        If the caller is cancelled the node still closes completely: the rest continues in the background, within
        `STOP_ROUNDS` seconds for turns that catch their cancellation.
        """
        if self._stopping is None or self._stopping.cancelled():  # cancelled with all Tasks of the loop
            self._stopping = self._local.loop.create_task(self._stop(STOP_ROUNDS), name="inaho-stop", context=Context())
        await uninterrupted(self._stopping, self._local.log)

    async def stop_now(self) -> None:
        """As `stop`, but in the caller's own Task and with short waits, at the end of the program. All other Tasks are
        cancelled, also a `stop` that runs."""
        await self._stop(1)

    async def _stop(self, rounds: int) -> None:
        """Stops in the order of SPEC BS-3: gossip, turns, identity lookup, member list, connections, transport."""
        node, local = self._node, self._local
        local.shutting_down = local.closing = local.left = True
        for close in self._attached:
            close()
        if node.membership_log is not None:
            node.membership_log.close()
        node.block_list.close()
        node.control.stop()
        node.ticker.stop()
        node.local.slices.stop()
        node.acceptor.stop_accepting()
        if self.provisioning is not None:
            await self.provisioning.end()
        node.shutdown.stopped()
        await node.runner.stop(rounds)
        await asyncio.sleep(0)  # replies of the last turns
        node.topology.lookup.close(local.authority)
        node.topology.close()
        node.topics.close()
        node.remoting.close()
        node.acceptor.close_connections(ShuttingDown("the node is shutting down", authority=local.authority))
        within_s = min(local.config.transport.goodbye_timeout_s, rounds)  # the rounds are one second apart
        await node.peers.close(within_s)
        await node.acceptor.wait_closed(within_s)
        node.transport.close()
        await node.storage_access.close()
        for host in node.hosts.values():
            for number, _ in enumerate(host.show_all(), 1):
                if not number % SHOWN_AT_ONCE:
                    await asyncio.sleep(0)
        self._node.program_end.closed()


def _needs_storage_early(host: KindHost) -> bool:
    """Whether the kind has state and is of the user: those of the runtime have state only if they are used."""
    return host.hosted and host.kind.state_type is not None and not host.of_runtime
