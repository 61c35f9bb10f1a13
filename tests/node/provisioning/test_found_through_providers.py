"""Members and clients that know no seeds find each other through a provider."""

from __future__ import annotations

import asyncio

import pytest

import inaho
from inaho.errors import TopologyUnavailable
from inaho.runtime.control import join_watch
from support.fleet import up
from support.provided_fleet import ProvidedFleet
from support.waiting import until


async def test_members_without_seeds_form_one_cluster_and_a_client_calls_it(provided: ProvidedFleet):
    members = [await provided.member() for _ in range(3)]
    await until(lambda: all(len(up(each)) == 3 for each in members))
    client = await provided.client()
    assert await provided.answers(client) == {each.authority for each in members}


async def test_a_member_that_leaves_is_no_longer_registered(provided: ProvidedFleet):
    first, second = await provided.member(), await provided.member()
    await until(lambda: len(provided.topology.members()) == 2)
    await second.close()
    assert [authority for authority, _ in provided.topology.members()] == [first.authority]


async def test_a_client_is_told_that_no_provider_lists_a_member(provided: ProvidedFleet):
    config = provided.config
    soon = config.replace(membership=config.membership.replace(join_timeout_s=0.3))
    with pytest.raises(TopologyUnavailable, match="no provider lists a member"):
        await inaho.connect(providers=[provided.provider()], config=soon)


async def test_a_search_says_that_no_provider_has_named_a_member(
    provided: ProvidedFleet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(join_watch, "FIRST_S", 0.1)
    searching = asyncio.ensure_future(provided.client())
    try:
        with caplog.at_level("WARNING", "inaho"):
            await until(lambda: any("no provider has named another member" in line for line in caplog.messages))
    finally:
        searching.cancel()
        await asyncio.gather(searching, return_exceptions=True)
