"""What a grain says to the keeper of its reminders, and what the keeper says to the grain.

Both are ordinary calls, with the deadlines, retries and errors of any call. The method that delivers a reminder belongs
to every kind that overrides `on_reminder`, but not to its interface: references do not have it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any, Final

from inaho.core.activation.reminders import Reminder, ReminderRecord, validate_reminder
from inaho.core.identity.hashing import identity_hash
from inaho.errors import InahoError, InvalidArguments
from inaho.errors.inspection import is_a
from inaho.runtime.grains.method import GrainMethod
from inaho.runtime.grains.method_options import MethodOptions
from inaho.wire.exceptions import GrainError

if TYPE_CHECKING:
    from inaho.runtime.grains.grain import Grain
    from inaho.runtime.reminders.keeper import ReminderKeeper

__all__ = ["ANSWER_S", "REMIND", "OnReminderError", "delivery_method", "forget", "listed", "remind", "shard_of"]

REMIND: Final = "inaho.remind"
"""Name of the delivering method on the wire; no user's method can have it."""

ANSWER_S: Final = 5.0
"""Who delivers waits so much longer than `on_reminder` may take, to be told that it ran and was interrupted. Of its own
deadline it would not know whether that passed in the queue of a grain that is busy."""

_methods: Final[dict[str, GrainMethod]] = {}


def delivery_method(kind: str) -> GrainMethod:
    """The method by which that kind is given a reminder. One per kind, which the caller need not host."""
    known = _methods.get(kind)
    if known is None:
        options = MethodOptions(read_only=False, idempotent=True, timeout_s=None)
        hints = {"reminder": Reminder, "return": type(None)}
        known = _methods[kind] = GrainMethod(kind, REMIND, _deliver, options, hints)
    return known


class OnReminderError(GrainError):
    """An `on_reminder` ran and failed with an error of ours, which looks like one of the call that delivers."""


async def _deliver(grain: Grain[Any], reminder: Reminder) -> None:
    until = grain.context.deadline - ANSWER_S
    waited = until <= asyncio.get_running_loop().time()  # for so long that what is left is no attempt
    limit = asyncio.timeout_at(None if waited else until)
    try:
        async with limit:
            await grain.on_reminder(reminder)
    except Exception as error:
        if is_a(error, TimeoutError) and limit.expired():
            raise OnReminderError("the deadline passed while on_reminder ran") from error
        if is_a(error, InahoError):
            raise OnReminderError(f"{type(error).__name__}: {error.reason}") from error
        raise


def shard_of(kind: str, key: str, shards: int) -> str:
    """Key of the keeper that has the reminders of a grain."""
    return str(identity_hash(kind, key) % shards)


async def remind(grain: Grain[Any], name: str, due: float | datetime, period_s: float | None, catch_up: str) -> None:
    """See `Grain.remind`."""
    host = grain._inaho_host
    if not host.kind.reminded:
        raise InvalidArguments(f"{host.name} has no on_reminder that could be called", identity=str(grain.identity))
    at, delay_s = _due(due)
    period = 0.0 if period_s is None else float(period_s)
    if period_s is not None and not period_s > 0:
        raise InvalidArguments(f"period_s must be above 0, or None for one occurrence, not {period_s}")
    record = ReminderRecord(host.name, grain._inaho_key, name, at, period, catch_up)
    validate_reminder(record)
    await _keeper(grain).put(record, delay_s)


async def forget(grain: Grain[Any], name: str) -> bool:
    """See `Grain.forget`."""
    return await _keeper(grain).drop(grain._inaho_host.name, grain._inaho_key, name)


async def listed(grain: Grain[Any]) -> list[Reminder]:
    """See `Grain.reminders`."""
    return await _keeper(grain).listed(grain._inaho_host.name, grain._inaho_key)


def _keeper(grain: Grain[Any]) -> ReminderKeeper:
    from inaho.runtime.reminders.keeper import ReminderKeeper

    host = grain._inaho_host
    shards = host.local.config.activation.reminder_shards
    return host.node.cluster.grain(ReminderKeeper, shard_of(host.name, grain._inaho_key, shards))


def _due(due: float | datetime) -> tuple[float, float | None]:
    """Unix seconds of a time of day, or a delay, whose moment the keeper computes by its own clock."""
    if isinstance(due, datetime):
        if due.tzinfo is None:
            raise InvalidArguments("a reminder's time needs a time zone: datetime(…, tzinfo=UTC)")
        return due.timestamp(), None
    if not 0 <= due < inf:
        raise InvalidArguments(f"a reminder is due in 0 seconds or more, not {due}")
    return 0.0, float(due)
