"""Remoting while the list of members may be stale, and nodes that are used again after a good read (SPEC PR-4)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from inaho import Cluster
from inaho.errors import ProviderUnreachable
from inaho.events import ConnectionOpened, ProviderHealthChanged, SnapshotApplied
from inaho.runtime.transport.transport import DialFailed
from support.fleet import up
from support.provided_fleet import ProvidedFleet
from support.waiting import until

AWAY = ProviderUnreachable("a test says so")


@pytest.fixture
async def elsewhere() -> AsyncIterator[ProvidedFleet]:
    """A fleet whose members run at authorities that the others have never reached."""
    fleet = ProvidedFleet()
    yield fleet
    await fleet.close()


async def two(fleet: ProvidedFleet) -> tuple[Cluster, Cluster]:
    first, second = await fleet.member(), await fleet.member()
    await fleet.settled(first, second)
    await until(lambda: second.authority in first.runtime.peers.connections)
    return first, second


def stay_degraded(fleet: ProvidedFleet) -> None:
    provisioning = fleet.config.provisioning.replace(errors_max=1000, timeout_s=60.0)
    fleet.config = fleet.config.replace(provisioning=provisioning)


@pytest.mark.parametrize("state", ["degraded", "down"])
async def test_pr_4_3_no_channel_is_opened_by_a_list_that_may_be_stale(
    listed: ProvidedFleet, elsewhere: ProvidedFleet, state: str
):
    if state == "degraded":
        stay_degraded(listed)
    elsewhere.config = listed.config
    stranger, (first, second) = await elsewhere.member(), await two(listed)
    before = await listed.answers(first)
    health = listed.events(first, ProviderHealthChanged)
    listed.topology.fail(AWAY)
    await until(lambda: health and health[-1].state == state)
    said = "provider memory is degraded: a test says so" if state == "degraded" else "no provider is up .*a test says"
    with pytest.raises(DialFailed, match=f"no new channel is opened: {said}"):
        await first.runtime.peers.connect(stranger.authority, "")
    assert not stranger.runtime.acceptor.connections

    opened = listed.events(first, ConnectionOpened)
    first.runtime.peers.connections[second.authority].abort("a test cuts it")
    await until(lambda: second.authority in {event.authority for event in opened})
    assert await listed.answers(first) == before

    listed.topology.fail(None)
    await until(lambda: health[-1].state == "up")
    await first.runtime.peers.connect(stranger.authority, "")


async def test_pr_4_3_beside_gossip_channels_are_opened(provided: ProvidedFleet, elsewhere: ProvidedFleet):
    stay_degraded(provided)
    stranger, (first, _) = await elsewhere.member(), await two(provided)
    provided.topology.fail(AWAY)
    await until(lambda: provided.provisioning(first).remoting.stale)
    await first.runtime.peers.connect(stranger.authority, "")


async def test_pr_4_4_a_node_that_was_blocked_is_used_again_after_the_next_good_read(listed: ProvidedFleet):
    first, second = await two(listed)
    listed.topology.block(second.authority)
    await until(lambda: first.blocked() == second.blocked() == (second.authority,))
    assert await listed.answers(first) == {first.authority}
    listed.topology.fail(AWAY)
    listed.topology.unblock(second.authority)
    await until(lambda: first.runtime.local.placement_paused)
    assert first.blocked() == (second.authority,)
    applied = listed.events(first, SnapshotApplied)
    listed.topology.fail(None)
    await until(lambda: applied)
    assert first.blocked() == ()
    await until(lambda: second.blocked() == ())
    assert await listed.answers(first, key="more-{}".format) == {first.authority, second.authority}


async def test_pr_4_4_a_node_that_was_removed_is_used_again_when_it_is_listed(listed: ProvidedFleet):
    members = [await listed.member() for _ in range(4)]
    await listed.settled(*members)
    gone, first = members[0], members[1]
    await until(lambda: all(listed.provisioning(each).service.steady for each in members))
    [stream] = listed.provisioning(gone).service._streams.values()
    entry, stream._member = stream._member, lambda: None
    listed.topology.expire(gone.authority)
    await until(lambda: all(len(up(each)) == 3 for each in members[1:]))
    assert gone.authority not in await listed.answers(first)
    stream._member = entry
    stream.member_changed()
    await until(lambda: all(len(up(each)) == 4 for each in members))
    assert gone.authority in await listed.answers(first, key="more-{}".format)
