"""Conformance of providers: registrations, their expiry, blocked authorities, entries that others wrote."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot
from inaho.providers.base import TopologyProvider
from inaho.providers.entries import encode
from inaho.testing.provider_conformance.back_end import BackEnd
from inaho.testing.provider_conformance.base import (
    LIFETIME_S,
    POLL_S,
    ConformanceBase,
    MakeProvider,
    authorities,
    member,
)

__all__ = ["RegistrationConformance"]


class RegistrationConformance(ConformanceBase):
    """`register`, `renew`, `deregister` and `read`."""

    async def test_nothing_is_listed_at_first(self, registering: TopologyProvider) -> None:
        found = await self.answer(registering.read())
        assert (found.members, found.blocked_nodes) == ((), ())

    async def test_check_leaves_nothing_behind(self, registering: TopologyProvider, other: TopologyProvider) -> None:
        await self.answer(other.register(me := member(1), LIFETIME_S))
        await self.answer(registering.check())
        found = await self.answer(registering.read())
        assert (found.members, found.blocked_nodes) == ((me,), ())
        if registering.capabilities.record:
            assert await self.answer(registering.read_record()) == (None, "")

    async def test_a_registration_is_read_as_it_was_written(
        self, registering: TopologyProvider, other: TopologyProvider
    ) -> None:
        if not registering.capabilities.details:
            pytest.skip("the provider lacks the capability details")
        me = member(
            incarnation=(1 << 53) - 1,
            kinds=("Account", "稲穂", 'with "quotes" \\ and \n'),
            weight=0.25,
            roles=("front", "back"),
            quarantined=("10.9.9.9:1", "[fd00::1]:7700"),
        )
        await self.answer(registering.register(me, LIFETIME_S))
        for each in (registering, other):
            assert (await self.answer(each.read())).members == (me,)

    async def test_members_of_several_nodes(self, registering: TopologyProvider, make: MakeProvider) -> None:
        nodes = [registering, *(make(host) for host in range(1, 5))]
        members = [member(host) for host in range(5)]
        await self.answer(
            asyncio.gather(*(node.register(each, LIFETIME_S) for node, each in zip(nodes, members, strict=True)))
        )
        for node in nodes:
            found = await self.answer(node.read())
            assert sorted(found.members, key=lambda each: each.authority) == members

    async def test_a_second_registration_replaces_the_first(self, registering: TopologyProvider) -> None:
        await self.answer(registering.register(me := member(), LIFETIME_S))
        changed = msgspec.structs.replace(me, incarnation=2, quarantined=("10.9.9.9:1",))
        await self.answer(registering.register(changed, LIFETIME_S))
        assert (await self.answer(registering.read())).members == (changed,)
        assert await self.answer(registering.renew(changed, LIFETIME_S))

    async def test_a_newer_process_takes_the_authority_over(
        self, registering: TopologyProvider, make: MakeProvider
    ) -> None:
        newer = make(0)
        await self.answer(registering.register(old := member(), LIFETIME_S))
        await self.answer(newer.register(new := member(), LIFETIME_S))
        assert (await self.answer(newer.read())).members == (new,)
        # The old process changes nothing any more.
        assert not await self.answer(registering.renew(old, LIFETIME_S))
        assert (await self.answer(newer.read())).members == (new,)
        await self.answer(registering.deregister())
        assert (await self.answer(newer.read())).members == (new,)
        assert await self.answer(newer.renew(new, LIFETIME_S))
        await self.answer(newer.deregister())
        assert (await self.answer(newer.read())).members == ()

    async def test_a_renewal_without_registration_writes_nothing(self, registering: TopologyProvider) -> None:
        assert not await self.answer(registering.renew(member(), LIFETIME_S))
        assert (await self.answer(registering.read())).members == ()

    async def test_a_node_that_deregisters_is_gone(
        self, registering: TopologyProvider, other: TopologyProvider
    ) -> None:
        await self.answer(registering.deregister())  # nothing is there
        await self.answer(registering.register(me := member(0), LIFETIME_S))
        await self.answer(other.register(neighbour := member(1), LIFETIME_S))
        for _ in range(2):
            await self.answer(registering.deregister())
            assert (await self.answer(other.read())).members == (neighbour,)
        assert not await self.answer(registering.renew(me, LIFETIME_S))
        await self.answer(registering.register(me, LIFETIME_S))
        assert authorities(await self.answer(other.read())) == [me.authority, neighbour.authority]

    # Expiry.

    async def test_a_registration_expires(
        self, registering: TopologyProvider, other: TopologyProvider, back_end: BackEnd
    ) -> None:
        await self.answer(registering.register(me := member(0), self.ttl_s))
        await self.answer(other.register(neighbour := member(1), LIFETIME_S))
        await back_end.expire(me.authority)
        await self.wait_for(other, lambda found: found.members == (neighbour,), self.expiry_s)
        assert not await self.answer(registering.renew(me, LIFETIME_S))
        assert (await self.answer(registering.read())).members == (neighbour,)
        await self.answer(registering.register(me, LIFETIME_S))
        assert authorities(await self.answer(other.read())) == [me.authority, neighbour.authority]

    async def test_a_registration_that_is_renewed_stays(
        self, registering: TopologyProvider, other: TopologyProvider
    ) -> None:
        loop = asyncio.get_running_loop()
        await self.answer(registering.register(me := member(), self.ttl_s))
        end = loop.time() + 2 * self.ttl_s
        while loop.time() < end:
            assert await self.answer(registering.renew(me, self.ttl_s))
            assert (await self.answer(other.read())).members == (me,)
            await asyncio.sleep(self.ttl_s / 4)

    async def test_a_registration_outlives_its_connection(
        self, registering: TopologyProvider, other: TopologyProvider, make: MakeProvider
    ) -> None:
        """A process that was killed has not said so: its entry stays until it expires."""
        await self.answer(registering.register(me := member(), LIFETIME_S))
        await self.answer(registering.close())
        assert (await self.answer(other.read())).members == (me,)

    # What others wrote.

    async def test_blocked_authorities(
        self, registering: TopologyProvider, other: TopologyProvider, back_end: BackEnd
    ) -> None:
        await self.answer(registering.register(me := member(), LIFETIME_S))
        await back_end.block(me.authority)
        await back_end.block("10.7.7.7:7700")
        found = await self.wait_for(other, lambda found: len(found.blocked_nodes) == 2, self.hint_s)
        assert sorted(found.blocked_nodes) == sorted([me.authority, "10.7.7.7:7700"])
        assert found.members == (me,)
        await back_end.unblock(me.authority)
        await self.wait_for(other, lambda found: found.blocked_nodes == ("10.7.7.7:7700",), self.hint_s)

    async def test_an_entry_of_another_cluster_is_read_as_such(
        self, registering: TopologyProvider, back_end: BackEnd
    ) -> None:
        """Who reads refuses it, and says of which cluster it is."""
        foreign = member(3, cluster="another")
        await back_end.write_member(foreign.authority, encode(foreign))
        found = await self.wait_for(registering, lambda found: bool(found.members), self.hint_s)
        assert found.members == (foreign,)

    async def test_an_entry_of_a_newer_version_is_read(self, registering: TopologyProvider, back_end: BackEnd) -> None:
        text = '{"authority": "10.7.0.4:7700", "node_id": "a", "a_later_field": {"x": [1]}}'
        await back_end.write_member("10.7.0.4:7700", text)
        found = await self.wait_for(registering, lambda found: bool(found.members), self.hint_s)
        assert found.members == (ProviderMember("10.7.0.4:7700", "a"),)

    @pytest.mark.parametrize("text", ["{", "[]", "null", '"text"', "{}", '{"authority": 5}', "no JSON at all"])
    async def test_a_damaged_entry_is_refused_by_name(
        self, registering: TopologyProvider, other: TopologyProvider, back_end: BackEnd, text: str
    ) -> None:
        await self.answer(other.register(neighbour := member(1), LIFETIME_S))
        await back_end.write_member("10.7.0.4:7700", text)
        async with asyncio.timeout(self.hint_s):
            while True:
                try:
                    await registering.read()
                except InvalidSnapshot as error:
                    assert back_end.entry_of("10.7.0.4:7700") in error.reason
                    break
                await asyncio.sleep(POLL_S)
        # It is no obstacle to what concerns this node alone.
        await self.answer(registering.register(me := member(0), LIFETIME_S))
        assert await self.answer(registering.renew(me, LIFETIME_S))
        await back_end.remove_member("10.7.0.4:7700")
        async with asyncio.timeout(self.hint_s):
            while True:
                try:
                    found = await registering.read()
                    break
                except InvalidSnapshot:
                    await asyncio.sleep(POLL_S)
        assert authorities(found) == [me.authority, neighbour.authority]

    async def test_a_large_list(self, registering: TopologyProvider, back_end: BackEnd) -> None:
        kinds = tuple(f"Kind{number}" for number in range(10))
        members = [
            ProviderMember(f"10.8.{number // 250}.{number % 250 + 1}:7700", f"{number:016x}", 1, kinds)
            for number in range(self.many)
        ]
        await back_end.write_members({each.authority: encode(each) for each in members})
        await self.answer(registering.register(me := member(), LIFETIME_S))
        found = await self.wait_for(registering, lambda found: len(found.members) > self.many, self.answer_s)
        assert sorted(found.members, key=lambda each: each.authority) == sorted(
            [me, *members], key=lambda each: each.authority
        )
