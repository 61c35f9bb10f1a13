"""Quarantine of whole nodes: what leads to it, what it refuses, how it ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import inaho
import inaho.wire.codec
from inaho import Actor, ActorRef, Cluster, DeliveryConfig, Grain, Props
from inaho.core.delivery.associations import AuthorityState
from inaho.errors import IllegalTransition, Quarantined, Unreachable
from inaho.events import (
    AuthorityConnected,
    AuthorityDisconnected,
    AuthorityEvent,
    AuthorityQuarantined,
    AuthorityReleased,
    DeadLetter,
    MessageRefused,
    PidInvalidated,
    QueueDrained,
)
from inaho.wire.frames import ACKNOWLEDGE, ASK, TELL, UNWATCH, WATCH, frame
from inaho.wire.handshake import PeerInfo


class Recorder(Actor):
    """Keeps what it is told; answers everything."""

    def __init__(self, got: list[Any]) -> None:
        self.got = got

    async def receive(self, message: Any) -> None:
        self.got.append(message)
        if self.context.sender is not None:
            self.context.reply(message)


class Greeter(Grain):
    """Something to call."""

    async def greet(self) -> str:
        return "hello"


@pytest.fixture
def fleet(fleet: Any) -> Any:
    """The fleet, with settings for delivery. A quarantined node cannot take leave, so nobody waits for it long."""
    plain = fleet.config
    fleet.config = lambda *, delivery=None, **groups: plain(activation={"drain_s": 0.1}, **groups).replace(
        delivery=DeliveryConfig(**(delivery or {}))
    )
    return fleet


def recorder(cluster: Cluster, name: str = "recorder") -> tuple[ActorRef, list[Any]]:
    got: list[Any] = []
    return cluster.system.spawn(Props(lambda: Recorder(got)), name), got


async def connection_of(one: Cluster, other: Cluster, eventually: Any) -> Any:
    """The connection that `one` has dialled to `other`."""
    one._node.peers.dial_in_background(other.authority)
    await eventually(lambda: other.authority in one._node.peers.connections)
    return one._node.peers.connections[other.authority]


async def misbehave(culprit: Cluster, victim: Cluster, eventually: Any, *frames: bytes) -> None:
    """The culprit sends what no node sends; returns when the victim has drawn the consequence."""
    connection = await connection_of(culprit, victim, eventually)
    for bad in frames or (frame(250),):
        connection.send(bad, b"")
    await eventually(lambda: victim._node.associations.machine.refusal(culprit.authority) is not None)


@pytest.mark.parametrize(
    "bad",
    [
        frame(250),
        frame(TELL, b"\xc1"),
        frame(TELL, inaho.wire.codec.encode(["user/x", "", ""])),
        frame(TELL, inaho.wire.codec.encode(["user/recorder", "inaho://nowhere", "", 1])),
        frame(ACKNOWLEDGE, b"", correlation=1),
        frame(WATCH, b"\xff", correlation=1),
        frame(WATCH, b"user/recorder", correlation=1) * 2,
        frame(ASK, inaho.wire.codec.encode(["user/silent", "", "", 1]), correlation=1) * 2,
    ],
    ids=["unknown", "garbage", "short", "signature", "acknowledgement", "text", "watch-twice", "ask-twice"],
)
async def test_a_violation_quarantines_the_member_that_did_it(fleet: Any, bad: bytes, eventually: Any):
    one, other = await fleet.members(2)
    recorder(other)

    class Silent(Actor):
        async def receive(self, message: Any) -> None:
            """Never answers."""

    other.system.spawn(Props(Silent), "silent")
    fleet.settle = False
    await misbehave(one, other, eventually, bad)
    [entry] = other.quarantine()
    assert (entry.authority, entry.node_id) == (one.authority, one.self.node_id)
    assert entry.reason.startswith("protocol_violation: ")
    assert one.quarantine() == ()


async def test_harmless_oddities_do_not_quarantine(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    _, got = recorder(other)
    connection = await connection_of(one, other, eventually)
    connection.send(frame(UNWATCH, b"", correlation=77), b"")
    one.actor(f"inaho://inaho@{other.authority}/user/recorder").tell("fine")
    await eventually(lambda: got == ["fine"])
    assert other.quarantine() == ()


async def test_an_acknowledgement_of_what_was_not_sent_is_a_violation(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    assert await remote.ask("x") == "x"
    fleet.settle = False
    for connection in other._node.acceptor.connections:
        connection.send(frame(ACKNOWLEDGE, b"", correlation=1000), b"")
    await eventually(lambda: one.quarantine())
    assert one.quarantine()[0].authority == other.authority


async def test_while_it_lasts_nothing_passes_either_way(fleet: Any, eventually: Any):
    one, other = await fleet.members(2, Greeter)
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    key = fleet.key_at(other, Greeter)
    assert await one.grain(Greeter, key).greet() == "hello"
    fleet.settle = False
    with one.system.events.subscribe(PidInvalidated) as invalidated:
        await misbehave(other, one, eventually)
        assert [event.reason for event in invalidated.drain()] == ["quarantined"]
    assert other.authority not in one._node.peers.connections
    with pytest.raises(Quarantined) as refused:
        one.actor(other.pid(ref))
    assert refused.value.authority == other.authority
    assert "protocol_violation" in refused.value.reason
    with one.system.events.subscribe(MessageRefused) as refusals:
        with pytest.raises(Quarantined):
            remote.tell("refused")
        assert [(event.recipient, event.code) for event in refusals.drain()] == [(remote.path, "quarantined")]
    with pytest.raises(Quarantined):
        await remote.ask("refused")
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(Quarantined):
        await one.grain(Greeter, key).greet()
    assert loop.time() - began < 6.0  # not at the deadline of the call, 8 s
    # And the other way round: the handshake is refused.
    with pytest.raises(Quarantined):
        await other._node.peers.connect(one.authority, "")
    assert got == []
    assert one.delivery_counts().accepted == 0


async def test_what_waits_is_given_up_and_the_senders_are_told(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, _ = recorder(other)
    remote = one.actor(other.pid(ref))
    fleet.settle = False
    connection = one._node.peers.connections.get(other.authority)
    if connection is not None:
        connection.abort("cut off by the test")
    await eventually(lambda: not one._node.associations.machine.may_send(other.authority))
    with one.system.events.subscribe(DeadLetter, MessageRefused) as told:
        remote.tell("one")
        remote.tell("two")
        asking = asyncio.ensure_future(remote.ask("three"))
        await asyncio.sleep(0)
        one._node.connections.quarantine(other.authority, "it says the impossible")
        if not one.quarantine():  # no connection of it was open
            peer = PeerInfo(other.authority, other.self.node_id, 1, "member", 1, 1)
            one._node.associations.violated(peer, "it says the impossible")
        events = told.drain()
    with pytest.raises(Quarantined, match="impossible") as failed:
        await asking
    assert not failed.value.maybe_executed
    assert [event.message for event in events if isinstance(event, DeadLetter)] == ["one", "two", "three"]
    assert [event.code for event in events if isinstance(event, MessageRefused)] == ["quarantined"] * 3
    one._node.remoting.check()
    assert one.delivery_counts().dead_lettered == 3


async def test_an_operator_releases_it_and_messages_flow_again(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    with pytest.raises(IllegalTransition):
        one.release(other.authority)
    await misbehave(other, one, eventually)
    with one.system.events.subscribe(AuthorityEvent) as events:
        one.release(other.authority)
        assert one.quarantine() == ()
        remote.tell("again")
        await eventually(lambda: got == ["again"])
        kinds = [type(event) for event in events.drain()]
    assert kinds == [AuthorityReleased, AuthorityConnected, QueueDrained]


async def test_it_ends_by_itself(fleet: Any, eventually: Any):
    one, other = await fleet.members(2, delivery={"quarantine_s": 0.1})
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    with one.system.events.subscribe(AuthorityReleased) as released:
        await misbehave(other, one, eventually)
        await eventually(lambda: not one.quarantine())
        [event] = released.drain()
    assert "over" in event.reason
    remote.tell("again")
    await eventually(lambda: got == ["again"])


async def test_repeated_failures_quarantine(fleet: Any, eventually: Any):
    one, other = await fleet.members(2, delivery={"failures_max": 3}, membership={"remove_unreachable_after_s": 30.0})
    await other._node.lifecycle.stop()  # without a word
    with one.system.events.subscribe(AuthorityQuarantined) as quarantined:
        await eventually(lambda: one.quarantine())
        [event] = quarantined.drain()
    assert event.authority == other.authority
    assert "3 dials failed in a row" in event.reason
    with pytest.raises(Quarantined):
        await one._node.peers.connect(other.authority, "")


async def test_a_restarted_process_is_not_held_to_account_for_its_predecessor(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    await misbehave(other, one, eventually)
    old_id = other.self.node_id
    await other._node.lifecycle.stop()
    fleet._ports = iter([int(other.authority.rpartition(":")[2])])
    successor = await fleet.member()
    assert successor.self.node_id != old_id
    await eventually(lambda: not one.quarantine())
    ref, _ = recorder(successor)
    await eventually(lambda: any(member.node_id == successor.self.node_id for member in one.members()))
    assert await one.actor(successor.pid(ref)).ask("x") == "x"


async def test_a_stranger_who_claims_a_members_authority_does_not_harm_it(fleet: Any):
    one, other = await fleet.members(2)
    associations = one._node.associations
    stranger = PeerInfo(other.authority, "0" * 16, 1, "member", 1, 1)
    associations.violated(stranger, "garbage")
    associations.violated(PeerInfo("", "1" * 16, 1, "client", 1, 1), "garbage")
    associations.violated(PeerInfo(one.authority, "2" * 16, 1, "member", 1, 1), "garbage")
    assert one.quarantine() == ()


async def test_a_member_that_fails_authentication_after_joining_is_quarantined(fleet: Any):
    one, other = await fleet.members(2)
    associations = one._node.associations
    connection = one._node.peers.connections.get(other.authority)
    if connection is not None:
        connection.close()
    failure = inaho.AuthenticationFailed("wrong secret", authority=other.authority)
    associations.failed(other.authority, failure)
    [entry] = one.quarantine()
    assert entry.reason == "authentication_failed: wrong secret"
    associations.failed("127.0.0.1:1", failure)  # nobody's: an ordinary failure
    assert len(one.quarantine()) == 1


async def test_decisions_are_events_and_audit_lines_with_reasons(
    fleet: Any, eventually: Any, caplog: pytest.LogCaptureFixture
):
    one, other = await fleet.members(2)
    await connection_of(one, other, eventually)
    caplog.set_level(logging.INFO, "inaho.audit")
    with one.system.events.subscribe(AuthorityEvent) as events:
        await misbehave(other, one, eventually)
        one.release(other.authority)
        await connection_of(one, other, eventually)
        seen = events.drain()
    assert [type(event) for event in seen if not isinstance(event, AuthorityDisconnected)] == [
        AuthorityQuarantined,
        AuthorityReleased,
        AuthorityConnected,
    ]
    lines = [
        record
        for record in caplog.records
        if record.name == "inaho.audit" and vars(record)["audit_observer"] == one.authority
    ]
    assert [vars(line)["audit_event"] for line in lines] == ["quarantine", "release", "reconnection"]
    for line in lines:
        fields = vars(line)
        assert (fields["audit_authority"], fields["audit_node_id"]) == (other.authority, other.self.node_id)
        assert fields["audit_reason"]
    assert vars(lines[0])["audit_for_s"] == 30.0
    assert "protocol_violation" in lines[0].getMessage()


async def test_states_follow_the_connections(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    machine = one._node.associations.machine
    connection = await connection_of(one, other, eventually)
    assert machine.state(other.authority) is AuthorityState.CONNECTED
    connection.abort("cut off by the test")
    await eventually(lambda: machine.state(other.authority) is AuthorityState.DISCONNECTED)
    await connection_of(one, other, eventually)
    machine.check()
    await other.close()
    await eventually(lambda: machine.state(other.authority) is AuthorityState.DISCONNECTED)
    with pytest.raises(Unreachable):
        await one._node.peers.connect(other.authority, "")
    machine.check()
