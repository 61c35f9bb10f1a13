"""The provider as the membership: who is removed at once, who is doubted, and who stays because it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from inaho.actor import EventStream
from inaho.config import ClusterConfig
from inaho.core.provisioning.founding import Contact
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot
from inaho.events import SnapshotDoubted
from inaho.runtime.local.clock import SeededEntropy
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.provisioning.provider_membership import ProviderMembership
from support.waiting import until

OWN = "10.0.0.1:7700"


class World:
    """One node, the list of its provider, and who answers a dial."""

    def __init__(self) -> None:
        events = EventStream()
        self.doubted: list[SnapshotDoubted] = []
        events.subscribe_callback(SnapshotDoubted, self.doubted.append)
        self.local = LocalNode(
            ClusterConfig(), events=events, entropy=SeededEntropy(1), loop=asyncio.get_running_loop()
        )
        self.local.authority = OWN
        self.dead: set[str] = set()
        self.processes: dict[str, str] = {}
        """By authority the process that answers there, where it is another one than at first."""
        self.dialled: list[str] = []
        self.steady = True
        self.read_again = 0
        self.members: tuple[str, ...] = ()
        self.nodes: tuple[str, ...] = ()
        self.applied = 0
        self._seq_no = 0
        self.membership = ProviderMembership(
            self.local, self, steady=lambda: self.steady, read_soon=self._read_soon, apply=self._apply
        )

    async def contact(self, authority: str, node_id: str) -> Contact:
        self.dialled.append(authority)
        await asyncio.sleep(0)
        if node_id != self.processes.get(authority, node_id):
            return Contact.REFUSES
        return Contact.SILENT if authority in self.dead else Contact.MEMBER

    def _read_soon(self) -> None:
        self.read_again += 1

    def _apply(self, members: tuple[ProviderMember, ...]) -> None:
        self.applied += 1
        self.members = tuple(member.authority for member in members)
        self.nodes = tuple(member.node_id for member in members)

    async def read(self, *numbers: int, others: str = "", provider: str = "etcd") -> None:
        """The provider lists the members with these numbers; returns when no dial is open.

        `others` has the numbers of those at whose authority it has another process.
        """
        self._seq_no += 1
        listed = tuple(
            ProviderMember(name(number), f"{'other' if str(number) in others else 'node'}-{number}")
            for number in numbers
        )
        self.membership.read(ProviderSnapshot(provider, self._seq_no, hash(numbers), listed))
        await until(lambda: not self.local.tasks.running)


def name(number: int) -> str:
    return f"10.0.0.{number}:7700"


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(map(name, numbers))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.read(1, 2, 3, 4, 5)
    assert made.members == names(1, 2, 3, 4, 5)
    yield made
    await made.local.tasks.stop(1)


async def test_one_of_five_is_removed_at_once(world: World):
    await world.read(1, 2, 3, 4)
    assert world.members == names(1, 2, 3, 4)
    assert (world.dialled, world.doubted) == ([], [])


async def test_an_equal_list_is_applied_once(world: World):
    await world.read(1, 2, 3, 4, 5)
    assert world.applied == 1


async def test_half_of_the_members_stay_until_a_second_read_and_a_failed_dial(world: World):
    world.dead = {name(3), name(4)}
    await world.read(1, 2)
    assert world.members == names(1, 2, 3, 4, 5)
    assert world.read_again == 1
    assert [event.missing for event in world.doubted] == [names(3, 4, 5)]
    await world.read(1, 2)
    assert world.members == names(1, 2, 5)
    assert len(world.doubted) == 1


async def test_an_empty_list_removes_nobody_who_answers(world: World):
    await world.read()
    await world.read()
    assert world.members == names(1, 2, 3, 4, 5)
    world.dead = {name(2)}
    await world.read()
    assert world.members == names(1, 3, 4, 5)
    await world.read(1, 2, 3, 4, 5)
    assert world.members == names(1, 2, 3, 4, 5)


async def test_a_backup_with_former_processes_removes_nobody_who_answers(world: World):
    before = world.nodes
    await world.read(1, 2, 3, 4, 5, others="12345")
    assert [event.missing for event in world.doubted] == [names(1, 2, 3, 4, 5)]
    await world.read(1, 2, 3, 4, 5, others="12345")
    assert world.nodes == before
    await world.read(1, 2, 3, 4, 5)
    assert world.applied == 1


async def test_many_members_that_were_started_again_are_replaced_after_a_dial(world: World):
    world.processes = {name(number): f"other-{number}" for number in (3, 4, 5)}
    await world.read(1, 2, 3, 4, 5, others="345")
    await world.read(1, 2, 3, 4, 5, others="345")
    assert world.nodes == ("node-1", "node-2", "other-3", "other-4", "other-5")


async def test_one_member_that_was_started_again_is_replaced_at_once(world: World):
    await world.read(1, 2, 3, 4, 5, others="5")
    assert world.nodes[-1] == "other-5"
    assert world.dialled == []


async def test_after_the_provider_was_away_one_missing_member_is_dialled_too(world: World):
    world.steady = False
    await world.read(1, 2, 3, 4)
    await world.read(1, 2, 3, 4)
    assert world.members == names(1, 2, 3, 4, 5)
    assert set(world.dialled) == {name(5)}


@pytest.mark.parametrize("answers", [True, False])
async def test_another_provider_that_lacks_one_member_is_doubted(world: World, answers: bool):
    world.dead = set() if answers else {name(5)}
    await world.read(1, 2, 3, 4, provider="consul")
    assert world.members == names(1, 2, 3, 4, 5)
    await world.read(1, 2, 3, 4, provider="consul")
    assert world.members == names(1, 2, 3, 4, *([5] if answers else []))
    assert set(world.dialled) == {name(5)}


async def test_this_node_gives_up_its_place_when_only_it_is_missing(world: World):
    await world.read(2, 3, 4, 5)
    assert world.members == names(1, 2, 3, 4, 5)
    await world.read(2, 3, 4, 5)
    assert world.members == names(2, 3, 4, 5)
    await world.read(1, 2, 3, 4, 5)
    assert world.members == names(1, 2, 3, 4, 5)


async def test_while_registrations_come_back_this_node_keeps_its_place(world: World):
    world.steady = False
    await world.read(2, 3, 4, 5)
    await world.read(2, 3, 4, 5)
    assert world.members == names(1, 2, 3, 4, 5)


async def test_new_members_are_not_held_up_by_a_doubt(world: World):
    await world.read(1, 2, 6)
    assert world.members == names(1, 2, 3, 4, 5, 6)


async def test_a_member_is_dialled_once_at_a_time(world: World):
    gate = asyncio.Event()
    asked: list[str] = []

    async def slow(authority: str, node_id: str) -> Contact:
        asked.append(authority)
        await gate.wait()
        return Contact.MEMBER

    world.contact = slow  # type: ignore[method-assign]
    listed = tuple(ProviderMember(name(number), f"node-{number}") for number in (1, 2))
    for seq_no in (2, 3, 4):
        world.membership.read(ProviderSnapshot("etcd", seq_no, 7, listed))
    await until(lambda: len(asked) == 3)
    gate.set()
    await until(lambda: not world.local.tasks.running)
    assert sorted(asked) == list(names(3, 4, 5))
