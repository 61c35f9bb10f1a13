"""What is particular to etcd as a provider: leases, revisions, pages, a full server, the race for the record."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
import pytest_asyncio

from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember, checked
from inaho.errors import InvalidSnapshot, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.base import TopologyProvider
from inaho.providers.entries import encode
from inaho.providers.etcd import PAGE, EtcdProvider
from inaho.providers.etcd_gateway import RangeResult
from support.etcd_server import EtcdServer
from support.gate import Gate
from support.programs import command, environment
from support.provider_back_ends.etcd import EtcdBackEnd

pytestmark = pytest.mark.integration

TTL_S = 1.0
LIFETIME_S = 60.0
LIMIT_S = 20.0
TIMEOUT_S = 0.6
SECOND = ClusterRecord("00c0ffee00c0ffee", 2, "10.7.0.1:7700", "a2")
ME = ProviderMember("10.7.0.1:7700", "00000000000000a1", 1, ("Cart",), cluster="shop")


@pytest.fixture
def back_end(etcd_server: EtcdServer) -> EtcdBackEnd:
    """The server, at a prefix of its own."""
    return EtcdBackEnd(etcd_server, f"particular-{secrets.token_hex(6)}")


@pytest_asyncio.fixture
async def provider(back_end: EtcdBackEnd) -> AsyncIterator[TopologyProvider]:
    made = back_end.provider()
    yield made
    await made.close()


@pytest_asyncio.fixture
async def other(back_end: EtcdBackEnd) -> AsyncIterator[TopologyProvider]:
    """Another process at the authority of the first."""
    made = back_end.provider(1)
    yield made
    await made.close()


@pytest.fixture
def small_server() -> Iterator[EtcdServer]:
    """A server that is full soon."""
    server = EtcdServer(quota_bytes=4 * 1024 * 1024)
    try:
        server.start()
        yield server
    finally:
        server.end()


async def gone(provider: TopologyProvider) -> None:
    async with asyncio.timeout(LIMIT_S):
        while (await provider.read()).members:
            await asyncio.sleep(0.02)


async def test_a_lease_that_is_not_renewed_ends_the_registration(provider: TopologyProvider) -> None:
    await provider.register(ME, TTL_S)
    await gone(provider)
    assert not await provider.renew(ME, TTL_S)
    await provider.register(ME, TTL_S)
    assert (await provider.read()).members == (ME,)


async def test_etcd_may_grant_more_time_than_was_asked_for(back_end: EtcdBackEnd, provider: TopologyProvider) -> None:
    await provider.register(ME, 0.05)
    assert await provider.renew(ME, 0.05)
    lease = back_end.server.keys()[back_end.entry_of(ME.authority)]["lease"]
    assert int(back_end.server.order("lease/timetolive", ID=lease)["grantedTTL"]) >= 1


async def test_a_renewal_does_not_prolong_the_entry_of_another_process(
    back_end: EtcdBackEnd, provider: TopologyProvider, other: TopologyProvider
) -> None:
    await provider.register(ME, LIFETIME_S)
    await other.register(ProviderMember(ME.authority, "b2"), TTL_S)
    assert not await provider.renew(ME, LIFETIME_S)
    await provider.deregister()
    assert [each.node_id for each in (await provider.read()).members] == ["b2"]
    async with asyncio.timeout(LIMIT_S):
        while (await provider.read()).members:
            assert not await provider.renew(ME, LIFETIME_S)


async def test_the_lease_of_a_former_entry_does_not_end_the_new_one(
    back_end: EtcdBackEnd, provider: TopologyProvider
) -> None:
    await provider.register(ME, TTL_S)
    key = back_end.entry_of(ME.authority)
    former = back_end.server.keys()[key]["lease"]
    await provider.register(ME, LIFETIME_S)
    async with asyncio.timeout(LIMIT_S):
        while former in back_end.server.leases():
            await asyncio.sleep(0.02)
    assert (await provider.read()).members == (ME,)
    assert await provider.renew(ME, LIFETIME_S)


async def test_an_entry_without_a_lease_is_written_again(back_end: EtcdBackEnd, provider: TopologyProvider) -> None:
    """So it ends with this process, whoever has written it."""
    await back_end.write_member(ME.authority, encode(ME))
    assert not await provider.renew(ME, TTL_S)
    await provider.register(ME, TTL_S)
    await gone(provider)


async def test_the_record_has_no_lease(back_end: EtcdBackEnd, provider: TopologyProvider) -> None:
    await provider.register(ME, TTL_S)
    assert await provider.write_record(SECOND, "")
    keys = back_end.server.keys()
    assert "lease" in keys[back_end.entry_of(ME.authority)]
    assert "lease" not in keys[f"{back_end.prefix}/record"]


async def test_an_answer_that_was_lost_does_not_turn_a_founder_away(back_end: EtcdBackEnd) -> None:
    """The first server carries the request out, and its answer is lost; the second finds what the first has written."""
    async with Gate.to_port(back_end.port) as gate:
        descriptor = back_end.url(0, gate.port).replace("/particular", f",127.0.0.1:{back_end.port}/particular")
        provider = back_end.provider_of(descriptor, timeout_s=2 * TIMEOUT_S)
        try:
            await provider.check()
            gate.lose_answer(1)
            assert await provider.write_record(SECOND, "")
            _, token = await provider.read_record()
            assert int(token) > 0
        finally:
            await provider.close()


async def test_pages_are_of_one_revision(back_end: EtcdBackEnd, provider: TopologyProvider) -> None:
    """Entries that move between two pages would be missed, or come twice."""
    members = write_members(back_end, 2 * PAGE + 10)
    moving = asyncio.ensure_future(asyncio.to_thread(move, back_end, members[-1], 100))
    reads = 0
    while not moving.done() or not reads:
        found = await provider.read()
        assert len(found.members) == len(members)
        assert sorted(int(each.node_id) for each in found.members) == list(range(len(members)))
        reads += 1
    await moving


def write_members(back_end: EtcdBackEnd, count: int) -> list[ProviderMember]:
    """Writes so many entries, in transactions of 100."""
    members = [ProviderMember(f"10.8.{n // 250}.{n % 250 + 1}:7700", f"{n}") for n in range(count)]
    for n in range(0, count, 100):
        part = members[n : n + 100]
        back_end.server.transact({back_end.entry_of(each.authority): encode(each) for each in part})
    return members


def move(back_end: EtcdBackEnd, member: ProviderMember, times: int) -> None:
    """Moves an entry between the beginning and the end of the list, each time in one transaction."""
    for number in range(times):
        authorities = [member.authority, "10.0.0.1:7700"]
        removed, written = authorities if number % 2 == 0 else reversed(authorities)
        back_end.server.transact(
            put={back_end.entry_of(written): encode(ProviderMember(written, member.node_id))},
            delete=[back_end.entry_of(removed)],
        )


@pytest.mark.parametrize("compactions", [1, 2, 3])
async def test_a_compaction_between_two_pages_begins_the_read_again(
    back_end: EtcdBackEnd, provider: EtcdProvider, monkeypatch: pytest.MonkeyPatch, compactions: int
) -> None:
    members = write_members(back_end, PAGE + 10)
    left = iter(range(compactions))
    read_page = provider._gateway.range

    async def compact_and_read_page(*arguments: Any, after: bytes = b"", **more: Any) -> RangeResult:
        if after and next(left, None) is not None:
            await back_end.lose_history()
        return await read_page(*arguments, after=after, **more)

    monkeypatch.setattr(provider._gateway, "range", compact_and_read_page)
    if compactions < 3:
        assert len((await provider.read()).members) == len(members)
    else:
        with pytest.raises(ProviderStreamFailed, match="compacts its history faster"):
            await provider.read()
    assert next(left, None) is None


async def test_a_compaction_ends_the_watch_of_an_older_revision(
    back_end: EtcdBackEnd, provider: TopologyProvider
) -> None:
    found = await provider.read()
    for _ in range(3):
        await provider.register(ME, LIFETIME_S)
    await back_end.lose_history()
    with pytest.raises(ProviderStreamFailed, match="compacted its history"):
        await anext(provider.watch(found.position))
    position = (await provider.read()).position
    async with aclosing(provider.watch(position)) as watch, asyncio.timeout(LIMIT_S):
        await provider.deregister()
        assert await anext(watch) is None
        await back_end.lose_history()  # an open watch has all that it needs
        await provider.register(ME, LIFETIME_S)
        assert await anext(watch) is None


async def test_a_full_server_says_what_to_do(small_server: EtcdServer) -> None:
    provider = EtcdBackEnd(small_server, "shop").provider()
    try:
        await provider.register(ME, LIFETIME_S)
        await asyncio.to_thread(small_server.fill)
        for request in (provider.check(), provider.register(ME, LIFETIME_S), provider.write_record(SECOND, "")):
            with pytest.raises(ProviderStreamFailed, match=r"NOSPACE.*etcdctl alarm disarm"):
                await request
        assert await provider.renew(ME, LIFETIME_S)  # a lease that exists goes on
        assert (await provider.read()).members == (ME,)
        await asyncio.to_thread(small_server.make_room)
        await provider.check()
        await provider.register(ME, LIFETIME_S)
        assert await provider.write_record(SECOND, "")
    finally:
        await provider.close()


async def test_twenty_writers_in_two_processes_race_for_the_record(
    back_end: EtcdBackEnd, provider: TopologyProvider
) -> None:
    arguments = command("record_writer.py", back_end.url(0, back_end.port), "10")
    pipe = asyncio.subprocess.PIPE
    async with AsyncExitStack() as ended:
        processes = []
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe, env=environment())
            ended.push_async_callback(process.wait)
            ended.callback(process.kill)
            assert process.stdin and process.stdout
            processes.append((process.stdin, process.stdout))
        for _, output in processes:
            assert await output.readline() == b"ready\n"
        for generation in range(1, 51):
            _, token = await provider.read_record()
            for orders, _ in processes:
                orders.write(f"{generation} {token}\n".encode())
            lines = await asyncio.gather(*(output.readline() for _, output in processes))
            winners = [name for line in lines for name in line.decode().split()]
            record, _ = await provider.read_record()
            assert record is not None and record.generation == generation
            assert winners == [record.node_id]
        for orders, _ in processes:
            orders.close()


async def test_an_entry_of_another_cluster_is_named(back_end: EtcdBackEnd, provider: TopologyProvider) -> None:
    await provider.register(ME, LIFETIME_S)
    await back_end.write_member("10.7.0.9:7700", encode(ProviderMember("10.7.0.9:7700", "c", cluster="billing")))
    found = await provider.read()
    with pytest.raises(InvalidSnapshot, match=r"'billing', and this one is .*prefix of its own") as caught:
        checked(found.members, found.blocked_nodes, 100, "shop")
    assert caught.value.authority == "10.7.0.9:7700"


async def test_keys_below_the_prefix_that_are_of_others_do_no_harm(
    back_end: EtcdBackEnd, provider: TopologyProvider
) -> None:
    await provider.register(ME, LIFETIME_S)
    for key in ("notes", "eu/members/10.7.0.9:7700", "membersX/10.7.0.9:7700", "members"):
        back_end.server.put(f"{back_end.prefix}/{key}", "of somebody else")
    back_end.server.put(f"{back_end.prefix}2/members/10.7.0.9:7700", "a longer prefix")
    assert (await provider.read()).members == (ME,)


async def test_an_entry_under_the_key_of_another_authority_is_refused(
    back_end: EtcdBackEnd, provider: TopologyProvider
) -> None:
    await back_end.write_member("10.7.0.9:7700", encode(ME))
    with pytest.raises(InvalidSnapshot, match=r"members/10\.7\.0\.9:7700.*10\.7\.0\.1:7700"):
        await provider.read()


async def test_a_check_leaves_nothing_behind(back_end: EtcdBackEnd, provider: TopologyProvider) -> None:
    before, leases = back_end.server.keys(), back_end.server.leases()
    await provider.check()
    assert back_end.server.keys() == before
    assert not set(back_end.server.leases()) - set(leases)  # leases of other tests may run out meanwhile


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("etcd://127.0.0.1:2379/shop?color=blue", "unknown option color; known are none; ca, cert, key, server_name"),
        ("etcd://127.0.0.1:2379/shop?ca=/tmp/ca.pem", "with etcds://"),
        ("etcds://127.0.0.1:2379/shop?cas=/tmp/ca.pem", "unknown option cas; known are ca, cert, key, server_name"),
        ("etcd:///shop", "names no server"),
        ("etcd://127.0.0.1:port/shop", "no host:port"),
    ],
)
def test_a_wrong_url_is_refused(back_end: EtcdBackEnd, url: str, reason: str) -> None:
    with pytest.raises(ProviderInvalid, match=reason):
        back_end.provider_of(url)


async def test_a_server_that_is_no_etcd_is_refused(back_end: EtcdBackEnd) -> None:
    provider = back_end.provider_of(back_end.server.peer.replace("http", "etcd") + "/shop")
    with pytest.raises(ProviderInvalid, match="no path /v3"):
        await provider.check()
    await provider.close()


async def test_a_server_that_nobody_listens_at_is_unreachable(back_end: EtcdBackEnd) -> None:
    provider = back_end.provider_of("etcd://127.0.0.1:1/shop")
    with pytest.raises(ProviderUnreachable, match=r"127\.0\.0\.1:1"):
        await provider.check()
    await provider.close()
