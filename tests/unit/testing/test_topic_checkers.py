"""The checkers of topic histories: each accepts what may be, and names what may not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inaho.events import MessageDeadLettered, MessagesDropped, TailUnknown, TopicCreated, TopicGap
from inaho.testing import topic_checkers as promises
from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_history import Died, Journal, Record
from inaho.testing.histories.topic_history import (
    DeadLettered,
    Delivered,
    DropTold,
    GapTold,
    Handled,
    Leaving,
    NotPublished,
    Published,
    Publishing,
    Subscribed,
    TailLost,
    Unsubscribed,
    Unsubscribing,
    read_topic_journals,
    record_of,
)

WITHIN_S = 3.0


def told(*records: Record | list[Record]) -> list[Record]:
    """A history in which record after record has a time of its own, unless it has one."""
    flat = [each for one in records for each in (one if isinstance(one, list) else [one])]
    return [each if each.at else replace(each, at=float(number + 1)) for number, each in enumerate(flat)]


def replace(record: Record, **changes: Any) -> Record:
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return type(record)(**{**fields, **changes})


def publish(message: str, *, key: str = "", publisher: str = "p", topic: str = "t") -> list[Record]:
    return [
        Publishing(at=0, topic=topic, publisher=publisher, message=message, key=key),
        Published(at=0, message=message),
    ]


def refused(message: str, *, maybe: bool) -> list[Record]:
    return [publish(message)[0], NotPublished(at=0, message=message, code="no_subscribers", maybe=maybe)]


def subscribe(name: str = "s", *, node: str = "n", group: str = "", earliest: bool = False) -> Subscribed:
    return Subscribed(at=0, topic="t", subscriber=name, node=node, since=0.5, group=group, earliest=earliest)


def deliver(message: str, sequence: int, to: str = "s", **more: Any) -> Delivered:
    return Delivered(at=0, topic="t", subscriber=to, message=message, sequence=sequence, **more)


def handle(message: str, sequence: int, to: str = "s", **more: Any) -> list[Record]:
    return [deliver(message, sequence, to, **more), Handled(at=0, subscriber=to, message=message)]


def silence(seconds: float = 50.0) -> list[Record]:
    """The history goes on for a while."""
    return [Unsubscribing(at=1000.0 + seconds, subscriber="s"), Unsubscribed(at=1001.0 + seconds, subscriber="s")]


AT_MOST_ONCE = [subscribe(), *publish("a"), *publish("b"), deliver("a", 1), deliver("b", 2)]
AT_LEAST_ONCE = [
    subscribe(group="g"),
    *publish("a", key="k"),
    *publish("b", key="k"),
    *handle("a", 0, key="k"),
    *handle("b", 1, key="k"),
]


def test_what_may_be_is_accepted_and_counted():
    once = told(AT_MOST_ONCE, silence())
    assert promises.only_to_subscribers(once) == 2
    assert promises.in_publishing_order(once) == 2
    assert promises.losses_told(once, WITHIN_S) == {"delivered": 2}
    least = told(AT_LEAST_ONCE)
    assert promises.only_to_subscribers(least) == 2
    assert promises.nothing_unhandled(least) == 2
    assert promises.one_log(least) == 2
    assert promises.keys_in_order(least) == 2
    assert promises.repeated(least, orderly=True) == {}


def broken(check: Callable[[list[Record]], object], *records: Record | list[Record]) -> str:
    with pytest.raises(PromiseBroken) as found:
        check(told(*records))
    return str(found.value)


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([subscribe(), deliver("x", 1)], "nobody has published it"),
        ([subscribe(), deliver("a", 1), *publish("a")], "nobody has published it"),
        ([subscribe(), *refused("a", maybe=False), deliver("a", 1)], "refused"),
        ([subscribe(), *publish("a", topic="other"), deliver("a", 1)], "published as"),
        ([subscribe(), *publish("a", key="k"), deliver("a", 1, key="other")], "published as"),
        ([subscribe(), *publish("a"), deliver("a", 1, publisher="q")], "its publisher is p"),
        ([*publish("a"), deliver("a", 1)], "nobody of that name"),
        (
            [subscribe(), *publish("a"), Unsubscribing(at=0, subscriber="s"), Unsubscribed(at=0, subscriber="s"),
             deliver("a", 1)],
            "had ended",
        ),
        ([subscribe(), *publish("a"), Died(at=0, node="n"), deliver("a", 1)], "had ended"),
        ([*publish("a"), replace(subscribe(), since=9.0), deliver("a", 1)], "before the subscription began"),
        ([*publish("a"), replace(subscribe(group="g"), since=9.0), deliver("a", 0)], "before the subscription began"),
    ],
)  # fmt: skip
def test_a_delivery_to_who_is_not_subscribed(records: list[Record], reason: str):
    assert reason in broken(promises.only_to_subscribers, records)


def test_a_subscription_may_get_what_is_published_while_it_begins_and_ends():
    between = [
        replace(subscribe(), since=0.5), *publish("a"), Unsubscribing(at=0, subscriber="s"), *publish("b"),
        deliver("a", 1), deliver("b", 2), Unsubscribed(at=0, subscriber="s"),
    ]  # fmt: skip
    assert promises.only_to_subscribers(told(between)) == 2
    begin, end = publish("a")
    assert promises.only_to_subscribers(told(begin, replace(subscribe(), since=1.5), end, deliver("a", 1))) == 1
    old = [*publish("a"), replace(subscribe(group="g", earliest=True), since=9.0), deliver("a", 0)]
    assert promises.only_to_subscribers(told(old)) == 1
    assert promises.only_to_subscribers(told(subscribe(), refused("a", maybe=True), deliver("a", 1))) == 1


@pytest.mark.parametrize(
    "deliveries",
    [
        [deliver("b", 2), deliver("a", 1)],
        [deliver("b", 1), deliver("a", 2)],
        [deliver("a", 1), deliver("a", 1)],
        [deliver("a", 2), deliver("b", 2)],
    ],
)
def test_messages_of_one_publisher_that_arrive_in_another_order_or_twice(deliveries: list[Record]):
    assert "follows" in broken(promises.in_publishing_order, subscribe(), publish("a"), publish("b"), deliveries)


def test_messages_of_two_publishers_have_no_order():
    history = told(subscribe(), publish("a"), publish("b", publisher="q"), deliver("b", 1), deliver("a", 1))
    assert promises.in_publishing_order(history) == 2


def losses(*records: Record | list[Record]) -> dict[str, int]:
    return dict(promises.losses_told(told(*records), WITHIN_S))


def untold(*records: Record | list[Record]) -> str:
    return broken(lambda history: promises.losses_told(history, WITHIN_S), *records)


THREE = [subscribe(), *publish("a"), *publish("b"), *publish("c")]


def gap(first: int, count: int, *, node: str = "n", publisher: str = "p") -> GapTold:
    return GapTold(at=0, topic="t", node=node, publisher=publisher, first=first, count=count)


def tail(last: int, *, node: str = "n", publisher: str = "p") -> TailLost:
    return TailLost(at=0, topic="t", node=node, publisher=publisher, last=last)


def test_a_message_that_is_missing_in_the_middle_is_counted_by_the_next_one():
    assert losses(THREE, deliver("a", 1), deliver("c", 3, missed=1), silence()) == {"delivered": 2, "missed": 1}
    assert "has missed 1 messages" in untold(THREE, deliver("a", 1), deliver("c", 3), silence())
    assert "are missing between" in untold(THREE, deliver("a", 1), deliver("c", 2, missed=1), silence())


def test_a_count_that_comes_too_late_or_is_too_small():
    four = [*THREE, *publish("d")]
    assert "has missed 1" in untold(four, deliver("a", 1), deliver("c", 3), deliver("d", 4, missed=1), silence())
    assert "has missed 2" in untold(four, deliver("a", 1), deliver("d", 4, missed=1), silence())


def test_a_message_that_is_missing_before_the_first_is_counted():
    assert losses(THREE, deliver("c", 3, missed=2), silence()) == {"delivered": 1, "missed": 2}
    assert "has missed 2" in untold(THREE, deliver("c", 3, missed=1), silence())


def test_a_message_that_is_missing_at_the_end_is_told_by_a_gap_or_an_unknown_tail():
    for last in ([gap(2, 2)], [tail(1)], [gap(2, 1), gap(3, 1)]):
        found = losses(THREE, deliver("a", 1), last, silence())
        assert found["delivered"] == 1 and found.get("missed", 0) + found.get("unknown", 0) == 2
    for last in ([], [gap(2, 1)], [gap(2, 2, node="m")], [tail(1, publisher="q")], [gap(1, 2)]):
        assert "does not know of 2 messages" in untold(THREE, deliver("a", 1), last, silence())
    assert "does not know of 3 messages" in untold(THREE, silence())
    assert losses(THREE, silence(-1000 + WITHIN_S)) == {"too late": 3}
    with pytest.raises(PromiseBroken, match="does not know of 3"):
        promises.losses_told(told(THREE), WITHIN_S, until=20.0)


def test_an_unknown_tail_explains_what_is_missing_until_the_publisher_is_back():
    assert losses(THREE, deliver("a", 1), tail(1), deliver("c", 3), silence()) == {"delivered": 2, "unknown": 1}
    early = [THREE[0], tail(0), *THREE[1:]]
    assert "has missed 1" in untold(early, deliver("a", 1), deliver("c", 3), silence())


def test_a_node_that_did_not_run_cannot_know_publishers_that_came_and_went():
    paused = tail(0, publisher="")
    assert losses(THREE, replace(paused, topic=""), silence()) == {"unknown": 3}
    assert "does not know of 2" in untold(THREE, deliver("a", 1), replace(paused, topic=""), silence())


def test_who_ends_or_begins_later_or_was_refused_is_owed_nothing():
    closed = [Unsubscribing(at=0, subscriber="s"), Unsubscribed(at=0, subscriber="s")]
    assert losses(subscribe(), closed, publish("a"), silence()) == {}
    assert losses(publish("a"), subscribe(), silence()) == {}
    assert losses(subscribe(), Leaving(at=0, node="n"), publish("a"), silence()) == {}
    assert promises.only_to_subscribers(told(subscribe(), publish("a"), Leaving(at=0, node="n"), deliver("a", 1))) == 1
    assert losses(subscribe(), refused("a", maybe=True), silence()) == {}


def test_an_acknowledged_message_that_a_group_has_not_handled():
    lost = [subscribe(group="g"), *publish("a"), *publish("b"), *handle("a", 0)]
    assert "group g has not handled" in broken(promises.nothing_unhandled, lost)
    assert "has not handled" in broken(promises.nothing_unhandled, lost, deliver("b", 1))
    assert "group h has not" in broken(promises.nothing_unhandled, AT_LEAST_ONCE[0], subscribe("u", group="h"),
                                       AT_LEAST_ONCE[1:])  # fmt: skip
    given_up = DeadLettered(at=0, topic="t", group="g", partition=0, offset=1)
    assert promises.nothing_unhandled(told(lost, deliver("b", 1), given_up)) == 2
    assert "has not" in broken(promises.nothing_unhandled, lost, deliver("b", 1), replace(given_up, group="h"))
    another = [subscribe("u", group="g"), *handle("b", 1, "u")]
    assert promises.nothing_unhandled(told(lost, another)) == 2


def test_what_was_published_before_a_group_began_is_owed_to_those_that_begin_with_the_oldest():
    assert promises.nothing_unhandled(told(publish("a"), subscribe(group="g"))) == 0
    assert "has not" in broken(promises.nothing_unhandled, publish("a"), subscribe(group="g", earliest=True))
    assert promises.nothing_unhandled(told(subscribe(group="g"), refused("a", maybe=True))) == 0


@pytest.mark.parametrize(
    ("deliveries", "reason"),
    [
        ([deliver("a", 0, key="k"), deliver("a", 1, key="k")], "stored twice"),
        ([deliver("a", 0, key="k"), deliver("b", 0, key="k")], "one offset"),
        ([deliver("a", 0, key="k"), deliver("b", 0, key="k", partition=1)], "two partitions"),
        ([deliver("a", 1, key="k"), deliver("b", 0, key="k")], "was acknowledged before"),
    ],
)
def test_a_log_that_is_not_one(deliveries: list[Record], reason: str):
    two = [subscribe(group="g"), *publish("a", key="k"), *publish("b", key="k")]
    assert reason in broken(promises.one_log, two, deliveries)


def test_publishes_at_the_same_time_have_any_order_in_the_log():
    first, second = publish("a", key="k"), publish("b", key="k")
    both = [subscribe(group="g"), first[0], second[0], first[1], second[1]]
    assert promises.one_log(told(both, deliver("a", 1, key="k"), deliver("b", 0, key="k"))) == 2


def test_a_message_that_comes_before_an_earlier_one_of_its_key_is_handled():
    two = [subscribe(group="g"), *publish("a", key="k"), *publish("b", key="k")]
    early = [deliver("a", 0, key="k"), deliver("b", 1, key="k")]
    late = [Handled(at=0, subscriber="s", message="a")]
    assert "came before" in broken(promises.keys_in_order, two, early, late)
    assert "came before" in broken(promises.keys_in_order, two, [early[1]], handle("a", 0, key="k"))
    assert "came before" in broken(promises.keys_in_order, two, early)
    given_up = DeadLettered(at=0, topic="t", group="g", partition=0, offset=0)
    assert promises.keys_in_order(told(two, early, given_up)) == 2
    again = [*handle("a", 0, key="k"), deliver("b", 1, key="k"), deliver("a", 0, key="k"), *handle("b", 1, key="k")]
    assert promises.keys_in_order(told(two, again)) == 2
    free = [subscribe(group="g"), *publish("a"), *publish("b"), deliver("b", 1), deliver("a", 0)]
    assert promises.keys_in_order(told(free)) == 0


def test_repeated_deliveries_are_counted():
    again = [*AT_LEAST_ONCE, deliver("a", 0, key="k", attempt=2)]
    assert promises.repeated(told(again)) == {"handled again": 1}
    assert "was handled before" in broken(lambda history: promises.repeated(history, orderly=True), again)
    failed = [subscribe(group="g"), *publish("a"), deliver("a", 0), *handle("a", 0, attempt=2)]
    assert promises.repeated(told(failed), orderly=True) == {"again": 1}


def activation(name: str = "s", *, grain: str = "k", group: str = "") -> Subscribed:
    return replace(subscribe(name, group=group, earliest=bool(group)), grain=grain, method="Kind.method")


def grains_told(history: list[Record]) -> dict[str, int]:
    return dict(promises.grain_losses_told(history, WITHIN_S, methods=["Kind.method"]))


def test_a_grain_gets_the_messages_of_its_key_while_its_activation_lives():
    early = [*publish("a", key="k"), activation(), deliver("a", 1, key="k")]
    assert promises.only_to_subscribers(told(early)) == 1, "the message has activated the grain"
    other = [*publish("b", key="other"), deliver("b", 2, key="other")]
    assert "it is for the grain 'other'" in broken(promises.only_to_subscribers, early, other)
    assert promises.only_to_subscribers(told(early, other), lambda publish: "k") == 2, "by a key function"
    late = [Unsubscribed(at=0, subscriber="s"), *publish("b", key="k"), deliver("b", 2, key="k")]
    assert "had ended" in broken(promises.only_to_subscribers, early, late)
    assert "follows" in broken(promises.in_publishing_order, early, deliver("a", 1, key="k"))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (gap(1, 1), True),
        (gap(1, 1, publisher="q"), False),
        (replace(gap(1, 1), at=900.0), False),
        (tail(1), True),
        (TailLost(at=0, topic="", node="n", publisher="", last=0), True),
        (DropTold(at=0, topic="t", node="n", reason="cut_off", count=1), True),
        (Died(at=0, node="n"), True),
        ([Leaving(at=0, node="n"), Died(at=0, node="n")], False),
    ],
)
def test_a_message_that_a_grain_has_not_got_is_explained_by_what_nodes_tell(reason: Any, expected: bool):
    """A node that leaves in order passes on what it has."""
    history = [activation(), *publish("a", key="k"), deliver("a", 1, key="k"), *publish("b", key="k")]
    if expected:
        assert grains_told(told(history, reason, silence())) == {"delivered": 1, "told": 1}
    else:
        assert "has not got" in broken(grains_told, history, reason, silence())


def test_messages_that_a_grain_may_still_get_are_not_judged():
    history = told(activation(), publish("a", key="k"), deliver("a", 1, key="k"), publish("c", key="k"))
    assert grains_told(history) == {"delivered": 1, "too late": 1}


def by_client(message: str) -> list[Record]:
    begin, end = publish(message, publisher="c")
    return [replace(begin, client=True), end]


def test_what_a_client_publishes_has_the_numbers_of_its_member():
    one = [
        subscribe(),
        *by_client("a"),
        *by_client("b"),
        deliver("a", 7, publisher="m"),
        deliver("b", 9, publisher="m"),
    ]
    history = told(one, silence())
    assert promises.only_to_subscribers(history) == promises.in_publishing_order(history) == 2
    assert promises.losses_told(history, WITHIN_S) == {"delivered": 2}
    elsewhere = [*by_client("c"), *by_client("d"), deliver("d", 3, publisher="n"), deliver("c", 10, publisher="m")]
    assert promises.in_publishing_order(told(one, elsewhere)) == 4, "through another member: no order with the first"
    assert "follows" in broken(promises.in_publishing_order, one, *by_client("c"), deliver("c", 8, publisher="m"))


def test_a_client_may_get_what_was_on_its_way_to_its_member_and_knows_no_tail_when_it_loses_that():
    client = replace(subscribe(), client=True, since=9.0)
    assert promises.only_to_subscribers(told(publish("a"), client, deliver("a", 1))) == 1
    beside = [subscribe("other"), *publish("a"), replace(subscribe(), since=9.0), deliver("a", 1)]
    assert promises.only_to_subscribers(told(beside)) == 1, "it was on its way to another subscriber of the node"
    ends = [client, *publish("a"), deliver("a", 1), *publish("b")]
    lost = told(ends[:4], tail(0, publisher="m"), ends[4:], silence())
    assert promises.losses_told(lost, WITHIN_S) == {"delivered": 1, "unknown": 1}
    assert "does not know of 1" in broken(lambda each: promises.losses_told(each, WITHIN_S), ends, silence())


def test_two_messages_with_one_text_cannot_be_told_apart():
    with pytest.raises(ValueError, match="text of another"):
        promises.one_log(told(publish("a"), publish("a")))


def test_events_become_records():
    about = {"node": "n", "at": 7.0}
    assert record_of(TopicGap(at=1.0, topic="t", publisher="p", authority="", first=3, count=2), **about) == replace(
        gap(3, 2), at=7.0
    )
    assert record_of(TailUnknown(at=1.0, topic="t", publisher="p", authority="", last=5), **about) == replace(
        tail(5), at=7.0
    )
    dead = MessageDeadLettered(
        at=1.0, topic="t", subscription="g", partition=2, offset=9, key="", attempts=8, dead_letters="d", reason=""
    )
    assert record_of(dead, **about) == DeadLettered(at=7.0, topic="t", group="g", partition=2, offset=9)
    dropped = MessagesDropped(at=1.0, topic="t", count=4, reason="cut_off", authority="", subscription="")
    assert record_of(dropped, **about) == DropTold(at=7.0, topic="t", node="n", reason="cut_off", count=4)
    assert record_of(TopicCreated(at=1.0, topic="t", delivery="at_most_once"), **about) is None


def test_journals_of_several_processes_are_one_history(tmp_path: Path):
    written = told(AT_LEAST_ONCE, gap(1, 1), tail(2), refused("z", maybe=False), silence(), Died(at=9999.0, node="n"))
    journals = [Journal(time.monotonic, tmp_path / name) for name in ("one.journal", "two.journal")]
    for number, record in enumerate(written):
        journals[number % 2].write(record)
    for journal in journals:
        journal.close()
    with (tmp_path / "two.journal").open("ab") as file:
        file.write(b'{"type":"Handled","at":')
    assert read_topic_journals(tmp_path.glob("*.journal")) == written
