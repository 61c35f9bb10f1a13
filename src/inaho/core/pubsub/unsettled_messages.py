"""The messages of one partition that one subscription has read and not settled: in order per key, content bounded.

Two heaps say what comes next: messages that can be delivered, and messages whose content must be read again first. Of a
key only the first message that is not in flight is in one of them. An item is validated when it comes up, so nothing
has to be found in the middle of a heap.

The content of messages is kept for a run at the front of each key, so what is loaded begins with what can be delivered:
memory that is full never waits for a message that is not loaded.
"""

from __future__ import annotations

import heapq
from typing import Final

from inaho.core.pubsub.delivery_entries import DeliveryState, Entry, GroupConsumer, KeyLine, Place
from inaho.core.pubsub.stored_message import LoggedMessage

__all__ = ["LINE_LOADED_MAX", "UnsettledMessages"]

LINE_LOADED_MAX: Final = 64
"""Content of at most so many messages of one key is kept: a slow key leaves room for the others."""

READY: Final = DeliveryState.READY
IN_FLIGHT: Final = DeliveryState.IN_FLIGHT
SETTLED: Final = DeliveryState.SETTLED


class UnsettledMessages:
    """Entries of messages, and the content of those that are delivered soon.

    Attributes:
        entries: by offset.
        lines: by key.
        loaded: messages whose content is kept.
        loaded_bytes: their bytes.
    """

    __slots__ = ("_missing", "_ready", "_serial", "entries", "lines", "loaded", "loaded_bytes")

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.lines: dict[str, KeyLine] = {}
        self.loaded = 0
        self.loaded_bytes = 0
        self._ready: list[tuple[int, int, Entry]] = []
        self._missing: list[tuple[int, int, Entry]] = []
        self._serial = 0

    def enter(self, offset: int, key: str, failures: int, gone: int) -> Entry:
        """A message was read for the first time; `offset` is above those before."""
        line = None
        if key:
            line = self.lines.get(key)
            if line is None:
                line = self.lines[key] = KeyLine(key)
        entry = self.entries[offset] = Entry(offset, line, failures, gone)
        if line is not None:
            line.entries.append(entry)
        return entry

    def owner_of(self, key: str) -> tuple[bool, GroupConsumer | None]:
        """Whether a new message of that key may be delivered at once, and to whom; None for any consumer."""
        line = self.lines.get(key)
        if line is None:
            return True, None
        return line.flying == len(line.entries), line.owner

    def enter_launched(self, message: LoggedMessage, consumer: GroupConsumer) -> Entry:
        """A message was read for the first time, and goes to a consumer at once: `enter`, `fill` and `launch` in one.

        Nothing of its key waits before it.
        """
        offset, key, line = message.offset, message.stored.key, None
        if key:
            line = self.lines.get(key)
            if line is None:
                line = self.lines[key] = KeyLine(key)
        entry = self.entries[offset] = consumer.in_flight[offset] = Entry(offset, line, 0, 0)
        entry.state = IN_FLIGHT
        entry.consumer = consumer
        entry.message = message
        self.loaded += 1
        self.loaded_bytes += message.size_bytes
        if line is not None:
            line.entries.append(entry)
            line.owner = consumer
            line.flying += 1
        return entry

    def remove(self, entry: Entry) -> None:
        """A message is settled."""
        line, flew = entry.line, entry.state is IN_FLIGHT
        entry.state = SETTLED
        del self.entries[entry.offset]
        if line is None:
            self.forget(entry)
            return
        if not flew and entry.message is not None:
            line.loaded -= 1
        self.forget(entry)
        if line.entries[0] is entry:
            line.entries.popleft()
        else:
            line.entries.remove(entry)
        line.flying -= flew
        if line.flying == 0:
            line.owner = None
        if not line.entries:
            del self.lines[line.key]
        elif line.flying < len(line.entries):
            self.offer(line.entries[line.flying])

    # Content.

    def fill(self, entry: Entry, message: LoggedMessage) -> None:
        """Keeps the content of a message, if it belongs to the run at the front of its key."""
        line = entry.line
        if entry.message is not None or entry.state is not READY or entry.place is Place.ASIDE:
            return
        if line is not None:
            at = line.flying + line.loaded
            if line.held or line.loaded >= LINE_LOADED_MAX or line.entries[at] is not entry:
                return
            line.loaded += 1
        entry.message = message
        self.loaded += 1
        self.loaded_bytes += message.size_bytes
        entry.place = Place.NOWHERE
        self.offer(entry)

    def forget(self, entry: Entry) -> None:
        """Frees the content of a message."""
        if entry.message is not None:
            self.loaded -= 1
            self.loaded_bytes -= entry.message.size_bytes
            entry.message = None

    def unload(self, line: KeyLine) -> None:
        """Frees the content of the messages of a key that are not in flight; it is read again when they are next."""
        for at in range(line.flying, line.flying + line.loaded):
            self.forget(line.entries[at])
        line.loaded = 0

    # In flight.

    def launch(self, entry: Entry, consumer: GroupConsumer) -> None:
        """A message goes to a consumer. Its content stays until it is sent."""
        entry.state = IN_FLIGHT
        entry.consumer = consumer
        consumer.in_flight[entry.offset] = entry
        line = entry.line
        if line is not None:
            line.owner = consumer
            line.flying += 1
            line.loaded -= entry.message is not None
            if line.flying < len(line.entries):
                self.offer(line.entries[line.flying])

    def take_back(self, entry: Entry) -> list[Entry]:
        """A message is not in flight any more, and those of its key behind it are not either.

        Returns:
            All of them, the last one first. They have no state yet.
        """
        line = entry.line
        taken = [entry]
        if line is not None:
            self.unload(line)
            at = line.entries.index(entry)
            taken = [line.entries[index] for index in range(line.flying - 1, at - 1, -1)]
            line.flying = at
            if at == 0:
                line.owner = None
        for each in taken:
            consumer = each.consumer
            assert consumer is not None
            del consumer.in_flight[each.offset]
            each.consumer = None
            self.forget(each)
        return taken

    # What is next.

    def offer(self, entry: Entry) -> None:
        """Queues a message if it is the next of its key: to be delivered, or first to be loaded."""
        if entry.state is READY and entry.place is Place.NOWHERE and entry.is_next:
            missing = entry.message is None
            entry.place = Place.MISSING if missing else Place.DELIVERABLE
            self._serial += 1
            heapq.heappush(self._missing if missing else self._ready, (entry.offset, self._serial, entry))

    def offer_again(self, entries: list[Entry]) -> None:
        """Queues messages that were put aside."""
        for entry in entries:
            entry.place = Place.NOWHERE
            self.offer(entry)

    def next_ready(self) -> Entry | None:
        """The first message that can be delivered; stays queued."""
        return self._first(self._ready, Place.DELIVERABLE)

    def pop_ready(self, *, aside: bool = False) -> None:
        """Takes what `next_ready` has returned: for a delivery, or to put it aside."""
        heapq.heappop(self._ready)[2].place = Place.ASIDE if aside else Place.NOWHERE

    def next_missing(self) -> int | None:
        """Offset of the first message that could be delivered if it were loaded."""
        entry = self._first(self._missing, Place.MISSING)
        return None if entry is None else entry.offset

    def _first(self, heap: list[tuple[int, int, Entry]], place: Place) -> Entry | None:
        while heap:
            entry = heap[0][2]
            if entry.place is place:
                loaded = entry.message is not None
                if entry.state is READY and entry.is_next and loaded == (place is Place.DELIVERABLE):
                    return entry
                entry.place = Place.NOWHERE
                heapq.heappop(heap)
                self.offer(entry)
            else:
                heapq.heappop(heap)
        return None

    def check(self) -> None:
        """Asserts that lines, content and counts agree."""
        content = [entry for entry in self.entries.values() if entry.message is not None]
        assert self.loaded == len(content), f"{self.loaded} counted, {len(content)} loaded"
        assert self.loaded_bytes == sum(entry.message.size_bytes for entry in content if entry.message is not None)
        in_lines = 0
        for key, line in self.lines.items():
            entries = list(line.entries)
            in_lines += len(entries)
            assert entries and line.key == key
            assert [entry.offset for entry in entries] == sorted(entry.offset for entry in entries), "order of a key"
            for at, entry in enumerate(entries):
                assert self.entries[entry.offset] is entry and entry.line is line
                flies = entry.state is DeliveryState.IN_FLIGHT
                assert flies == (at < line.flying), f"message {at} of {key} is {entry.state}, {line.flying} fly"
                assert entry.consumer is (line.owner if flies else None), "a key is at two consumers"
                if not flies:
                    run = at < line.flying + line.loaded
                    assert (entry.message is not None) == run, "content is not a run"
            assert line.owner is None if line.flying == 0 else line.owner is not None
        assert in_lines == sum(entry.line is not None for entry in self.entries.values())
        for entry in self.entries.values():
            if entry.state is READY and entry.is_next:
                assert entry.place is not Place.NOWHERE, f"message {entry.offset} is forgotten"
