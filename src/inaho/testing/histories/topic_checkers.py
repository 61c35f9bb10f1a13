"""Checks a history against the promises of topics; each check returns what it judged, or raises `PromiseBroken`.

They are written from the promises alone and know nothing about frames, logs or keepers: a mistake there must not also
excuse itself here.

    only_to_subscribers   a message is delivered as it was published, and only to who is subscribed
    losses_told           at most once: who misses a message is told so, by a count, a gap or an unknown tail
    in_publishing_order   at most once: messages of one publisher arrive in their order, each once
    nothing_unhandled     at least once: every group has handled what was acknowledged, or it is a dead letter
    one_log               at least once: a message has one offset, in the order of the publishes, each key one partition
    keys_in_order         at least once: a message is delivered when all earlier ones of its key are handled
    repeated              how many deliveries were repeated, and why

The order of the history counts, not the times: two records of one time are in the order in which they were written. In
a history of several processes the clocks must be one, as the monotonic clock of one machine is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_history import Record
from inaho.testing.histories.topic_history import Delivered, Publishing
from inaho.testing.histories.topic_index import NEVER, IndexedHistory, Publish, Subscriber, deliveries_of

__all__ = [
    "in_publishing_order",
    "keys_in_order",
    "losses_told",
    "nothing_unhandled",
    "one_log",
    "only_to_subscribers",
    "repeated",
]


def _key_of(publish: Publishing) -> str:
    return publish.key


def only_to_subscribers(history: Iterable[Record], grain_of: Callable[[Publishing], str] = _key_of) -> int:
    """A message is delivered as it was published, to the topic of the publish, and only to who is subscribed.

    A subscription that begins with the next message gets none that was acknowledged before `subscribe` was called, and
    none arrives when it is closed. At most once, what was on its way to others on its node, or to the member of a
    client, may arrive. A publish that was refused for certain is not delivered. A grain gets the messages
    of its key, while its activation lives.

    Args:
        history: publishes, subscriptions and deliveries.
        grain_of: key of the grain that gets a message; the key of the message unless given.

    Returns:
        How many deliveries were judged.
    """
    indexed = IndexedHistory(history)
    firsts = {group: members[0].record for group, members in indexed.groups().items()}
    judged = 0
    for subscriber in indexed.subscribers.values():
        begin = firsts.get(subscriber.group, subscriber.record)
        for index, delivery in subscriber.deliveries:
            publish = indexed.publishes.get(delivery.message)
            reason = ""
            if publish is None or publish.began > index:
                reason = "nobody has published it"
            elif publish.refused:
                reason = "its publish was refused"
            elif (publish.record.topic, publish.record.key) != (delivery.topic, delivery.key):
                reason = f"it was published as {publish.record}"
            elif delivery.publisher not in ("", publish.record.publisher) and not publish.record.client:
                reason = f"its publisher is {publish.record.publisher}"
            elif delivery.topic != subscriber.record.topic:
                reason = f"the subscription is {subscriber.record}"
            elif index > subscriber.ended:
                reason = "the subscription had ended"
            elif subscriber.record.grain:
                if grain_of(publish.record) != subscriber.record.grain:
                    reason = f"it is for the grain {grain_of(publish.record)!r}"
            elif not begin.earliest and publish.ended_at < begin.since and not indexed.shares_node(subscriber):
                reason = "it was published before the subscription began"
            if reason:
                raise PromiseBroken("only_to_subscribers", f"{delivery}: {reason}")
            judged += 1
    return judged


def in_publishing_order(history: Iterable[Record]) -> int:
    """At most once: a subscriber gets the messages of one publisher in their order, none twice, with growing sequences.

    What a client publishes through one member and then through another has no order.

    Returns:
        How many deliveries were judged.
    """
    indexed = IndexedHistory(history)
    judged = 0
    for subscriber in indexed.at_most_once():
        last: dict[tuple[str, str], tuple[Publish, Delivered]] = {}
        for _, delivery in subscriber.deliveries:
            publish = indexed.publishes[delivery.message]
            publisher = publish.record.publisher, delivery.publisher
            before = last.get(publisher)
            if before is not None and (publish.number <= before[0].number or delivery.sequence <= before[1].sequence):
                raise PromiseBroken("in_publishing_order", f"{delivery} follows {before[1]}")
            last[publisher] = publish, delivery
            judged += 1
    return judged


def losses_told(history: Sequence[Record], within_s: float, *, until: float | None = None) -> Counter[str]:
    """At most once: a subscriber that misses a message is told so.

    A message is expected if its `publish` began when the subscription was effective, and returned before the
    subscription began to close. One that is missing before a later message of its publisher must show in the
    sequences, and be counted in `missed` of this or of an earlier message; or the publisher's tail was unknown in
    between. One that is missing at the end must be told by a gap or an unknown tail, within `within_s`. A node that did
    not run for a while, or was removed by the others, cannot know publishers that came and went meanwhile. A client
    tells an unknown tail when it loses its member, and is subscribed again a while later. What clients publish is not
    judged here, since the numbers are those of members; nor are grains, see `topic_grain_checkers`.

    Args:
        history: the messages to be judged were published `within_s` before its end, or that of the subscription.
        within_s: seconds in which a node finds out: a few `pubsub.tail_s`, and the detection of a lost member.
        until: when the history ends, seconds; with its last record unless given.

    Returns:
        How many messages were `delivered`, `missed` (counted), `unknown` (a tail) or `too late` to be judged.
    """
    indexed = IndexedHistory(history)
    if until is not None:
        indexed.last_at = until
    by_topic: dict[str, list[Publish]] = defaultdict(list)
    for publish in indexed.publishes.values():
        if publish.acknowledged and not publish.record.client:
            by_topic[publish.record.topic].append(publish)
    judged: Counter[str] = Counter()
    for subscriber in indexed.at_most_once():
        if subscriber.record.grain:
            continue
        expected: dict[str, list[Publish]] = defaultdict(list)
        for publish in by_topic[subscriber.record.topic]:
            if subscriber.began < publish.began and publish.ended < subscriber.ending:
                expected[publish.record.publisher].append(publish)
        judged += _losses_of(subscriber, expected, indexed, within_s)
    return judged


def _losses_of(
    subscriber: Subscriber, expected: dict[str, list[Publish]], indexed: IndexedHistory, within_s: float
) -> Counter[str]:
    judged: Counter[str] = Counter()
    last: dict[str, tuple[int, Delivered]] = {}
    told = holes = 0
    for _, delivery in subscriber.deliveries:
        publish = indexed.publishes[delivery.message]
        publisher, told = publish.record.publisher, told + delivery.missed
        if publish.record.client:
            judged["delivered"] += 1
            continue
        number, before = last.get(publisher, (0, None))
        between = _between(expected[publisher], number, publish.number)
        missing = len(between)
        if before is not None and delivery.sequence - before.sequence <= missing:
            raise PromiseBroken("losses_told", f"{missing} messages are missing between {before} and {delivery}")
        last[publisher] = publish.number, delivery
        judged["delivered"] += 1
        if between and _tails(indexed, subscriber, between[0], before, delivery.at + within_s, within_s):
            judged["unknown"] += missing
            continue
        holes += missing
        if holes > told:
            raise PromiseBroken(
                "losses_told",
                f"{subscriber.record.subscriber} has missed {holes} messages until {delivery}, and was told of {told}",
            )
    judged["missed"] = holes
    spare = told - holes
    end_at = min(subscriber.ending_at, indexed.last_at)
    for publisher in sorted(expected):
        number, before = last.get(publisher, (0, None))
        rest = _between(expected[publisher], number, NEVER)
        due = [other for other in rest if other.ended_at + within_s <= end_at]
        judged["too late"] += len(rest) - len(due)
        if not due:
            continue
        if _tails(indexed, subscriber, due[0], before, float("inf"), within_s):
            judged["unknown"] += len(due)
            continue
        after = 0 if before is None else before.sequence
        gaps = sum(
            gap.count
            for gap in indexed.gaps
            if (gap.node, gap.topic, gap.publisher) == (subscriber.record.node, subscriber.record.topic, publisher)
            and gap.first > after
        )
        if len(due) > gaps + spare:
            raise PromiseBroken(
                "losses_told",
                f"{subscriber.record.subscriber} does not know of {len(due)} messages of {publisher} from "
                f"{due[0].record} on: gaps of {gaps} were told",
            )
        judged["missed"] += len(due)
    return judged


def _between(publishes: list[Publish], first: int, last: int) -> list[Publish]:
    """Those with a number above `first` and below `last`; they are sorted by number."""
    begin = bisect_right(publishes, first, key=lambda publish: publish.number)
    return publishes[begin : bisect_left(publishes, last, lo=begin, key=lambda publish: publish.number)]


def _tails(
    indexed: IndexedHistory,
    subscriber: Subscriber,
    missing: Publish,
    before: Delivered | None,
    until: float,
    within_s: float,
) -> bool:
    """Whether the node of the subscriber told, after the message was published, that the tail is unknown."""
    node, topic = subscriber.record.node, subscriber.record.topic
    places = [(node, topic, missing.record.publisher)]
    if before is None:
        places.append((node, "", ""))
    tails = [
        tail
        for tail in indexed.tails
        if (tail.node, tail.topic, tail.publisher) in places
        or (subscriber.record.client and (tail.node, tail.topic) == (node, topic))
    ]
    begins = missing.record.at - (within_s if subscriber.record.client else 0.0)
    return any(begins <= tail.at <= until for tail in tails)


def nothing_unhandled(history: Iterable[Record]) -> int:
    """At least once: every group has handled every acknowledged message that it is owed, or it is a dead letter.

    A group is owed what was published after its first subscription was effective, or everything, if it began with the
    oldest message. The history must go on until the groups have caught up.

    Returns:
        How many messages were judged, once for each group.
    """
    indexed = IndexedHistory(history)
    handled = indexed.first_handled()
    judged = 0
    for (topic, group), members in indexed.groups().items():
        given_up = {
            delivery.message
            for member in members
            for _, delivery in member.deliveries
            if (topic, group, delivery.partition, delivery.sequence) in indexed.dead
        }
        first = members[0]
        for message, publish in indexed.publishes.items():
            if publish.record.topic != topic or not publish.acknowledged:
                continue
            if publish.began < first.began and not first.record.earliest:
                continue
            if (topic, group, message) not in handled and message not in given_up:
                raise PromiseBroken("nothing_unhandled", f"group {group} has not handled {publish.record}")
            judged += 1
    return judged


def one_log(history: Iterable[Record]) -> int:
    """At least once: all groups see one log.

    A message has one offset and an offset one message; a key has one partition; and of two messages of a key, the one
    that was acknowledged before the publish of the other began has the smaller offset.

    Returns:
        How many messages were judged.
    """
    indexed = IndexedHistory(history)
    places: dict[str, Delivered] = {}
    messages: dict[tuple[str, int, int], Delivered] = {}
    for members in indexed.groups().values():
        for member in members:
            for _, delivery in member.deliveries:
                other = places.setdefault(delivery.message, delivery)
                if (other.partition, other.sequence) != (delivery.partition, delivery.sequence):
                    raise PromiseBroken("one_log", f"{delivery} is stored twice, see {other}")
                place = delivery.topic, delivery.partition, delivery.sequence
                other = messages.setdefault(place, delivery)
                if other.message != delivery.message:
                    raise PromiseBroken("one_log", f"{delivery} and {other} have one offset")
    keys: dict[tuple[str, str], Delivered] = {}
    begun: dict[tuple[str, str], Publish] = {}
    for place in sorted(messages):
        delivery = messages[place]
        key = delivery.topic, delivery.key
        if not delivery.key:
            continue
        if keys.setdefault(key, delivery).partition != delivery.partition:
            raise PromiseBroken("one_log", f"{delivery} and {keys[key]} have one key and two partitions")
        publish = indexed.publishes[delivery.message]
        latest = begun.setdefault(key, publish)
        if publish.acknowledged and publish.ended < latest.began:
            raise PromiseBroken("one_log", f"{delivery} was acknowledged before {latest.record} began")
        if publish.began > latest.began:
            begun[key] = publish
    return len(messages)


def keys_in_order(history: Iterable[Record]) -> int:
    """At least once: a group gets a message for the first time when it has handled all earlier ones of its key.

    Returns:
        How many first deliveries were judged.
    """
    indexed = IndexedHistory(history)
    handled = indexed.first_handled()
    judged = 0
    for group, members in indexed.groups().items():
        firsts: dict[str, tuple[int, Delivered]] = {}
        for index, delivery in deliveries_of(members):
            firsts.setdefault(delivery.message, (index, delivery))
        by_key: dict[str, list[tuple[int, Delivered]]] = defaultdict(list)
        for index, delivery in firsts.values():
            if delivery.key:
                by_key[delivery.key].append((index, delivery))
        for deliveries in by_key.values():
            deliveries.sort(key=lambda each: (each[1].partition, each[1].sequence))
            settled_at, latest = -1, None
            for index, delivery in deliveries:
                if settled_at > index:
                    raise PromiseBroken("keys_in_order", f"{delivery} came before {latest} was handled")
                given_up = (*group, delivery.partition, delivery.sequence) in indexed.dead
                done = -1 if given_up else handled.get((*group, delivery.message), NEVER)
                if done > settled_at:
                    settled_at, latest = done, delivery
                judged += 1
    return judged


def repeated(history: Iterable[Record], *, orderly: bool = False) -> Counter[str]:
    """Counts deliveries at least once that a group got again.

    Args:
        history: deliveries and what was handled.
        orderly: nobody died, was cut off or too slow. Then nothing is delivered again that was handled.

    Returns:
        `again`: a message came again before it was handled; `handled again`: after it was.
    """
    indexed = IndexedHistory(history)
    counts: Counter[str] = Counter()
    handled = indexed.first_handled()
    for group, members in indexed.groups().items():
        seen: set[str] = set()
        for index, delivery in deliveries_of(members):
            if delivery.message in seen:
                after = handled.get((*group, delivery.message), NEVER) < index
                if after and orderly:
                    raise PromiseBroken("repeated", f"{delivery} was handled before")
                counts["handled again" if after else "again"] += 1
            seen.add(delivery.message)
    return counts
