"""Conformance of providers: what a watch reports, and how it ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import msgspec
import pytest

from inaho.errors import ProviderError, ProviderStreamFailed
from inaho.providers.base import TopologyProvider
from inaho.testing.provider_conformance.back_end import BackEnd
from inaho.testing.provider_conformance.base import LIFETIME_S, ConformanceBase, authorities, member

__all__ = ["WatchConformance"]


class WatchConformance(ConformanceBase):
    """`watch`, from a position that a read gave."""

    async def test_every_kind_of_change_is_reported(
        self, watching: TopologyProvider, other: TopologyProvider, back_end: BackEnd
    ) -> None:
        position = (await self.answer(watching.read())).position

        async def report(expected: list[str]) -> str:
            found = await self.follow(watching, position, lambda found: authorities(found) == expected, self.hint_s)
            return found.position

        me, neighbour = member(0), member(1)
        await self.answer(watching.register(me, LIFETIME_S))
        position = await report([me.authority])
        await self.answer(other.register(neighbour, LIFETIME_S))
        position = await report([me.authority, neighbour.authority])
        changed = msgspec.structs.replace(neighbour, quarantined=("10.9.9.9:1",))
        await self.answer(other.register(changed, LIFETIME_S))
        found = await self.follow(watching, position, lambda found: changed in found.members, self.hint_s)
        position = found.position
        await self.answer(other.deregister())
        await report([me.authority])

    async def test_an_open_watch_reports_a_change(self, watching: TopologyProvider, other: TopologyProvider) -> None:
        position = (await self.answer(watching.read())).position
        reported = asyncio.ensure_future(
            self.follow(watching, position, lambda found: bool(found.members), 2 * self.hint_s)
        )
        await self.others_run(other)
        await self.answer(other.register(neighbour := member(1), LIFETIME_S))
        assert authorities(await reported) == [neighbour.authority]

    async def test_an_expiry_is_reported(
        self, watching: TopologyProvider, other: TopologyProvider, back_end: BackEnd
    ) -> None:
        await self.answer(other.register(neighbour := member(1), self.ttl_s))
        found = await self.answer(watching.read())
        reported = asyncio.ensure_future(
            self.follow(watching, found.position, lambda found: not found.members, self.expiry_s)
        )
        await back_end.expire(neighbour.authority)
        await reported

    async def test_a_block_is_reported(self, watching: TopologyProvider, back_end: BackEnd) -> None:
        position = (await self.answer(watching.read())).position
        await back_end.block("10.7.7.7:7700")
        found = await self.follow(watching, position, lambda found: bool(found.blocked_nodes), self.hint_s)
        assert found.blocked_nodes == ("10.7.7.7:7700",)

    async def test_nothing_is_missed_between_read_and_watch(
        self, watching: TopologyProvider, other: TopologyProvider
    ) -> None:
        for round_ in range(10):
            position = (await self.answer(watching.read())).position
            newest = member(1, incarnation=round_ + 1)
            await self.answer(other.register(newest, LIFETIME_S))
            await self.follow(watching, position, lambda found, newest=newest: newest in found.members, self.hint_s)  # type: ignore[misc]

    async def test_a_watch_that_nobody_reads_catches_up(
        self, watching: TopologyProvider, other: TopologyProvider
    ) -> None:
        position = (await self.answer(watching.read())).position
        async with aclosing(watching.watch(position)) as watch:
            first = asyncio.ensure_future(anext(watch))
            for round_ in range(100):
                await self.answer(other.register(member(1, incarnation=round_ + 1), LIFETIME_S))
            await self.answer(other.register(newest := member(1), LIFETIME_S))
            async with asyncio.timeout(self.hint_s):
                hint = await first
                found = await watching.read() if hint is None else hint
                while newest not in found.members:
                    hint = await anext(watch)
                    found = await watching.read() if hint is None else hint

    async def test_watches_and_reads_at_once(self, watching: TopologyProvider, other: TopologyProvider) -> None:
        position = (await self.answer(watching.read())).position
        following = [
            asyncio.ensure_future(self.follow(watching, position, lambda found: bool(found.members), self.hint_s))
            for _ in range(3)
        ]
        reads = await self.answer(asyncio.gather(*(watching.read() for _ in range(20))))
        assert [each.members for each in reads] == [()] * 20
        await self.answer(other.register(neighbour := member(1), LIFETIME_S))
        for each in await asyncio.gather(*following):
            assert authorities(each) == [neighbour.authority]

    @pytest.mark.parametrize("end", ["closed", "cancelled"])
    async def test_a_watch_that_is_given_up_is_no_obstacle(
        self, watching: TopologyProvider, other: TopologyProvider, end: str
    ) -> None:
        position = (await self.answer(watching.read())).position
        for _ in range(3):
            async with aclosing(watching.watch(position)) as watch:
                if end == "cancelled":
                    waiting = asyncio.ensure_future(anext(watch))
                    await self.others_run(other)
                    waiting.cancel()
                    await asyncio.wait([waiting])
        await self.answer(other.register(member(1), LIFETIME_S))
        await self.follow(watching, position, lambda found: bool(found.members), self.hint_s)

    async def test_a_position_that_is_lost_ends_the_watch(
        self, watching: TopologyProvider, other: TopologyProvider, back_end: BackEnd
    ) -> None:
        position = (await self.answer(watching.read())).position
        for _ in range(3):
            await self.answer(other.register(member(1), LIFETIME_S))
        await self.answer(other.register(newest := member(1), LIFETIME_S))
        await back_end.lose_history()
        with pytest.raises(ProviderStreamFailed):
            await self.follow(watching, position, lambda found: False, self.hint_s)
        found = await self.answer(watching.read())
        assert found.members == (newest,)
        await self.answer(other.deregister())
        await self.follow(watching, found.position, lambda found: not found.members, self.hint_s)

    async def test_a_watch_ends_when_its_provider_is_closed(self, watching: TopologyProvider) -> None:
        position = (await self.answer(watching.read())).position
        waiting = asyncio.ensure_future(self.follow(watching, position, lambda found: False, self.answer_s))
        await self.others_run(watching)
        await self.answer(watching.close())
        with pytest.raises(ProviderError):
            await waiting
