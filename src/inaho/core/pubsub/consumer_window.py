"""What one consumer at least once holds: which message is handled next, and what its keepers are told.

The keepers of the partitions deliver ahead, so that a handler does not wait for the network. The window hands these
deliveries out: from the partitions in turn, and of one key one at a time. A message whose handling fails goes back, and
the deliveries of its key that wait behind it go back with it unhandled, because they must not be handled before it.

A delivery is the consumer's until its time to acknowledge has passed. The window prolongs the time of what waits here
and of what a handler works on, and of nothing else: a message that a loop has left behind without an answer is
delivered again, to anyone. What waits here for as long as the time to acknowledge goes back unhandled, because this
handler is slow or hangs, and another consumer of the group may be idle.

What is answered while a stream opens is answered again once it is open. The first answer may have come before the
request for the stream, which names the message as held: the keeper would leave it to this consumer.

When a message has gone back, the keeper may already have sent later ones of its key. They go back too: settlements are
numbered, and with its deliveries a keeper says which settlement it knew.

An acknowledgement is valid here at once and sent a moment later, together with others. Until the keeper has confirmed
it, the window names the delivery as held when a stream is opened again, and does not hand it out twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from inaho.core.pubsub.deliveries_in_flight import EXPIRED
from inaho.core.pubsub.held_deliveries import (
    OUT,
    OVER,
    SETTLED,
    WAITING,
    Delivered,
    DeliveryState,
    Held,
    HeldPartition,
    Settled,
)

__all__ = ["ConsumerWindow", "DeliveryState", "Held", "Settled"]

D = TypeVar("D", bound=Delivered)


class ConsumerWindow(Generic[D]):
    """The deliveries of one consumer.

    Args:
        ack_timeout_s: time to acknowledge, in seconds.

    Attributes:
        waiting: deliveries that wait in the window.
        out: those that are handed out and not answered.
        dirty: partitions whose keepers are to be told something, in order.
    """

    def __init__(self, ack_timeout_s: float) -> None:
        self.waiting = 0
        self.out = 0
        self.dirty: dict[int, None] = {}
        self._ack_timeout_s = ack_timeout_s
        self._partitions: dict[int, HeldPartition[D]] = {}
        self._round: deque[HeldPartition[D]] = deque()

    # From the keepers.

    def opened(self, number: int) -> None:
        """A stream begins, whose request has named what is held: the keeper knows what has gone back."""
        partition = self._partition(number)
        partition.back.clear()
        partition.opening = []

    def confirmed_open(self, number: int) -> None:
        """An item of a stream has come: the keeper has the request. No effect from the second item on."""
        partition = self._partition(number)
        told, partition.opening = partition.opening, None
        settled = partition.settled
        for each in told or ():
            settled.acked += each.acked
            settled.retried += each.retried
            settled.released += each.released
        if settled:
            self.dirty[number] = None
            for key, (first, _) in partition.back.items():
                partition.back[key] = (first, settled.number)

    def arrived(self, number: int, deliveries: Iterable[D], now: float, settled: int) -> None:
        """Deliveries of one partition have arrived, in the order in which they are to be handled for each key.

        Args:
            number: of the partition.
            deliveries: of one item of the stream.
            now: loop seconds.
            settled: number of the newest settlement that the keeper knew; 0 for none.
        """
        partition = self._partition(number)
        if partition.back:
            for key in [key for key, (_, told) in partition.back.items() if told <= settled]:
                del partition.back[key]
        expires_at = now + self._ack_timeout_s
        for delivery in deliveries:
            offset = delivery.offset
            known = partition.held.get(offset)
            if known is not None:
                if known.delivery.attempt >= delivery.attempt:
                    continue  # a repetition by a stream that was opened again
                self._cut(partition, known, OVER)
            if offset in partition.unconfirmed:  # handled here; the keeper does not know that yet
                partition.unconfirmed[offset] = max(partition.unconfirmed[offset], delivery.attempt)
                partition.settled.acked.append((offset, delivery.attempt))
                self.dirty[number] = None
                continue
            key = delivery.key
            if key in partition.back and offset > partition.back[key][0]:
                partition.back[key] = (partition.back[key][0], partition.settled.number)
                self._say_released(partition, delivery)
                continue
            held = Held(delivery, number, now, expires_at)
            partition.held[offset] = held
            self.waiting += 1
            if key:
                line = partition.lines.get(key)
                if line is not None:
                    line.append(held)
                    continue
                partition.lines[key] = [held]
            self._make_ready(partition, held)

    def over(self, number: int, deliveries: Iterable[tuple[int, int]]) -> None:
        """The keeper says that these deliveries (offset, attempt) are no longer the consumer's."""
        partition = self._partition(number)
        for offset, attempt in deliveries:
            partition.settled.heard = True
            self.dirty[number] = None
            held = partition.held.get(offset)
            if held is not None and held.delivery.attempt <= attempt:
                self._cut(partition, held, OVER)

    def refused(self, number: int, deliveries: Iterable[tuple[int, int]]) -> None:
        """The keeper had not got these deliveries (offset, attempt) when it was to prolong their time.

        They go back, so that it does not leave them to this consumer if it gets the request for a stream only now.
        It may also have sent the same message again meanwhile, with the same attempt.
        """
        partition = self._partition(number)
        for offset, attempt in deliveries:
            held = partition.held.get(offset)
            if held is not None and held.delivery.attempt <= attempt:
                self.release(held)

    def confirmed(self, number: int, settled: Settled) -> None:
        """The keeper has answered what `take_settled` returned."""
        unconfirmed = self._partition(number).unconfirmed
        for offset, attempt in settled.acked:
            if unconfirmed.get(offset) == attempt:
                del unconfirmed[offset]

    def numbers(self, number: int) -> list[tuple[int, int]]:
        """Offset and attempt of what is held of a partition, or acknowledged and not confirmed; sorted."""
        partition = self._partition(number)
        held = [(offset, each.delivery.attempt) for offset, each in partition.held.items()]
        return sorted([*held, *partition.unconfirmed.items()])

    # To the handlers.

    def take(self, now: float) -> Held[D] | None:
        """Hands out the next delivery; None if there is none. The caller works on it until `left`.

        A process that was stopped for a while, or cut off from the keeper, does not begin what is over since.
        """
        while self._round:
            partition = self._round.popleft()
            held = None
            while partition.ready and (held is None or held.state is not WAITING):
                held = partition.ready.popleft()
            if partition.ready:
                self._round.append(partition)
            else:
                partition.queued = False
            if held is not None and held.state is WAITING and held.expires_at <= now:
                self.release(held)
            elif held is not None and held.state is WAITING:
                held.state = OUT
                held.worked_on = True
                self.waiting -= 1
                self.out += 1
                return held
        return None

    def ack(self, held: Held[D]) -> bool:
        """It is handled. Returns whether that counts; False if the delivery is over."""
        if held.state is not OUT:
            return held.state is SETTLED
        delivery = held.delivery
        partition = self._partitions[held.partition]
        partition.settled.acked.append((delivery.offset, delivery.attempt))
        partition.unconfirmed[delivery.offset] = delivery.attempt
        self.dirty[held.partition] = None
        self._forget(partition, held, SETTLED)
        key = delivery.key
        if key:
            line = partition.lines[key]
            del line[0]
            if line:
                self._make_ready(partition, line[0])
            else:
                del partition.lines[key]
        return True

    def retry(self, held: Held[D], after_s: float | None, reason: str) -> bool:
        """Gives it back: handling it failed. Returns whether that counts."""
        if held.state is not OUT:
            return held.state is SETTLED
        partition = self._partitions[held.partition]
        partition.settled.retried.append((held.delivery.offset, held.delivery.attempt, after_s, reason))
        self.dirty[held.partition] = None
        self._cut(partition, held, SETTLED)
        return True

    def release(self, held: Held[D]) -> None:
        """Gives it back as not handled, with those behind it; no effect on one that is answered or over."""
        if held.state is WAITING or held.state is OUT:
            partition = self._partitions[held.partition]
            self._say_released(partition, held.delivery)
            self._cut(partition, held, OVER)

    def extend(self, held: Held[D], seconds: float, now: float) -> bool:
        """Prolongs its time to acknowledge to `seconds` from now. Returns whether that counts."""
        if held.state is not OUT:
            return held.state is SETTLED
        held.expires_at = now + seconds
        self._say_extended(held, seconds)
        return True

    def left(self, held: Held[D]) -> None:
        """No loop body and no handler works on it any more; from now on only `extend` prolongs its time."""
        held.worked_on = False

    # Time.

    def tick(self, now: float, within_s: float) -> None:
        """Ends what has run out, and prolongs what does so within `within_s`; call it more often than that."""
        late = now - self._ack_timeout_s
        soon = now + within_s
        for partition in self._partitions.values():
            for held in list(partition.held.values()):
                if held.state is WAITING and held.arrived_at <= late:
                    self.release(held)
                elif held.state is OUT and not held.worked_on:
                    if held.expires_at <= now:  # the keeper must know: it may have a later deadline, after an extension
                        partition.settled.retried.append((held.delivery.offset, held.delivery.attempt, None, EXPIRED))
                        self.dirty[partition.number] = None
                        self._cut(partition, held, OVER)
                elif held.state <= OUT and held.expires_at <= soon:
                    held.expires_at = now + self._ack_timeout_s
                    self._say_extended(held, self._ack_timeout_s)

    # What the keepers are told.

    def acknowledged(self, number: int) -> int:
        """How many acknowledgements the keeper of that partition is to be told."""
        return len(self._partition(number).settled.acked)

    def take_settled(self, number: int) -> Settled:
        """What the keeper of that partition is to be told now; it is not returned again."""
        partition = self._partition(number)
        settled = partition.settled
        partition.settled = Settled(settled.number + 1)
        if partition.opening is not None:
            partition.opening.append(settled)
        self.dirty.pop(number, None)
        return settled

    def give_back(self) -> None:
        """The consumer ends: everything that is not answered goes back unhandled."""
        for partition in self._partitions.values():
            for held in list(partition.held.values()):
                self.release(held)

    def end(self) -> None:
        """The subscription is lost: everything is over, and the keepers are told nothing."""
        for partition in self._partitions.values():
            for held in partition.held.values():
                held.state = OVER
        self._partitions.clear()
        self._round.clear()
        self.dirty.clear()
        self.waiting = self.out = 0

    # Parts.

    def _partition(self, number: int) -> HeldPartition[D]:
        partition = self._partitions.get(number)
        if partition is None:
            partition = self._partitions[number] = HeldPartition(number)
        return partition

    def _make_ready(self, partition: HeldPartition[D], held: Held[D]) -> None:
        partition.ready.append(held)
        if not partition.queued:
            partition.queued = True
            self._round.append(partition)

    def _forget(self, partition: HeldPartition[D], held: Held[D], state: DeliveryState) -> None:
        if held.state is WAITING:
            self.waiting -= 1
        else:
            self.out -= 1
        held.state = state
        held.worked_on = False
        del partition.held[held.delivery.offset]

    def _cut(self, partition: HeldPartition[D], held: Held[D], state: DeliveryState) -> None:
        """Takes a delivery out, and gives back those behind it: they must not be handled before it."""
        self._forget(partition, held, state)
        key = held.delivery.key
        if not key:
            return
        number = partition.settled.number
        first, _ = partition.back.get(key, (held.delivery.offset, number))
        partition.back[key] = (min(first, held.delivery.offset), number)
        line = partition.lines[key]
        place = line.index(held)
        behind = line[place + 1 :]
        del line[place:]
        if not line:
            del partition.lines[key]
        for each in behind:
            self._say_released(partition, each.delivery)
            self._forget(partition, each, OVER)

    def _say_released(self, partition: HeldPartition[D], delivery: D) -> None:
        partition.settled.released.append((delivery.offset, delivery.attempt))
        self.dirty[partition.number] = None

    def _say_extended(self, held: Held[D], seconds: float) -> None:
        settled = self._partitions[held.partition].settled
        settled.extended.append((held.delivery.offset, held.delivery.attempt, seconds))
        self.dirty[held.partition] = None

    def check(self) -> None:
        """Asserts the invariants."""
        waiting = out = 0
        for number, partition in self._partitions.items():
            assert partition.queued == (partition in self._round), f"partition {number} has two opinions of its round"
            ready = [each for each in partition.ready if each.state is WAITING]
            assert partition.queued or not ready, f"partition {number} has something to hand out and is in no round"
            assert len(set(map(id, ready))) == len(ready), f"a delivery of partition {number} would be handed out twice"
            heads = {id(line[0]) for line in partition.lines.values()}
            for offset, held in partition.held.items():
                assert held.partition == number and held.delivery.offset == offset, f"{offset} is in the wrong place"
                assert held.state <= OUT, f"{offset} is kept though it is {held.state.name}"
                assert held.state is OUT or not held.worked_on, f"{offset} is worked on and waits"
                waiting += held.state is WAITING
                out += held.state is OUT
                first = not held.delivery.key or id(held) in heads
                assert (held in ready) == (first and held.state is WAITING), f"{offset} is ready at the wrong time"
            for key, line in partition.lines.items():
                assert line, f"key {key!r} has an empty line"
                for each in line:
                    assert partition.held.get(each.delivery.offset) is each, f"the line of {key!r} has a stranger"
                    assert each.delivery.key == key, f"a message of {each.delivery.key!r} is in the line of {key!r}"
                for each in line[1:]:
                    assert each.state is WAITING, f"two messages of key {key!r} are handed out"
            lines = sum(map(len, partition.lines.values()))
            keyed = sum(1 for each in partition.held.values() if each.delivery.key)
            assert lines == keyed, f"{lines} messages in lines, {keyed} with keys"
            assert bool(partition.settled) == (number in self.dirty), f"partition {number} would not be told"
        assert (waiting, out) == (self.waiting, self.out), f"{(waiting, out)} differ from the counts"
