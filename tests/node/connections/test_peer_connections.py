"""All connections with one peer, looked at and closed together."""

from __future__ import annotations

from typing import Any

from inaho import Cluster
from inaho.runtime.connections.incoming import Incoming
from inaho.wire.frames import GOODBYE
from inaho.wire.handshake import PeerInfo
from support.fuzz_bench import RecordingTransport, split_frames

AUTHORITY = "10.0.0.9:7700"


def accepted(cluster: Cluster, node_id: str, authority: str = AUTHORITY) -> tuple[Incoming, RecordingTransport]:
    """An open connection that a member has dialled."""
    node = cluster._node
    connection = node.acceptor.open(PeerInfo(authority, node_id, 1, "member", 1, 1), node.local.config.transport)
    transport = RecordingTransport()
    connection.connection_made(transport)
    return connection, transport


async def test_a_peer_that_is_rejected_is_quarantined_and_all_its_connections_are_closed(fleet: Any):
    one = await fleet.member()
    first, first_transport = accepted(one, "a" * 16)
    second, _ = accepted(one, "a" * 16)
    other, _ = accepted(one, "b" * 16, "10.0.0.10:7700")
    one._node.connections.reject(AUTHORITY, "it says the impossible")
    assert [(known.authority, known.node_id) for known in one.quarantine()] == [(AUTHORITY, "a" * 16)]
    assert first.closed and second.closed and not other.closed
    assert [kind for kind, *_ in split_frames(first_transport.written)] == [GOODBYE]
    for connection in (first, second, other):
        connection.connection_lost(None)


async def test_nobody_is_quarantined_when_two_processes_are_connected_under_one_authority(fleet: Any):
    one = await fleet.member()
    first, _ = accepted(one, "a" * 16)
    second, _ = accepted(one, "b" * 16)
    one._node.connections.quarantine(AUTHORITY, "it says the impossible")
    assert one.quarantine() == ()
    second.connection_lost(None)
    one._node.connections.quarantine(AUTHORITY, "it says the impossible")
    assert [known.node_id for known in one.quarantine()] == ["a" * 16]
    first.connection_lost(None)


async def test_a_connection_that_is_closing_is_not_open(fleet: Any):
    one = await fleet.member()
    first, _ = accepted(one, "a" * 16)
    assert one._node.connections.has_accepted("a" * 16)
    assert not one._node.connections.has_accepted("b" * 16)
    first.close()
    assert not one._node.connections.has_accepted("a" * 16)
    first.connection_lost(None)
