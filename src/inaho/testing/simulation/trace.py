"""Hashes the history of a simulation into one number, and keeps its last lines as text.

Everything that a seed decides is recorded, in order, with its virtual time: bytes as they leave and arrive, events as
nodes publish them, faults as they are made. Two runs with one hash were the same run. If two runs of one seed differ,
some code read a clock, an address or the order of a set.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
import xxhash

from inaho.events import DeadLetter, Event

__all__ = ["Trace"]

SYSTEM_KIND: Final = re.compile(r"inaho\.\w+/")
"""How the identity of a system grain begins."""

LINES_MAX: Final = 40
"""Lines kept for a failure's report."""


class Trace:
    """Hashes a history as it happens.

    Args:
        clock: virtual seconds since the start.
        show_system: whether `lines` has those about grains of system kinds, such as the keepers of reminders.

    Attributes:
        records: how many there were.
        lines: the last lines for people, without bytes.
        hidden: how many were left out of `lines` because they are about system kinds.
    """

    def __init__(self, clock: Callable[[], float], *, show_system: bool = False) -> None:
        self.hidden = 0
        self._show_system = show_system
        self.records = 0
        self.lines: deque[str] = deque(maxlen=LINES_MAX)
        self._clock = clock
        self._hash = xxhash.xxh3_64()

    def add(self, what: str, *details: str | bytes) -> None:
        """Records that something happened now."""
        now = self._record(what, *details)
        if what not in ("sent", "arrived"):
            self._tell(now, what, " ".join(detail for detail in details if isinstance(detail, str)))

    def add_event(self, node: str, event: Event) -> None:
        """Records what a node published."""
        if isinstance(event, DeadLetter):
            # Its message is any object of the user's, which may show its address.
            data = f"{event.recipient} {event.sender} {type(event.message).__name__} {event.reason}"
            told, record = data, data.encode()
        else:
            told, record = "", _encode(event)
        what = f"{node} published {type(event).__name__}"
        now = self._record(what, record)
        self._tell(now, what, told or _subject(event))

    def _record(self, what: str, *details: str | bytes) -> float:
        """Adds to the hash; returns the time."""
        self.records += 1
        now = self._clock()
        header = f"{now!r}|{what}"
        self._hash.update(header.encode())
        for detail in details:
            data = detail.encode() if isinstance(detail, str) else detail
            self._hash.update(b"|%d|" % len(data))
            self._hash.update(data)
        return now

    def _tell(self, now: float, what: str, words: str) -> None:
        """Adds a line for people, unless it is about a system kind."""
        if not self._show_system and SYSTEM_KIND.search(words):
            self.hidden += 1
        else:
            self.lines.append(f"{now:10.4f} s  {what} {words}"[:300].rstrip())

    def hexdigest(self) -> str:
        """16 hexadecimal digits."""
        digest: str = self._hash.hexdigest()
        return digest


_encode: Final = msgspec.msgpack.Encoder(enc_hook=lambda value: type(value).__qualname__).encode


def _subject(event: Any) -> str:
    """The subject of an event, in a few words."""
    parts = [getattr(event, name, "") for name in ("authority", "identity", "reason")]
    return " ".join(str(part) for part in parts if part)
