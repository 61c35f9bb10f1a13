"""A keeper of stored sends against a model: what it calls, what it writes, and what the next keeper finds.

The log is a list. Appends, calls and crashes happen when Hypothesis wants. The model knows, from the log alone, which
sends have not ended; trimmed records are still in the model's copy.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inaho.core.pubsub.send_history import SendHistory
from inaho.core.pubsub.send_lines import PendingSend, State
from inaho.core.pubsub.send_records import NewSend, SendFailed, SendRecord, SendsSettled, StoredSend
from inaho.core.pubsub.stored_sends import StoredSends

__all__ = ["ATTEMPTS", "DEDUP_S", "START", "SendRules", "machine", "new"]

START: Final = 1_750_000_000.0
ATTEMPTS: Final = 2
DEDUP_S: Final = 50.0


def machine(**options: Any) -> StoredSends:
    given: dict[str, Any] = {
        "pending_max": 1000, "bytes_max": 100_000, "attempts_max": ATTEMPTS, "dedup_s": DEDUP_S, "flying_max": 3,
        **options,
    }  # fmt: skip
    return StoredSends(**given)


def new(key: str = "a", after_s: float = 0.0, name: str = "") -> NewSend:
    return NewSend("Cart", key, "add", 1, b"body", after_s, name)


class SendRules(RuleBasedStateMachine):
    """One partition through puts, appends, calls, failures, cancels, clocks and crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.sends = self.make()
        self.log: list[SendRecord] = []
        self.first = 0
        self.queue: list[list[SendRecord]] = []
        self.flying: list[PendingSend] = []
        self.sequence = 0
        self.live: dict[int, StoredSend] = {}
        """The sends that the log has and that have not ended in it, as this model knows them."""
        self.ended: dict[tuple[str, str], int] = {}
        """Ids of ended sends, each with the number of the send."""
        self.since: dict[int, tuple[float, float]] = {}
        """When they ended, and when that was logged: the next keeper counts from there."""
        self.again: set[int] = set()
        self.over: dict[int, float] = {}
        """When the machine has ended sends of which the log does not know it yet."""

    def make(self) -> StoredSends:
        return machine(carry_min=0)

    # Requests.

    @rule(key=st.sampled_from("ab"), delays=st.lists(st.sampled_from([0.0, 0.0, 5.0]), min_size=1, max_size=3))
    def put(self, key: str, delays: list[float]) -> None:
        sends = [new(key, delay) for delay in delays]
        sequence, self.sequence = self.sequence + 1, self.sequence + len(sends)
        self.append(self.sends.decided(self.now))
        handles, records = self.sends.put("sender", sequence, sends, self.now)
        assert len(handles) == len(records) == len(sends)
        self.append(records)
        repeated, nothing = self.sends.put("sender", sequence, sends, self.now)
        assert not nothing, "a repeated request is stored twice"
        assert [each.id for each in repeated] == [each.id for each in handles]

    @rule(key=st.sampled_from("ab"), name=st.sampled_from(["x", "y"]), delay=st.sampled_from([0.0, 5.0]))
    def put_with_id(self, key: str, name: str, delay: float) -> None:
        self.sequence += 1
        self.append(self.sends.decided(self.now))
        stored = [*self.live.values(), *(record for group in self.queue for record in group)]
        sends = [each for each in stored if isinstance(each, StoredSend) and not each.settled_at]
        numbers = [each.number for each in sends if (each.key, each.id) == (key, name)]
        waiting = any(number not in self.over for number in numbers)
        number = self.ended.get((key, name))
        ended_at, logged_at = (-1e10, -1e10) if number is None else self.since[number]
        logged_at = max([logged_at, *(self.now for number in numbers if number in self.over)])
        [handle], records = self.sends.put("sender", self.sequence, [new(key, delay, name)], self.now)
        assert handle.id == name
        if waiting or ended_at + DEDUP_S > self.now:
            assert not records, "a known id is stored again"
        elif logged_at + DEDUP_S <= self.now:
            assert records, "a new id is not stored"
        self.append(records)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        send = data.draw(st.sampled_from(list(self.live.values())))
        flying = any(entry.send.number == send.number for entry in self.flying)
        cancelled = self.sends.cancel("Cart", send.key, send.name, self.now)
        assert not (flying and cancelled), "a call under way was cancelled"
        if cancelled:
            self.over[send.number] = self.now
            assert send.name not in [each.id for each in self.sends.listed("Cart", send.key)]

    @precondition(lambda self: any(send.dead for send in self.live.values()))
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        send = data.draw(st.sampled_from([send for send in self.live.values() if send.dead]))
        if self.sends.send_again("Cart", send.key, send.name):
            self.again.add(send.number)

    # Calls.

    @rule()
    def begin(self) -> None:
        for entry in self.sends.due(self.now):
            send, flying = entry.send, list(self.flying)
            self.flying.append(entry)
            assert send.number in self.live, "a send is called that is not in the log"
            assert not send.dead and (not send.delayed or send.due <= self.now + 1e-3), "it is called too early"
            assert all(each.send.key != send.key for each in flying), "two calls of one grain are under way"
            if not send.delayed and send.number not in self.again:
                earlier = [
                    each.number
                    for each in self.sends_of(send.key)
                    if each.number < send.number
                    and not each.delayed
                    and not each.dead
                    and each.number not in self.again
                ]
                assert not earlier, f"{send.number} overtakes {earlier}"

    def sends_of(self, key: str) -> list[StoredSend]:
        """The sends to a grain that the machine may still call."""
        live = (State.STORING, State.WAITING, State.FLYING)
        entries = [entry for entry in self.sends._entries.values() if entry.state in live]
        return [entry.send for entry in entries if entry.send.key == key]

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), outcome=st.sampled_from(["ended", "ended", "failed", "failed", "postponed"]))
    def land(self, data: st.DataObject, outcome: str) -> None:
        self.end_call(self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1))), outcome)

    @precondition(lambda self: self.flying)
    @rule()
    def fail_and_begin_again(self) -> None:
        while self.flying:
            self.end_call(self.flying.pop(), "failed")
        self.now += 2.0
        self.begin()

    def end_call(self, entry: PendingSend, outcome: str) -> None:
        if outcome == "ended" or entry.cancelled:
            self.over[entry.send.number] = self.now
        if outcome == "ended":
            self.sends.ended(entry, self.now)
        elif outcome == "postponed":
            self.sends.postponed(entry, self.now + 2.0, self.now)
        else:
            cancelled, attempts = entry.cancelled, entry.send.attempts
            given_up = self.sends.failed(entry, self.now + 2.0, "no", self.now)
            assert given_up == (cancelled or attempts + 1 == ATTEMPTS)

    # Time.

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 5.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(by_s=st.sampled_from([-3600.0, 3600.0]))
    def set_clock(self, by_s: float) -> None:
        self.store_all()
        self.sends.clock_set(self.now, by_s)
        self.now += by_s
        self.over = {number: ended_at + by_s for number, ended_at in self.over.items()}
        self.append(self.sends.decided(self.now))  # ids are compared with what the model reads in the log
        self.store_all()

    # The log.

    def append(self, records: list[SendRecord]) -> None:
        if records:
            self.queue.append(records)

    @rule()
    def decide(self) -> None:
        self.append(self.sends.decided(self.now))

    @precondition(lambda self: self.queue)
    @rule()
    def store(self) -> None:
        records = self.queue.pop(0)
        offset = len(self.log)
        self.log.extend(records)
        for record in records:
            self.apply(record)
        self.sends.stored(offset, records)

    def apply(self, record: SendRecord) -> None:
        """The model's own reading of a record."""
        if isinstance(record, StoredSend):
            if not record.settled_at:
                self.live[record.number] = record
        elif isinstance(record, SendsSettled):
            for number in record.numbers:
                send = self.live.pop(number)
                ended_at = self.over.pop(number, record.at)
                self.again.discard(number)
                if send.id:
                    self.ended[send.key, send.id] = number
                    self.since[number] = (ended_at, record.at)
        elif isinstance(record, SendFailed):
            self.live[record.number] = record.applied(self.live[record.number])
        else:
            for number, send in self.live.items():
                self.live[number] = record.applied(send)
            for number, (ended_at, logged_at) in self.since.items():
                self.since[number] = (ended_at + record.by_s, logged_at + record.by_s)

    def store_all(self) -> None:
        while self.queue:
            self.store()

    @rule()
    def trim(self) -> None:
        upto = self.sends.trimmable()
        assert self.first <= upto <= len(self.log), "the log is trimmed beyond its end, or back"
        self.first = upto

    @rule()
    def crash(self) -> None:
        """What was not appended is lost, and the next keeper reads what was not trimmed."""
        self.queue.clear()
        self.flying.clear()
        self.again.clear()
        self.sequence += 1000  # a new process of the sender
        history = SendHistory()
        for offset in range(self.first, len(self.log)):
            history.add(offset, self.log[offset])
        self.sends = self.make()
        self.sends.restore(history, len(self.log))
        self.compare()
        self.over.clear()

    def compare(self) -> None:
        """The next keeper has what the log has; a send that has ended may be trimmed before its end is in the log."""
        found = {number for number, entry in self.sends._entries.items() if entry.state is not State.ENDED}
        for number in list(self.live):
            if number not in found and number in self.over:
                del self.live[number]
        for key in "ab":
            expected = [send.handle for send in self.live.values() if send.key == key]
            expected.sort(key=lambda each: each.id)
            assert sorted(self.sends.listed("Cart", key), key=lambda each: each.id) == expected, (
                "the next keeper has other sends"
            )

    @invariant()
    def consistent(self) -> None:
        self.sends.check()

    def teardown(self) -> None:
        """In the end everything has run, or is a dead letter."""
        if not hasattr(self, "sends"):
            return
        for entry in self.flying:
            self.sends.ended(entry, self.now)
        self.flying.clear()
        for _ in range(10_000):
            self.append(self.sends.decided(self.now))
            self.store_all()
            for entry in self.sends.due(self.now):
                self.sends.ended(entry, self.now)
            if self.sends.pending == self.sends.dead and not self.sends.undecided and not self.queue:
                break
            due = self.sends.next_deadline()
            self.now = max(self.now, due or self.now)
        else:
            raise AssertionError(f"{self.sends.pending} sends are never called")
        assert all(send.dead for send in self.live.values()), "a send that has run is in the log as one that has not"
        self.sends.check()
