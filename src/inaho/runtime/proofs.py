"""Proving that activations have what is stored, before they answer.

An activation that must be proved is *held*, like one that comes up: its turns wait in its queue. The first turn that
waits asks for the proof. What is asked for in one turn of the loop goes to the storage as one read
(`Storage.versions`). Where version and epoch are equal the turns go on. Where another activation has saved, the
activation ends and the turns go to its successor, which loads. Where the storage has less, its successor is refused
with `StateMissing`.

An activation that nobody calls stays held and costs no read. Calls of all kinds pass the queue of the activation, so
none needs a check of its own: from other nodes, from this node, read-only ones, ticks, reminders. Items of streams are
asked about one by one (`passed`), because a stream runs beside the queue.

Why not a check before every turn: it would cost every call, and almost none needs it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from inaho.core.rpc.turns import TurnQueue
from inaho.errors import InahoError, StateMissing, StorageFailed
from inaho.runtime.grain_state import is_same

if TYPE_CHECKING:
    from inaho.runtime.grain import Grain
    from inaho.runtime.grain_state import StateRecord
    from inaho.runtime.kind import KindHost
    from inaho.runtime.node import Node
    from inaho.storage.base import StoredVersion

__all__ = ["Proofs", "is_proved_kind", "is_unproved"]

HOLD_SLICE: Final = 2_000
"""Activations held in one turn of the loop: about two milliseconds."""


READ_ATTEMPTS: Final = 4
READ_PAUSE_S: Final = 0.05
"""How often, and how far apart, a proof is tried before the storage counts as one that does not answer."""


class Proofs:
    """The proofs of one node (SPEC CL-5.4; docs/decisions/0030).

    Args:
        node: the node.

    Attributes:
        repeat: activations are to be proved again when a proof is older than `activation.freshness_s`.
        proved, changed, missing: outcomes, counted.
        reads: reads of the storage, counted.
        blind: the storage did not answer the last read. Until it does, nothing is held that would be answered anyway.
    """

    def __init__(self, node: Node) -> None:
        self.repeat = False
        self.proved = 0
        self.changed = 0
        self.missing = 0
        self.reads = 0
        self.blind = False
        self._node = node
        self._wanted: dict[int, Grain[Any]] = {}
        self._to_hold: list[Grain[Any]] = []
        self._proving = False
        self._round: asyncio.Future[InahoError | None] | None = None

    def require_all(self) -> None:
        """Every activation with state on this node is to be proved before its next turn."""
        was_holding = bool(self._to_hold)
        self._to_hold = [
            grain for host in self._node.hosts.values() if is_proved_kind(host) for grain in host.activations.values()
        ]
        if self._to_hold and not was_holding:
            self._hold_slice()

    def _hold_slice(self) -> None:
        for _ in range(min(HOLD_SLICE, len(self._to_hold))):
            self.require(self._to_hold.pop())
        if self._to_hold:
            self._node.loop.call_soon(self._hold_slice)

    def require(self, grain: Grain[Any]) -> None:
        """The activation is to be proved before its next turn. What runs goes on."""
        host = grain._inaho_host
        if not host.lives(grain):
            return
        busy = grain._inaho_turn
        if isinstance(busy, TurnQueue) and busy.ending:
            return
        queue = host.hold(grain)
        queue.unproved = True
        if queue.waiting:
            self.want(grain)

    def started(self, grain: Grain[Any], loaded_at: float) -> None:
        """An activation is up, and has what was stored at `loaded_at`; it is proved again in time."""
        if self.repeat and is_proved_kind(grain._inaho_host):
            self._again_at(loaded_at, [grain])

    def want(self, grain: Grain[Any]) -> None:
        """Somebody waits for the proof of this activation."""
        self._wanted[id(grain)] = grain
        if not self._proving:
            self._proving = True
            self._node.runner.spawn(self._prove(), name="inaho-prove")

    async def passed(self, grain: Grain[Any]) -> None:
        """Returns when the activation is proved, or has ended.

        Raises:
            InahoError: the storage does not answer, and `activation.when_unproved` is `refuse`.
        """
        while grain._inaho_host.lives(grain) and is_unproved(grain):
            record = grain._inaho_record
            if record is not None and record.busy:
                async with record.writing():
                    pass
            self.want(grain)
            if self._round is None:
                self._round = self._node.loop.create_future()
            now = self._round
            await asyncio.wait((now,))
            error = now.result()
            if error is not None and is_unproved(grain):
                raise error

    async def _prove(self) -> None:
        """Proves what is wanted, until nothing is."""
        node = self._node
        try:
            while self._wanted:
                wanted, self._wanted = list(self._wanted.values()), {}
                began = node.loop.time()
                asked = [(grain, _version(grain)) for grain in wanted]
                self._round = self._round or node.loop.create_future()
                error: InahoError | None = None
                try:
                    found = await self._read(wanted)
                except (StorageFailed, StateMissing) as failure:
                    error = failure
                    self._not_read(wanted, failure)
                else:
                    if self.blind:  # those that were not proved again meanwhile are due
                        self.blind = False
                        self.require_all()
                    for (grain, version), stored in zip(asked, found, strict=True):
                        self._judge(grain, version, stored)
                if self.repeat:
                    self._again_at(began, wanted)
                done, self._round = self._round, None
                done.set_result(error)
        finally:
            self._proving = False
            if self._round is not None and not self._round.done():
                self._round.cancel()

    async def _read(self, grains: list[Grain[Any]]) -> list[StoredVersion | None]:
        """What is stored of them. A read that fails is repeated, as long as an answer may take."""
        node = self._node
        wait_s = node.config.activation.freshness_s
        identities = [grain.identity for grain in grains]
        attempt = 1
        try:
            async with asyncio.timeout(wait_s if node.config.activation.when_unproved == "answer" else None):
                while True:
                    self.reads += 1
                    try:
                        return await (await node.open_storage()).versions(identities)
                    except StorageFailed:
                        if attempt == READ_ATTEMPTS:
                            raise
                    attempt += 1
                    await asyncio.sleep(READ_PAUSE_S)
        except TimeoutError as error:
            raise StorageFailed(
                f"the storage did not answer within activation.freshness_s ({wait_s} s)",
                authority=node.authority,
                maybe_executed=False,
            ) from error

    def _judge(self, grain: Grain[Any], version: int, stored: StoredVersion | None) -> None:
        host, record = grain._inaho_host, grain._inaho_record
        if not host.lives(grain) or not is_unproved(grain) or record is None:
            return  # one that comes up is asked about when it is up
        if record.busy:  # a stream or a Task of the user is saving
            self._node.runner.spawn(self._want_when_written(grain, record), name="inaho-prove-later")
            return
        if record.version != version:  # one has saved meanwhile
            self.want(grain)
            return
        if is_same(record.version, record.stored_epoch, stored):
            self.proved += 1
            self._release(host, grain)
            return
        stored_version = 0 if stored is None else stored.version
        if stored_version < record.version:
            self.missing += 1
            self._node.saved_versions.expect_version(host.name, grain._inaho_key, record.version)
            self._node.log.error(
                "the storage has version %d of %s and had version %d before: saved state was lost",
                stored_version, grain.identity, record.version,
            )  # fmt: skip
        else:
            self.changed += 1
            self._node.log.info(
                "another activation of %s has saved version %d, so this one (version %d) ends",
                grain.identity, stored_version, record.version,
            )  # fmt: skip
        host.deactivate_soon(grain, "stale")

    async def _want_when_written(self, grain: Grain[Any], record: StateRecord) -> None:
        async with record.writing():
            pass
        self.want(grain)

    def _release(self, host: KindHost, grain: Grain[Any]) -> None:
        queue = grain._inaho_turn
        assert isinstance(queue, TurnQueue)
        queue.unproved = False
        if queue.starting or queue.ending or queue.resetting is not None:
            return
        queue.held = False
        host.gates.open(grain._inaho_key, None)
        self._node.runner.advance(grain, queue)

    def _not_read(self, grains: list[Grain[Any]], error: InahoError) -> None:
        """The storage does not answer: without a bound on their age, answers are given or refused, by setting."""
        node = self._node
        node.freshness.unknown(error)
        self.blind = True
        refuse = node.config.activation.when_unproved == "refuse" or isinstance(error, StateMissing)
        for grain in grains:
            queue = grain._inaho_turn
            if not grain._inaho_host.lives(grain) or not isinstance(queue, TurnQueue) or not queue.unproved:
                continue
            if not refuse:
                self._release(grain._inaho_host, grain)
                continue
            while queue.waiting:
                error.maybe_executed = False
                node.runner.answer_error(queue.waiting.popleft(), error)

    def _again_at(self, since: float, grains: list[Grain[Any]]) -> None:
        self._node.loop.call_at(since + self._node.config.activation.freshness_s, self._again, grains)

    def _again(self, grains: list[Grain[Any]]) -> None:
        if not self.repeat or self._node.closing:
            return
        if self.blind and self._node.config.activation.when_unproved == "answer":
            return  # all are required when the storage answers again
        for grain in grains:
            self.require(grain)


def is_proved_kind(host: KindHost) -> bool:
    """Whether activations of the kind have state that others may change. Stateless pools are exempt."""
    return host.hosted and not host.system and host.pool is None and host.kind.state_type is not None


def is_unproved(grain: Grain[Any]) -> bool:
    """Whether the activation waits for its proof."""
    busy = grain._inaho_turn
    return isinstance(busy, TurnQueue) and busy.unproved


def _version(grain: Grain[Any]) -> int:
    return 0 if grain._inaho_record is None else grain._inaho_record.version
