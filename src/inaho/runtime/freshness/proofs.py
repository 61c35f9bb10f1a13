"""Proves that activations have the stored version before they answer.

An activation that must be proved is *held*, like one that starts: its turns wait in its queue. The first waiting turn
requests the proof. All requests of one loop iteration go to the storage as one read (`Storage.versions`). If version
and epoch are equal, the turns run. If another activation has saved, the activation ends and the turns go to its
successor, which loads. If the storage has less, its successor is refused with `StateMissing`.

An activation without calls stays held and costs no read. All calls pass the queue of the activation (from other nodes,
from this node, read-only ones, timers, reminders), so none needs a check of its own. Items of streams are
checked one by one (`passed`), because a stream runs beside the queue.

Why not a check before every turn: every call would pay for it, and almost none needs it.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from inaho.core.activation.life import ActivationState
from inaho.core.detection.bound import detection_bound_s
from inaho.errors import InahoError, StorageFailed
from inaho.runtime.activation.kind_host import host_of
from inaho.runtime.activation.state import is_same
from inaho.runtime.freshness.marker_record import MARKERS
from inaho.runtime.freshness.proved_kinds import is_proved_kind
from inaho.runtime.freshness.time_limit import time_limit

if TYPE_CHECKING:
    from inaho.runtime.freshness.proved_kinds import ProvedKinds
    from inaho.runtime.freshness.unknown import UnknownFreshness
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.grains.state_record import StateRecord
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.placement.saved_versions import SavedVersions
    from inaho.storage import Storage
    from inaho.storage.base import StoredVersion
    from inaho.types import ClusterIdentity

__all__ = ["Proofs"]

HOLD_SLICE: Final = 2_000
"""Activations held in one iteration of the loop: about two milliseconds."""


READ_ATTEMPTS: Final = 4
READ_PAUSE_S: Final = 0.05
"""Number of reads of a proof, and the pause between them, before the storage counts as silent."""


class Proofs:
    """The proofs of one node (SPEC CL-5.4; docs/decisions/0030).

    Args:
        local: the node.
        topology: of the node.
        kinds: those whose activations are proved.
        opened: opens the storage if needed, and returns it.
        saved_versions: notes which versions successors must find.
        unknown: reports that the storage does not answer.

    Attributes:
        repeat: activations must be proved again when their proof is older than `activation.freshness_s`.
        proved, changed, missing: outcomes, counted.
        reads: reads of the storage, counted.
        blind: the storage did not answer a read. Until it does, turns that may be answered unproved are not held. Then
            all activations must be proved, in doubt or not: their answers meanwhile may be old.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        kinds: ProvedKinds,
        opened: Callable[[], Awaitable[Storage]],
        saved_versions: SavedVersions,
        unknown: UnknownFreshness,
    ) -> None:
        self.repeat = False
        self.proved = 0
        self.changed = 0
        self.missing = 0
        self.reads = 0
        self.blind = False
        self._local = local
        self._topology = topology
        self._kinds = kinds
        self._opened = opened
        self._saved_versions = saved_versions
        self._unknown = unknown
        self._unnoticed_until = -math.inf
        """Until then, a member that cannot reach this node may not have noticed that, so it has written no marker."""
        self._wanted: dict[int, Activation] = {}
        self._to_hold: list[Activation] = []
        self._proving = False
        self._looking = False
        self._due: dict[int, tuple[float, Activation]] = {}
        """When activations must be proved again, by `id`; the latest time counts."""
        self._batches: list[tuple[float, int, list[Activation]]] = []
        """A heap of activations by the times at which they were to be proved again, with a number for equal times."""
        self._batches_made = 0
        local.pauses.observe_expiry(self._expire)
        self._round: asyncio.Future[InahoError | None] | None = None

    def require_all(self, *, at_once: bool = False) -> None:
        """Every activation with state on this node must be proved before its next turn.

        Args:
            at_once: before this returns, and not in slices. A thousand activations take about a millisecond. Needed
                where calls wait that would be answered between two slices.
        """
        was_holding = bool(self._to_hold)
        self._to_hold = list(self._kinds.activations())
        if at_once:
            while self._to_hold:
                self.require(self._to_hold.pop())
        elif self._to_hold and not was_holding:
            self._hold_slice()

    def _hold_slice(self) -> None:
        for _ in range(min(HOLD_SLICE, len(self._to_hold))):
            self.require(self._to_hold.pop())
        if self._to_hold:
            self._local.loop.call_soon(self._hold_slice)

    def require(self, grain: Activation) -> None:
        """The activation must be proved before its next turn. Running turns continue."""
        host_of(grain).lifecycle.require_proof(grain)

    def member_lost(self) -> None:
        """A member is lost. Until it notices that, it acts by its old view and may activate what begins here.

        It writes its marker when it notices, so until then no marker shows that it may save.
        """
        members = 1 if self._topology.snapshot is None else len(self._topology.snapshot.members)
        unnoticed_s = detection_bound_s(self._local.config, members) + 2 * self._local.config.activation.freshness_s
        until = self._local.loop.time() + min(unnoticed_s, self._local.config.membership.tombstone_s)
        self._unnoticed_until = max(self._unnoticed_until, until)

    def started(self, grain: Activation, loaded_at: float) -> None:
        """An activation has started with the state stored at `loaded_at`; it is proved again when that is too old."""
        record = grain._inaho_record
        if record is None or not is_proved_kind(host_of(grain)):
            return
        record.contested = loaded_at <= self._unnoticed_until and not self._local.storage_is_private
        if self.repeat or record.contested:
            self._again_at(loaded_at, [grain])
            self._expire()  # `on_activate` may have taken long

    def want(self, grain: Activation) -> None:
        """A turn or stream waits for the proof of this activation."""
        self._wanted[id(grain)] = grain
        if not self._proving:
            self._proving = True
            self._local.spawn(self._prove(), name="inaho-prove")

    async def passed(self, grain: Activation) -> None:
        """Returns when the activation is proved, or has ended.

        Raises:
            InahoError: the storage does not answer, and `activation.when_unproved` is `refuse`.
        """
        while host_of(grain).lives(grain) and host_of(grain).lifecycle.is_unproved(grain):
            record = grain._inaho_record
            if record is not None and record.busy:
                async with record.writing():
                    pass
            self.want(grain)
            if self._round is None:
                self._round = self._local.loop.create_future()
            now = self._round
            await asyncio.wait((now,))
            error = now.result()
            host = host_of(grain)
            if not host.lifecycle.is_unproved(grain):
                continue
            if error is not None and self._refuses(error):
                raise error
            if host.lives(grain) and host.lifecycle.state_of(grain) is ActivationState.ENDING:
                # It is outdated, and ends when its turns have ended: another read would show the same.
                await host.gates.wait(grain._inaho_key)

    async def _prove(self) -> None:
        """Proves the requested activations, until no request is left."""
        try:
            while self._wanted:
                # An activation that starts is proved when it has started.
                wanted = [grain for grain in self._wanted.values() if grain._inaho_record is not None]
                self._wanted = {}
                began = self._local.loop.time()
                asked = [(grain, *_stored_as(grain)) for grain in wanted]
                self._round = self._round or self._local.loop.create_future()
                error: InahoError | None = None
                try:
                    found = await self._read([grain.identity for grain in wanted])
                except InahoError as failure:
                    error = failure
                    self._not_read(wanted, failure)
                else:
                    if self.blind and wanted:  # activations that were not read meanwhile must be proved
                        self.blind = False
                        self.require_all()
                    for (grain, version, epoch), stored in zip(asked, found, strict=True):
                        self._judge(grain, version, epoch, stored)
                self._again_at(began, [grain for grain in wanted if self._is_due_again(grain, began)])
                done, self._round = self._round, None
                done.set_result(error)
        finally:
            self._proving = False
            if self._round is not None and not self._round.done():
                self._round.cancel()

    async def _read(self, identities: list[ClusterIdentity]) -> list[StoredVersion | None]:
        """Reads the stored versions. A read that fails is repeated within the time that an answer may take.

        Raises:
            StorageFailed: the storage did not answer.
            StorageLost: the storage has lost data.
        """
        if not identities:
            return []
        attempt = 1
        async with time_limit(self._local):
            while True:
                self.reads += 1
                try:
                    return await (await self._opened()).versions(identities)
                except StorageFailed:
                    if attempt == READ_ATTEMPTS:
                        raise
                attempt += 1
                await asyncio.sleep(READ_PAUSE_S)

    def _judge(self, grain: Activation, version: int, epoch: int, stored: StoredVersion | None) -> None:
        """Proves or ends an activation that had `version` and `epoch` when the read of `stored` began.

        If it has saved since, the save was acknowledged, so nobody else had saved and all versions up to its own are
        its own. Without this rule, an activation that saves all the time could never be proved.
        """
        host, record = host_of(grain), grain._inaho_record
        if not host.lives(grain) or not host.lifecycle.is_unproved(grain) or record is None:
            return
        if record.busy:  # a stream or a Task of the user is saving
            self._local.spawn(self._judge_when_written(grain, record, version, epoch, stored), name="inaho-prove-later")
            return
        own = stored is not None and version < stored.version <= record.version
        if own or is_same(version, epoch, stored):
            self.proved += 1
            host.lifecycle.proved(grain)
            return
        stored_version = 0 if stored is None else stored.version
        if stored_version < version:
            self.missing += 1
            self._saved_versions.expect_version(host.name, grain._inaho_key, record.version)
            self._local.log.error(
                "the storage has version %d of %s and had version %d before: saved state was lost",
                stored_version, grain.identity, record.version,
            )  # fmt: skip
        else:
            self.changed += 1
            self._local.log.info(
                "another activation of %s has saved version %d, so this one (version %d) ends",
                grain.identity, stored_version, record.version,
            )  # fmt: skip
        host.deactivate_soon(grain, "stale")

    async def _judge_when_written(
        self, grain: Activation, record: StateRecord, version: int, epoch: int, stored: StoredVersion | None
    ) -> None:
        async with record.writing():
            pass
        self._judge(grain, version, epoch, stored)

    def _refuses(self, error: InahoError) -> bool:
        """Whether unproved answers are refused: by setting, or because `error` shows that data was lost."""
        return self._local.config.activation.when_unproved == "refuse" or not isinstance(error, StorageFailed)

    def _not_read(self, grains: list[Activation], error: InahoError) -> None:
        """The read failed, so the age of answers has no bound: they are given or refused, by setting.

        If the storage has lost data, they are refused.
        """
        refuse = self._refuses(error)
        if isinstance(error, StorageFailed):  # any other error says that it has lost data
            self._unknown.tell(error)
        if not refuse:
            self.not_answered()
        for grain in grains:
            host = host_of(grain)
            if not host.lives(grain) or not host.lifecycle.is_unproved(grain):
                continue
            if refuse:
                host.lifecycle.refuse_waiting(grain, error)
            else:
                host.lifecycle.proved(grain)

    def not_answered(self) -> None:
        """The storage did not answer, and turns are answered unproved because of that."""
        self.blind = True
        if not self._looking and not self._local.closing:
            self._looking = True
            self._local.spawn(self._look_again(), name="inaho-look-again")

    async def _look_again(self) -> None:
        """Has all activations proved when the storage answers again."""
        try:
            while self.blind and not self._local.closing:
                await asyncio.sleep(self._local.config.activation.freshness_s)
                try:
                    async with time_limit(self._local):
                        await (await self._opened()).versions([MARKERS])
                except InahoError as error:
                    self._unknown.tell(error)
                else:
                    self.blind = False
                    self.require_all()
        finally:
            self._looking = False

    def _is_due_again(self, grain: Activation, asked_at: float) -> bool:
        """Whether an activation must be proved once more after a read that began at `asked_at`."""
        record = grain._inaho_record
        assert record is not None
        if asked_at > self._unnoticed_until:
            record.contested = False
        return self.repeat or record.contested

    def _again_at(self, since: float, grains: list[Activation]) -> None:
        """Has activations that were proved at `since` proved again in time."""
        due = since + self._local.config.activation.freshness_s
        for grain in grains:
            self._due[id(grain)] = due, grain
        if grains:
            self._batches_made += 1
            heapq.heappush(self._batches, (due, self._batches_made, grains))
            self._local.pauses.expires(self._batches[0][0])
            self._local.loop.call_at(due, self._expire, due)

    def _expire(self, due: float = 0.0) -> None:
        """Has activations proved whose time is over; `due` is that of the timer, which may be early by rounding."""
        now = max(due, self._local.loop.time())
        while self._batches and self._batches[0][0] <= now:
            since, _, grains = heapq.heappop(self._batches)
            self._again(since, grains)
        self._local.pauses.expires(self._batches[0][0] if self._batches else math.inf)

    def _again(self, due: float, grains: list[Activation]) -> None:
        skip = self._local.closing
        if self.blind and self._local.config.activation.when_unproved == "answer":
            skip = True  # all are required when the storage answers again
        for grain in grains:
            known = self._due.get(id(grain))
            if known is None or known[0] != due:
                continue  # it was proved meanwhile
            del self._due[id(grain)]
            record = grain._inaho_record
            if not skip and record is not None and (self.repeat or record.contested):
                self.require(grain)


def _stored_as(grain: Activation) -> tuple[int, int]:
    """Version and epoch of the state of an activation that has started."""
    record = grain._inaho_record
    assert record is not None
    return record.version, record.stored_epoch
