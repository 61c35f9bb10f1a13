"""What placement and the partition manager are told of snapshots, fail-over and the loss of all providers."""

from __future__ import annotations

import logging

import msgspec
import pytest

from inaho.errors import PlacementPaused, ProviderUnreachable
from inaho.events import ProviderChanged, ProvisioningUnavailable
from inaho.providers.memory import MemoryProvider, MemoryTopology
from support.fleet import up
from support.provided_fleet import ProvidedFleet
from support.waiting import until

AWAY = ProviderUnreachable("a test says so")


async def test_pr_3_2_the_partition_manager_gets_the_newest_snapshot_or_the_reason(provided: ProvidedFleet):
    first, second = await provided.member(), await provided.member()
    partitions = provided.provisioning(first).partitions
    names = sorted((first.authority, second.authority))
    await until(lambda: [member.authority for member in partitions.newest().members] == names)
    assert partitions.newest() is provided.snapshot(first)
    provided.topology.fail(AWAY)
    await until(lambda: partitions.failure)
    with pytest.raises(PlacementPaused, match="a test says so"):
        partitions.newest()
    assert partitions.last is not None
    provided.topology.fail(None)
    await until(lambda: not partitions.failure)
    assert [member.authority for member in partitions.newest().members] == names


async def test_pr_3_4_a_fail_over_is_told_to_placement_and_partitions(
    provided: ProvidedFleet, caplog: pytest.LogCaptureFixture
):
    spare = MemoryTopology()
    first = await provided.member(providers=[provided.provider("first"), MemoryProvider("second", spare)])
    provisioning = provided.provisioning(first)
    await until(lambda: spare.members() and provisioning.placement.provider == "first")
    before = provided.snapshot(first)
    events = provided.events(first, ProviderChanged)
    with caplog.at_level(logging.WARNING):
        provided.topology.fail(AWAY)
        await until(lambda: provisioning.placement.provider == "second")
    [changed] = events
    assert provisioning.partitions.changed == msgspec.structs.replace(changed, at=0.0)  # stamped when published
    assert (changed.previous, changed.provider) == ("first", "second")
    assert (changed.seq_no, changed.hash) == (before.seq_no, before.hash)
    assert "a test says so" in changed.reason
    assert "through provider second and no more through first" in caplog.text


async def test_beside_gossip_the_loss_of_all_providers_is_a_warning_and_grains_are_activated(
    provided: ProvidedFleet, caplog: pytest.LogCaptureFixture
):
    first, second = await provided.member(), await provided.member()
    await until(lambda: len(up(first)) == len(up(second)) == 2)
    events = provided.events(first, ProvisioningUnavailable)
    with caplog.at_level(logging.WARNING):
        provided.topology.fail(AWAY)
        await until(lambda: events)
    assert not events[0].placement_paused
    assert "new nodes may not find them" in caplog.text
    assert await provided.answers(first, key="new-{}".format) == {first.authority, second.authority}
