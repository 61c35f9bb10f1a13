"""`membership.source = "provider"`: who is listed is a member; placement pauses while there is nothing to place by."""

from __future__ import annotations

import asyncio

import pytest

import inaho
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import PlacementPaused, ProviderUnreachable, SettingsMismatch
from inaho.events import ProvisioningRestored, ProvisioningUnavailable, SelfRemoved, SnapshotDoubted
from inaho.providers.entries import encode
from support.fleet import up
from support.provided_fleet import ProvidedFleet, Where
from support.waiting import until

AWAY = ProviderUnreachable("a test says so")


async def test_who_is_listed_is_a_member_and_who_leaves_is_none(listed: ProvidedFleet):
    first, second, third = [await listed.member() for _ in range(3)]
    await until(lambda: all(len(up(each)) == 3 for each in (first, second, third)))
    assert await listed.answers(await listed.client()) == {first.authority, second.authority, third.authority}
    await third.close()
    await until(lambda: {each.authority for each in first.members()} == {first.authority, second.authority})


async def test_a_member_for_which_gossip_decides_is_refused(listed: ProvidedFleet):
    first = await listed.member()
    other = listed.config.replace(
        membership=listed.config.membership.replace(source="gossip"), seeds=(first.authority,)
    )
    with pytest.raises(SettingsMismatch, match=r"membership\.source is 1 at .* and 2 at"):
        await inaho.join("127.0.0.1:0", config=other, storage="memory")


async def test_pr_5_3_without_a_provider_nothing_is_activated_and_what_is_active_answers(listed: ProvidedFleet):
    first, second = await listed.member(), await listed.member()
    await until(lambda: len(up(first)) == len(up(second)) == 2)
    before = await listed.answers(first)
    events = listed.events(first, ProvisioningUnavailable, ProvisioningRestored)
    listed.topology.fail(AWAY)
    await until(lambda: first.runtime.local.placement_paused and second.runtime.local.placement_paused)
    assert [(type(event), event.placement_paused) for event in events] == [(ProvisioningUnavailable, True)]
    with pytest.raises(PlacementPaused, match="no provider is up"):
        await first.grain(Where, "new").authority()
    assert await listed.answers(first) == before
    listed.topology.fail(None)
    await until(lambda: not first.runtime.local.placement_paused and not second.runtime.local.placement_paused)
    assert isinstance(events[-1], ProvisioningRestored)
    assert await first.grain(Where, "new").authority() in before


async def test_pr_2_4_an_empty_list_pauses_placement_and_removes_nobody_who_answers(listed: ProvidedFleet):
    first, second = await listed.member(), await listed.member()
    await until(lambda: len(up(first)) == len(up(second)) == 2)
    doubted = listed.events(first, SnapshotDoubted)
    before = await listed.answers(first)
    for each in (first, second):  # they register again at once, which would end the empty list
        for stream in listed.provisioning(each).service._streams.values():
            stream._member = lambda: None
    for authority, _ in listed.topology.members():
        listed.topology.expire(authority)
    await until(lambda: doubted and first.runtime.local.placement_paused)
    with pytest.raises(PlacementPaused, match="lists no member"):
        await first.grain(Where, "new").authority()
    assert await listed.answers(first) == before
    assert len(up(first)) == len(up(second)) == 2
    # The provider goes away and comes back; its list is still empty.
    events = listed.events(first, ProvisioningUnavailable, ProvisioningRestored)
    listed.topology.fail(AWAY)
    await until(lambda: events)
    listed.topology.fail(None)
    await until(lambda: isinstance(events[-1], ProvisioningRestored))
    with pytest.raises(PlacementPaused, match="lists no member"):
        await first.grain(Where, "new").authority()


async def test_a_backup_with_former_processes_costs_no_call(listed: ProvidedFleet):
    members = [await listed.member() for _ in range(3)]
    await until(lambda: all(len(up(each)) == 3 for each in members))
    before = await listed.answers(members[0])
    doubted, removed = listed.events(members[0], SnapshotDoubted), listed.events(members[0], SelfRemoved)
    for each in members:
        former = ProviderMember(each.authority, "former", 1, cluster="shop")
        listed.topology.write_member(each.authority, encode(former), listed.config.provisioning.ttl_s)
    await until(lambda: doubted)
    names = {each.authority for each in members}
    while any('"former"' in text for _, text in listed.topology.members()):
        assert await listed.answers(members[0]) == before
        assert all({one.authority for one in up(each)} == names for each in members)
    await until(lambda: len(listed.topology.members()) == 3)
    assert not removed


@pytest.mark.parametrize("mistake", [ValueError("a mistake"), asyncio.CancelledError()])
@pytest.mark.parametrize("method", ["deregister", "close"])
async def test_a_provider_that_raises_what_it_must_not_delays_no_end(
    listed: ProvidedFleet, method: str, mistake: BaseException, monkeypatch: pytest.MonkeyPatch
):
    def fails() -> None:
        raise mistake

    provider = listed.provider()
    member = await listed.member(providers=[provider])
    await until(lambda: listed.topology.members())
    monkeypatch.setattr(provider, method, fails)
    await member.close()


async def test_a_member_that_is_listed_no_more_gives_up_its_place(listed: ProvidedFleet):
    members = [await listed.member() for _ in range(4)]
    await until(lambda: all(len(up(each)) == 4 for each in members))
    gone, *others = members
    removed = listed.events(gone, SelfRemoved)
    for stream in listed.provisioning(gone).service._streams.values():
        stream._member = lambda: None
    await until(lambda: all(listed.provisioning(each).service.steady for each in members), 30)
    listed.topology.expire(gone.authority)
    await until(lambda: removed and all(len(up(each)) == 3 for each in others))
    assert gone.authority not in await listed.answers(others[0], key="more-{}".format)
