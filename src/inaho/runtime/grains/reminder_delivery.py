"""Delivers a reminder to a grain: a call, with the deadline, retries and errors of any call.

The method belongs to every kind that overrides `on_reminder`, but not to its interface: references do not have it.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from inaho.core.activation.reminders import Reminder
from inaho.errors import InahoError
from inaho.errors.inspection import is_a
from inaho.runtime.grains.method import GrainMethod
from inaho.runtime.grains.method_options import MethodOptions
from inaho.wire.exceptions import GrainError

__all__ = ["ANSWER_S", "REMIND", "OnReminderError", "delivery_method"]

REMIND: Final = "inaho.remind"
"""Name of the delivering method on the wire; no user's method can have it."""

ANSWER_S: Final = 5.0
"""Who delivers waits so much longer than `on_reminder` may take, to be told that it ran and was interrupted. Of its own
deadline it would not know whether that passed in the queue of a grain that is busy."""

_methods: Final[dict[str, GrainMethod]] = {}


def delivery_method(kind: str) -> GrainMethod:
    """The method that delivers a reminder to that kind. One per kind; the caller need not host the kind."""
    known = _methods.get(kind)
    if known is None:
        options = MethodOptions(read_only=False, idempotent=True, timeout_s=None)
        hints = {"reminder": Reminder, "return": type(None)}
        known = _methods[kind] = GrainMethod(kind, REMIND, _deliver, options, hints)
    return known


class Deadline(Protocol):
    """What a delivery needs of its call."""

    @property
    def deadline(self) -> float:
        """Seconds of the loop's clock."""
        ...


class Reminded(Protocol):
    """What a grain with reminders has."""

    @property
    def context(self) -> Deadline:
        """The call that delivers."""
        ...

    async def on_reminder(self, reminder: Reminder) -> None:
        """See `Grain.on_reminder`."""
        ...


class OnReminderError(GrainError):
    """An `on_reminder` ran and failed with an error of inaho, which looks like an error of the delivering call."""


async def _deliver(grain: Reminded, reminder: Reminder) -> None:
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
