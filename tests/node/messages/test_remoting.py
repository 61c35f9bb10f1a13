"""Messages between actor systems: tell, ask and watch across nodes."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

import inaho
from inaho import Actor, ActorRef, Cluster, DeliveryConfig, MemberStatus, Pid, PoisonPill, Props, Terminated
from inaho.actor import MailboxConfig, StopReason
from inaho.core.delivery.identity_table import ReachablePid, UnreachablePid
from inaho.errors import (
    ActorFailed,
    ActorStopped,
    FrameTooLarge,
    InvalidPid,
    Overloaded,
    SerializationFailed,
    Timeout,
    Unreachable,
)
from inaho.events import DeadLetter, MessageInDoubt, QueueDrained, ResolutionOutOfOrder, SerializationFailure
from inaho.runtime.messages.outbound import Mail
from inaho.wire.codec import encode
from inaho.wire.frames import TELL

LIMIT_S = 8.0


@inaho.register_message
class Order(inaho.Struct, frozen=True):
    """A message with a type of its own."""

    sku: str
    count: int = 1


class Unregistered(inaho.Struct):
    """Cannot be sent."""

    value: int


@inaho.register_message
@dataclass
class Note:
    """Dataclasses can be sent too."""

    text: str


@inaho.register_message
class Colour(enum.Enum):
    """And enums."""

    RED = "red"


class Recorder(Actor):
    """Keeps what it is told; answers asks."""

    def __init__(self, got: list[Any]) -> None:
        self.got = got

    async def receive(self, message: Any) -> None:
        if message == "how many?":
            self.context.reply(len(self.got))
        elif message == "fail":
            raise ValueError("told to fail")
        elif message == "ignore":
            pass
        elif message == "unsendable":
            self.context.reply(Unregistered(1))
        elif message == "refuse":
            self.context.reply_error(Overloaded("not now"))
        elif message == "hang":
            await asyncio.Event().wait()
        elif message == "who?":
            assert self.context.sender is not None
            self.context.sender.tell("it is me", self.context.self_ref)
        elif message == "echo":
            self.context.reply(message)
        else:
            self.got.append(message)


class Watching(Actor):
    """Watches what it is told to and keeps what it hears."""

    def __init__(self, ends: list[Terminated]) -> None:
        self.ends = ends

    async def receive(self, message: Any) -> None:
        if isinstance(message, Terminated):
            self.ends.append(message)
        elif isinstance(message, tuple):
            self.context.unwatch(message[0])
        else:
            self.context.watch(message)


@pytest.fixture
def fleet(fleet: Any) -> Any:
    """The fleet, with settings for delivery."""
    plain = fleet.config
    fleet.config = lambda *, delivery=None, **groups: plain(**groups).replace(
        delivery=DeliveryConfig(**(delivery or {}))
    )
    return fleet


@pytest.fixture(params=["memory", "tcp"])
async def pair(request: pytest.FixtureRequest, fleet: Any) -> AsyncIterator[tuple[Cluster, Cluster]]:
    """Two members that know each other."""
    fleet.over = request.param
    one, other = await fleet.members(2)
    yield one, other
    for cluster in (one, other):
        cluster._node.remoting.check()


def recorder(cluster: Cluster, name: str = "recorder", capacity: int = 100_000) -> tuple[ActorRef, list[Any]]:
    got: list[Any] = []
    ref = cluster.system.spawn(Props(lambda: Recorder(got), mailbox=MailboxConfig(capacity=capacity)), name)
    return ref, got


async def cut_off(one: Cluster, other: Cluster, eventually: Any) -> None:
    """Ends the connection on which `one` sends; the next message or probe makes another."""
    connection = one._node.peers.connections.get(other.authority)
    if connection is not None:
        connection.abort("cut off by the test")
    await eventually(lambda: not one._node.associations.machine.may_send(other.authority))


async def settled(cluster: Cluster, eventually: Any) -> inaho.Struct:
    """Counts of `cluster` once nothing is under way."""
    remoting = cluster._node.remoting
    await eventually(lambda: not (remoting.counts().waiting or remoting.counts().unacknowledged))
    remoting.check()
    return remoting.counts()


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
    with pytest.raises(Unreachable, match="is there"):
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


# Interruptions.


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


# Clients.


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
