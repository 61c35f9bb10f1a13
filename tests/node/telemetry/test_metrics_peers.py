"""Metrics of what passes between nodes: messages, connections, quarantines, views."""

from __future__ import annotations

from typing import Any

import pytest

import inaho
from inaho import Actor, Cluster, Grain, Props
from inaho.core.inputs import BlockNode
from inaho.errors import Quarantined, SerializationFailed
from inaho.events import ActivationFailed as ActivationFailedEvent
from inaho.events import DeadLetter, HandOffFailed, NodePaused, ViewConflict, ViewRefused
from inaho.types import ClusterIdentity
from inaho.wire.frames import frame


class Recorder(Actor):
    def __init__(self, got: list[Any]) -> None:
        self.got = got

    async def receive(self, message: Any) -> None:
        self.got.append(message)


class Opaque(Grain):
    async def give(self) -> Any:
        return object()

    async def count(self, number: int) -> int:
        return number


class Broken(Grain):
    async def on_activate(self) -> None:
        raise ValueError("no")

    async def use(self) -> None: ...


def shown(cluster: Cluster) -> dict[str, dict[tuple[str, ...], float]]:
    """`Cluster.metrics` by name and values of labels."""
    return {
        name: {tuple(labels.values()): value for labels, value in samples}
        for name, samples in cluster.metrics().items()
    }


def single(cluster: Cluster, name: str) -> float:
    """The one figure of a metric without labels."""
    [value] = shown(cluster)[name].values()
    return value


def recorder(cluster: Cluster) -> tuple[Any, list[Any]]:
    got: list[Any] = []
    return cluster.system.spawn(Props(lambda: Recorder(got)), "recorder"), got


async def test_a_serialization_failure_is_counted_on_both_sides(fleet: Any):
    member = await fleet.member(Opaque)
    client = await fleet.client()
    with pytest.raises(SerializationFailed):
        await client.grain(Opaque, "k").give()
    with pytest.raises(inaho.InvalidArguments):
        await client.grain(Opaque, "k").count("x")  # type: ignore[arg-type]
    assert shown(member)["inaho.rpc.serialization.failures"] == {("out",): 1, ("in",): 1}
    failures = shown(client)["inaho.rpc.client.failures"]
    assert failures[("Opaque", "serialization_failed")] == 1
    assert failures[("Opaque", "invalid_arguments")] == 1
    assert failures[("Opaque", "_OTHER")] == 0


async def test_messages_are_counted_by_what_became_of_them(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    ref, got = recorder(other)
    remote = one.actor(other.pid(ref))
    with pytest.raises(SerializationFailed):
        remote.tell(object())
    remote.tell("first")
    await eventually(lambda: shown(one)["inaho.messages.ended"][("delivered",)] == 1)
    connection = one._node.peers.connections[other.authority]
    connection.close()
    await eventually(lambda: other.authority not in one._node.peers.connections)
    for number in range(5):
        remote.tell(number)
    assert single(one, "inaho.messages.waiting") == 5
    await eventually(lambda: len(got) == 6)
    await eventually(lambda: single(one, "inaho.messages.unacknowledged") == 0)
    assert single(one, "inaho.messages.accepted") == 6
    assert single(one, "inaho.messages.drained") == 5
    assert single(one, "inaho.messages.unserializable") == 1
    assert shown(one)["inaho.rpc.serialization.failures"] == {("out",): 1}
    assert shown(one)["inaho.messages.ended"] == {("delivered",): 6, ("dead_lettered",): 0, ("in_doubt",): 0}
    assert single(other, "inaho.messages.received") == 6
    with other.system.events.subscribe(DeadLetter) as letters:
        ref.tell(inaho.PoisonPill())
        await eventually(lambda: other.system.find("user/recorder") is None)
        remote.tell("late")
        await eventually(letters.drain)
    assert list(shown(other)["inaho.dead_letters"].values()) == [1]


async def test_bytes_of_closed_connections_stay_counted(fleet: Any, eventually: Any):
    member = await fleet.member(Opaque)
    client = await fleet.client()
    await client.grain(Opaque, "k").count(1)
    before = shown(client)
    assert before["inaho.connections"] == {("in",): 0, ("out",): 1}
    [connection] = client._node.peers.connections.values()
    connection.close()
    await eventually(lambda: client._metrics.counts.traffic.totals()[0] > 0 and connection.closed)
    client._metrics.counts.traffic.sweep()
    await client.grain(Opaque, "k").count(1)
    after = shown(client)
    for direction in ("transmit", "receive"):
        assert after["inaho.network.io"][(direction,)] > before["inaho.network.io"][(direction,)] > 0
    assert after["inaho.connections.opened"] == {("in",): 0, ("out",): 2}
    assert shown(member)["inaho.connections.opened"][("in",)] >= 2


async def test_quarantines_are_counted(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    fleet.settle = False
    one._node.peers.dial_in_background(other.authority)
    await eventually(lambda: other.authority in one._node.peers.connections)
    one._node.peers.connections[other.authority].send(frame(250), b"")
    await eventually(other.quarantine)
    assert single(other, "inaho.authorities.quarantined") == 1
    assert single(other, "inaho.quarantines") == 1
    with pytest.raises(Quarantined):
        other.actor(inaho.Pid(one.authority, one.self.node_id, ClusterIdentity("user", "x")))
    other.release(one.authority)
    assert single(other, "inaho.authorities.quarantined") == 0
    assert single(other, "inaho.quarantines.ended") == 1


async def test_an_activation_that_fails_is_counted(fleet: Any):
    cluster = await fleet.member(Broken)
    with cluster.system.events.subscribe(ActivationFailedEvent) as failed:
        with pytest.raises(inaho.ActivationFailed):
            await cluster.grain(Broken, "k").use()
        assert len(failed.drain()) == 1
    figures = shown(cluster)
    assert figures["inaho.activations.failed"] == {("Broken",): 1}
    assert figures["inaho.activations.started"] == {}
    assert figures["inaho.activations"] == {("Broken",): 0}


async def test_agreement_takes_time_which_is_told(fleet: Any, eventually: Any):
    one, _ = await fleet.members(2)
    await eventually(lambda: single(one, "inaho.gossip.convergences") >= 1)
    assert 0 <= single(one, "inaho.gossip.convergence.time") < 8
    assert shown(one)["inaho.members.events"][("MemberUp",)] >= 1
    assert single(one, "inaho.topology.version") > 0


async def test_the_block_list_has_a_size(fleet: Any, eventually: Any):
    one, other = await fleet.members(2)
    assert single(other, "inaho.block_list.size") == 0
    one._node.control.driver.feed(BlockNode(other.authority))
    await eventually(lambda: single(one, "inaho.block_list.size") == 1)
    await eventually(lambda: single(other, "inaho.block_list.size") == 1)


async def test_what_the_control_plane_tells_is_counted(fleet: Any):
    """Conflicts of views take long partitions to make; their counting takes their events."""
    cluster = await fleet.member()
    cluster._node.local.publish(ViewRefused(authority="b:2", refused="theirs", rule="majority"))
    cluster._node.local.publish(ViewConflict(authority="b:2", reason="both have a seed"))
    cluster._node.local.publish(NodePaused(gap_s=3.0))
    identity = ClusterIdentity("Purse", "k")
    cluster._node.local.publish(HandOffFailed(identity=identity, from_authority="b:2", reason="it is not there"))
    assert shown(cluster)["inaho.views.refused"] == {("theirs", "majority"): 1}
    assert single(cluster, "inaho.views.conflicts") == 1
    assert single(cluster, "inaho.pauses") == 1
    assert shown(cluster)["inaho.handoffs"] == {("Purse", "failed"): 1}
    await cluster._node.lifecycle.stop()
    cluster._node.local.publish(ViewConflict(authority="b:2", reason="after the end"))
    assert single(cluster, "inaho.views.conflicts") == 1
