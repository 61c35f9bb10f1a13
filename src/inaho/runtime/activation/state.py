"""The durable state of an activation: loaded before the first turn, saved and cleared on the user's word.

A save names the version that it replaces and the epoch of the activation. One that loses shows that the activation is
stale, and ends it; so does one that was interrupted or not answered, since nobody knows then what is stored.

Whatever leaves an activation, to the storage or to its next owner, is decoded before it goes. Encoding checks no types,
and loading does: a wrong value in one field, once acknowledged, would be refused at every later load, for good.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from inaho.errors import SerializationFailed, StateConflict, StateMissing, StorageFailed, StorageLost
from inaho.errors.inspection import text_of
from inaho.events import HandOffCompleted, HandOffFailed
from inaho.runtime.grains.state_record import StateRecord
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, encode
from inaho.wire.stored import pack_state, unpack_state

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.activation.records import ActivationRecord
    from inaho.runtime.grains.grain import Grain
    from inaho.storage.base import StoredVersion

__all__ = ["clear_state", "hand_over", "is_same", "load_handed", "load_state", "reload_state", "save_state"]

_FAILED_WRITES: Final = (StateConflict, StorageFailed, StorageLost, asyncio.CancelledError)


def hand_over(host: KindHost, grain: Grain[Any], record: StateRecord) -> tuple[int, bytes | None]:
    """Version and encoded state for the next owner, which loads it from the storage where it gets none.

    In doubt it gets none: another activation may have saved, and this one would not know.
    """
    if record.version_unknown or record.value_unfit or host.node.freshness.in_doubt:
        return record.version, None
    try:
        data = _encode(grain, record.value)
        if len(data) > host.local.config.activation.snapshot_bytes_max:
            return record.version, None
        _decode(host, grain, data, "the state")
    except SerializationFailed as error:  # what was saved last could be loaded: the next owner begins with that
        host.local.log.warning("%s moves without what it had not saved: %s", grain.identity, error.reason)
        return record.version, None
    return record.version, data


async def load_state(host: KindHost, grain: Grain[Any], handed: ActivationRecord | None = None) -> StateRecord:
    """The state of an activation: what the last owner gave, else what is stored, else a new one.

    Its epoch is raised above the one under which it was stored.

    Raises:
        SerializationFailed: what is given or stored is not of the kind's state type.
        StateMissing: the storage has less than what the last owner had saved.
        StorageFailed: the storage did not answer.
    """
    if handed is not None and handed.snapshot is not None and await _is_proved(host, grain, handed):
        value = _decode(host, grain, handed.snapshot, _saved(handed.version))
        return StateRecord(value, handed.version, handed.stored_epoch)
    storage = await host.node.storage_access.opened()
    stored = await storage.load(grain.identity)
    version = 0 if stored is None else stored.version
    if handed is not None and version < handed.version:
        raise StateMissing(
            f"{handed.authority} had saved version {handed.version}, and the storage of this node has "
            f"{f'version {version}' if version else 'nothing'}",
            identity=str(grain.identity),
            authority=host.authority,
        )
    if host.node.fencing.is_doubtful(host.name, grain._inaho_key):
        stored = await host.node.fencing.claim(storage, grain, stored)
    if stored is None:
        return StateRecord(host.kind.new_state(), 0)
    host.node.leases.ledger.raise_epoch(grain._inaho_lease, stored.epoch)
    if stored.data is None:
        return StateRecord(host.kind.new_state(), stored.version, stored.epoch)
    return StateRecord(_decode(host, grain, stored.data, _saved(stored.version)), stored.version, stored.epoch)


async def _is_proved(host: KindHost, grain: Grain[Any], handed: ActivationRecord) -> bool:
    """Whether a snapshot that was handed over is of what is stored; else the state is loaded."""
    node = host.node
    if node.local.storage_is_private:
        return True
    try:
        storage = await node.storage_access.opened()
        (stored,) = await storage.versions([grain.identity])
    except StorageFailed as error:
        node.unknown_freshness.tell(error)
        if node.local.config.activation.when_unproved == "refuse":
            raise
        node.proofs.not_answered()
        return True
    if is_same(handed.version, handed.stored_epoch, stored):
        return True
    node.local.log.info(
        "%s begins with what is stored: %s handed over version %d, another one is stored",
        grain.identity, handed.authority, handed.version,
    )  # fmt: skip
    return False


async def load_handed(host: KindHost, grain: Grain[Any], handed: ActivationRecord | None) -> StateRecord:
    """As `load_state`, and tells how the hand-off went. What the last owner had must be there (SPEC CL-5)."""
    if handed is None:
        return await load_state(host, grain)
    identity, node = grain.identity, host.node
    try:
        record = await load_state(host, grain, handed)
    except (StateMissing, SerializationFailed) as error:
        node.saved_versions.expect(identity.kind, identity.key, handed)  # the next attempt must find it too
        node.local.publish(HandOffFailed(identity=identity, from_authority=handed.authority, reason=error.reason))
        raise
    node.saved_versions.found(identity.kind, identity.key)
    node.history.note_lease(grain._inaho_lease, "took_over", f"from {handed.authority}, version {handed.version}")
    if node.local.events_wanted(HandOffCompleted):
        event = HandOffCompleted(
            identity=identity,
            from_authority=handed.authority,
            version=handed.version,
            snapshot=handed.snapshot is not None,
        )
        node.local.publish(event)
    return record


async def reload_state(host: KindHost, grain: Grain[Any], record: StateRecord) -> bool:
    """Puts back what this activation has loaded or saved last; False when another one has saved since.

    Unlike a load at the start it never raises the epoch: an activation that was replaced must not outbid its successor.
    """
    storage = await host.node.storage_access.opened()
    async with record.writing():  # a stream may be saving
        stored = await storage.load(grain.identity)
        if record.version != (0 if stored is None else stored.version):
            return False
        data = None if stored is None else stored.data
        record.value = host.kind.new_state() if data is None else _decode(host, grain, data, _saved(record.version))
        record.value_unfit = False
    return True


def is_same(version: int, epoch: int, stored: StoredVersion | None) -> bool:
    """Whether a state that was loaded or saved as `version` under `epoch` is what is stored; epoch -1 is unknown."""
    if stored is None:
        return version == 0
    return stored.version == version and epoch in (-1, stored.epoch)


def _saved(version: int) -> str:
    return f"the saved state (version {version})"


def _decode(host: KindHost, grain: Grain[Any], data: bytes, what: str) -> Any:
    decode = host.kind.decode_state
    assert decode is not None
    try:
        return decode(unpack_state(data))
    except SerializationFailed as error:  # the format is of a later release
        raise SerializationFailed(
            f"{what}: {error.reason}", identity=str(grain.identity), authority=host.authority
        ) from error
    except DECODE_ERRORS as error:
        raise SerializationFailed(
            f"{what} is not a {host.kind.state_type!r}: {text_of(error)}",
            identity=str(grain.identity),
            authority=host.authority,
        ) from error


def _encode(grain: Grain[Any], value: Any) -> bytes:
    try:
        return pack_state(encode(value))
    except ENCODE_ERRORS as error:
        raise SerializationFailed(
            f"the state cannot be serialized: {text_of(error)}", identity=str(grain.identity)
        ) from error


async def save_state(host: KindHost, grain: Grain[Any], record: StateRecord) -> None:
    """See `Grain.save`."""
    storage = await host.node.storage_access.opened()
    async with record.writing():
        _check_may_save(host, grain, record)
        data = _encode(grain, record.value)
        _decode(host, grain, data, "the state")
        try:
            epoch = grain._inaho_lease.epoch
            record.version = await storage.save(grain.identity, data, expected_version=record.version, epoch=epoch)
            record.stored_epoch = epoch
        except _FAILED_WRITES as error:
            _lost(host, grain, record, error)
            raise


async def clear_state(host: KindHost, grain: Grain[Any], record: StateRecord) -> None:
    """See `Grain.clear`."""
    storage = await host.node.storage_access.opened()
    async with record.writing():
        _check_may_save(host, grain, record)
        try:
            epoch = grain._inaho_lease.epoch
            await storage.delete(grain.identity, expected_version=record.version, epoch=epoch)
        except _FAILED_WRITES as error:
            _lost(host, grain, record, error)
            raise
        record.version += 1
        record.stored_epoch = epoch
        record.value = host.kind.new_state()


def _check_may_save(host: KindHost, grain: Grain[Any], record: StateRecord) -> None:
    """A revoked lease may not commit; the storage would refuse it too, once the successor has committed."""
    if not grain._inaho_lease.holding:
        host.deactivate_soon(grain, "stale")
        raise host.node.leases.lost(grain._inaho_lease, executed=True)
    if record.broken:
        raise StateConflict(
            "a turn failed half-way and the state could not be reset, so it is not saved",
            identity=str(grain.identity),
            maybe_executed=True,
        )


def _lost(host: KindHost, grain: Grain[Any], record: StateRecord, error: BaseException) -> None:
    """What is stored is not known any more: the activation ends, and its successor loads it.

    Raises:
        StateMissing: the storage has a version below the one that this activation has saved or loaded.
    """
    if not isinstance(error, StorageFailed) or error.maybe_executed:
        record.version_unknown = True
        host.deactivate_soon(grain, "stale")
    if isinstance(error, StateConflict) and error.stored_version is not None and error.stored_version < record.version:
        raise StateMissing(
            f"version {record.version} was acknowledged, and the storage has "
            f"{f'version {error.stored_version}' if error.stored_version else 'nothing'}: it has lost data",
            identity=str(grain.identity),
            authority=host.authority,
        ) from error
