"""The history of a simulation as one number, and its last lines as text.

Everything that a seed decides goes in, in order, with its virtual time: bytes as they leave and arrive, events as nodes
publish them, faults as they are made. Two runs with one hash were the same run; where two runs of one seed differ,
something read a clock, an address or the order of a set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
import xxhash

from inaho.events import DeadLetter, Event

__all__ = ["Trace"]

LINES_MAX: Final = 40
"""Lines kept for a failure's report."""


class Trace:
    """Hashes a history as it happens.

    Args:
        clock: virtual seconds since the start.

    Attributes:
        records: how many there were.
        lines: the last ones that are worth reading, bytes left out.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.records = 0
        self.lines: deque[str] = deque(maxlen=LINES_MAX)
        self._clock = clock
        self._hash = xxhash.xxh3_64()

    def add(self, what: str, *details: str | bytes) -> None:
        """Records that something happened now."""
        self.records += 1
        now = self._clock()
        header = f"{now!r}|{what}"
        self._hash.update(header.encode())
        for detail in details:
            data = detail.encode() if isinstance(detail, str) else detail
            self._hash.update(b"|%d|" % len(data))
            self._hash.update(data)
        if what not in ("sent", "arrived"):
            words = " ".join(detail for detail in details if isinstance(detail, str))
            self.lines.append(f"{now:10.4f} s  {what} {words}"[:300])

    def add_event(self, node: str, event: Event) -> None:
        """Records what a node published."""
        if isinstance(event, DeadLetter):
            # Its message is any object of the user's, which may show its address.
            data = f"{event.recipient} {event.sender} {type(event.message).__name__} {event.reason}".encode()
        else:
            data = _encode(event)
        self.add(f"{node} published {type(event).__name__}", data)
        if subject := _subject(event):
            self.lines[-1] += f" {subject}"

    def hexdigest(self) -> str:
        """16 hexadecimal digits."""
        digest: str = self._hash.hexdigest()
        return digest


_encode: Final = msgspec.msgpack.Encoder(enc_hook=lambda value: type(value).__qualname__).encode


def _subject(event: Any) -> str:
    """Whom an event concerns, in a few words."""
    parts = [getattr(event, name, "") for name in ("authority", "identity", "reason")]
    return " ".join(str(part) for part in parts if part)
