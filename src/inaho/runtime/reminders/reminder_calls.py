"""The calls of a grain to the keeper of its reminders, and of the keeper to the grain.

Both are ordinary calls, with the deadlines, retries and errors of any call. The method that delivers a reminder belongs
to every kind that overrides `on_reminder`, but not to its interface: references do not have it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any

from inaho.core.activation.reminders import Reminder, ReminderRecord, validate_reminder
from inaho.errors import InvalidArguments
from inaho.runtime.reminders.keeper import ReminderKeeper
from inaho.runtime.reminders.shard import shard_of

if TYPE_CHECKING:
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["GrainReminders"]


class GrainReminders:
    """The calls from the grains of one node to the keepers of their reminders.

    Args:
        local: the node.
        cluster: gives what calls are made through.
    """

    def __init__(self, local: LocalNode, cluster: Callable[[], Any]) -> None:
        self._local = local
        self._cluster = cluster

    async def remind(
        self, grain: Activation, name: str, due: float | datetime, period_s: float | None, catch_up: str
    ) -> None:
        """See `Grain.remind`."""
        kind, key = grain.identity.kind, grain.key
        if not grain.inaho_kind.reminded:
            raise InvalidArguments(f"{kind} has no on_reminder that could be called", identity=str(grain.identity))
        at, delay_s = _due(due)
        period = 0.0 if period_s is None else float(period_s)
        if period_s is not None and not period_s > 0:
            raise InvalidArguments(f"period_s must be above 0, or None for one occurrence, not {period_s}")
        record = ReminderRecord(kind, key, name, at, period, catch_up)
        validate_reminder(record)
        await self._keeper(grain).put(record, delay_s)

    async def forget(self, grain: Activation, name: str) -> bool:
        """See `Grain.forget`."""
        return await self._keeper(grain).drop(grain.identity.kind, grain.key, name)

    async def listed(self, grain: Activation) -> list[Reminder]:
        """See `Grain.reminders`."""
        return await self._keeper(grain).listed(grain.identity.kind, grain.key)

    def _keeper(self, grain: Activation) -> ReminderKeeper:
        shard = shard_of(grain.identity.kind, grain.key, self._local.config.activation.reminder_shards)
        keeper: ReminderKeeper = self._cluster().grain(ReminderKeeper, shard)
        return keeper


def _due(due: float | datetime) -> tuple[float, float | None]:
    """The Unix time of a time of day; or a delay, from which the keeper computes the time by its own clock."""
    if isinstance(due, datetime):
        if due.tzinfo is None:
            raise InvalidArguments("a reminder's time needs a time zone: datetime(…, tzinfo=UTC)")
        return due.timestamp(), None
    if not 0 <= due < inf:
        raise InvalidArguments(f"a reminder is due in 0 seconds or more, not {due}")
    return 0.0, float(due)
