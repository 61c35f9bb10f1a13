"""Conformance of providers: the record of a cluster changes by compare-and-set only."""

from __future__ import annotations

import asyncio

from inaho.core.provisioning.founding import ClusterRecord
from inaho.providers.base import TopologyProvider
from inaho.testing.provider_conformance.base import ConformanceBase, MakeProvider, member

__all__ = ["RecordConformance"]

CLUSTER_ID = "00c0ffee00c0ffee"


def record(generation: int = 1, founder: str = "a") -> ClusterRecord:
    """A record of that generation."""
    return ClusterRecord(CLUSTER_ID, generation, "10.7.0.1:7700", founder)


class RecordConformance(ConformanceBase):
    """`read_record` and `write_record`."""

    async def test_there_is_no_record_at_first(self, recording: TopologyProvider) -> None:
        assert await self.answer(recording.read_record()) == (None, "")

    async def test_the_first_record_is_written_once(self, recording: TopologyProvider, other: TopologyProvider) -> None:
        assert await self.answer(recording.write_record(record(), ""))
        assert not await self.answer(other.write_record(record(founder="b"), ""))
        for each in (recording, other):
            found, token = await self.answer(each.read_record())
            assert found == record()
            assert token

    async def test_a_record_changes_only_with_its_token(
        self, recording: TopologyProvider, other: TopologyProvider
    ) -> None:
        assert await self.answer(recording.write_record(record(1), ""))
        _, first = await self.answer(other.read_record())
        assert await self.answer(other.write_record(record(2), first))
        found, second = await self.answer(recording.read_record())
        assert found == record(2)
        assert second != first
        for token in (first, ""):
            assert not await self.answer(recording.write_record(record(3), token))
        assert await self.answer(other.read_record()) == (record(2), second)

    async def test_a_token_is_not_valid_again_for_equal_text(self, recording: TopologyProvider) -> None:
        assert await self.answer(recording.write_record(record(1), ""))
        _, first = await self.answer(recording.read_record())
        assert await self.answer(recording.write_record(record(2), first))
        _, second = await self.answer(recording.read_record())
        assert await self.answer(recording.write_record(record(1), second))
        assert not await self.answer(recording.write_record(record(3), first))
        found, _ = await self.answer(recording.read_record())
        assert found == record(1)

    async def test_one_of_many_writers_wins(self, recording: TopologyProvider, make: MakeProvider) -> None:
        writers = [recording, *(make(host) for host in range(1, 5))]
        for generation in range(1, 6):
            _, token = await self.answer(recording.read_record())
            wanted = [record(generation, f"{number}") for number in range(4 * len(writers))]
            won = await self.answer(
                asyncio.gather(
                    *(writers[number % len(writers)].write_record(each, token) for number, each in enumerate(wanted))
                )
            )
            assert won.count(True) == 1
            for each in writers:
                found, _ = await self.answer(each.read_record())
                assert found == wanted[won.index(True)]

    async def test_the_record_outlives_registration_and_connection(
        self, recording: TopologyProvider, other: TopologyProvider
    ) -> None:
        if recording.capabilities.register:
            await self.answer(recording.register(member(), self.ttl_s))
        assert await self.answer(recording.write_record(record(), ""))
        if recording.capabilities.register:
            await self.answer(recording.deregister())
        await self.answer(recording.close())
        found, _ = await self.answer(other.read_record())
        assert found == record()

    async def test_the_record_is_no_member(self, recording: TopologyProvider) -> None:
        before = await self.answer(recording.read())
        assert await self.answer(recording.write_record(record(), ""))
        found = await self.answer(recording.read())
        assert (found.members, found.blocked_nodes) == (before.members, before.blocked_nodes)
