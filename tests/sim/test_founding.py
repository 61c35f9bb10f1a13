"""Founding by a record in virtual time: exactly one cluster, whatever starts, dies, pauses or is cut off."""

from __future__ import annotations

import asyncio

import pytest

from inaho.config import ClusterConfig, MembershipConfig
from inaho.core.node.lifecycle import MEMBER
from inaho.core.provisioning.founding import ClusterRecord, Contact
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderUnreachable
from inaho.events import ClusterFounded, ClusterRecordTaken, SelfRemoved
from inaho.providers.entries import decode_record, encode
from support.founding_world import FoundingWorld

SEEDS = range(5)


def authorities(world: FoundingWorld, count: int) -> list[str]:
    return [world.authority(index) for index in range(count)]


@pytest.mark.parametrize("seed", SEEDS)
def test_twenty_nodes_that_start_at_once_are_one_cluster(seed: int) -> None:
    async def story(world: FoundingWorld) -> None:
        everybody = authorities(world, 20)
        world.random.shuffle(everybody)
        for authority in everybody:
            world.start(authority)
            await asyncio.sleep(0.05 * world.random.random() / 20)
        await world.one_cluster(2.0)
        assert len(world.founded) == 1
        await asyncio.sleep(30.0)
        assert world.simulation.converged() and len(world.founded) == 1

    FoundingWorld.run(story, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_are_killed_and_started_again_while_the_back_end_lists_the_dead(seed: int) -> None:
    async def story(world: FoundingWorld) -> None:
        everybody = authorities(world, 8)
        world.start(*everybody)
        await world.one_cluster(2.0)
        world.crash(*everybody)
        await asyncio.sleep(0.5)
        assert len(world.topology.members()) == 8
        world.random.shuffle(everybody)
        for authority in everybody:
            world.start(authority)
            await asyncio.sleep(0.1 * world.random.random())
        await world.one_cluster(5.0)
        assert len(world.founded) == 2

    FoundingWorld.run(story, seed)


def test_all_are_started_again_at_other_authorities() -> None:
    async def story(world: FoundingWorld) -> None:
        everybody = authorities(world, 8)
        world.start(*everybody[:4])
        await world.one_cluster(2.0)
        world.crash(*everybody[:4])
        world.start(*everybody[4:])
        await world.one_cluster(5.0)
        assert len(world.founded) == 2

    FoundingWorld.run(story, 1)


def test_a_registered_node_that_does_not_answer_counts_as_alive_until_its_entry_expires() -> None:
    async def story(world: FoundingWorld) -> None:
        old, new = authorities(world, 2)
        world.start(old)
        await world.one_cluster(2.0)
        world.pause(old)
        world.start(new)
        await asyncio.sleep(8.0)
        assert world.founded == [old]
        world.resume(old)
        await world.one_cluster(5.0)
        world.pause(old)
        await asyncio.sleep(30.0)
        assert world.founded == [old]

    FoundingWorld.run(story, 1)


def test_who_is_cut_off_from_the_members_waits() -> None:
    async def story(world: FoundingWorld) -> None:
        everybody = authorities(world, 4)
        world.start(*everybody[:3])
        await world.one_cluster(2.0)
        world.simulation.partition(everybody[:3], everybody[3:])
        world.start(everybody[3])
        await asyncio.sleep(10.0)
        assert len(world.founded) == 1
        world.simulation.heal()
        await world.one_cluster(5.0)
        assert len(world.founded) == 1

    FoundingWorld.run(story, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_lost_its_place_comes_back_to_the_same_cluster(seed: int) -> None:
    async def story(world: FoundingWorld) -> None:
        everybody = authorities(world, 5)
        world.start(*everybody)
        await world.one_cluster(2.0)
        founder = world.founded[0]
        world.simulation.partition([founder], [other for other in everybody if other != founder])
        await asyncio.sleep(40.0)
        world.simulation.heal()
        await world.one_cluster(30.0)
        assert world.simulation.effects(SelfRemoved, founder)
        assert world.founded == [founder]

    FoundingWorld.run(story, seed)


def test_a_record_that_was_lost_is_written_again_and_founds_no_second_cluster() -> None:
    async def story(world: FoundingWorld) -> None:
        everybody = authorities(world, 4)
        world.start(*everybody[:3])
        await world.one_cluster(2.0)
        before, world.topology.record = world.topology.record, ""
        world.start(everybody[3])
        await world.one_cluster(2.0)
        await world.until(lambda: world.topology.record, 6.0)
        assert world.topology.record == before and len(world.founded) == 1

    FoundingWorld.run(story, 1)


def test_the_winner_dies_before_anybody_has_joined() -> None:
    async def story(world: FoundingWorld) -> None:
        everybody = authorities(world, 6)
        world.start(*everybody)
        await world.until(lambda: world.founded, 2.0)
        world.crash(world.founded[0])
        await world.one_cluster(5.0)

    FoundingWorld.run(story, 1)


def test_the_answer_to_the_write_is_lost() -> None:
    """The record has its name, and it learns so with the next read."""

    async def story(world: FoundingWorld) -> None:
        (only,) = authorities(world, 1)
        world.start(only)
        provider = world.nodes[only].provider
        write = provider.write_record

        async def lost(record: ClusterRecord, token: str) -> bool:
            await write(record, token)
            provider.write_record = write  # type: ignore[method-assign]
            await asyncio.sleep(1000.0)
            raise AssertionError

        provider.write_record = lost  # type: ignore[method-assign]
        await world.one_cluster(25.0)
        assert '"generation":1' in world.topology.record

    FoundingWorld.run(story, 1)


def test_the_winner_is_stopped_before_it_founds() -> None:
    """Its entry expires meanwhile and another node founds; it must not found when it goes on."""

    async def story(world: FoundingWorld) -> None:
        first, second = authorities(world, 2)
        world.start(first)
        provider = world.nodes[first].provider
        write = provider.write_record

        async def stopped(record: ClusterRecord, token: str) -> bool:
            written = await write(record, token)
            world.pause(first)
            await asyncio.sleep(0.0)
            return written

        provider.write_record = stopped  # type: ignore[method-assign]
        await world.until(lambda: world.simulation.paused, 2.0)
        await asyncio.sleep(5.0)
        world.start(second)
        await asyncio.sleep(5.0)
        assert not world.founded  # the first may still go on
        await world.until(lambda: world.founded == [second], 10.0)
        world.resume(first)
        await world.one_cluster(10.0)
        assert world.founded == [second]

    FoundingWorld.run(story, 1, ClusterConfig(membership=MembershipConfig(join_timeout_s=60.0)))


def test_the_back_end_is_down_at_the_start() -> None:
    async def story(world: FoundingWorld) -> None:
        everybody = authorities(world, 4)
        world.topology.pause()
        world.start(*everybody)
        await asyncio.sleep(6.0)
        assert not world.founded
        world.topology.resume()
        await world.one_cluster(8.0)
        assert len(world.founded) == 1

    FoundingWorld.run(story, 1)


def test_a_node_that_was_admitted_between_two_dials_is_joined() -> None:
    async def story(world: FoundingWorld) -> None:
        only, other = authorities(world, 2)
        world.topology.write_member(other, encode(ProviderMember(other, "f" * 16)))
        dead = ClusterRecord("0" * 16, 1, other, "e" * 16)
        world.topology.record, world.topology.record_version = encode(dead), 1
        world.start(only)
        answers = iter((Contact.STARTING, Contact.MEMBER))

        async def contact(authority: str) -> Contact:
            return next(answers, Contact.MEMBER)

        world.nodes[only].contact = contact  # type: ignore[method-assign]
        await asyncio.sleep(5.0)
        assert not world.founded and world.topology.record == encode(dead)

    FoundingWorld.run(story, 1)


def test_a_founder_says_once_that_the_record_is_that_of_another_node() -> None:
    async def story(world: FoundingWorld) -> None:
        (only,) = authorities(world, 1)
        world.start(only)
        events: list[ClusterFounded | ClusterRecordTaken] = []
        world.nodes[only].events.subscribe_callback((ClusterFounded, ClusterRecordTaken), events.append)
        await world.one_cluster(2.0)
        record = world.nodes[only].founding.record
        assert record is not None
        other = ClusterRecord(record.cluster_id, 2, "10.9.0.1:1", "f" * 16)
        world.topology.record, world.topology.record_version = encode(other), 9
        await asyncio.sleep(30.0)
        mine, taken = events
        assert isinstance(mine, ClusterFounded) and (mine.cluster_id, mine.generation) == (record.cluster_id, 1)
        assert isinstance(taken, ClusterRecordTaken)
        assert (taken.authority, taken.node_id, taken.generation) == (other.authority, other.node_id, 2)
        assert world.topology.record == encode(other)

    FoundingWorld.run(story, 1)


@pytest.mark.parametrize("seed", range(3))
def test_after_the_founder_died_and_all_registrations_ran_out_a_new_node_finds_the_members(seed: int) -> None:
    async def story(world: FoundingWorld) -> None:
        first, second, third, late = authorities(world, 4)
        world.start(first, second, third)
        await world.one_cluster(10.0)
        (founder,) = world.founded
        await asyncio.sleep(8.0)  # the members have written themselves into the record
        world.crash(founder)
        living = [name for name in (first, second, third) if name != founder]
        world.topology.fail(ProviderUnreachable("a test says so"))
        await asyncio.sleep(30.0)
        for name in (first, second, third):
            world.topology.expire(name)
        world.topology.fail(None)
        world.start(late)  # it registers at once; the members only after their pause
        await world.until(lambda: world.nodes[late].stage == MEMBER, 20.0)
        assert world.founded == [founder]
        await world.until(lambda: all(late in world.nodes[name].up for name in living), 20.0)
        record = decode_record(world.topology.record, "test")
        assert record.generation == 1

    FoundingWorld.run(story, seed)


def test_a_member_takes_the_place_of_a_founder_that_is_gone_in_the_record() -> None:
    async def story(world: FoundingWorld) -> None:
        first, second, third = authorities(world, 3)
        world.start(first, second, third)
        await world.one_cluster(10.0)
        (founder,) = world.founded
        await world.until(
            lambda: decode_record(world.topology.record, "test").members == tuple(sorted((first, second, third))), 10.0
        )
        world.crash(founder)

        def replaced() -> bool:
            record = decode_record(world.topology.record, "test")
            return record.authority != founder and founder not in record.members

        await world.until(replaced, 60.0)
        record = decode_record(world.topology.record, "test")
        assert (record.generation, len(record.members)) == (1, 2)
        assert record.node_id == world.nodes[record.authority].local.node_id

    FoundingWorld.run(story, 1)
