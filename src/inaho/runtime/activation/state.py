"""Loads the state of an activation before its first turn, and saves and clears it.

A save names the version that it replaces and the epoch of the activation. A refused save shows that the activation is
outdated, so the activation ends. It also ends after a save that was interrupted or not answered, since the stored
version is then unknown.

State that goes to the storage or to the next owner is encoded, and decoded once before it is sent. Encoding checks no
types, but decoding does: a wrong value in one field, once saved, would make every later load fail.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from inaho.errors import SerializationFailed, StateConflict, StateMissing, StorageFailed, StorageLost
from inaho.errors.inspection import text_of
from inaho.events import HandOffCompleted, HandOffFailed
from inaho.runtime.grains.state_record import StateRecord
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, encode
from inaho.wire.stored import pack_state, unpack_state

if TYPE_CHECKING:
    from inaho.runtime.activation.fencing import Fencing
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.activation.ports import Freshness, OpenStorage, Ownership
    from inaho.runtime.activation.records import ActivationRecord
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.local.local_node import LocalNode
    from inaho.storage.base import StoredVersion

__all__ = ["StateHost", "States", "is_same"]

_FAILED_WRITES: Final = (StateConflict, StorageFailed, StorageLost, asyncio.CancelledError)


class StateHost(Protocol):
    """What loading and saving needs to know of a kind on one node."""

    @property
    def name(self) -> str:
        """Of the kind."""
        ...

    @property
    def kind(self) -> GrainKind:
        """What was read from the class."""
        ...

    @property
    def authority(self) -> str:
        """Of the node."""
        ...

    def deactivate_soon(self, grain: Activation, reason: str) -> None:
        """Ends the activation after its running turns."""
        ...


class States:
    """Loads and saves the durable states of the activations of one node.

    Args:
        local: the node.
        opened: returns its storage, opened.
        leases: decide whether an activation may save.
        fencing: knows identities whose previous owner may still run and save.
        ownership: knows the versions that the storage must have.
        freshness: decides whether activations have the stored state.
    """

    def __init__(
        self,
        local: LocalNode,
        opened: OpenStorage,
        leases: Leases,
        fencing: Fencing,
        ownership: Ownership,
        freshness: Freshness,
    ) -> None:
        self._local = local
        self._opened = opened
        self._leases = leases
        self._fencing = fencing
        self._ownership = ownership
        self._freshness = freshness

    def hand_over(self, host: StateHost, grain: Activation, record: StateRecord) -> tuple[int, bytes | None]:
        """Version and encoded state for the next owner. Without a state the next owner loads it from the storage.

        While this node is in doubt it gives none: another activation may have saved without its knowledge.
        """
        if record.version_unknown or record.value_unfit or self._freshness.in_doubt:
            return record.version, None
        try:
            data = _encode(grain, record.value)
            if len(data) > self._local.config.activation.snapshot_bytes_max:
                return record.version, None
            _decode(host, grain, data, "the state")
        except SerializationFailed as error:  # the saved state can be loaded: the next owner begins with it
            self._local.log.warning("%s moves and loses its unsaved state: %s", grain.identity, error.reason)
            return record.version, None
        return record.version, data

    async def _load(self, host: StateHost, grain: Activation, handed: ActivationRecord | None = None) -> StateRecord:
        """The state of an activation: from the previous owner, otherwise from the storage, otherwise a new one.

        The epoch of the activation is raised above the stored epoch.

        Raises:
            SerializationFailed: the state is not of the kind's state type.
            StateMissing: the storage has an older version than the previous owner had saved.
            StorageFailed: the storage did not answer.
        """
        if handed is not None and handed.snapshot is not None and await self._is_proved(host, grain, handed):
            value = _decode(host, grain, handed.snapshot, _saved(handed.version))
            return StateRecord(value, handed.version, handed.stored_epoch)
        storage = await self._opened()
        stored = await storage.load(grain.identity)
        version = 0 if stored is None else stored.version
        if handed is not None and version < handed.version:
            raise StateMissing(
                f"{handed.authority} had saved version {handed.version}, and the storage of this node has "
                f"{f'version {version}' if version else 'nothing'}",
                identity=str(grain.identity),
                authority=host.authority,
            )
        if self._fencing.is_doubtful(host.name, grain._inaho_key):
            stored = await self._fencing.claim(storage, grain, stored)
        if stored is None:
            return StateRecord(host.kind.new_state(), 0)
        self._leases.ledger.raise_epoch(grain._inaho_lease, stored.epoch)
        if stored.data is None:
            return StateRecord(host.kind.new_state(), stored.version, stored.epoch)
        return StateRecord(_decode(host, grain, stored.data, _saved(stored.version)), stored.version, stored.epoch)

    async def _is_proved(self, host: StateHost, grain: Activation, handed: ActivationRecord) -> bool:
        """Whether a snapshot of the previous owner has the stored version; otherwise the state must be loaded."""
        if self._local.storage_is_private:
            return True
        try:
            storage = await self._opened()
            (stored,) = await storage.versions([grain.identity])
        except StorageFailed as error:
            self._freshness.storage_silent(error)
            if self._local.config.activation.when_unproved == "refuse":
                raise
            self._freshness.answered_unproved()
            return True
        if is_same(handed.version, handed.stored_epoch, stored):
            return True
        self._local.log.info(
            "%s begins with the stored state: %s handed over version %d, another version is stored",
            grain.identity, handed.authority, handed.version,
        )  # fmt: skip
        return False

    async def load(self, host: StateHost, grain: Activation, handed: ActivationRecord | None) -> StateRecord:
        """As `_load`, and reports the outcome of the hand-off. The previous owner's version must be stored (CL-5)."""
        if handed is None:
            return await self._load(host, grain)
        identity = grain.identity
        try:
            record = await self._load(host, grain, handed)
        except (StateMissing, SerializationFailed) as error:
            self._ownership.expect(identity.kind, identity.key, handed)  # the next attempt must find this version too
            self._local.publish(HandOffFailed(identity=identity, from_authority=handed.authority, reason=error.reason))
            raise
        self._ownership.found(identity.kind, identity.key)
        self._leases.note(grain._inaho_lease, "took_over", f"from {handed.authority}, version {handed.version}")
        if self._local.events_wanted(HandOffCompleted):
            event = HandOffCompleted(
                identity=identity,
                from_authority=handed.authority,
                version=handed.version,
                snapshot=handed.snapshot is not None,
            )
            self._local.publish(event)
        return record

    async def reload(self, host: StateHost, grain: Activation, record: StateRecord) -> bool:
        """Loads the state again that this activation loaded or saved last; False if another activation saved since.

        Unlike a load at the start it never raises the epoch: a replaced activation must not get a higher epoch than its
        successor.
        """
        storage = await self._opened()
        async with record.writing():  # a stream may be saving
            stored = await storage.load(grain.identity)
            if record.version != (0 if stored is None else stored.version):
                return False
            data = None if stored is None else stored.data
            record.value = host.kind.new_state() if data is None else _decode(host, grain, data, _saved(record.version))
            record.value_unfit = False
        return True

    async def save(self, host: StateHost, grain: Activation, record: StateRecord) -> None:
        """See `Grain.save`."""
        storage = await self._opened()
        async with record.writing():
            self._check_may_save(host, grain, record)
            data = _encode(grain, record.value)
            _decode(host, grain, data, "the state")
            try:
                epoch = grain._inaho_lease.epoch
                record.version = await storage.save(grain.identity, data, expected_version=record.version, epoch=epoch)
                record.stored_epoch = epoch
            except _FAILED_WRITES as error:
                self._write_failed(host, grain, record, error)
                raise

    async def clear(self, host: StateHost, grain: Activation, record: StateRecord) -> None:
        """See `Grain.clear`."""
        storage = await self._opened()
        async with record.writing():
            self._check_may_save(host, grain, record)
            try:
                epoch = grain._inaho_lease.epoch
                await storage.delete(grain.identity, expected_version=record.version, epoch=epoch)
            except _FAILED_WRITES as error:
                self._write_failed(host, grain, record, error)
                raise
            record.version += 1
            record.stored_epoch = epoch
            record.value = host.kind.new_state()

    def _check_may_save(self, host: StateHost, grain: Activation, record: StateRecord) -> None:
        """Refuses a save under a revoked lease. The storage refuses it too, once the successor has saved.

        Refuses to save a state that a failed turn has changed half, too: the next load would take it for a good one.
        """
        if not grain._inaho_lease.holding:
            host.deactivate_soon(grain, "stale")
            raise self._leases.lost(grain._inaho_lease, executed=True)
        if record.value_unfit:
            policy = host.kind.on_failure
            raise StateConflict(
                f"a call of this activation has failed, so its state is not saved (on_failure={policy!r})",
                identity=str(grain.identity),
                maybe_executed=True,
            )

    def _write_failed(self, host: StateHost, grain: Activation, record: StateRecord, error: BaseException) -> None:
        """The stored version is unknown now: ends the activation, and its successor loads the stored state.

        Raises:
            StateMissing: the storage has a version below the one that this activation has saved or loaded.
        """
        if not isinstance(error, StorageFailed) or error.maybe_executed:
            record.version_unknown = True
            host.deactivate_soon(grain, "stale")
        stored = error.stored_version if isinstance(error, StateConflict) else None
        if stored is not None and stored < record.version:
            raise StateMissing(
                f"version {record.version} was acknowledged, and the storage has "
                f"{f'version {stored}' if stored else 'nothing'}: it has lost data",
                identity=str(grain.identity),
                authority=host.authority,
            ) from error


def is_same(version: int, epoch: int, stored: StoredVersion | None) -> bool:
    """Whether the stored state has `version` and `epoch`; epoch -1 is unknown and matches all."""
    if stored is None:
        return version == 0
    return stored.version == version and epoch in (-1, stored.epoch)


def _saved(version: int) -> str:
    return f"the saved state (version {version})"


def _decode(host: StateHost, grain: Activation, data: bytes, what: str) -> Any:
    decode = host.kind.decode_state
    assert decode is not None
    try:
        return decode(unpack_state(data))
    except SerializationFailed as error:  # a later release wrote this format
        raise SerializationFailed(
            f"{what}: {error.reason}", identity=str(grain.identity), authority=host.authority
        ) from error
    except DECODE_ERRORS as error:
        raise SerializationFailed(
            f"{what} is not a {host.kind.state_type!r}: {text_of(error)}",
            identity=str(grain.identity),
            authority=host.authority,
        ) from error


def _encode(grain: Activation, value: Any) -> bytes:
    try:
        return pack_state(encode(value))
    except ENCODE_ERRORS as error:
        raise SerializationFailed(
            f"the state cannot be serialized: {text_of(error)}", identity=str(grain.identity)
        ) from error
