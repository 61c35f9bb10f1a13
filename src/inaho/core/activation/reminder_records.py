"""The stored record of a reminder, what the grain is given, and the check of a valid record.

Times are Unix seconds by the clock of the keeper that wrote them. A keeper on a member whose clock differs by x
delivers x too early or too late. Nothing can correct that: nobody knows which of the two clocks is right.
"""

from __future__ import annotations

from math import floor, isfinite
from typing import Final

import msgspec

from inaho.errors import InvalidArguments

__all__ = ["CATCH_UP", "Reminder", "ReminderRecord", "occurrences_passed", "validate_reminder"]

CATCH_UP: Final = ("skip", "once", "all")
"""Policies for occurrences that have passed."""

NAME_BYTES_MAX: Final = 200
"""Longest name of a reminder in bytes of UTF-8."""

PERIOD_S_MIN: Final = 1.0
"""Shortest period: a delivery costs a call and its share of a save. Use timers for shorter periods."""


class Reminder(msgspec.Struct, frozen=True, array_like=True):
    """One reminder, as `on_reminder` gets it and `Grain.reminders` lists it.

    Attributes:
        name: by which the grain set it.
        due: Unix seconds at which this occurrence was due; in a list, the next one.
        period_s: seconds between occurrences; 0 for a single one.
        catch_up: see `Grain.remind`.
        missed: occurrences before this one that were not delivered, since the last that was.
        attempt: number of this attempt, from 1; 0 in a list. Counted since the keeper of the shard started.
    """

    name: str
    due: float
    period_s: float = 0.0
    catch_up: str = "once"
    missed: int = 0
    attempt: int = 0


class ReminderRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is stored of one reminder.

    Attributes:
        kind, key: of the grain.
        name: unique within the grain.
        due: Unix seconds of the first occurrence that is neither delivered nor dropped.
        period_s: seconds between occurrences; 0 for a single one.
        catch_up: one of `CATCH_UP`.
        missed: occurrences before that one that were dropped, since the last that was delivered.
    """

    kind: str
    key: str
    name: str
    due: float
    period_s: float = 0.0
    catch_up: str = "once"
    missed: int = 0


def validate_reminder(record: ReminderRecord) -> None:
    """Checks a record of a user or a peer; kind and key are checked where calls are checked.

    Raises:
        InvalidArguments: the reason names the field and its bounds.
    """
    try:
        size = len(record.name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= NAME_BYTES_MAX:
        raise InvalidArguments(f"a reminder's name must have 1 to {NAME_BYTES_MAX} bytes of UTF-8, not {size}")
    if not isfinite(record.due):
        raise InvalidArguments(f"a reminder's time must be finite, not {record.due}")
    if not (record.period_s == 0 or PERIOD_S_MIN <= record.period_s < float("inf")):
        raise InvalidArguments(
            f"a reminder's period_s must be at least {PERIOD_S_MIN} s, not {record.period_s}; use a timer for less"
        )
    if record.catch_up not in CATCH_UP:
        raise InvalidArguments(f"catch_up must be one of {', '.join(CATCH_UP)}, not {record.catch_up!r}")


def occurrences_passed(record: ReminderRecord, now: float) -> int:
    """The number of occurrences that have passed, including the one at `record.due`.

    A division may round to the next one. The time of an occurrence is the sum for which the schedule waits.
    """
    if not record.period_s:
        return 1
    last = max(0, floor((now - record.due) / record.period_s))
    if last and record.due + last * record.period_s > now:
        last -= 1
    return last + 1
