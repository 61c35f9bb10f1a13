"""Decides which sends of one partition are called next: one at a time for each grain, in order.

The sends to one grain form a line. The head of a line is under way, or waits for its next attempt, or is ready. So a
send that fails delays the later sends to its grain and no others. A send with a delay is in no line before it is due,
and then enters at the end.

Why not one heap of all sends by time: the order within a grain must hold also when a call is tried again.
"""

from __future__ import annotations

import heapq
from collections import deque
from enum import Enum
from typing import Final

from inaho.core.pubsub.send_records import ClockSet, StoredSend

__all__ = ["Line", "PendingSend", "SendLines", "State"]

STALE_MIN: Final = 64
"""The heap is not rebuilt for fewer stale entries than this."""


class State(Enum):
    """Where a send stands."""

    STORING = "its record is not reported as stored yet"
    DELAYED = "it waits for its time"
    WAITING = "it is in its line"
    FLYING = "its call is under way; it is the head of its line"
    DEAD = "it is a dead letter"
    ENDED = "it has run or was cancelled"


class Line:
    """The sends to one grain."""

    __slots__ = ("named", "queue", "ready", "serial")

    def __init__(self) -> None:
        self.queue: deque[PendingSend] = deque()
        self.named: dict[str, PendingSend] = {}
        """All its sends that have not ended, also those that are not in the queue, by id."""
        self.ready = False
        """It is in the queue of lines whose head may be called."""
        self.serial = 0
        """Number of its valid item in the heap, while its head waits for another attempt; otherwise 0."""


class PendingSend:
    """One send and where it stands.

    Attributes:
        send: what is known of it.
        line: of its grain.
        state: see `State`.
        refusals: how often its call was postponed since it last ran.
        cancelled: its call is under way and is not repeated if it fails.
        again: it was a dead letter, and entered its line again behind later sends.
        offset: of its newest record; -1 while it has none.
        serial: number of its valid item in the heap, while it is delayed; otherwise 0.
    """

    __slots__ = ("again", "cancelled", "line", "offset", "refusals", "send", "serial", "state")

    def __init__(self, send: StoredSend, line: Line) -> None:
        self.send = send
        self.line = line
        self.state = State.STORING
        self.refusals = 0
        self.cancelled = False
        self.again = False
        self.offset = -1
        self.serial = 0


class SendLines:
    """The lines of one partition.

    Args:
        flying_max: calls under way at once.

    Attributes:
        pending: sends that have not ended.
        flying: calls under way.
    """

    def __init__(self, flying_max: int) -> None:
        self.pending = 0
        self.flying = 0
        self._flying_max = flying_max
        self._lines: dict[tuple[str, str], Line] = {}
        self._ready: deque[Line] = deque()
        self._heap: list[tuple[float, int, PendingSend | Line]] = []
        self._serial = 0

    # Sends come and go.

    def add(self, send: StoredSend) -> PendingSend:
        """A send that is not called before `place`."""
        line = self._lines.get((send.kind, send.key))
        if line is None:
            line = self._lines[send.kind, send.key] = Line()
        entry = line.named[send.name] = PendingSend(send, line)
        self.pending += 1
        return entry

    def place(self, entry: PendingSend) -> None:
        """The send may be called from now on: at its time if it is delayed, otherwise in its line."""
        if entry.send.delayed:
            entry.state = State.DELAYED
            self._push(entry, entry.send.due)
        else:
            self.enter(entry)

    def enter(self, entry: PendingSend) -> None:
        """Puts it at the end of its line."""
        line = entry.line
        entry.state = State.WAITING
        line.queue.append(entry)
        if len(line.queue) == 1:
            self._may_go(line)

    def find(self, kind: str, key: str, name: str) -> PendingSend | None:
        """The send of that id that has not ended; None if there is none."""
        line = self._lines.get((kind, key))
        return None if line is None else line.named.get(name)

    def of(self, kind: str, key: str) -> list[PendingSend]:
        """The sends to one grain that have not ended, in the order in which they were stored."""
        line = self._lines.get((kind, key))
        return [] if line is None else sorted(line.named.values(), key=lambda entry: entry.send.number)

    def withdraw(self, entry: PendingSend) -> None:
        """A send that waits leaves its line, or the heap."""
        entry.serial = 0
        line = entry.line
        if entry.state is State.WAITING:
            head = line.queue[0] is entry
            line.queue.remove(entry)
            if head and line.serial:  # it waited for its next attempt
                line.serial = 0
                self._may_go(line)

    def end(self, entry: PendingSend) -> None:
        """A send that is in no queue has ended."""
        entry.state = State.ENDED
        send, named = entry.send, entry.line.named
        del named[send.name]
        if not named:
            del self._lines[send.kind, send.key]
        self.pending -= 1

    # Calls.

    def due(self, now: float) -> list[PendingSend]:
        """Takes the sends that may be called now (Unix seconds); call `leave` or `put_off` for each."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, serial, target = heapq.heappop(heap)
            if serial != target.serial:
                continue
            target.serial = 0
            if isinstance(target, Line):
                self._may_go(target)
            else:
                self.enter(target)
        calls: list[PendingSend] = []
        ready = self._ready
        while ready and self.flying < self._flying_max:
            line = ready.popleft()
            line.ready = False
            if not line.queue:  # its last send was withdrawn
                continue
            entry = line.queue[0]
            entry.state = State.FLYING
            self.flying += 1
            calls.append(entry)
        return calls

    def leave(self, entry: PendingSend) -> None:
        """A send leaves its line after its call, and the next one may be called."""
        self._landed(entry)
        line = entry.line
        line.queue.popleft()
        self._may_go(line)

    def put_off(self, entry: PendingSend, until: float) -> None:
        """The call of a send is repeated at that Unix time; until then its line waits."""
        self._landed(entry)
        entry.state = State.WAITING
        self._push(entry.line, until)

    def _landed(self, entry: PendingSend) -> None:
        if entry.state is not State.FLYING:
            raise ValueError("the call is over already")
        self.flying -= 1

    def _may_go(self, line: Line) -> None:
        if line.queue and not line.ready:
            line.ready = True
            self._ready.append(line)

    # The clock.

    def next_deadline(self) -> float | None:
        """When `due` should be called next, in Unix seconds; None if there is nothing to wait for."""
        heap = self._heap
        while heap and heap[0][1] != heap[0][2].serial:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def move(self, clock: ClockSet) -> None:
        """The wall clock was set: what waits, waits as long as before."""
        items = [(clock.moved(when), serial, target) for when, serial, target in self._heap if serial == target.serial]
        heapq.heapify(items)
        self._heap = items

    def _push(self, target: PendingSend | Line, when: float) -> None:
        self._serial += 1
        target.serial = self._serial
        heapq.heappush(self._heap, (when, self._serial, target))
        if len(self._heap) > 2 * self.pending + STALE_MIN:
            self._heap = [item for item in self._heap if item[1] == item[2].serial]
            heapq.heapify(self._heap)

    def check(self) -> None:
        """Asserts that each send is where its state says, and that each line can go on."""
        entries = [entry for line in self._lines.values() for entry in line.named.values()]
        assert len(entries) == self.pending, "sends are counted wrongly"
        assert sum(entry.state is State.FLYING for entry in entries) == self.flying <= self._flying_max
        assert len(self._heap) <= 2 * self.pending + STALE_MIN, "too many stale entries"
        waited_for = {serial for _, serial, target in self._heap if serial == target.serial}
        ready = list(self._ready)
        for line in self._lines.values():
            assert line.named, "an empty line is kept"
            assert line.ready == any(each is line for each in ready)
            numbers = [entry.send.number for entry in line.queue if not entry.send.delayed and not entry.again]
            assert numbers == sorted(numbers), "a line is out of order"
            states = [entry.state for entry in line.queue]
            assert all(state is State.WAITING for state in states[1:]), "more than the head is called"
            if states:
                ways = (states[0] is State.FLYING) + (line.serial in waited_for) + line.ready
                assert ways == 1, f"the head of a line is called, waits or is ready in {ways} ways"
        for entry in entries:
            assert (entry.state in (State.WAITING, State.FLYING)) == (entry in entry.line.queue)
            assert (entry.state is State.DELAYED) == (entry.serial in waited_for), f"{entry.send} is not waited for"
