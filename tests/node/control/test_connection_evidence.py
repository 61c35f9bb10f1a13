"""What the control plane is told when connections with a member end."""

from __future__ import annotations

from typing import Any

import pytest

from inaho import Cluster
from inaho.core.inputs import Disconnected, Input
from inaho.runtime.connections.outgoing import Outgoing


async def connected_both_ways(one: Cluster, other: Cluster, eventually: Any) -> tuple[Outgoing, Outgoing]:
    """The connections that each has dialled to the other. Neither dials by itself from then on."""
    dialled = []
    for near, far in ((one, other), (other, one)):
        dialled.append(await near._node.peers.connect(far.authority, far.self.node_id))
    await eventually(lambda: one._node.connections.has_accepted(other.self.node_id))
    for cluster in (one, other):
        cluster._node.control.driver.stop()
    return dialled[0], dialled[1]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a list of the ends of connections that the control plane of a node is told."""

    def listen(cluster: Cluster) -> list[Disconnected]:
        ends: list[Disconnected] = []
        driver = cluster._node.control.driver
        feed = driver.feed

        def fed(given: Input) -> None:
            if isinstance(given, Disconnected):
                ends.append(given)
            feed(given)

        monkeypatch.setattr(driver, "feed", fed)
        return ends

    return listen


async def test_a_dialled_connection_that_ends_is_not_the_last_while_an_accepted_one_is_open(
    fleet: Any, told: Any, eventually: Any
):
    one, other = await fleet.members(2, activation={"drain_s": 0.1})
    dialled, accepted = await connected_both_ways(one, other, eventually)
    ends = told(one)
    dialled.close()
    await eventually(lambda: dialled not in one._node.peers._ending)
    assert not one._node.connections.has_dialled(other.authority)
    assert ends == [], "the accepted connection is open"
    accepted.close()
    await eventually(lambda: not one._node.connections.has_accepted(other.self.node_id))
    await eventually(lambda: ends)
    assert ends == [Disconnected(other.authority, other.self.node_id, "closed")]


async def test_an_accepted_connection_that_ends_is_not_the_last_while_the_dialled_one_is_open(
    fleet: Any, told: Any, eventually: Any
):
    one, other = await fleet.members(2, activation={"drain_s": 0.1})
    dialled, accepted = await connected_both_ways(one, other, eventually)
    ends = told(one)
    accepted.close()
    await eventually(lambda: not one._node.acceptor.connections)
    assert ends == [], "the dialled connection is open"
    dialled.close()
    await eventually(lambda: ends)
    assert ends == [Disconnected(other.authority, other.self.node_id, "closed")]


async def test_a_dialled_connection_that_is_reset_counts_although_an_accepted_one_is_open(
    fleet: Any, told: Any, eventually: Any
):
    one, other = await fleet.members(2, activation={"drain_s": 0.1})
    dialled, _ = await connected_both_ways(one, other, eventually)
    ends = told(one)
    [far_end] = [incoming for incoming in other._node.acceptor.connections if incoming.peer.node_id == one.self.node_id]
    far_end.abort("cut by the test")
    await eventually(lambda: ends)
    assert dialled.closed == "reset"
    assert one._node.connections.has_accepted(other.self.node_id)
    assert ends == [Disconnected(other.authority, other.self.node_id, "reset")]
