"""The queue for a node that is cut off: within its bounds nothing is lost, nothing comes twice, and the order stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inaho.core.pubsub.cut_off_queue import CutOffQueue, Kept

steps = st.lists(
    st.tuples(st.sampled_from(("publish", "take", "deliver", "confirm", "break", "wait")), st.integers(1, 4)),
    max_size=120,
)


@given(steps, st.integers(5, 400), st.integers(50, 4000))
def test_the_other_node_gets_a_prefix_in_order_or_it_is_told(
    history: list[tuple[str, int]], messages_max: int, bytes_max: int
) -> None:
    queue: CutOffQueue[int] = CutOffQueue(messages_max, bytes_max, 5.0)
    number = 0
    now = 0.0
    wire: list[int] = []  # sent on the present connection, not read
    unconfirmed = 0  # read on the present connection, not confirmed
    got: list[int] = []
    dropped: list[int] = []
    for step, amount in history:
        if step == "publish":
            kept = Kept(number, amount, amount * 10, now)
            sent = not queue.waits
            if sent:
                wire.append(number)
            dropped += [each.item for each in queue.add(kept, sent=sent)]
            number += 1
        elif step == "take":
            kept_or_none = queue.take()
            if kept_or_none is not None:
                wire.append(kept_or_none.item)
        elif step == "deliver" and wire:
            item = wire.pop(0)
            unconfirmed += 1
            if not got or item > got[-1]:  # repetitions are recognised by their sequence
                got.append(item)
        elif step == "confirm" and unconfirmed:
            unconfirmed -= 1
            queue.confirm()
        elif step == "break":
            wire.clear()
            unconfirmed = 0
            queue.disconnected()
        elif step == "wait":
            now += 2.0
            dropped += [each.item for each in queue.expire(now)]
        queue.check()
    lost_while_kept = queue.let_go
    while (kept_or_none := queue.take()) is not None:
        wire.append(kept_or_none.item)
    for item in wire:
        if not got or item > got[-1]:
            got.append(item)
    assert got == sorted(set(got))
    if not lost_while_kept:
        assert set(got) | set(dropped) == set(range(number))
    queue.disconnected()
    queue.clear()
    assert queue.is_empty
    assert queue.messages == queue.size == 0
    queue.check()


def test_what_was_sent_and_not_confirmed_comes_first_again() -> None:
    queue: CutOffQueue[str] = CutOffQueue(100, 1000, 60.0)
    for item in "abc":
        queue.add(Kept(item, 1, 1, 0.0), sent=True)
    queue.confirm()
    queue.disconnected()
    queue.add(Kept("d", 1, 1, 0.0), sent=False)
    taken = [queue.take() for _ in range(4)]
    assert [each.item if each else None for each in taken] == ["b", "c", "d", None]
    assert not queue.waits
    assert not queue.is_empty
    for _ in range(3):
        queue.confirm()
    assert queue.is_empty
    assert (queue.accepted, queue.confirmed) == (4, 4)


def test_a_full_queue_drops_the_oldest_and_lets_go_first_what_was_sent() -> None:
    queue: CutOffQueue[str] = CutOffQueue(3, 1000, 60.0)
    for item in "ab":
        assert queue.add(Kept(item, 1, 1, 0.0), sent=True) == []
    assert queue.add(Kept("c", 2, 1, 0.0), sent=True) == []
    assert (queue.let_go, queue.messages) == (1, 3)
    queue.confirm()  # of "a", which is kept no longer
    queue.disconnected()
    assert [each.item for each in queue.add(Kept("d", 2, 1, 0.0), sent=False)] == ["b", "c"]
    assert (queue.dropped, queue.messages) == (3, 2)
    queue.check()
    assert [each.item for each in queue.expire(61.0)] == ["d"]
    assert queue.expire(61.0) == []
