"""Sequences of publishers: each message that did not arrive is counted once, and none is delivered twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inaho.core.pubsub.sequences import Sequences

batches = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(("sent", "sent", "lost", "repeated"))), max_size=60)


@given(batches)
def test_every_message_arrives_once_or_is_missed_once(history: list[tuple[int, str]]) -> None:
    sequences, sequence, arrived, missed, begun = Sequences(10), 0, list[int](), 0, False
    sent: list[tuple[int, int]] = []
    for count, fate in history:
        if fate == "repeated":
            for first, again in sent[-2:]:
                assert sequences.arrived("p", 7, first, again, 0, 0) == (again, 0)
            continue
        first = sequence + 1
        sequence += count
        if fate == "lost":
            continue
        repeated, lost = sequences.arrived("p", 7, first, count, not begun, first - 1 if not begun else 0)
        begun = True
        assert repeated == 0
        missed += lost
        arrived += range(first, first + count)
        sent.append((first, count))
        assert len(arrived) + missed == sequence
        assert sequences.missed == missed
        assert sequences.last("p") == sequence
        sequences.check()
    assert len(set(arrived)) == len(arrived)


def test_a_publisher_that_begins_says_what_was_lost_before() -> None:
    sequences = Sequences(10, gets_all=False)
    assert sequences.arrived("p", 1, 101, 2, 1, 20) == (0, 20)
    assert sequences.arrived("p", 1, 103, 1, 0, 0) == (0, 0)
    assert sequences.arrived("p", 1, 110, 1, 0, 0) == (0, 6)
    assert sequences.arrived("p", 1, 120, 1, 1, 3) == (0, 3)  # begins again: only 3 of the 9 were for this node
    assert sequences.arrived("p", 1, 125, 1, 1, 124) == (0, 4)  # on a new connection
    assert sequences.arrived("p", 2, 1, 1, 1, 0) == (0, 0)  # the process has forgotten the topic meanwhile
    assert sequences.arrived("q", 1, 50, 1, 0, 0) == (0, 0)  # a publisher that was forgotten here
    assert sequences.missed == 33
    sequences.check()


def test_a_node_that_gets_all_misses_what_it_did_not_get_though_the_publisher_begins_again() -> None:
    sequences = Sequences(10)
    assert sequences.arrived("p", 1, 1, 5, 1, 0) == (0, 0)
    assert sequences.arrived("p", 1, 9, 1, 1, 0) == (0, 3)
    assert sequences.missed == 3


def test_a_batch_that_is_partly_known_gives_its_new_messages() -> None:
    sequences = Sequences(10)
    sequences.arrived("p", 1, 1, 5, 1, 0)
    assert sequences.arrived("p", 1, 4, 4, 0, 0) == (2, 0)
    assert sequences.last("p") == 7
    assert sequences.repeated == 2


def test_publishers_are_bounded() -> None:
    sequences = Sequences(3)
    for number in range(10):
        sequences.arrived(f"p{number}", 1, 1, 1, 1, 0)
    assert len(sequences) == 3
    assert "p9" in sequences
    assert "p0" not in sequences
    sequences.forget("p9")
    sequences.forget("p9")
    assert len(sequences) == 2
    assert sequences.last("p9") == 0
