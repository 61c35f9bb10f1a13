"""Blocks that come from a provider: an operator's entry in the back end, and quarantines (SPEC PR-4.2, VA-1.4)."""

from __future__ import annotations

import pytest

from inaho import Cluster
from inaho.errors import BlockedByProvider
from inaho.events import BlockListApplied, RemoteTopologyChanged
from support.fleet import up
from support.provided_fleet import ProvidedFleet
from support.waiting import until


async def test_an_entry_in_the_back_end_blocks_and_its_end_unblocks(provided: ProvidedFleet):
    first, second = await provided.member(), await provided.member()
    await until(lambda: len(up(first)) == len(up(second)) == 2)
    assert await provided.answers(first) == {first.authority, second.authority}
    events = provided.events(first, BlockListApplied, RemoteTopologyChanged)

    provided.topology.block(second.authority)
    await until(lambda: first.blocked() == second.blocked() == (second.authority,))
    assert await provided.answers(first) == {first.authority}
    with pytest.raises(BlockedByProvider, match="the provider of topology does"):
        await first.unblock(second.authority)

    provided.topology.unblock(second.authority)
    await until(lambda: first.blocked() == second.blocked() == ())
    assert await provided.answers(first, key="more-{}".format) == {first.authority, second.authority}
    assert [event.authority for event in events if isinstance(event, BlockListApplied)] == [second.authority]
    changes = [event.change for event in events if isinstance(event, RemoteTopologyChanged)]
    assert changes == ["blocked", "unblocked"]


async def test_an_operators_block_outlasts_that_of_the_provider(provided: ProvidedFleet):
    first, second = await provided.member(), await provided.member()
    provided.topology.block(second.authority)
    await until(lambda: first.blocked() == (second.authority,))
    assert await first.block(second.authority)
    provided.topology.unblock(second.authority)
    await until(lambda: provided.snapshot(first).blocked_nodes == provided.snapshot(second).blocked_nodes == ())
    assert first.blocked() == (second.authority,)
    assert await first.unblock(second.authority)
    assert first.blocked() == ()


@pytest.mark.parametrize("observers", [1, 2])
async def test_pr_4_2_one_quarantine_is_a_statement_and_two_take_the_leases(provided: ProvidedFleet, observers: int):
    first, second, third, fourth = [await provided.member() for _ in range(4)]
    await until(lambda: all(len(up(each)) == 4 for each in (first, second, third, fourth)))
    for observer in (second, third)[:observers]:
        await _quarantine(observer, fourth)
    stated = (fourth.authority,)
    await until(lambda: all(provided.snapshot(each).blocked_nodes == stated for each in (first, second, third)))
    if observers == 1:
        assert provided.snapshot(first).blocks_in_force == ()
        assert first.blocked() == ()
    else:
        await until(lambda: first.blocked() == stated)
        assert fourth.authority not in await provided.answers(first, key="two-{}".format)


async def _quarantine(observer: Cluster, other: Cluster) -> None:
    """`observer` finds that `other` violates the protocol."""
    await until(lambda: other.authority in observer.runtime.peers.connections)
    peer = observer.runtime.peers.connections[other.authority].peer
    observer.runtime.associations.violated(peer, "a test says so")
    assert [each.authority for each in observer.quarantine()] == [other.authority]
