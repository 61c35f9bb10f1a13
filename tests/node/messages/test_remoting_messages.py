"""Messages that actors tell actors of other nodes: where they go, in which order, and which cannot be sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho import Pid
from inaho.errors import ActorStopped, FrameTooLarge, InvalidPid, SerializationFailed, Unreachable
from inaho.events import SerializationFailure
from inaho.runtime.messages.outbound import Mail
from inaho.wire.codec import encode
from inaho.wire.frames import TELL
from support.remoting import Colour, Note, Order, Unregistered, cut_off, recorder, settled

# Addressing.


async def test_a_pid_becomes_a_reference_with_a_canonical_path(pair: Any):
    one, other = pair
    ref, _ = recorder(other)
    pid = other.pid(ref)
    assert pid == Pid(other.authority, other.self.node_id, inaho.ClusterIdentity("user", "recorder"))
    remote = one.actor(pid)
    assert remote.path == f"inaho://inaho@{other.authority}/user/recorder#{pid.node_id}"
    assert one.actor(pid) is remote
    assert one.actor(remote.path) is remote
    assert one.actor(f"inaho://inaho@{other.authority}/user/recorder") is remote
    assert one.pid(remote) == pid
    assert other.actor(pid) is ref


async def test_what_cannot_be_addressed_says_why(pair: Any):
    one, other = pair
    identity = inaho.ClusterIdentity("user", "x")
    with pytest.raises(InvalidPid, match="cluster"):
        one.actor(f"inaho://elsewhere@{other.authority}/user/x")
    with pytest.raises(InvalidPid):
        one.actor("user/x")
    with pytest.raises(Unreachable, match="no member"):
        one.actor("inaho://inaho@127.0.0.1:1/user/x")
    with pytest.raises(Unreachable, match="has this authority now"):
        one.actor(Pid(other.authority, "0" * 16, identity))


async def test_a_reference_to_nobody_on_this_node_behaves_like_one_to_the_dead(pair: Any):
    one, _ = pair
    nobody = one.actor(Pid(one.authority, one.self.node_id, inaho.ClusterIdentity("user", "nobody")))
    nobody.tell("lost")
    nobody.stop()
    assert one.system.dead_letters.recent[-1].message == "lost"
    with pytest.raises(ActorStopped):
        await nobody.ask("anybody?")
    assert not (await nobody.wait_terminated()).exists


# Tell.


async def test_messages_arrive_in_order_and_as_what_they_were(pair: Any, eventually: Any):
    one, other = pair
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    sent = [
        None, True, 7, 2.5, "text", b"bytes", [1, [2, "x"]], {"a": [1]}, {1: None}, (1, "two"), {3}, frozenset({4}),
        Order("apple", 3), Note("hello"), Colour.RED, other.pid(ref), other.self,
    ]  # fmt: skip
    for message in sent:
        remote.tell(message)
    await eventually(lambda: len(got) == len(sent))
    assert got == sent
    assert [type(message) for message in got] == [type(message) for message in sent]
    counts = await settled(one, eventually)
    assert (counts.accepted, counts.delivered, other.delivery_counts().received) == (len(sent), len(sent), len(sent))


async def test_thousands_of_messages_of_several_senders_keep_their_order(pair: Any, eventually: Any):
    one, other = pair
    refs = [recorder(other, f"recorder-{number}") for number in range(3)]
    remotes = [one.actor(other.pid(ref)) for ref, _ in refs]

    async def send(sender: int) -> None:
        for number in range(1000):
            for remote in remotes:
                remote.tell([sender, number])
            await one.room(remotes[0])
            if number % 50 == 0:
                await asyncio.sleep(0)

    await asyncio.gather(*(send(sender) for sender in range(3)))
    await eventually(lambda: all(len(got) == 3000 for _, got in refs))
    for _, got in refs:
        for sender in range(3):
            assert [number for who, number in got if who == sender] == list(range(1000))
    assert (await settled(one, eventually)).delivered == 9000


async def test_a_sender_can_be_answered_across_nodes(pair: Any, eventually: Any):
    one, other = pair
    there, _ = recorder(other, "there")
    here, heard = recorder(one, "here")
    one.actor(other.pid(there)).tell("who?", here)
    await eventually(lambda: heard == ["it is me"])


async def test_a_signature_of_a_third_node_leads_there(fleet: Any, eventually: Any):
    one, other, third = await fleet.members(3)
    there, _ = recorder(other, "there")
    far, heard = recorder(third, "far")
    one.actor(other.pid(there)).tell("who?", one.actor(third.pid(far)))
    await eventually(lambda: heard == ["it is me"])


async def test_a_message_to_nobody_is_a_dead_letter_over_there(pair: Any, eventually: Any):
    one, other = pair
    one.actor(Pid(other.authority, other.self.node_id, inaho.ClusterIdentity("user", "nobody"))).tell("lost")
    await eventually(lambda: other.system.dead_letters.counts.get("no_actor") == 1)
    assert other.system.dead_letters.recent[-1].recipient == "user/nobody"


async def test_a_full_mailbox_makes_dead_letters_and_harms_nobody_else(pair: Any, eventually: Any):
    one, other = pair
    full, _ = recorder(other, "full", capacity=1)
    free, got = recorder(other, "free")
    remote = one.actor(other.pid(full))
    remote.tell("hang")
    for _ in range(5):
        remote.tell("more")
    one.actor(other.pid(free)).tell("through")
    await eventually(lambda: got == ["through"])
    assert other.system.dead_letters.counts["mailbox_full"] >= 3
    full.target.kill()  # type: ignore[attr-defined]


async def test_a_sender_can_wait_for_room_and_stop_waiting(fleet: Any, eventually: Any):
    one, other = await fleet.members(2, delivery={"queue_messages_max": 10, "queue_age_s": 60.0})
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    assert await remote.ask("echo") == "echo"
    await cut_off(one, other, eventually)
    for number in range(10):
        remote.tell(number)
    channel = remote.target.channel  # type: ignore[attr-defined]
    waiting = [asyncio.ensure_future(one.room(remote)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait([waiting[0]])
    assert len(channel._waiters) == 1
    await waiting[1]
    remote.tell(10)
    await eventually(lambda: len(got) == 11)
    assert got == list(range(11))
    await one.room(ref)  # of this node or not, it does not matter
    await other.room(ref)


# What cannot be sent.


class Plain:
    """Nothing that msgspec knows."""


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Unregistered(1), "not a registered message class"),
        (Plain(), "not a registered message class"),
        ([Order("apple")], "whose type would be lost"),
        ({"a": (1, 2)}, "whose type would be lost"),
        (1 << 70, "no encoding"),
    ],
    ids=["struct", "object", "nested-struct", "nested-tuple", "huge-integer"],
)
async def test_what_cannot_be_serialized_is_not_sent_and_told(fleet: Any, message: Any, reason: str, eventually: Any):
    one, other = await fleet.members(2)
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    with one.system.events.subscribe(SerializationFailure) as failures:
        with pytest.raises(SerializationFailed, match=reason) as refused:
            remote.tell(message)
        with pytest.raises(SerializationFailed, match=reason):
            await remote.ask(message)
    assert refused.value.identity == remote.path
    assert [(event.identity.key, event.direction) for event in failures.drain()] == [("recorder", "out")] * 2
    remote.tell("next")
    await eventually(lambda: got == ["next"])
    assert (one.delivery_counts().unserializable, one.delivery_counts().accepted) == (2, 1)


async def test_what_holds_itself_or_is_too_large_is_not_sent(pair: Any):
    one, other = pair
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(SerializationFailed):
        remote.tell(endless)
    with pytest.raises(FrameTooLarge):
        remote.tell(bytes(2 << 20))
    assert one.delivery_counts().accepted == 0


async def test_a_message_of_an_unknown_class_is_a_dead_letter_and_an_event(pair: Any, eventually: Any):
    one, other = pair
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    with other.system.events.subscribe(SerializationFailure) as failures:
        for name, value in (("nowhere.Known", 1), ("inaho.Pid", "no pid")):
            body = encode(("user/recorder", "", name, value))
            remote.target.channel.post(Mail(TELL, body, value, remote.path, ""))  # type: ignore[attr-defined]
        remote.tell("next")
        await eventually(lambda: got == ["next"])
    assert [event.direction for event in failures.drain()] == ["in", "in"]
    assert other.system.dead_letters.counts["unreadable"] == 2


def test_names_of_messages_are_unique():
    with pytest.raises(inaho.InvalidConfig, match="already registered"):
        inaho.register_message(Unregistered, f"{Order.__module__}.Order")
    with pytest.raises(inaho.InvalidConfig, match="already registered"):
        inaho.register_message(Order, "another.name")
    with pytest.raises(inaho.InvalidConfig, match="builtin"):
        inaho.register_message(Unregistered, "list")
    with pytest.raises(inaho.InvalidGrain):
        inaho.register_message(Plain)
