"""The log of one partition against a simple model, with storages that fail and keepers that die.

The model is the list of what is in the log. A publisher sends one batch at a time and repeats it until it is answered.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from inaho.core.pubsub.partition_log import Admission, LogMemory, LogPolicy, PartitionLog
from inaho.core.pubsub.stored_message import LoggedMessage, StoredMessage

__all__ = ["PartitionRules"]

PUBLISHERS = ("p", "q")
DEDUP_S = 60.0
POLICY = LogPolicy(backlog_max=12, backlog_bytes_max=1000, dedup_s=DEDUP_S, publishers_max=8)
RECORD_BYTES = 10


class Batch:
    """What a publisher wants to be stored."""

    def __init__(self, number: int, ids: list[str]) -> None:
        self.number = number
        self.ids = ids


class PartitionRules(RuleBasedStateMachine):
    """`make` returns the machine under test."""

    make = PartitionLog

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.log: list[StoredMessage] = []
        self.first = 0
        self.needed = 0
        self.numbers = dict.fromkeys(PUBLISHERS, 0)
        self.batches: dict[str, Batch] = {}
        self.waiting: list[tuple[int, str, Batch, tuple[int, ...]]] = []
        self.answered: list[tuple[str, int, list[str], float]] = []
        self.memory = LogMemory()
        self.machine = self.make(POLICY, 0, 0, 0, self.memory)

    @rule(
        publisher=st.sampled_from(PUBLISHERS),
        ids=st.lists(st.sampled_from(("", "", "i", "j")), min_size=1, max_size=4),
        then=st.sampled_from(("", "stored", "not answered", "failed")),
    )
    def publish(self, publisher: str, ids: list[str], then: str) -> None:
        """A new batch, or the one again that is not answered."""
        if publisher not in self.batches:
            self.numbers[publisher] += 1
            self.batches[publisher] = Batch(self.numbers[publisher], ids)
        self.send(publisher)
        if then and self.waiting:
            self.storage(then != "failed", then == "stored")

    def send(self, publisher: str) -> None:
        batch = self.batches[publisher]
        size = RECORD_BYTES * len(batch.ids)
        admission: Admission = self.machine.admit(publisher, batch.number, batch.ids, size, self.now, self.needed)
        if admission.full:
            stored, _ = self.machine.backlog(self.needed)
            known = {each.id for each in self.log if each.published_at > self.now - DEDUP_S}
            new = [id_ for id_ in batch.ids if not id_ or id_ not in known]
            assert stored + len(new) > POLICY.backlog_max, "it was refused though there is room"
        elif admission.ticket:
            assert not any(name == publisher and each.number == batch.number for _, name, each, _ in self.waiting)
            self.waiting.append((admission.ticket, publisher, batch, admission.indexes))
        elif not admission.after:
            self.answer(publisher)

    def answer(self, publisher: str) -> None:
        batch = self.batches.pop(publisher)
        self.answered.append((publisher, batch.number, batch.ids, self.now))

    def storage(self, works: bool, answered: bool) -> None:
        """The oldest append ends."""
        ticket, publisher, batch, indexes = self.waiting.pop(0)
        if not works:
            self.machine.failed(ticket)
            return
        offset = len(self.log)
        self.now += 0.001  # the records of one append have a time of their own
        for index in indexes:
            self.log.append(StoredMessage("", self.now, publisher, batch.number, batch.ids[index], b""))
        self.machine.stored(ticket, offset, RECORD_BYTES * len(indexes), self.now)
        if answered and publisher in self.batches and self.batches[publisher] is batch:
            self.answer(publisher)

    @rule(publisher=st.sampled_from(PUBLISHERS))
    def give_up(self, publisher: str) -> None:
        self.batches.pop(publisher, None)

    @rule(seconds=st.sampled_from((1.0, 25.0, DEDUP_S)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 10))
    def acknowledge(self, count: int) -> None:
        self.needed = min(len(self.log), self.needed + count)

    def save(self) -> None:
        self.memory = self.machine.memory(self.now)
        self.machine.saved(self.memory)

    @rule(saved=st.booleans(), acknowledged=st.booleans())
    def trim(self, saved: bool, acknowledged: bool) -> None:
        if saved:
            self.save()
        if acknowledged:
            self.needed = len(self.log)
        self.trim_log()

    def trim_log(self) -> None:
        """Removes what may be removed now."""
        upto = self.machine.trim_upto(self.needed, len(self.log), self.now)
        assert upto <= self.needed, "a message that a subscription needs is removed"
        self.first = max(self.first, upto)
        self.machine.sizes.trim(upto)

    @rule()
    def drop_oldest(self) -> None:
        messages, _ = self.machine.backlog(self.needed)
        upto = self.machine.room_from(5, 5 * RECORD_BYTES, self.needed)
        assert self.needed <= upto <= len(self.log)
        self.needed = upto
        if messages + 5 <= POLICY.backlog_max:
            return
        left, _ = self.machine.backlog(self.needed)
        assert left + 5 <= POLICY.backlog_max or upto == len(self.log), "too little was dropped"

    @rule(saved=st.booleans(), trimmed=st.booleans(), repeated=st.sampled_from(PUBLISHERS))
    def keeper_dies(self, saved: bool, trimmed: bool, repeated: str) -> None:
        """What waited is not stored. A publisher repeats its batch at the next keeper."""
        if saved:
            self.save()
        if trimmed:
            self.needed = len(self.log)
            self.trim_log()
        self.waiting = []
        size = RECORD_BYTES * (len(self.log) - self.first)
        self.machine = self.make(POLICY, self.first, len(self.log), size, self.memory)
        while (start := self.machine.scan_from) is not None:
            assert start >= self.first, "removed records are read"
            part = self.log[start : start + 7]
            self.machine.scan([LoggedMessage(start + at, 10, each) for at, each in enumerate(part)], self.now)
        if repeated in self.batches:
            self.send(repeated)
            if self.waiting:
                self.storage(works=True, answered=True)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "machine"):
            return
        self.machine.check()
        assert self.machine.sizes.end == len(self.log) and self.machine.sizes.first == self.first
        for publisher in PUBLISHERS:
            numbers = [each.number for each in self.log if each.publisher == publisher]
            assert numbers == sorted(numbers), "batches of one publisher are out of order"
        seen: dict[str, float] = {}
        for each in self.log:
            if each.id:
                last = seen.get(each.id)
                assert last is None or each.published_at >= last + DEDUP_S, f"id {each.id} is stored twice"
                seen[each.id] = each.published_at
        times = [each.published_at for each in self.log]
        batches = [(each.publisher, each.number) for each in self.log]
        for at in range(1, len(batches)):
            if batches[at] in batches[:at] and batches[at] != batches[at - 1]:
                raise AssertionError(f"batch {batches[at]} is stored twice")
            assert batches[at] != batches[at - 1] or times[at] == times[at - 1], f"batch {batches[at]} is stored twice"
        for publisher, number, ids, at in self.answered:
            stored = [each for each in self.log if (each.publisher, each.number) == (publisher, number)]
            for id_ in ids:
                if id_:
                    assert any(each.id == id_ and each.published_at <= at for each in self.log), "an id is lost"
            assert sum(not each.id for each in stored) == ids.count(""), "an answered message is lost"
