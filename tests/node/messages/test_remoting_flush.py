"""What was told before a node leaves arrives: `Remoting.flush`; and what a full mailbox over there means here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Actor, Cluster, Props
from inaho.actor import MailboxConfig
from inaho.actor.ref import ActorRef
from inaho.errors import MailboxFull

MANY = 5000


class Keeper(Actor):
    """Keeps what it is told, once it is let."""

    def __init__(self, got: list[Any], gate: asyncio.Event) -> None:
        self.got = got
        self.gate = gate

    async def receive(self, message: Any) -> None:
        await self.gate.wait()
        self.got.append(message)


def keeper(
    cluster: Cluster, *, capacity: int = 100_000, opened: bool = True
) -> tuple[ActorRef, list[Any], asyncio.Event]:
    got: list[Any] = []
    gate = asyncio.Event()
    if opened:
        gate.set()
    props = Props(lambda: Keeper(got, gate), mailbox=MailboxConfig(capacity=capacity))
    return cluster.system.spawn(props, "keeper"), got, gate


async def test_it_returns_when_all_is_acknowledged(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, got, _ = keeper(other)
    remote = one.actor(other.pid(ref))
    for number in range(MANY):
        remote.tell(number)
    assert await one._node.remoting.flush(30.0) == 0
    assert one.delivery_counts().delivered == MANY
    assert await other._node.remoting.flush(0.0) == 0  # nothing to send: at once
    await eventually(lambda: len(got) == MANY)
    assert got == list(range(MANY))


async def test_what_waits_for_a_connection_is_flushed_too(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, got, _ = keeper(other)
    remote = one.actor(other.pid(ref))
    one._node.peers.connections[other.authority].abort("cut by the test")
    await eventually(lambda: not one._node.associations.machine.may_send(other.authority))
    for number in range(100):
        remote.tell(number)
    assert await one._node.remoting.flush(30.0) == 0
    await eventually(lambda: got == list(range(100)))


async def test_a_leave_sends_what_was_told_before_it(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, got, _ = keeper(other)
    remote = one.actor(other.pid(ref))
    for number in range(MANY):
        remote.tell(number)
    await one.leave()
    await eventually(lambda: len(got) == MANY)
    assert got == list(range(MANY))


async def test_two_may_wait(fleet: Any):
    one, other = await fleet.members(2)
    ref, _, _ = keeper(other)
    for number in range(MANY):
        one.actor(other.pid(ref)).tell(number)
    assert await asyncio.gather(*(one._node.remoting.flush(30.0) for _ in range(2))) == [0, 0]


async def test_it_ends_when_the_time_is_up_and_says_what_is_left(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, _, _ = keeper(other)
    remote = one.actor(other.pid(ref))
    remote.tell("first")
    assert await one._node.remoting.flush(30.0) == 0
    fleet.network.cut(one.authority, other.authority)
    for number in range(10):
        remote.tell(number)
    assert await one._node.remoting.flush(0.05) == 10
    fleet.network.heal_all()
    assert await one._node.remoting.flush(30.0) == 0


async def test_what_is_for_an_unreachable_member_is_not_waited_for(fleet: Any):
    one, other = await fleet.members(2)
    ref, _, _ = keeper(other)
    remote = one.actor(other.pid(ref))
    channel = remote.target.channel  # type: ignore[attr-defined]
    channel.hold("the member is unreachable")
    remote.tell("for later")
    assert await one._node.remoting.flush(30.0) == 1
    channel.hold("")
    assert await one._node.remoting.flush(30.0) == 0


async def test_an_ask_is_told_that_the_mailbox_is_full_and_a_tell_is_not(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, got, gate = keeper(other, capacity=2, opened=False)
    remote = one.actor(other.pid(ref))
    remote.tell("taken")
    await eventually(lambda: other._node.remoting.accounts.received)
    for number in range(6):
        remote.tell(number)
    assert await one._node.remoting.flush(30.0) == 0, "acknowledged is what the other node has, not the actor"
    assert other.system.dead_letters.counts["mailbox_full"] >= 3
    with pytest.raises(MailboxFull):
        await remote.ask("what?", timeout_s=30.0)
    gate.set()
    await eventually(lambda: len(got) >= 2)
    counts = one.delivery_counts()
    assert counts.accepted == counts.delivered == 8
