"""A member whose grains have reminders, for `test_reminder_processes`: `python reminder_node.py SETTINGS`.

As `network_node`, with one kind more, which says each reminder that it is given.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import uvloop

from inaho import Grain, Reminder, method
from support.programs.network_node import Settings, run, say


class Alarm(Grain):
    """Says what it is reminded of."""

    async def on_reminder(self, reminder: Reminder) -> None:
        say(
            "reminded",
            key=self.key,
            name=reminder.name,
            due=reminder.due,
            missed=reminder.missed,
            late_s=time.time() - reminder.due,
        )

    async def set(self, name: str, due_s: float, period_s: float | None = None, catch_up: str = "once") -> None:
        await self.remind(name, due_s, period_s, catch_up=catch_up)

    @method(read_only=True)
    async def where(self) -> str:
        return self.cluster.authority

    async def names(self) -> list[str]:
        return [reminder.name for reminder in await self.reminders()]


if __name__ == "__main__":
    uvloop.install()
    sys.exit(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Settings), Alarm)))
