"""Lists that no provider should have: an event with the reason; the node keeps its snapshot, members and calls."""

from __future__ import annotations

import msgspec
import pytest

from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import TopologyUnavailable
from inaho.events import MemberRemoved, MemberUnreachable, ProviderHealthChanged, ProviderTerminated, SnapshotApplied
from inaho.providers.base import ProviderRead
from inaho.providers.memory import MemoryProvider
from support.fleet import up
from support.provided_fleet import ProvidedFleet
from support.waiting import until

OWN = ProviderMember("10.7.7.7:7700", "0" * 16, cluster="shop")
BAD = {
    "twice": ([OWN, msgspec.structs.replace(OWN, node_id="1" * 16)], "it has 10.7.7.7:7700 twice"),
    "two spellings": ([ProviderMember("Host:1"), ProviderMember("host:1")], "it has host:1 twice"),
    "no port": ([ProviderMember("10.7.7.7")], "10.7.7.7"),
    "another cluster": ([msgspec.structs.replace(OWN, cluster="bank")], "a member of the cluster 'bank'"),
    "100,000": ([ProviderMember(f"h{number}:1") for number in range(100_000)], "more than 4096 members"),
}


class Mixed(MemoryProvider):
    """Lists more than its back end has."""

    more: tuple[ProviderMember, ...] = ()

    async def read(self) -> ProviderRead:
        found = await super().read()
        return msgspec.structs.replace(found, members=(*found.members, *self.more))


@pytest.mark.parametrize("source", ["gossip", "provider"])
@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_list_is_told_and_changes_nothing(provided: ProvidedFleet, bad: str, source: str):
    config = provided.config
    provided.config = config.replace(membership=config.membership.replace(source=source))
    provider = Mixed("memory", provided.topology)
    first = await provided.member(providers=[provider])
    second = await provided.member()
    await provided.settled(first, second)
    before, last = await provided.answers(first), provided.snapshot(first)
    told = provided.events(first, ProviderTerminated)
    changed = provided.events(first, MemberRemoved, MemberUnreachable, SnapshotApplied)

    entries, says = BAD[bad]
    provider.more = tuple(entries)
    provided.provisioning(first).service.read_soon()
    await until(lambda: first.providers()[0].state == "down")
    assert [(event.code, event.failure, event.seq_no) for event in told] == [
        ("provider_snapshot_invalid", "stream", last.seq_no)
    ]
    assert says in told[0].reason
    assert says in first.providers()[0].reason
    assert provided.snapshot(first) is last
    assert len(up(first)) == 2
    assert changed == []
    assert await provided.answers(first) == before

    provider.more = ()
    await until(lambda: first.providers()[0].state == "up")
    assert await provided.answers(first, key="more-{}".format) == {first.authority, second.authority}


@pytest.mark.parametrize("source", ["gossip", "provider"])
async def test_a_node_of_another_cluster_with_the_same_prefix_does_not_start_and_disturbs_nobody(
    provided: ProvidedFleet, source: str
):
    config = provided.config
    provided.config = config.replace(membership=config.membership.replace(source=source))
    first, second = await provided.member(), await provided.member()
    await provided.settled(first, second)
    told = provided.events(first, ProviderTerminated, ProviderHealthChanged, SnapshotApplied)
    bank = provided.config.replace(name="bank", membership=provided.config.membership.replace(join_timeout_s=1.0))
    with pytest.raises(TopologyUnavailable, match="it has a member of the cluster 'shop', and this one is 'bank'"):
        await provided.member(config=bank)
    assert told == []
    assert [authority for authority, _ in provided.topology.members()] == sorted((first.authority, second.authority))
