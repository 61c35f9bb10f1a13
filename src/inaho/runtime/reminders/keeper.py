"""Keepers of reminders: system grains, one per shard, that watch the clock for the grains of that shard.

A reminder must fire though nothing of its grain is active anywhere. So somebody else has to be awake: the keeper of the
shard that the identity's hash names. Keepers are grains, and all that is hard about them is done by what there is for
grains: one owner, hand-off, fail-over, state that is fenced by version and epoch. They live on the members that host a
kind with `on_reminder`; a cluster without one has no keeper and opens no storage for them. A grain that nobody calls is
not activated by itself, so each such member calls the keepers that it owns (`ReminderWatch`), after every change of
topology and from time to time.

A reminder is saved before `remind` returns; changes that come during a save share the next one. That a delivery has
ended is saved a moment later, with others: a crash in between repeats the delivery. While views of the cluster disagree
a shard may have two keepers, which both deliver; only one of them can save.

Why a shard is one state and not a record per reminder: the storage interface can load and save by name and cannot
search, and a keeper needs to know them all. `activation.reminders_max` bounds what that costs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from inaho.core.activation.reminders import Delivery, Reminder, ReminderRecord, ReminderSchedule
from inaho.core.identity.identity import identity
from inaho.core.rpc.retry import RetryPolicy
from inaho.errors import InahoError, InvalidArguments, InvalidConfig, RemoteError, TopologyUnavailable, Unreachable
from inaho.errors.inspection import describe, text_of
from inaho.events import ReminderFailed, ReminderMissed
from inaho.runtime.activation.kind_host import host_of
from inaho.runtime.calls.reference import invoke, make_reference
from inaho.runtime.grains.grain import Grain, GrainKind, method
from inaho.runtime.grains.reminder_delivery import ANSWER_S, OnReminderError, delivery_method
from inaho.runtime.reminders.reminder_calls import shard_of
from inaho.runtime.turns.steps import SIGNALS
from inaho.types import ClusterIdentity, Struct
from inaho.wire.codec import decoder
from inaho.wire.features import FEATURES, REMINDERS
from inaho.wire.stored import future_format

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node

__all__ = ["KEEPER", "ReminderKeeper", "ReminderShard", "ReminderWatch"]

KEEPER: Final = "inaho.reminders"

LOOK_AGAIN_S: Final = 30.0
"""The wall clock may be set at any time, so a keeper looks at it at least so often."""

CLOCK_STEP_S: Final = 1.0
"""A wall clock that gained or lost more than this against the clock of the machine was set."""

LINGER_S: Final = 0.05
"""The end of a delivery is saved after this time, together with others."""

SAVE_AGAIN_S: Final = 1.0
"""Pause after a save that failed."""

RETRY: Final = RetryPolicy(attempts=8, base_s=1.0, max_s=60.0)
"""For an `on_reminder` that raises, does not end in time or takes its node along; after so many attempts its occurrence
is given up. A call that did not run as far as the keeper knows (nobody hosts the kind now, its owner is lost, the grain
is busy or its queue full) is tried again with the same pauses for ever."""

FINISH_S: Final = 1.0
"""A keeper that ends waits so long for deliveries that are under way. What does not end is delivered again."""

WATCH_S: Final = 2.0
"""A member looks after the keepers that it owns at least so often."""

TOLD_AGAIN_S: Final = 60.0
"""Keepers that cannot be started are told in the log at most so often."""


class ReminderShard(Struct):
    """State of a keeper.

    Attributes:
        shards: how many there were when it was saved; a reminder's shard depends on it.
        records: the reminders.
        format: of the records, see `wire.features.REMINDERS`; 1 where 0.1 has saved it and said none.
    """

    shards: int = 0
    records: list[ReminderRecord] = []  # noqa: RUF012  Structs copy mutable defaults
    format: int = 1


class _Format(Struct):
    """The version of a saved shard, read before the rest of it."""

    format: int = 1


_decode_format: Final = decoder(_Format)
_decode_shard: Final = decoder(ReminderShard)


def decode_shard(data: bytes | memoryview) -> ReminderShard:
    """A saved shard. Raises `SerializationFailed` for one of a later release, and what a decoder raises."""
    found, known = _decode_format(data).format, FEATURES[REMINDERS]
    if found > known:
        raise future_format("a shard of reminders", found, known)
    shard: ReminderShard = _decode_shard(data)
    return shard


class ReminderKeeper(Grain[ReminderShard], name=KEEPER, reentrant=True, idle_ttl_s=0):
    """Has the reminders of one shard, and calls their grains when they are due. Its key is the shard's number."""

    async def on_activate(self) -> None:
        self._node = node = host_of(self).node
        activation = node.local.config.activation
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
        self._calls: dict[asyncio.Task[None], None] = {}
        self._over = False
        self._wall_offset_s = self._node.local.unix_time() - self._node.local.boot_time()
        self._arm()

    async def on_deactivate(self, reason: str) -> None:
        self._over = True
        for handle in (self._alarm, self._flush):
            if handle is not None:
                handle.cancel()
        if self._calls:
            await asyncio.wait(list(self._calls), timeout=FINISH_S)
        for call in list(self._calls):
            call.cancel()
        if reason == "stale":
            self._node.local.spawn(wake_keeper(self._node, self.key), name="inaho-reminders-again")
            return
        try:
            await self._save()
        except InahoError as error:
            self._node.local.log.warning(
                "%s could not save at its end; deliveries may repeat: %s", self.identity, describe(error)
            )

    # What grains ask.

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
        """Takes a reminder out, durably; whether there was one."""
        found = self._schedule.forget(kind, key, name)
        if found:
            self._changes += 1
        await self._save()  # found or not: an attempt before this one may have taken it out and not saved
        return found

    @method(read_only=True)
    async def listed(self, kind: str, key: str) -> list[Reminder]:
        """The reminders of one grain, sorted by name."""
        return self._schedule.of(kind, key)

    @method(idempotent=True)
    async def verify(self) -> None:
        """Makes sure that there is a keeper, and that no other one has saved since it loaded, as on the far side of a
        split; else it begins again."""
        storage = await self._node.storage_access.opened()
        stored = await storage.load(self.identity)
        if stored is not None and self._saving is None:  # a save that is under way finds out by itself
            host_of(self).end_older(self.key, stored.version)

    def _check_place(self, record: ReminderRecord) -> None:
        """Raises why a reminder cannot be kept here."""
        node = self._node
        name = str(identity(record.kind, record.key))
        if node.local.storage_is_private:
            raise InvalidConfig(
                "reminders need a storage that outlives this process: the one given is 'memory', of this node alone",
                identity=name,
                authority=node.local.authority,
            )
        shards = node.local.config.activation.reminder_shards
        if shard_of(record.kind, record.key, shards) != self.key:
            raise InvalidConfig(
                f"activation.reminder_shards is {shards} here and another number where the reminder was set",
                identity=name,
                authority=node.local.authority,
            )
        topology = node.topology.snapshot
        if topology is None or not any(record.kind in member.kinds for member in topology.members):
            raise TopologyUnavailable("no member that this node has heard of hosts the kind", identity=name)

    # Saving.

    async def _save(self) -> None:
        """Returns when what has changed so far is saved. Whoever comes during a save shares the next."""
        change = self._changes
        while self._saved < change:
            if self._saving is None:
                self._saving = self._node.local.spawn(self._save_once(), name="inaho-reminders-save")
            await asyncio.shield(self._saving)

    async def _save_once(self) -> None:
        changes = self._changes
        try:
            self.state = ReminderShard(
                self._node.local.config.activation.reminder_shards, self._schedule.records(), FEATURES[REMINDERS]
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
            self._flush = self._node.local.loop.call_later(delay_s, self._save_late)

    def _save_late(self) -> None:
        self._flush = None
        self._node.local.spawn(self._save_quietly(), name="inaho-reminders-flush")

    async def _save_quietly(self) -> None:
        try:
            await self._save()
        except InahoError as error:
            self._node.local.log.warning(
                "%s could not be saved, and is tried again: %s", self.identity, describe(error)
            )

    # The clock.

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = self._schedule.next_deadline()
        if due is not None and not self._over:
            delay_s = min(max(due - self._look_at_clock(), 0.001), LOOK_AGAIN_S)
            self._alarm = self._node.local.loop.call_later(delay_s, self._look)

    def _look_at_clock(self) -> float:
        """Unix seconds now. Where the wall clock was set meanwhile, reminders that were set as a delay move with it."""
        node = self._node
        now = node.local.unix_time()
        step_s = now - node.local.boot_time() - self._wall_offset_s
        if abs(step_s) > CLOCK_STEP_S:
            self._wall_offset_s += step_s
            node.local.log.info(
                "the clock of this node was set by %+.1f s; reminders of shard %s that were set as a delay keep it",
                step_s, self.key,
            )  # fmt: skip
            if self._schedule.shift(step_s):
                self._changes += 1
                self._save_soon(LINGER_S)
        return now

    def _look(self) -> None:
        """The time of some reminder has come."""
        self._alarm = None
        node = self._node
        deliveries, dropped = self._schedule.due(self._look_at_clock())
        for each in dropped:
            owner = ClusterIdentity(each.record.kind, each.record.key)
            node.local.log.info("%d occurrences of reminder %r of %s passed", each.count, each.record.name, owner)
            node.local.publish(ReminderMissed(identity=owner, name=each.record.name, count=each.count))
            self._changes += 1
            self._save_soon(LINGER_S)
        for delivery in deliveries:
            call = node.local.spawn(self._deliver(delivery), name="inaho-remind")
            self._calls[call] = None
            call.add_done_callback(self._call_ended)
        self._arm()

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        del self._calls[call]
        self._arm()

    async def _deliver(self, delivery: Delivery) -> None:
        record = delivery.record
        try:
            await _call_grain(self._node, record, delivery.reminder)
        except (asyncio.CancelledError, *SIGNALS):  # the keeper ends, or the process
            raise
        except BaseException as error:  # whatever it is: the keeper goes on with the other reminders
            self._failed(delivery, error)
            return
        if self._schedule.ended(delivery):
            self._changes += 1
            self._save_soon(LINGER_S)

    def _failed(self, delivery: Delivery, error: BaseException) -> None:
        """The grain raised, or did not answer; which of both decides whether it counts."""
        node, record, attempt = self._node, delivery.record, delivery.reminder.attempt
        now = self._look_at_clock()
        raised = isinstance(error, RemoteError) or not isinstance(error, InahoError)
        if isinstance(error, Unreachable) and error.maybe_executed:  # a node that dies of it must not for ever
            raised = True
        given_up = raised and attempt >= RETRY.attempts
        pause_s = RETRY.delay_s(attempt if raised else delivery.refusals + 1, node.local.entropy.random.random())
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
        node.local.log.warning(
            "reminder %r of %s failed (attempt %d) and %s: %s", record.name, owner, attempt, what, reason
        )
        node.local.publish(
            ReminderFailed(identity=owner, name=record.name, attempt=attempt, reason=reason, given_up=given_up)
        )


ReminderKeeper.inaho_kind.decode_state = decode_shard


class ReminderWatch:
    """Keeps the keepers awake that a node owns.

    Args:
        node: a member that hosts a kind with reminders.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self._keys = [str(number) for number in range(node.local.config.activation.reminder_shards)]
        self._tell_at = 0.0

    async def run(self) -> None:
        """Goes on until the node leaves. After a change of topology keepers that stayed look twice whether another has
        saved: at once, and when the other side of a split should have ended what it had."""
        node = self._node
        host = node.hosts[KEEPER]
        seen, looks = None, 0
        while not self._local.shutting_down:
            if self._topology.snapshot is not seen:
                seen, looks = self._topology.snapshot, 2
            owned = [key for key in self._keys if node.leases.owns(KEEPER, key)]
            asleep = [key for key in owned if looks or key not in host.activations]
            self._tell(asleep, await asyncio.gather(*(wake_keeper(node, key) for key in asleep)))
            looks = max(0, looks - 1)
            if self._topology.snapshot is seen:
                await self._topology.wait(WATCH_S)

    def _tell(self, keys: list[str], outcomes: list[Exception | None]) -> None:
        """Logs which keepers could not be started: once, and again after a while."""
        failed = {key: error for key, error in zip(keys, outcomes, strict=True) if error is not None}
        now = self._local.loop.time()
        if not failed or self._local.shutting_down or now < self._tell_at:
            return
        self._tell_at = now + TOLD_AGAIN_S
        self._local.log.warning(
            "the keepers of %d reminder shards (such as %s) cannot be started, which is tried again: %s",
            len(failed), next(iter(failed)), describe(next(iter(failed.values()))),
        )  # fmt: skip


async def wake_keeper(node: Node, key: str) -> Exception | None:
    """Sees to it that there is a keeper of that shard, and that it knows what was saved.

    Returns:
        Why that failed; None where it did not.
    """
    try:
        await node.cluster.grain(ReminderKeeper, key).verify()
    except Exception as error:
        node.local.log.debug("the keeper of reminder shard %s could not be started: %s", key, describe(error))
        return error  # `ReminderWatch` tries again, and tells
    return None


async def _call_grain(node: Node, record: ReminderRecord, reminder: Reminder) -> None:
    """Calls `on_reminder`, wherever the grain is; this node need not host its kind, nor have its class."""
    host = node.hosts.get(record.kind)
    if host is None:
        host = node.add_kind(GrainKind.unknown(record.kind), hosted=False)
    reference = make_reference(node.context, host, record.key, timeout_s=node.local.timeout_s + ANSWER_S, retry=True)
    await invoke(reference, delivery_method(record.kind), (reminder,), plain=False)
