"""The registry of topics in whole nodes: the first definition wins, all members learn of it, and it stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Cluster, Struct, TopicDefinition
from inaho.errors import InvalidTopic, NoSuchTopic, TopicConflict
from inaho.events import TopicCreated, TopicDeleted
from inaho.runtime.topics.shard import REGISTRY, shard_of


class Price(Struct, frozen=True):
    owner: str
    amount: float


async def define(cluster: Cluster, name: str, **settings: Any) -> TopicDefinition:
    """As `Cluster.topic`, of which it returns the definition."""
    return await cluster.runtime.topics.definitions.define(TopicDefinition(name=name, **settings))


async def test_a_topic_is_created_once_and_found_from_everywhere(fleet: Any):
    one, two = await fleet.members(2)
    client = await fleet.client()
    first = await define(one, "prices", message_type="Price")
    for cluster in (one, two, client):
        assert await define(cluster, "prices", message_type="Other") == first
        assert await cluster.runtime.topics.definitions.find("prices") == first
        assert await cluster.topics() == [first]
    assert first.created_at > 0


@pytest.mark.parametrize("asker", ["member", "client"])
async def test_what_cannot_be_found_or_made_is_refused_with_the_reason(fleet: Any, asker: str):
    [one] = await fleet.members(1)
    cluster = one if asker == "member" else await fleet.client()
    await define(one, "prices", message_type="Price")
    with pytest.raises(NoSuchTopic, match="no topic 'others'"):
        await cluster.topic("others")
    with pytest.raises(TopicConflict, match="message_type 'Price', not 'int'"):
        await cluster.topic("prices", int)
    with pytest.raises(TopicConflict, match="delivery 'at_most_once', not 'at_least_once'"):
        await cluster.topic("prices", Price, delivery="at_least_once")
    for name in ("", "two words", "x" * 201, "inaho.mine", "tab\t"):
        with pytest.raises(InvalidTopic):
            await cluster.topic(name, Price)
    for settings in ({"delivery": "twice"}, {"partitions": 0}, {"retention_s": -1.0}):
        with pytest.raises(InvalidTopic, match=next(iter(settings))):
            await cluster.topic("fresh", Price, **settings)
    with pytest.raises(TypeError, match="colour"):
        await cluster.topic("fresh", Price, colour="red")  # type: ignore[call-overload]
    with pytest.raises(InvalidTopic, match="wire"):
        await cluster.topic("fresh", object)
    with pytest.raises(NoSuchTopic):
        await cluster.topic("fresh")


async def test_of_two_definitions_at_once_one_wins_everywhere(fleet: Any):
    members = await fleet.members(3)
    for number in range(20):
        answers = await asyncio.gather(
            *(define(each, f"t{number}", partitions=1 + index) for index, each in enumerate(members))
        )
        assert len(set(answers)) == 1
        assert answers[0] == await define(await first_client(fleet), f"t{number}")


async def first_client(fleet: Any) -> Cluster:
    return next((each for each in fleet.clusters if not each.authority), None) or await fleet.client()


async def test_every_member_is_told_of_a_new_topic_and_of_a_deletion(fleet: Any):
    members = await fleet.members(3)
    heard = [member.events(TopicCreated, TopicDeleted) for member in members]
    first = await define(members[0], "prices", delivery="at_least_once")
    for events in heard:
        event = await anext(events)
        assert isinstance(event, TopicCreated)
        assert (event.topic, event.delivery) == ("prices", "at_least_once")
    for member in members:
        known = member.runtime.topics.definitions.known("prices")
        assert known is not None
        assert known.definition == first
    await members[1].delete_topic("prices")
    for events in heard:
        assert isinstance(await anext(events), TopicDeleted)
    for member in members:
        assert member.runtime.topics.definitions.known("prices") is None
        with pytest.raises(NoSuchTopic):
            await member.topic("prices")
    with pytest.raises(NoSuchTopic):
        await members[2].delete_topic("prices")
    assert await members[0].topics() == []


async def test_a_topic_may_be_created_again_with_other_settings(fleet: Any):
    one, two = await fleet.members(2)
    first = await define(one, "prices", partitions=2)
    old = two.runtime.topics.definitions.known("prices")
    await two.delete_topic("prices")
    again = await define(one, "prices", partitions=3)
    assert again.created_at > first.created_at
    assert (await define(two, "prices", partitions=3)) == again
    assert old is None or old.deleted


async def test_topics_survive_the_end_of_the_member_that_keeps_them(fleet: Any, eventually: Any):
    members = await fleet.members(3)
    defined = [await define(members[0], f"t{number}") for number in range(30)]
    keeper = next(each for each in members if each.runtime.leases.owns(REGISTRY, shard_of("t0", 32)))
    await keeper.close()
    left = [each for each in members if each is not keeper]
    for member in left:
        assert await member.topics() == sorted(defined, key=lambda each: each.name)


async def test_a_registry_that_nobody_uses_has_no_activations_and_is_not_listed(fleet: Any):
    [one] = await fleet.members(1)
    assert one.runtime.hosts[REGISTRY].activations == {}
    assert (await one.grains()).kinds == ()
    await define(one, "prices")
    assert [report.kind for report in (await one.grains()).kinds] == [REGISTRY]
