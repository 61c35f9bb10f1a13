"""Takes turns with other processes at the write lock of an SQLite file.

SQLite's own waiting looks at the lock after 1, 2, 5, 10 and more milliseconds, up to 100, while a commit takes one or
two. So a process that waits would leave the lock free for most of the time, and each acknowledgement that waits for it
would come late. Here it looks several times per commit.

A process that commits again at once would take the lock before another one looks. So if it had to wait itself a short
while ago, it leaves the lock free for a moment after each commit; requests that come meanwhile join the next one.

Why not a lock file in the kernel's queue: it gives no turns either, a wait for it has no bound in time, and each system
needs another call.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

__all__ = ["WriteTurns"]

LOOK_S: Final = 0.0001
"""Time between looks at the lock in the beginning."""

LOOK_MAX_S: Final = 0.005
"""The same after long: a look costs processor time."""

GROWS_AFTER_S: Final = 0.02
"""A lock that is held for so long is not held for one commit."""

YIELD_S: Final = 0.0003
"""So long the lock stays free after a commit: longer than the time between the looks of another process."""

CROWDED: Final = 16
"""After a wait so many transactions leave it free."""


class WriteTurns:
    """The turns of one connection, on its thread.

    Args:
        connection: it does not wait for locks itself.
        busy_timeout_s: how long to wait for the lock.
    """

    def __init__(self, connection: sqlite3.Connection, busy_timeout_s: float) -> None:
        connection.execute("PRAGMA busy_timeout = 0")
        self._connection = connection
        self._busy_timeout_s = busy_timeout_s
        self._crowded = 0
        self._ended_at = 0.0

    def begin(self) -> None:
        """Begins a transaction that may write. Raises `sqlite3.Error`, also when the lock is not free in time."""
        if self._crowded:
            self._crowded -= 1
            early_s = self._ended_at + YIELD_S - time.monotonic()
            if early_s > 0:
                time.sleep(early_s)
        if self._begun():
            return
        self._crowded = CROWDED
        begun_at, pause_s = time.monotonic(), LOOK_S
        while True:
            time.sleep(pause_s)
            waited_s = time.monotonic() - begun_at
            if waited_s >= self._busy_timeout_s:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            if self._begun():
                return
            if waited_s >= GROWS_AFTER_S:
                pause_s = min(LOOK_MAX_S, 1.2 * pause_s)

    def ended(self) -> None:
        """The transaction is committed."""
        self._ended_at = time.monotonic()

    def _begun(self) -> bool:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True
