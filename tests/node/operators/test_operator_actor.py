"""Operators ask and tell single members: what is quarantined, and that it shall not be any more."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from inaho import Cluster
from inaho.cli.commands.quarantine import release_quarantined, show_quarantined
from inaho.cli.output import Output
from inaho.config import ClusterConfig
from inaho.errors import NoSuchKind, Unreachable
from inaho.events import AuthorityReleased
from inaho.types import Member
from inaho.wire.handshake import PeerInfo

STRANGER = "127.0.0.1:1"


def condemn(cluster: Cluster, authority: str = STRANGER, reason: str = "it says the impossible") -> None:
    cluster._node.associations.violated(PeerInfo(authority, "a" * 16, 3, "member", 1, 1), reason)


def as_member(cluster: Cluster, seen_by: Cluster) -> Member:
    return next(member for member in seen_by.members() if member.authority == cluster.authority)


async def test_each_member_tells_its_own_quarantine_and_ends_it(fleet: Any):
    one, other = await fleet.members(2)
    client = await fleet.client()
    condemn(one)
    for asker in (client, other, one):
        [record] = await asker.quarantine_at(as_member(one, asker))
        assert (record.authority, record.node_id, record.incarnation) == (STRANGER, "a" * 16, 3)
        assert record.reason == "it says the impossible"
        assert 0 < record.left_s <= one.config.delivery.quarantine_s
        assert await asker.quarantine_at(as_member(other, asker)) == ()
    with one.system.events.subscribe(AuthorityReleased) as released:
        assert not await client.release_at(as_member(other, client), STRANGER)
        assert await client.release_at(as_member(one, client), STRANGER)
        assert not await client.release_at(as_member(one, client), STRANGER)
        assert [(event.authority, event.reason) for event in released.drain()] == [
            (STRANGER, "an operator released it")
        ]
    assert one.quarantine() == ()


async def test_another_process_at_the_authority_is_not_asked(fleet: Any):
    one, _ = await fleet.members(2)
    client = await fleet.client()
    predecessor = msgspec.structs.replace(as_member(one, client), node_id="0" * 16)
    with pytest.raises(Unreachable, match="it was restarted"):
        await client.quarantine_at(predecessor)


async def test_the_system_kind_is_not_placed_counted_or_ended(fleet: Any):
    [one] = await fleet.members(1)
    client = await fleet.client()
    assert "inaho.operator" not in one.self.kinds
    assert one._node.activations.count == 0
    one._node.topology_changes.stop_activations("a test")
    assert await client.quarantine_at(as_member(one, client)) == ()
    with pytest.raises(NoSuchKind):
        await client.call("inaho.operator", "operator", "quarantined")
    assert "inaho.operator" not in {name for name, host in client._node.hosts.items() if host.hosted}


async def test_a_cancelled_question_leaves_nothing_behind(fleet: Any, eventually: Any):
    one, _ = await fleet.members(2)
    client = await fleet.client()
    asking = asyncio.ensure_future(client.quarantine_at(as_member(one, client)))
    for _ in range(2):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await eventually(lambda: all(not len(line.wheel) for line in client._node.peers.connections.values()))


async def test_the_command_writes_what_members_said_and_names_the_silent(
    fleet: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    one, other = await fleet.members(2, membership={"remove_unreachable_after_s": 30.0})
    client = await fleet.client()
    fleet.settle = False

    @asynccontextmanager
    async def connected(*, config: ClusterConfig) -> Any:
        yield client

    monkeypatch.setattr("inaho.connect", connected)
    for cluster in (one, other):
        condemn(cluster)
    assert await show_quarantined(Output(as_json=False), client.config) == 0
    shown = capsys.readouterr().out
    assert all(told in shown for told in (STRANGER, "a" * 16, one.authority, other.authority, "impossible"))
    await other._node.lifecycle.stop()
    assert await show_quarantined(Output(as_json=True), client.config) == 1
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert [entry["by"] for entry in answer["quarantined"]] == [one.authority]
    assert [entry["member"] for entry in answer["silent"]] == [other.authority]
    assert await release_quarantined(Output(as_json=True), client.config, STRANGER) == 1
    assert msgspec.json.decode(capsys.readouterr().out)["released_by"] == [one.authority]
