"""Providers that are added and removed while a node runs, by the program and by operators (SPEC PR-1, PR-5)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import inaho
from inaho import Cluster, ClusterConfig, MembershipConfig
from inaho.config import ProviderDescriptor
from inaho.errors import ProviderInvalid, ProviderStoreDamaged, ProviderUnreachable
from inaho.events import ProviderChanged, ProviderDisabled, ProviderRegistered, ProviderRemoved
from inaho.providers.memory import MemoryTopology
from support.fleet import up
from support.provided_fleet import ProvidedFleet
from support.waiting import until


def registered(topology: MemoryTopology) -> list[str]:
    return [authority for authority, _ in topology.members()]


def states(cluster: Cluster) -> list[tuple[str, str, bool]]:
    return [(each.name, each.state, each.active) for each in cluster.providers()]


def in_folder(provided: ProvidedFleet, folder: Path, **changes: object) -> ClusterConfig:
    return provided.config.replace(data_dir=str(folder), **changes)


async def test_a_provider_that_is_added_is_used_and_one_that_is_removed_is_left(
    provided: ProvidedFleet, tmp_path: Path
):
    node = await provided.member(config=in_folder(provided, tmp_path))
    events = provided.events(node, ProviderRegistered, ProviderRemoved, ProviderChanged)
    second = MemoryTopology.named("second")
    await node.add_provider("memory://second", priority=-1)
    await until(lambda: registered(second) == [node.authority])
    await until(lambda: states(node) == [("memory-2", "up", True), ("memory", "up", False)])
    [first, other] = node.providers()
    assert (first.url, first.owner, first.priority) == ("memory://second", "store", -1)
    assert (other.url, other.owner) == ("MemoryProvider", "configuration")
    assert "it has a higher priority than memory" in first.why
    assert (first.errors, first.reason, other.why) == (0, "", "")
    assert first.seq_no > other.seq_no > 0
    assert first.heard_s is not None
    assert first.heard_s < 5.0

    await node.remove_provider("memory-2")
    await until(lambda: states(node) == [("memory", "up", True)])
    await until(lambda: registered(second) == [])
    told = [(type(event).__name__, event.provider) for event in events]
    assert told == [
        ("ProviderRegistered", "memory-2"),
        ("ProviderChanged", "memory-2"),
        ("ProviderRemoved", "memory-2"),
        ("ProviderChanged", "memory"),
    ]
    with pytest.raises(ProviderInvalid, match="the provider memory belongs to the configuration"):
        await node.remove_provider("memory")


async def test_a_node_finds_its_cluster_again_through_a_provider_that_was_added(
    provided: ProvidedFleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    founder = await provided.member(providers=["memory://shared"], config=in_folder(provided, tmp_path / "1"))
    alone = await provided.member(providers=[], config=in_folder(provided, tmp_path / "2"))
    assert alone.providers() == ()
    assert len(up(alone)) == 1
    assert "no provider is up" not in caplog.text
    await alone.add_provider("memory://shared")
    await alone.close()
    again = await provided.member(providers=[], config=in_folder(provided, tmp_path / "2"))
    await until(lambda: len(up(again)) == len(up(founder)) == 2)
    assert [(each.name, each.owner) for each in again.providers()] == [("memory", "store")]


async def test_an_operator_adds_and_removes_through_a_client(
    provided: ProvidedFleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "inaho.audit")
    node = await provided.member(config=in_folder(provided, tmp_path))
    client = await provided.client()
    [member] = client.members()
    added = ProviderDescriptor(name="added", url="memory://added", priority=3)
    await client.add_provider_at(member, added)
    await until(lambda: ("added", "up", False) in states(node))
    [_, told] = await client.providers_at(member)
    assert (told.name, told.url, told.owner) == ("added", "memory://added", "store")
    with pytest.raises(ProviderInvalid, match="the name added is taken"):
        await client.add_provider_at(member, added)
    down = MemoryTopology.named("down")
    down.fail(ProviderUnreachable("provider down: nobody listens"))
    with pytest.raises(ProviderUnreachable, match="provider down: nobody listens"):
        await client.add_provider_at(member, ProviderDescriptor(name="down", url="memory://down"))
    await client.remove_provider_at(member, "added")
    assert states(node) == [("memory", "up", True)]
    with pytest.raises(ProviderInvalid, match="there is no provider 'added'; there are memory"):
        await client.remove_provider_at(member, "added")
    assert "was told to add the provider added" in caplog.text
    assert "was told to remove the provider added" in caplog.text
    assert [each.name for each in client.providers()] == ["memory"]  # its own


async def test_where_the_provider_is_the_membership_one_that_lacks_details_is_disabled(
    provided: ProvidedFleet, tmp_path: Path
):
    source = MembershipConfig(found_after_s=0.05, update_period_s=0.01, source="provider")
    node = await provided.member(config=in_folder(provided, tmp_path, membership=source))
    events = provided.events(node, ProviderDisabled)
    await node.add_provider("seeds://127.0.0.1:1")
    [_, disabled] = node.providers()
    assert (disabled.name, disabled.state, disabled.active, disabled.heard_s) == ("seeds", "disabled", False, None)
    assert "entries with node ids, kinds and weights, which it does not have" in disabled.reason
    assert [event.reason for event in events] == [disabled.reason]


@pytest.mark.parametrize(
    ("url", "why"), [("", "postgresql or redis$"), ("seeds://127.0.0.1:1", "; provider seeds: the node")]
)
async def test_where_the_provider_is_the_membership_a_node_without_one_does_not_start(
    url: str, why: str, provided: ProvidedFleet, tmp_path: Path
):
    source = MembershipConfig(source="provider")
    config = in_folder(provided, tmp_path, membership=source)
    with pytest.raises(ProviderInvalid) as caught:
        await inaho.join("127.0.0.1:0", providers=url.split(), config=config, storage="memory")
    assert re.search(why, caught.value.reason)


async def test_a_node_with_a_wrong_definition_or_a_damaged_file_does_not_start(provided: ProvidedFleet, tmp_path: Path):
    config = in_folder(provided, tmp_path)
    with pytest.raises(ProviderInvalid, match=r"provider etcdd: unknown scheme 'etcdd'; known are"):
        await inaho.join("127.0.0.1:0", providers=["etcdd://x"], config=config, storage="memory")
    (tmp_path / "providers.jsonl").write_text("nothing\n")
    with pytest.raises(ProviderStoreDamaged, match=r"providers\.jsonl, line 1"):
        await inaho.join("127.0.0.1:0", config=config, storage="memory")
