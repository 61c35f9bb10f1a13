"""A keeper of one partition as a consumer sees it, and a consumer that does anything that programs do."""

from __future__ import annotations

from random import Random

import msgspec

from inaho.core.pubsub.consumer_window import ConsumerWindow, DeliveryState, Held, Settled

__all__ = ["ACK_TIMEOUT_S", "ConsumerModel", "Given"]

ACK_TIMEOUT_S = 6.0
KEYS = ("", "a", "b", "c")


class Given(msgspec.Struct, frozen=True):
    """One delivery."""

    offset: int
    attempt: int
    key: str


class KeeperModel:
    """Delivers a partition in order per key, and forgets what it is told to forget."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.acked: set[int] = set()
        self.out: dict[int, tuple[int, float]] = {}
        self.attempts = [1] * len(keys)
        self.settled = 0

    def deliver(self, count: int, now: float) -> list[Given]:
        given: list[Given] = []
        held_back: set[str] = set()
        for offset, key in enumerate(self.keys):
            if offset in self.acked or offset in self.out:
                continue
            if len(given) == count:
                break
            if key in held_back:
                continue
            self.out[offset] = (self.attempts[offset], now + ACK_TIMEOUT_S)
            given.append(Given(offset, self.attempts[offset], key))
        return given

    def settle(self, settled: Settled, now: float) -> list[tuple[int, int]]:
        refused = []
        self.settled = settled.number
        for offset, attempt in settled.acked:
            if self._has(offset, attempt):
                del self.out[offset]
                self.acked.add(offset)
            elif offset not in self.acked:
                refused.append((offset, attempt))
        for offset, attempt, _, _ in settled.retried:
            if self._has(offset, attempt):
                del self.out[offset]
                self.attempts[offset] += 1
        for offset, attempt in settled.released:
            if self._has(offset, attempt):
                del self.out[offset]
        for offset, attempt, seconds in settled.extended:
            if self._has(offset, attempt):
                self.out[offset] = (attempt, now + seconds)
            elif offset not in self.acked:
                refused.append((offset, attempt))
        return refused

    def _has(self, offset: int, attempt: int) -> bool:
        return offset in self.out and self.out[offset][0] == attempt

    def expire(self, now: float) -> list[tuple[int, int]]:
        late = [(offset, attempt) for offset, (attempt, deadline) in self.out.items() if deadline <= now]
        for offset, _ in late:
            del self.out[offset]
            self.attempts[offset] += 1
        return late

    def take_back(self, which: int) -> list[tuple[int, int]]:
        """An operator moves the subscription: one delivery is void, and those of its key after it."""
        out = sorted(self.out)
        if not out:
            return []
        first = out[which % len(out)]
        void = [each for each in out if each == first or (each > first and self.keys[each] == self.keys[first] != "")]
        over = [(each, self.out.pop(each)[0]) for each in void]
        for each in void:
            self.attempts[each] += 1
        return over

    def reopen(self, numbers: list[tuple[int, int]], now: float) -> list[tuple[int, int]]:
        """A stream is opened again; returns what the consumer no longer has."""
        kept = {offset: attempt for offset, attempt in numbers if self._has(offset, attempt)}
        self.out = {offset: self.out[offset] for offset in kept}
        return [(offset, attempt) for offset, attempt in numbers if offset not in kept and offset not in self.acked]

    def restart(self, numbers: list[tuple[int, int]], lost: set[int], now: float) -> list[tuple[int, int]]:
        """Another keeper begins with what was saved: acknowledgements of `lost` were not."""
        self.acked -= lost
        free = [(offset, attempt) for offset, attempt in numbers if offset not in self.acked]
        self.out = {offset: (attempt, now + ACK_TIMEOUT_S) for offset, attempt in free}
        for offset, attempt in free:
            self.attempts[offset] = max(self.attempts[offset], attempt)
        return []


class ConsumerModel:
    """A window between a keeper and a program; every step checks what users are promised.

    Args:
        keys: of the messages, by offset.

    Attributes:
        lossy: a keeper was restarted without what was not saved, or an operator has moved the subscription: messages
            may be handled twice.
    """

    def __init__(self, keys: list[str]) -> None:
        self.keeper = KeeperModel(keys)
        self.window: ConsumerWindow[Given] = ConsumerWindow(ACK_TIMEOUT_S)
        self.now = 100.0
        self.out: list[Held[Given]] = []
        self.handled: list[int] = []
        self.lossy = False

    @classmethod
    def random(cls, random: Random) -> ConsumerModel:
        """One with any messages."""
        return cls([random.choice(KEYS) for _ in range(random.randint(1, 30))])

    # Steps.

    def deliver(self, count: int) -> None:
        self.window.arrived(0, self.keeper.deliver(count, self.now), self.now, self.keeper.settled)

    def take(self) -> None:
        held = self.window.take(self.now)
        if held is None:
            return
        key = held.delivery.key
        busy = [each for each in self.out if each.state is DeliveryState.OUT and each.delivery.key == key and key]
        assert not busy, f"two messages of key {key!r} are handled at a time"
        assert self.lossy or held.delivery.offset not in self.handled, f"{held.delivery.offset} is handled twice"
        self.out.append(held)

    def ack(self, which: int) -> None:
        if held := self._pick(which):
            offset = held.delivery.offset
            if self.window.ack(held) and offset not in self.handled:
                earlier = [
                    each
                    for each in range(offset)
                    if held.delivery.key and self.keeper.keys[each] == held.delivery.key and each not in self.handled
                ]
                assert not earlier, f"{offset} is handled before {earlier} of key {held.delivery.key!r}"
                self.handled.append(offset)

    def retry(self, which: int) -> None:
        if held := self._pick(which):
            self.window.retry(held, None, "no")

    def extend(self, which: int) -> None:
        if self.out:
            self.window.extend(self.out[which % len(self.out)], ACK_TIMEOUT_S, self.now)

    def leave(self, which: int) -> None:
        if self.out:
            self.window.left(self.out[which % len(self.out)])

    def release(self, which: int) -> None:
        if held := self._pick(which):
            self.window.release(held)

    def _pick(self, which: int) -> Held[Given] | None:
        return self.out.pop(which % len(self.out)) if self.out else None

    def sync(self) -> None:
        """The keeper is told everything; its deliveries are then in order for each key."""
        while self.window.dirty:
            settled = self.window.take_settled(0)
            refused = self.keeper.settle(settled, self.now)
            self.window.confirmed(0, settled)
            extended = {(offset, attempt) for offset, attempt, _ in settled.extended}
            self.window.refused(0, [each for each in refused if each in extended])
        first: dict[str, int] = {}
        for offset, key in enumerate(self.keeper.keys):
            if key and offset not in self.keeper.acked and offset not in self.keeper.out:
                first.setdefault(key, offset)
        for offset in self.keeper.out:
            key = self.keeper.keys[offset]
            assert self.lossy or offset < first.get(key, offset + 1), (
                f"{offset} of {key!r} is here though an earlier one went back"
            )

    def wait(self, seconds: float) -> None:
        """Time passes, and the window is looked through in time."""
        self.now += seconds
        self.window.tick(self.now, ACK_TIMEOUT_S / 2)
        self.sync()
        late = self.keeper.expire(self.now)
        working = {each.delivery.offset for each in self.out if each.worked_on}
        assert not [each for each in late if each[0] in working], "a message that is worked on is delivered again"
        self._over(late)

    def reopen(self) -> None:
        numbers = self.window.numbers(0)
        self.window.opened(0)
        self.keeper.settled = 0
        over = self.keeper.reopen(numbers, self.now)
        self.window.confirmed_open(0)
        self._over(over)

    def take_back(self, which: int) -> None:
        self.lossy = True
        self._over(self.keeper.take_back(which))

    def _over(self, deliveries: list[tuple[int, int]]) -> None:
        self.window.over(0, deliveries)
        kept = [each for each in deliveries if each in self.window.numbers(0) and each[0] not in self.handled]
        assert not kept, f"{kept} are here though they may be elsewhere too"
        self.sync()

    def restart(self, which: int) -> None:
        acked = sorted(self.keeper.acked)
        lost = set(acked[which % (len(acked) + 1) :])
        self.lossy = self.lossy or bool(lost)
        numbers = self.window.numbers(0)
        self.window.opened(0)
        if which % 2:
            self._overtake(which)
        self.keeper.settled = 0
        self.keeper.restart(numbers, lost, self.now)
        self.window.confirmed_open(0)
        self.sync()

    def _overtake(self, which: int) -> None:
        """Answers come to the next keeper before the request for a stream, so it has nothing that they could end."""
        for _ in range(which % 4):
            (self.ack, self.retry, self.release, self.extend)[which % 4](which)
            which //= 3
        settled = self.window.take_settled(0)
        extended = [(offset, attempt) for offset, attempt, _ in settled.extended]
        self.window.confirmed(0, settled)
        self.window.refused(0, extended)

    def check(self) -> None:
        self.window.check()

    def finish(self) -> None:
        """From now on the program acknowledges everything: then everything is acknowledged."""
        for _ in range(400):
            self.check()
            while self.out:
                self.ack(0)
            self.sync()
            if len(self.keeper.acked) == len(self.keeper.keys):
                break
            self.deliver(7)
            self.take()
            if not self.out:
                self.wait(ACK_TIMEOUT_S / 6)
        missing = set(range(len(self.keeper.keys))) - self.keeper.acked
        assert not missing, f"{sorted(missing)} were never acknowledged"
        self.sync()
        self.check()
        assert not self.window.numbers(0), f"{self.window.numbers(0)} are left"

    def step(self, random: Random) -> None:
        """Any step."""
        which = random.randrange(1000)
        choice = random.randrange(80) % 14
        if choice <= 1:
            self.deliver(random.randint(1, 10))
        elif choice <= 3:
            self.take()
        elif choice <= 5:
            self.ack(which)
        elif choice == 11:
            (self.restart if which % 5 == 0 else lambda _: self.reopen())(which)
        elif choice >= 12:
            if which % 7 == 0:
                self.take_back(which)
        else:
            step = (self.retry, self.extend, self.leave, self.release)
            (*step, lambda _: self.wait(ACK_TIMEOUT_S / 6))[choice - 6](which)
        self.check()
