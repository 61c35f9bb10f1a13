"""Runs the providers of one node: one stream each, all the time, and passes their snapshots to the consumers in order.

    ProviderStream -> TopologyFeed (health, fail-over, order) -> bridges: placement, partitions, remoting

The feed decides, and this module has the Tasks and the clock. All deliveries are synchronous: a snapshot has been
applied by all consumers before the next one is taken, so their order needs no queue (SPEC PR-2.1, PR-3.1).

A pause of this process is no silence of a provider: the clock of the feed stops while the process does not run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from inaho.core.provisioning.failover import name_reason
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot
from inaho.core.provisioning.topology_feed import ProviderReport, TopologyFeed, Update
from inaho.errors import ProviderError
from inaho.errors.inspection import describe
from inaho.events import ProviderTerminated, SnapshotApplied
from inaho.providers.answer import answer
from inaho.providers.stream import ProviderStream
from inaho.runtime.local.ticker import TICK_S

if TYPE_CHECKING:
    from inaho.providers.base import ProviderRead, TopologyProvider
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.provisioning.ports import ProvisioningConsumer

__all__ = ["ProvisioningService"]

FAREWELL_S: Final = 2.0
"""Longest time for the end of the registrations when the node leaves, seconds. Registrations that are left expire."""


class ProvisioningService:
    """The providers of one member or client.

    Args:
        local: the node.
        consumers: get each update, in this order.
        member: the entry of this node at present; None for a client, and before this node listens.

    Attributes:
        feed: health, fail-over and the newest snapshot.
    """

    def __init__(
        self,
        local: LocalNode,
        consumers: Sequence[ProvisioningConsumer],
        member: Callable[[], ProviderMember | None],
    ) -> None:
        config = local.config
        self.feed = TopologyFeed(
            config.provisioning,
            config.membership.members_max,
            config.name,
            pauses_placement=config.membership.source == "provider",
        )
        self._local = local
        self._consumers = tuple(consumers)
        self._member = member
        self._streams: dict[str, ProviderStream] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._paused_s = 0.0
        self._tick_due = local.loop.time() + TICK_S
        self._applied_at: float | None = None
        self._first = local.loop.create_future()

    # Providers come and go.

    def set_providers(self, providers: Sequence[TopologyProvider]) -> None:
        """Uses these providers, in the order of their priority, and no others (SPEC PR-5.4).

        A provider that was in use before and is the same object goes on without a gap.
        """
        if not self._streams:  # ticks may not have come here before
            self._tick_due = self._local.loop.time() + TICK_S
        there = {provider.name: provider for provider in providers}
        renewed = [name for name, stream in self._streams.items() if there.get(name) is not stream.provider]
        for name in renewed:
            # The new definition may name the same back end: its stream then finds the entry, and renews it.
            self._end(name, keep_entry=name in there)
        for name, provider in there.items():
            if name not in self._streams:
                self._begin(provider)
        self._deliver(self.feed.set_providers(self._now(), tuple(there), renewed))

    def _begin(self, provider: TopologyProvider) -> None:
        stream = ProviderStream(
            provider, self._local.config.provisioning, self, self._local.entropy.random.random, self._member
        )
        self._streams[provider.name] = stream
        self._tasks[provider.name] = self._local.spawn(self._run(stream), name=f"inaho-provider-{provider.name}")

    async def _run(self, stream: ProviderStream) -> None:
        try:
            await stream.run()
        except Exception:
            self._local.log.exception("the stream of provider %s ended by a fault of inaho", stream.provider.name)

    def _end(self, name: str, *, keep_entry: bool) -> None:
        stream = self._streams.pop(name)
        self._tasks.pop(name).cancel()
        if keep_entry:
            stream.registered.clear()
        self._local.spawn(self._part(stream), name=f"inaho-provider-end-{name}")

    async def _part(self, stream: ProviderStream) -> None:
        """Removes this node's registration from a provider and closes it, each within a time limit."""
        name = stream.provider.name
        try:
            async with asyncio.timeout(FAREWELL_S):
                await stream.deregister()
        except (ProviderError, TimeoutError) as error:
            self._local.log.warning(
                "provider %s keeps the registration of this node until it expires: %s", name, describe(error)
            )
        try:
            await answer(name, FAREWELL_S, stream.provider.close)
        except ProviderError as error:
            self._local.log.warning("provider %s could not be closed: %s", name, describe(error))

    def reports(self) -> tuple[ProviderReport, ...]:
        """Each provider now, the highest priority first."""
        return self.feed.reports(self._now())

    @property
    def steady(self) -> bool:
        """Whether the provider in use has been up for so long that all registrations were renewed."""
        return self.feed.steady(self._now())

    @property
    def applied_s(self) -> float | None:
        """Seconds since the newest snapshot was applied; None before the first."""
        return None if self._applied_at is None else self._now() - self._applied_at

    def silent(self) -> str:
        """Why no provider has answered, for the error of a node that cannot start."""
        return "; ".join(name_reason(report.name, report.reason or "no answer yet") for report in self.reports())

    @property
    def providers(self) -> tuple[TopologyProvider, ...]:
        """Those in use, the highest priority first."""
        return tuple(self._streams[name].provider for name in self.feed.order)

    # What a starting node waits for.

    async def wait_snapshot(self, within_s: float) -> bool:
        """Waits for the first snapshot, at most `within_s` seconds. Returns whether there is one."""
        await asyncio.wait((self._first,), timeout=within_s)
        return self._first.done()

    def read_soon(self) -> None:
        """Reads the provider in use as soon as possible."""
        stream = self._streams.get(self.feed.active)
        if stream is not None:
            stream.read_soon()

    def member_changed(self) -> None:
        """The entry of this node has changed: it is written again in all providers."""
        for stream in self._streams.values():
            stream.member_changed()
            stream.read_soon()

    # What streams find: a `StreamObserver`.

    def read(self, provider: str, found: ProviderRead, took_s: float) -> None:
        """All entries of a provider."""
        members = [self._with_own_quarantines(member) for member in found.members]
        updates = self.feed.read(self._now(), provider, members, found.blocked_nodes, took_s)
        self._deliver(updates, took_s)
        news = any(isinstance(update, ProviderSnapshot) for update in updates)
        if not news and provider == self.feed.active and self.feed.last is not None and not self.feed.hub.closed:
            for consumer in self._consumers:
                consumer.read_again(self.feed.last)

    def _with_own_quarantines(self, member: ProviderMember) -> ProviderMember:
        """An entry as it was read; that of this node with its quarantines of now, which it may not have written yet."""
        own = self._member()
        if own is None or member.authority != own.authority or member.quarantined == own.quarantined:
            return member
        return msgspec.structs.replace(member, quarantined=own.quarantined)

    def alive(self, provider: str) -> None:
        """A provider has answered something else."""
        self._deliver(self.feed.alive(self._now(), provider))

    def failed(self, provider: str, error: ProviderError) -> None:
        """A request to a provider, or its watch, has failed."""
        self._deliver(self.feed.failed(self._now(), provider, error))

    def displaced(self, provider: str, member: ProviderMember) -> None:
        """Another process has registered at this node's authority."""
        self._local.log.error(
            "provider %s has another process (node %s) at the authority %s of this node; this node registers again "
            "when that entry is gone. Give each process an authority of its own",
            provider, member.node_id, member.authority,
        )  # fmt: skip

    # Time.

    def tick(self, _now: float, _lag_s: float) -> None:
        """Called ten times a second: notices providers that fall silent."""
        self._now()  # a pause is measured from the last tick, so before this one counts
        self._tick_due = self._local.loop.time() + TICK_S
        due = self.feed.next_deadline()
        if due is not None and due <= self._now():
            self._deliver(self.feed.poll(self._now()))

    def _now(self) -> float:
        """The time less all pauses of this process. A tick that is late shows one; it may not have come yet."""
        now = self._local.loop.time()
        late_s = now - self._tick_due
        if late_s > self._local.config.detection.lag_wedged_s:
            self._paused_s += late_s
            self._tick_due = now
        return now - self._paused_s

    # Deliveries.

    def _deliver(self, updates: Sequence[Update], took_s: float = 0.0) -> None:
        for update in updates:
            if isinstance(update, ProviderSnapshot):
                self._deliver_snapshot(update, took_s)
            else:
                if isinstance(update, ProviderTerminated):
                    self._warn_of_end(update)
                self._local.publish(update)
                for consumer in self._consumers:
                    consumer.notice(update)

    def _warn_of_end(self, ended: ProviderTerminated) -> None:
        kept = f"snapshot {ended.seq_no} stays" if ended.seq_no else "there is no snapshot yet"
        self._local.log.warning(
            "the stream of provider %s was interrupted (%s): %s; %s, and it is tried again",
            ended.provider, ended.failure, ended.reason, kept,
        )  # fmt: skip

    def _deliver_snapshot(self, snapshot: ProviderSnapshot, took_s: float) -> None:
        began = self._local.loop.time()
        for consumer in self._consumers:
            consumer.snapshot(snapshot)
            self.feed.hub.delivered(consumer.name, snapshot.seq_no)
        self._local.publish(
            SnapshotApplied(
                provider=snapshot.provider,
                seq_no=snapshot.seq_no,
                hash=snapshot.hash,
                members=len(snapshot.members),
                blocked=len(snapshot.blocked_nodes),
                delay_s=took_s + self._local.loop.time() - began,
            )
        )
        self._applied_at = self._now()
        if not self._first.done():
            self._first.set_result(None)

    # The end.

    def shut_down(self) -> None:
        """This node leaves: no further snapshot is taken, the last one stays for draining (SPEC PR-3.5)."""
        if self.feed.hub.closed:
            return
        self.feed.close()
        for consumer in self._consumers:
            consumer.close()

    async def stop(self) -> None:
        """Removes the registrations of this node and closes all providers."""
        self.shut_down()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*(self._part(stream) for stream in self._streams.values()))
        self._streams.clear()
        self._tasks.clear()
