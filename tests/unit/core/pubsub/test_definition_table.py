"""The definitions of one shard: the first one wins, deletions are remembered, nothing is lost by saving."""

from __future__ import annotations

import random

import msgspec
import pytest
from msgspec.structs import replace

from inaho.core.pubsub.definition import AT_LEAST_ONCE, TopicDefinition
from inaho.core.pubsub.definition_table import DELETED_MAX, DefinitionTable, SavedDefinitions
from inaho.errors import InvalidTopic, Overloaded

TOPIC = TopicDefinition(name="orders", message_type="Order")


def table(topics_max: int = 10) -> DefinitionTable:
    return DefinitionTable(topics_max)


def test_the_first_definition_of_a_name_wins():
    topics = table()
    first, created = topics.define(TOPIC, 5.0)
    assert (first, created) == (replace(TOPIC, created_at=5.0), True)
    assert topics.define(replace(TOPIC, delivery=AT_LEAST_ONCE), 6.0) == (first, False)
    assert topics.find("orders") is first
    assert topics.find("others") is None


def test_a_bad_setting_is_refused_and_changes_nothing():
    topics = table()
    with pytest.raises(InvalidTopic, match="partitions"):
        topics.define(replace(TOPIC, partitions=0), 1.0)
    assert len(topics) == 0


def test_the_number_of_topics_is_bounded():
    topics = table(topics_max=2)
    for name in ("a", "b"):
        topics.define(TopicDefinition(name=name), 1.0)
    with pytest.raises(Overloaded, match="topics_max"):
        topics.define(TopicDefinition(name="c"), 1.0)
    topics.define(TopicDefinition(name="a"), 1.0)  # one that exists is found
    topics.delete("a")
    assert topics.define(TopicDefinition(name="c"), 2.0)[1]
    topics.check()


def test_a_topic_that_is_created_again_is_another_one_even_if_the_clock_was_set_back():
    topics = table()
    first, _ = topics.define(TOPIC, 5.0)
    assert topics.delete("orders") is first
    assert topics.delete("orders") is None
    second, created = topics.define(TOPIC, 1.0)
    assert created
    assert second.created_at > first.created_at
    topics.check()


def test_a_comparison_says_what_changed_what_was_deleted_and_what_is_unknown():
    topics = table()
    kept, _ = topics.define(TopicDefinition(name="kept"), 1.0)
    topics.define(TopicDefinition(name="deleted"), 1.0)
    topics.delete("deleted")
    topics.define(TopicDefinition(name="again"), 1.0)
    topics.delete("again")
    again, _ = topics.define(TopicDefinition(name="again"), 3.0)
    seen = [("kept", 1.0), ("deleted", 1.0), ("again", 1.0), ("lost", 1.0)]
    assert topics.compare(seen) == ([again], ["deleted"], ["lost"])
    assert topics.compare([("kept", kept.created_at)]) == ([], [], [])


def test_what_was_lost_is_brought_back_and_what_was_deleted_is_not():
    topics = table(topics_max=2)
    lost = TopicDefinition(name="lost", created_at=1.0)
    assert topics.bring_back(lost)
    assert not topics.bring_back(replace(lost, partitions=3)), "it exists"
    topics.delete("lost")
    assert not topics.bring_back(lost), "it was deleted since"
    assert topics.bring_back(replace(lost, created_at=2.0)), "it was created again since, and lost"
    topics.define(TopicDefinition(name="other"), 1.0)
    assert not topics.bring_back(replace(lost, name="third")), "there is no room"


def test_the_logs_of_a_deleted_topic_are_to_be_removed_until_that_is_done_or_the_topic_is_there_again():
    topics = table()
    durable = replace(TOPIC, delivery=AT_LEAST_ONCE)
    topics.define(TopicDefinition(name="without-logs"), 1.0)
    topics.delete("without-logs")
    assert topics.removing == []
    first, _ = topics.define(durable, 1.0)
    topics.delete("orders")
    assert topics.removing == [first]
    second, _ = topics.define(durable, 2.0)
    assert topics.removing == [], "the keepers of the new topic do it"
    assert not topics.removed(first)
    topics.delete("orders")
    assert topics.removing == [second]
    again = table()
    again.restore(topics.saved())
    again.check()
    assert again.removing == [second]
    assert not again.removed(first)
    assert again.removed(second)
    assert not again.removed(second)
    assert again.removing == []


def test_pages_are_sorted_by_name():
    topics = table()
    for name in ("c", "a", "d", "b"):
        topics.define(TopicDefinition(name=name), 1.0)
    assert [each.name for each in topics.page("", 3)] == ["a", "b", "c"]
    assert [each.name for each in topics.page("c", 3)] == ["d"]
    assert topics.page("d", 3) == []


def test_deletions_are_remembered_up_to_a_bound():
    topics = table(topics_max=1)
    for number in range(DELETED_MAX + 5):
        topics.define(TopicDefinition(name=f"t{number}"), 1.0)
        topics.delete(f"t{number}")
    topics.check()
    assert topics.compare([("t0", 1.0), (f"t{DELETED_MAX}", 1.0)]) == ([], [f"t{DELETED_MAX}"], ["t0"])


def test_saving_keeps_everything_and_each_profile_once():
    chance = random.Random(3)
    topics = table(topics_max=1000)
    for number in range(300):
        name = f"t{chance.randrange(200)}"
        if chance.random() < 0.3:
            topics.delete(name)
        else:
            topics.define(TopicDefinition(name=name, partitions=chance.choice((1, 8))), float(number))
    data = msgspec.msgpack.encode(topics.saved())
    saved = msgspec.msgpack.decode(data, type=SavedDefinitions)
    assert len(saved.profiles) == 2
    other = table(topics_max=1000)
    other.restore(saved)
    other.check()
    assert other.saved() == topics.saved()
    assert list(other) == list(topics)
