"""Keepers of reminders: system grains, one per shard, that watch the clock for the grains of that shard.

A reminder must fire even if its grain is active nowhere. So another grain must watch the clock: the keeper of the shard
that the identity's hash names. Keepers are grains, so they have one owner, hand-off, fail-over, and state that is
fenced by version and epoch. They are on the members that host a kind with `on_reminder`; a cluster without one has no
keeper and opens no storage for them. A grain without calls is not activated, so each such member calls the keepers that
it owns (`ReminderWatch`), after every change of topology and from time to time.

A reminder is saved before `remind` returns; changes that come during a save share the next one. The end of a delivery
is saved a moment later, together with others: a crash before that repeats the delivery. While views of the cluster
disagree a shard may have two keepers, which both deliver; only one of them can save.

Why a shard is one state and not a record per reminder: the storage interface can load and save by name and cannot
search, and a keeper needs all of them. `activation.reminders_max` bounds the cost.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from inaho.core.activation.reminders import Delivery, Reminder, ReminderRecord, ReminderSchedule
from inaho.core.identity.identity import identity
from inaho.core.rpc.retry import RetryPolicy
from inaho.errors import InahoError, InvalidArguments, InvalidConfig, RemoteError, TopologyUnavailable, Unreachable
from inaho.errors.inspection import describe, text_of
from inaho.events import ReminderFailed, ReminderMissed
from inaho.runtime.activation.kind_host import host_of
from inaho.runtime.grains.grain import Grain, method
from inaho.runtime.grains.reminder_delivery import OnReminderError
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.storage_access import StorageAccess
from inaho.runtime.local.topology import Topology
from inaho.runtime.reminders.keeper_calls import KeeperCalls
from inaho.runtime.reminders.shard import KEEPER, ReminderShard, decode_shard, shard_of
from inaho.runtime.turns.steps import SIGNALS
from inaho.types import ClusterIdentity
from inaho.wire.features import FEATURES, REMINDERS

__all__ = ["ReminderKeeper"]

LOOK_AGAIN_S: Final = 30.0
"""The wall clock may be set at any time, so a keeper reads it at least this often, in seconds."""

CLOCK_STEP_S: Final = 1.0
"""If the wall clock gained or lost more than this against the clock of the machine, it was set."""

LINGER_S: Final = 0.05
"""The end of a delivery is saved after this time, together with others."""

SAVE_AGAIN_S: Final = 1.0
"""Pause after a save that failed."""

RETRY: Final = RetryPolicy(attempts=8, base_s=1.0, max_s=60.0)
"""For an `on_reminder` that raises, does not end in time or ends its process; after the last attempt the occurrence
is given up. A call that did not run as far as the keeper knows (nobody hosts the kind now, its owner is lost, the grain
is busy or its queue full) is tried again with the same pauses for ever."""

FINISH_S: Final = 1.0
"""A keeper that ends waits this long for deliveries that have begun. Those that do not end are delivered again."""


class ReminderKeeper(Grain[ReminderShard], name=KEEPER, reentrant=True, idle_ttl_s=0):
    """Stores the reminders of one shard, and calls their grains when they are due. Its key is the shard's number."""

    def __init__(self, local: LocalNode, topology: Topology, storage_access: StorageAccess, calls: KeeperCalls) -> None:
        self._local = local
        self._topology = topology
        self._storage_access = storage_access
        self._calls = calls

    async def on_activate(self) -> None:
        activation = self._local.config.activation
        stored = self.state
        if stored.records and stored.shards != activation.reminder_shards:
            raise InvalidConfig(
                f"reminders were saved in {stored.shards} shards, while activation.reminder_shards is "
                f"{activation.reminder_shards} here: it cannot be changed once there are reminders"
            )
        self._schedule = ReminderSchedule(
            records_max=activation.reminders_max,
            grain_max=activation.reminders_per_grain_max,
            catch_up_max=activation.reminder_catch_up_max,
            late_s=activation.reminder_late_s,
        )
        self._schedule.restore(stored.records)
        self._changes = 0
        self._saved = 0
        self._saving: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._deliveries: dict[asyncio.Task[None], None] = {}
        self._over = False
        self._wall_offset_s = self._local.unix_time() - self._local.boot_time()
        self._arm()

    async def on_deactivate(self, reason: str) -> None:
        self._over = True
        for handle in (self._alarm, self._flush):
            if handle is not None:
                handle.cancel()
        if self._deliveries:
            await asyncio.wait(list(self._deliveries), timeout=FINISH_S)
        for call in list(self._deliveries):
            call.cancel()
        if reason == "stale":
            self._local.spawn(self._calls.wake(self.key), name="inaho-reminders-again")
            return
        try:
            await self._save()
        except InahoError as error:
            self._local.log.warning(
                "%s could not save at its end; deliveries may repeat: %s", self.identity, describe(error)
            )

    # Requests of grains.

    @method(idempotent=True)
    async def put(self, record: ReminderRecord, delay_s: float | None = None) -> None:
        """Sets a reminder; it is saved when this returns.

        Args:
            record: the reminder; its time is ignored where there is a delay.
            delay_s: seconds from now to the first occurrence. A delay and not a time: the clock of the caller may
                differ from this one, and only this one decides when it is due.
        """
        self._check_place(record)
        now = self._look_at_clock()
        if delay_s is not None:
            if not delay_s >= 0:
                raise InvalidArguments(f"a reminder is due in 0 seconds or more, not {delay_s}")
            record = msgspec.structs.replace(record, due=now + delay_s)
        self._schedule.set(record, relative=delay_s is not None)
        self._changes += 1
        self._arm()
        await self._save()

    @method(idempotent=True)
    async def drop(self, kind: str, key: str, name: str) -> bool:
        """Deletes a reminder, durably; returns whether there was one."""
        found = self._schedule.forget(kind, key, name)
        if found:
            self._changes += 1
        await self._save()  # also if it was not found: an earlier attempt may have deleted it without a save
        return found

    @method(read_only=True)
    async def listed(self, kind: str, key: str) -> list[Reminder]:
        """The reminders of one grain, sorted by name."""
        return self._schedule.of(kind, key)

    @method(idempotent=True)
    async def verify(self) -> None:
        """Makes sure that a keeper runs, and that no other one has saved since it loaded, as across a split.

        Otherwise this keeper begins again.
        """
        storage = await self._storage_access.opened()
        stored = await storage.load(self.identity)
        if stored is not None and self._saving is None:  # a save that has begun notices it itself
            host_of(self).end_older(self.key, stored.version)

    def _check_place(self, record: ReminderRecord) -> None:
        """Raises the reason if a reminder cannot be stored here."""
        name = str(identity(record.kind, record.key))
        if self._local.storage_is_private:
            raise InvalidConfig(
                "reminders need a storage that outlives this process: the one given is 'memory', of this node alone",
                identity=name,
                authority=self._local.authority,
            )
        shards = self._local.config.activation.reminder_shards
        if shard_of(record.kind, record.key, shards) != self.key:
            raise InvalidConfig(
                f"activation.reminder_shards is {shards} here and another number where the reminder was set",
                identity=name,
                authority=self._local.authority,
            )
        topology = self._topology.snapshot
        if topology is None or not any(record.kind in member.kinds for member in topology.members):
            raise TopologyUnavailable("no known member hosts the kind", identity=name)

    # Saving.

    async def _save(self) -> None:
        """Returns when all changes so far are saved. Changes that are made during a save share the next save."""
        change = self._changes
        while self._saved < change:
            if self._saving is None:
                self._saving = self._local.spawn(self._save_once(), name="inaho-reminders-save")
            await asyncio.shield(self._saving)

    async def _save_once(self) -> None:
        changes = self._changes
        try:
            self.state = ReminderShard(
                self._local.config.activation.reminder_shards, self._schedule.records(), FEATURES[REMINDERS]
            )
            await self.save()
            self._saved = changes
        except InahoError:
            self._save_soon(SAVE_AGAIN_S)
            raise
        finally:
            self._saving = None

    def _save_soon(self, delay_s: float) -> None:
        if self._flush is None and not self._over:
            self._flush = self._local.loop.call_later(delay_s, self._save_late)

    def _save_late(self) -> None:
        self._flush = None
        self._local.spawn(self._save_quietly(), name="inaho-reminders-flush")

    async def _save_quietly(self) -> None:
        try:
            await self._save()
        except InahoError as error:
            self._local.log.warning("%s could not be saved, retrying: %s", self.identity, describe(error))

    # The clock.

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = self._schedule.next_deadline()
        if due is not None and not self._over:
            delay_s = min(max(due - self._look_at_clock(), 0.001), LOOK_AGAIN_S)
            self._alarm = self._local.loop.call_later(delay_s, self._look)

    def _look_at_clock(self) -> float:
        """Unix seconds now. Where the wall clock was set meanwhile, reminders that were set as a delay move with it."""
        now = self._local.unix_time()
        step_s = now - self._local.boot_time() - self._wall_offset_s
        if abs(step_s) > CLOCK_STEP_S:
            self._wall_offset_s += step_s
            self._local.log.info(
                "the clock of this node was set by %+.1f s; reminders of shard %s that were set as a delay keep it",
                step_s, self.key,
            )  # fmt: skip
            if self._schedule.shift(step_s):
                self._changes += 1
                self._save_soon(LINGER_S)
        return now

    def _look(self) -> None:
        """The time of some reminder has come: begins its delivery."""
        self._alarm = None
        deliveries, dropped = self._schedule.due(self._look_at_clock())
        for each in dropped:
            owner = ClusterIdentity(each.record.kind, each.record.key)
            self._local.log.info("%d occurrences of reminder %r of %s passed", each.count, each.record.name, owner)
            self._local.publish(ReminderMissed(identity=owner, name=each.record.name, count=each.count))
            self._changes += 1
            self._save_soon(LINGER_S)
        for delivery in deliveries:
            call = self._local.spawn(self._deliver(delivery), name="inaho-remind")
            self._deliveries[call] = None
            call.add_done_callback(self._call_ended)
        self._arm()

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        del self._deliveries[call]
        self._arm()

    async def _deliver(self, delivery: Delivery) -> None:
        record = delivery.record
        try:
            await self._calls.deliver(record, delivery.reminder)
        except (asyncio.CancelledError, *SIGNALS):  # the keeper ends, or the process
            raise
        except BaseException as error:  # any error: the keeper continues with the other reminders
            self._failed(delivery, error)
            return
        if self._schedule.ended(delivery):
            self._changes += 1
            self._save_soon(LINGER_S)

    def _failed(self, delivery: Delivery, error: BaseException) -> None:
        """The grain raised, or did not answer; this decides whether the attempt counts."""
        record, attempt = delivery.record, delivery.reminder.attempt
        now = self._look_at_clock()
        raised = isinstance(error, RemoteError) or not isinstance(error, InahoError)
        if isinstance(error, Unreachable) and error.maybe_executed:  # it may end every node that runs it
            raised = True
        given_up = raised and attempt >= RETRY.attempts
        pause_s = RETRY.delay_s(attempt if raised else delivery.refusals + 1, self._local.entropy.random.random())
        if not raised:
            self._schedule.postponed(delivery, now + pause_s)
        elif not given_up:
            self._schedule.failed(delivery, now + pause_s)
        elif self._schedule.ended(delivery, delivered=False):
            self._changes += 1
            self._save_soon(LINGER_S)
        owner = ClusterIdentity(record.kind, record.key)
        if isinstance(error, InahoError | OnReminderError):
            reason = error.reason if isinstance(error, InahoError) else text_of(error)
        else:
            reason = describe(error)
        what = "was given up" if given_up else "will be tried again"
        self._local.log.warning(
            "reminder %r of %s failed (attempt %d) and %s: %s", record.name, owner, attempt, what, reason
        )
        self._local.publish(
            ReminderFailed(identity=owner, name=record.name, attempt=attempt, reason=reason, given_up=given_up)
        )


ReminderKeeper.inaho_kind.decode_state = decode_shard
