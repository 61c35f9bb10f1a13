"""Asks of actors on other nodes, watches of them, and what a client may do of both."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho import Actor, Pid, PoisonPill, Props, Terminated
from inaho.actor import StopReason
from inaho.errors import ActorFailed, ActorStopped, InvalidPid, Overloaded, SerializationFailed, Timeout, Unreachable
from support.remoting import Watching, recorder, settled

# Ask.


async def test_an_ask_is_answered(pair: Any, eventually: Any):
    one, other = pair
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    remote.tell("first")
    assert await remote.ask("how many?") == 1  # in order with what was told
    assert await asyncio.gather(*(remote.ask("echo") for _ in range(200))) == ["echo"] * 200
    assert not remote.target.channel._asks  # type: ignore[attr-defined]
    assert (await settled(one, eventually)).delivered == 202


async def test_an_ask_fails_as_it_would_here(pair: Any):
    one, other = pair
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    with pytest.raises(ActorFailed, match="told to fail") as failed:
        await remote.ask("fail")
    assert failed.value.maybe_executed
    with pytest.raises(Overloaded, match="not now"):
        await remote.ask("refuse")
    with pytest.raises(SerializationFailed) as unsendable:
        await remote.ask("unsendable")
    assert unsendable.value.maybe_executed
    with pytest.raises(ActorStopped):
        await one.actor(Pid(other.authority, other.self.node_id, inaho.ClusterIdentity("user", "nobody"))).ask("?")


async def test_an_ask_that_nobody_answers_ends_at_its_deadline_on_both_sides(pair: Any, eventually: Any):
    one, other = pair
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    with pytest.raises(Timeout) as timeout:
        await remote.ask("ignore", timeout_s=0.05)
    assert timeout.value.maybe_executed
    assert timeout.value.identity == remote.path
    inboxes = [connection.mail for connection in other._node.acceptor.connections]
    await eventually(lambda: not any(inbox._asks for inbox in inboxes if inbox is not None))


async def test_a_question_that_was_not_begun_never_will_be(pair: Any, eventually: Any):
    one, other = pair
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    remote.tell("hang")
    asking = asyncio.ensure_future(remote.ask("question"))
    await eventually(lambda: len(ref.target.mailbox) == 1)  # type: ignore[attr-defined]
    asking.cancel()
    await eventually(lambda: other.system.dead_letters.counts.get("ask_over") == 1)
    assert not got
    ref.target.kill()  # type: ignore[attr-defined]


async def test_an_ask_may_be_passed_on_to_another_node(fleet: Any):
    one, other, third = await fleet.members(3)
    last, _ = recorder(third, "last")

    class Forwarding(Actor):
        async def receive(self, message: Any) -> None:
            other.actor(third.pid(last)).tell(message, self.context.sender)

    middle = other.system.spawn(Props(Forwarding), "middle")
    assert await one.actor(other.pid(middle)).ask("echo") == "echo"


# Watch and stop.


async def test_a_watcher_is_told_once_when_the_actor_stops(pair: Any, eventually: Any):
    one, other = pair
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    ends: list[Terminated] = []
    watching = one.system.spawn(Props(lambda: Watching(ends)))
    watching.tell(remote)
    waiting = asyncio.ensure_future(remote.wait_terminated())
    await eventually(lambda: ref.target._watchers._watchers)  # type: ignore[attr-defined]
    ref.stop()
    terminated = await waiting
    await eventually(lambda: ends)
    assert ends == [terminated]
    assert (terminated.ref, terminated.reason, terminated.exists) == (remote, StopReason.STOPPED, True)
    assert one.actor(other.pid(ref)) is not remote  # the name may have a new bearer


async def test_watching_what_never_was_tells_so(pair: Any):
    one, other = pair
    pid = Pid(other.authority, other.self.node_id, inaho.ClusterIdentity("user", "nobody"))
    terminated = await one.actor(pid).wait_terminated()
    assert not terminated.exists


async def test_who_watches_no_more_hears_nothing(pair: Any, eventually: Any):
    one, other = pair
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    ends: list[Terminated] = []
    watching = one.system.spawn(Props(lambda: Watching(ends)))
    watching.tell(remote)
    await eventually(lambda: ref.target._watchers._watchers)  # type: ignore[attr-defined]
    watching.tell((remote,))
    await eventually(lambda: not ref.target._watchers._watchers)  # type: ignore[attr-defined]
    ref.stop()
    assert not (await one.actor(other.pid(ref)).wait_terminated()).exists
    assert ends == []


async def test_a_remote_actor_can_be_stopped_behind_what_it_was_told(pair: Any, eventually: Any):
    one, other = pair
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    waiting = asyncio.ensure_future(remote.wait_terminated())
    await eventually(lambda: ref.target._watchers._watchers)  # type: ignore[attr-defined]
    remote.tell("before")
    remote.tell(PoisonPill())
    assert (await waiting).reason is StopReason.POISON_PILL
    assert got == ["before"]
    again, _ = recorder(other, "again")
    one.actor(other.pid(again)).stop()
    assert (await again.wait_terminated()).reason is StopReason.STOPPED


async def test_a_watcher_is_told_when_the_node_leaves(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    ends: list[Terminated] = []
    one.system.spawn(Props(lambda: Watching(ends))).tell(remote)
    await eventually(lambda: ref.target._watchers._watchers)  # type: ignore[attr-defined]
    await other.close()
    await eventually(lambda: ends)
    await eventually(lambda: len(one.members()) == 1)
    assert len(ends) == 1
    remote.tell("too late")
    assert one.system.dead_letters.recent[-1].message == "too late"
    with pytest.raises(Unreachable):
        await remote.ask("too late")
    with pytest.raises(Unreachable):
        one.actor(Pid(other.authority, "0" * 16, inaho.ClusterIdentity("user", "x")))


async def test_a_watcher_is_told_when_the_node_is_removed(fleet: Any, eventually: Any):
    one, other, third = await fleet.members(3, membership={"remove_unreachable_after_s": 0.2})
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    ends: list[Terminated] = []
    one.system.spawn(Props(lambda: Watching(ends))).tell(remote)
    await eventually(lambda: ref.target._watchers._watchers)  # type: ignore[attr-defined]
    await other._node.lifecycle.stop()  # without a word
    await eventually(lambda: ends)
    assert [(end.reason, end.exists) for end in ends] == [(StopReason.NODE_REMOVED, True)]
    await eventually(lambda: len(third.members()) == 2)


async def test_a_client_tells_asks_and_watches_but_cannot_be_told(fleet: Any, eventually: Any):
    member = await fleet.member()
    client = await fleet.client()
    ref, got = recorder(member)
    remote = client.actor(member.pid(ref))
    here, _ = recorder(client, "here")
    remote.tell("from a client", here)
    assert await remote.ask("how many?") == 1
    assert got == ["from a client"]
    with pytest.raises(InvalidPid, match="client"):
        client.pid(here)
    waiting = asyncio.ensure_future(remote.wait_terminated())
    await eventually(lambda: ref.target._watchers._watchers)  # type: ignore[attr-defined]
    ref.stop()
    assert (await waiting).exists
