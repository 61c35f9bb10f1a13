"""Messages, asks and watches across nodes when the connection ends, the member is unreachable, or it starts again."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import inaho
from inaho import Cluster, MemberStatus, Props, Terminated
from inaho.core.delivery.identity_table import ReachablePid, UnreachablePid
from inaho.errors import Overloaded, Unreachable
from inaho.events import DeadLetter, MessageInDoubt, QueueDrained, ResolutionOutOfOrder
from support.remoting import Watching, cut_off, recorder, settled


async def test_a_watch_survives_a_reconnection_and_tells_once(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    ends: list[Terminated] = []
    one.system.spawn(Props(lambda: Watching(ends))).tell(remote)
    for _ in range(3):
        await eventually(lambda: ref.target._watchers._watchers)  # type: ignore[attr-defined]
        fleet.network.reset(one.authority, other.authority)
        await eventually(lambda: not ref.target._watchers._watchers)  # type: ignore[attr-defined]
    ref.stop()
    await eventually(lambda: ends)
    assert [end.ref for end in ends] == [remote]


async def test_order_and_the_law_survive_resets(fleet: Any, eventually: Any):
    one, other = await fleet.members(2, delivery={"queue_messages_max": 100_000})
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    doubtful: list[int] = []
    one.system.events.subscribe_callback(MessageInDoubt, lambda event: doubtful.append(event.message))
    with one.system.events.subscribe(QueueDrained) as drained:
        for number in range(6000):
            remote.tell(number)
            if number % 300 == 150:
                await asyncio.sleep(0)
            if number % 600 == 450:
                fleet.network.reset(one.authority, other.authority)
        counts = await settled(one, eventually)
        assert sum(event.count for event in drained.drain()) <= counts.drained
    assert await ref.ask("how many?") == len(got)  # acknowledged means: in the mailbox
    assert got == sorted(set(got))
    assert counts.accepted == 6000 == counts.delivered + counts.in_doubt
    assert len(doubtful) == counts.in_doubt
    assert set(range(6000)) - set(got) <= set(doubtful)
    assert counts.delivered <= len(got) <= counts.delivered + counts.in_doubt


async def test_what_waits_is_drained_in_order_after_the_reconnection(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    assert await remote.ask("echo") == "echo"
    await cut_off(one, other, eventually)
    with one.system.events.subscribe(QueueDrained) as drained:
        for number in range(500):
            remote.tell(number)
        assert one.delivery_counts().waiting == 500
        await eventually(lambda: len(got) == 500)
        assert [(event.authority, event.count) for event in drained.drain()] == [(other.authority, 500)]
    assert got == list(range(500))
    assert one.delivery_counts().drained == 500


@pytest.mark.parametrize("policy", ["drop_oldest", "reject_new"])
async def test_a_full_delay_queue_does_as_its_policy_says(fleet: Any, policy: str, eventually: Any):
    one, other = await fleet.members(2, delivery={"queue_messages_max": 10, "queue_policy": policy})
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    refused: list[int] = []
    await cut_off(one, other, eventually)
    with one.system.events.subscribe(DeadLetter) as letters:
        for number in range(15):
            try:
                remote.tell(number)
            except Overloaded:
                refused.append(number)
        dead = [letter.message for letter in letters.drain()]
    await eventually(lambda: len(got) == 10)
    counts = await settled(one, eventually)
    if policy == "drop_oldest":
        assert (dead, refused, got) == ([0, 1, 2, 3, 4], [], list(range(5, 15)))
        assert (counts.accepted, counts.dead_lettered, counts.refused) == (15, 5, 0)
    else:
        assert (dead, refused, got) == ([], [10, 11, 12, 13, 14], list(range(10)))
        assert (counts.accepted, counts.dead_lettered, counts.refused) == (10, 0, 5)


async def test_what_waits_too_long_is_a_dead_letter_and_fails_asks(fleet: Any, eventually: Any):
    one, other = await fleet.members(2, delivery={"queue_age_s": 0.05})
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    for source, target in ((one, other), (other, one)):
        fleet.network.cut(source.authority, target.authority)
    await cut_off(one, other, eventually)
    remote.tell("late")
    with pytest.raises(Unreachable) as failed:
        await remote.ask("late too")
    assert not failed.value.maybe_executed
    assert one.system.dead_letters.counts["delayed_too_long"] == 2
    fleet.network.heal_all()


def as_seen(cluster: Cluster, other: Cluster, status: MemberStatus) -> inaho.TopologySnapshot:
    """The topology of `cluster`, with another status of `other`."""
    topology = cluster._node.topology.snapshot
    assert topology is not None
    members = tuple(
        msgspec.structs.replace(member, status=status) if member.authority == other.authority else member
        for member in topology.members
    )
    return msgspec.structs.replace(topology, version=topology.version + 1, members=members)


async def test_nothing_is_sent_to_an_unreachable_member_until_it_is_back(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    watching = asyncio.ensure_future(remote.wait_terminated())
    assert await remote.ask("echo") == "echo"
    remoting = one._node.remoting
    remoting.apply_topology(as_seen(one, other, MemberStatus.UNREACHABLE))
    remote.tell("later")
    with pytest.raises(Unreachable, match="unreachable") as failed:
        await remote.ask("now")
    assert not failed.value.maybe_executed
    with pytest.raises(Unreachable, match="unreachable"):
        one.actor(other.pid(ref))
    assert (one.delivery_counts().waiting, got) == (1, [])
    remoting.check()
    remoting.apply_topology(as_seen(one, other, MemberStatus.UP))
    await eventually(lambda: got == ["later"])
    ref.stop()
    assert (await watching).exists


async def test_a_node_that_was_removed_and_joined_again_is_reached_by_new_references(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    assert await remote.ask("echo") == "echo"
    remoting = one._node.remoting
    there = as_seen(one, other, MemberStatus.UP)
    remoting.apply_topology(msgspec.structs.replace(there, members=(one.self,)))
    remote.tell("lost")
    assert one.system.dead_letters.recent[-1].message == "lost"
    assert not (await remote.wait_terminated()).exists
    remoting.apply_topology(there)
    again = one.actor(other.pid(ref))
    assert again is not remote
    again.tell("arrives")
    await eventually(lambda: got == ["arrives"])


async def test_a_resolution_that_arrives_out_of_order_is_an_event(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    client = await fleet.client()
    ref, _ = recorder(other)
    pid = other.pid(ref)
    newest = client._node.remoting.resolve(pid)
    assert isinstance(newest, ReachablePid)
    older = msgspec.structs.replace(one._node.topology.snapshot, version=1, members=(one.self,))
    with client.system.events.subscribe(ResolutionOutOfOrder) as told:
        one._node.acceptor.push_topology(older)
        event = await anext(told)
    assert (event.authority, event.version, event.newest, event.ignored) == (one.authority, 1, newest.version, True)
    assert client._node.remoting.resolve(pid) == newest
    with one.system.events.subscribe(ResolutionOutOfOrder) as told:
        one._node.remoting.apply_topology(older)  # what the node believes counts: its cluster has begun anew
        event = await anext(told)
    assert (event.authority, event.version, event.ignored) == (one.authority, 1, False)
    assert isinstance(one._node.remoting.resolve(pid), UnreachablePid)


async def test_an_ask_whose_connection_breaks_may_have_run(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    asking = asyncio.ensure_future(remote.ask("hang"))
    await eventually(lambda: ref.target.current is not None)  # type: ignore[attr-defined]
    fleet.network.reset(one.authority, other.authority)
    with pytest.raises(Unreachable) as failed:
        await asking
    assert failed.value.maybe_executed
    ref.target.kill()  # type: ignore[attr-defined]


async def test_nothing_meant_for_a_process_reaches_its_successor(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, _ = recorder(other)
    pid = other.pid(ref)
    remote = one.actor(pid)
    assert await remote.ask("echo") == "echo"
    await other.close()
    await eventually(lambda: len(one.members()) == 1)
    fleet._ports = iter([int(other.authority.rpartition(":")[2])])
    successor = await fleet.member()
    _, got = recorder(successor)
    await eventually(lambda: [member.status for member in one.members()] == [MemberStatus.UP] * 2)
    remote.tell("for the old one")
    with pytest.raises(Unreachable):
        one.actor(pid)
    one.actor(f"inaho://inaho@{successor.authority}/user/recorder").tell("for the new one")
    await eventually(lambda: got)
    assert got == ["for the new one"]
