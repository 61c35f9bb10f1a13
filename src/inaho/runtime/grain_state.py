"""The durable state of an activation: loaded before the first turn, saved and cleared on the user's word.

A save names the version that it replaces and the epoch of the activation. One that loses shows that the activation is
stale, and ends it; so does one that was interrupted, since nobody knows then what is stored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from inaho.errors import SerializationFailed, StateConflict
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, encode

if TYPE_CHECKING:
    from inaho.runtime.grain import Grain, StateRecord
    from inaho.runtime.kind import KindHost

__all__ = ["clear_state", "load_state", "save_state"]


async def load_state(host: KindHost, grain: Grain[Any]) -> StateRecord:
    """What is stored for the activation, or a new state; its epoch is raised above what was stored.

    Raises:
        SerializationFailed: what is stored is not of the kind's state type.
        StorageFailed: the storage did not answer.
    """
    from inaho.runtime.grain import StateRecord

    storage = await host.node.open_storage()
    stored = await storage.load(grain.identity)
    if stored is None:
        return StateRecord(host.kind.new_state(), 0)
    if stored.epoch > grain._inaho_epoch:
        grain._inaho_epoch = host.node.epoch_above(stored.epoch)
    if stored.data is None:
        return StateRecord(host.kind.new_state(), stored.version)
    decode = host.kind.decode_state
    assert decode is not None
    try:
        return StateRecord(decode(stored.data), stored.version)
    except DECODE_ERRORS as error:
        raise SerializationFailed(
            f"the saved state (version {stored.version}) is not a {host.kind.state_type!r}: {error}",
            identity=str(grain.identity),
            authority=host.authority,
        ) from error


async def save_state(host: KindHost, grain: Grain[Any], record: StateRecord) -> None:
    """See `Grain.save`."""
    storage = await host.node.open_storage()
    async with record.writing():
        try:
            data = encode(record.value)
        except ENCODE_ERRORS as error:
            raise SerializationFailed(
                f"the state cannot be serialized: {error}", identity=str(grain.identity), maybe_executed=True
            ) from error
        try:
            record.version = await storage.save(
                grain.identity, data, expected_version=record.version, epoch=grain._inaho_epoch
            )
        except (StateConflict, asyncio.CancelledError):
            host.deactivate_soon(grain, "stale")
            raise


async def clear_state(host: KindHost, grain: Grain[Any], record: StateRecord) -> None:
    """See `Grain.clear`."""
    storage = await host.node.open_storage()
    async with record.writing():
        try:
            await storage.delete(grain.identity, expected_version=record.version, epoch=grain._inaho_epoch)
        except (StateConflict, asyncio.CancelledError):
            host.deactivate_soon(grain, "stale")
            raise
        record.version += 1
        record.value = host.kind.new_state()
