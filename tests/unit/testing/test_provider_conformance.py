"""The conformance suite finds a provider that breaks a rule: each of these has one fault, and a test names it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from inaho.errors import InvalidSnapshot, ProviderUnreachable
from inaho.providers.base import Capabilities, ClusterRecord, ProviderMember, ProviderRead
from inaho.providers.entries import decode_record, encode
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.testing.provider_conformance import ProviderConformance
from support.memory_back_end import MemoryBackEnd


class Impatient(ProviderConformance):
    """So that a watch that is silent fails its test soon."""

    ttl_s, expiry_s, hint_s, answer_s, many = 0.1, 0.3, 0.3, 1.0, 20


class RenewsNothing(MemoryProvider):
    """A renewal says that all is well, whatever is there."""

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        await super().renew(member, ttl_s)
        return True


class RenewsByWriting(MemoryProvider):
    """A renewal writes the entry."""

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        await self.register(member, ttl_s)
        return True


class NeverProlongs(MemoryProvider):
    """A renewal does not change when the entry expires."""

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        return self.topology.belongs(member.authority, member.node_id)


class NeverExpires(MemoryProvider):
    """A registration stays for ever."""

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        await super().register(member, 3600.0)


class KeepsTheFirst(MemoryProvider):
    """A registration does not replace another one."""

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        if not any(each.authority == member.authority for each in (await self.read()).members):
            await super().register(member, ttl_s)


class RemovesAnybody(MemoryProvider):
    """`deregister` removes the entry of the authority, whoever wrote it."""

    async def deregister(self) -> None:
        if self._own is not None:
            self.topology.expire(self._own[0])


class RemovesAtClose(MemoryProvider):
    """`close` removes the registration."""

    async def close(self) -> None:
        if not self._closed:
            await self.deregister()
        await super().close()


class ForgetsDetails(MemoryProvider):
    """Entries are read without their kinds."""

    async def read(self) -> ProviderRead:
        found = await super().read()
        return ProviderRead(tuple(ProviderMember(each.authority, each.node_id) for each in found.members))


class SkipsDamage(MemoryProvider):
    """A damaged entry is left out of the list."""

    async def read(self) -> ProviderRead:
        try:
            return await super().read()
        except InvalidSnapshot:
            return ProviderRead(())


class WatchesFromNow(MemoryProvider):
    """A watch does not begin where the read ended."""

    async def watch(self, position: str) -> AsyncGenerator[ProviderRead | None, None]:
        async for each in super().watch(self.topology.position):
            yield each


class LosesWatches(MemoryProvider):
    """A watch that is open says nothing."""

    async def watch(self, position: str) -> AsyncGenerator[ProviderRead | None, None]:
        await self._request()
        await asyncio.Event().wait()
        yield None


class HidesTheLoss(MemoryProvider):
    """A watch goes on from a position that is lost."""

    async def watch(self, position: str) -> AsyncGenerator[ProviderRead | None, None]:
        known = position if self.topology.knows(position) else self.topology.position
        async for each in super().watch(known):
            yield each


class WritesAnyRecord(MemoryProvider):
    """The token is not looked at."""

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        _, current = await self.read_record()
        return await super().write_record(record, current)


class ComparesThenWrites(MemoryProvider):
    """Others can write between the comparison and the writing."""

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        _, current = await self.read_record()
        if token != current:
            return False
        await asyncio.sleep(0)
        self.topology.record = encode(record)
        self.topology.record_version += 1
        return True


class ComparesText(MemoryProvider):
    """The token is the text of the record, so it is valid again when the text is."""

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        text = self.topology.record
        return (decode_record(text, "record"), text) if text else (None, "")

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        if token != self.topology.record:
            return False
        self.topology.record = encode(record)
        return True


class RecordEndsWithRegistration(MemoryProvider):
    """The record goes with its writer."""

    async def deregister(self) -> None:
        await super().deregister()
        self.topology.record = ""


class NeverCloses(MemoryProvider):
    """`close` does nothing."""

    async def close(self) -> None:
        return


class ChecksByWriting(MemoryProvider):
    """`check` leaves a record behind."""

    async def check(self) -> None:
        await self.write_record(ClusterRecord("0", 1, "check", "check"), "")


FAULTS: list[tuple[type[MemoryProvider], str]] = [
    (RenewsNothing, "test_a_renewal_without_registration_writes_nothing"),
    (RenewsByWriting, "test_a_newer_process_takes_the_authority_over"),
    (NeverProlongs, "test_a_registration_that_is_renewed_stays"),
    (NeverExpires, "test_a_registration_expires"),
    (NeverExpires, "test_an_expiry_is_reported"),
    (KeepsTheFirst, "test_a_second_registration_replaces_the_first"),
    (RemovesAnybody, "test_a_newer_process_takes_the_authority_over"),
    (RemovesAtClose, "test_a_registration_outlives_its_connection"),
    (ForgetsDetails, "test_a_registration_is_read_as_it_was_written"),
    (ForgetsDetails, "test_an_entry_of_another_cluster_is_read_as_such"),
    (ForgetsDetails, "test_blocked_authorities"),
    (SkipsDamage, "test_a_damaged_entry_is_refused_by_name"),
    (WatchesFromNow, "test_nothing_is_missed_between_read_and_watch"),
    (LosesWatches, "test_an_open_watch_reports_a_change"),
    (LosesWatches, "test_every_kind_of_change_is_reported"),
    (LosesWatches, "test_a_watch_that_nobody_reads_catches_up"),
    (HidesTheLoss, "test_a_position_that_is_lost_ends_the_watch"),
    (WritesAnyRecord, "test_a_record_changes_only_with_its_token"),
    (ComparesThenWrites, "test_one_of_many_writers_wins"),
    (ComparesText, "test_a_token_is_not_valid_again_for_equal_text"),
    (RecordEndsWithRegistration, "test_the_record_outlives_registration_and_connection"),
    (RemovesAnybody, "test_agrees_with_the_model"),
    (RenewsByWriting, "test_agrees_with_the_model"),
    (KeepsTheFirst, "test_agrees_with_the_model"),
    (WritesAnyRecord, "test_agrees_with_the_model"),
    (NeverCloses, "test_a_closed_provider_refuses"),
    (NeverCloses, "test_a_watch_ends_when_its_provider_is_closed"),
    (ChecksByWriting, "test_check_leaves_nothing_behind"),
]


async def passes(kind: type[MemoryProvider], test: str) -> bool:
    back_end = MemoryBackEnd()

    def make(host: int) -> MemoryProvider:
        return kind(f"memory-{host}", back_end.topology)

    known: dict[str, Any] = {"make": make, "back_end": back_end, "other": make(1), "text": "{", "seed": 1}
    method = getattr(Impatient(), test)
    try:
        await method(
            **{name: known[name] if name in known else make(0) for name in inspect.signature(method).parameters}
        )
    except (Exception, pytest.fail.Exception):
        return False
    return True


@pytest.mark.parametrize(("kind", "test"), FAULTS)
async def test_a_fault_is_found(kind: type[MemoryProvider], test: str) -> None:
    assert not await passes(kind, test)
    assert await passes(MemoryProvider, test)


class AddressesOnly:
    """A provider of a program, without the methods that its capabilities do not need."""

    name = "addresses"
    capabilities = Capabilities()

    def __init__(self) -> None:
        self._closed = False

    async def check(self) -> None:
        await self.read()

    async def read(self) -> ProviderRead:
        if self._closed:
            raise ProviderUnreachable("provider addresses is closed")
        return ProviderRead((ProviderMember("10.0.0.5:7700"),))

    async def close(self) -> None:
        self._closed = True


async def test_a_provider_needs_only_the_methods_of_its_capabilities() -> None:
    provider: Any = AddressesOnly()
    suite = Impatient()
    await suite.test_capabilities_say_what_it_can(provider)
    await suite.test_all_methods_at_once(provider)
    await suite.test_a_cancelled_request_is_no_obstacle(provider)
    await suite.test_a_closed_provider_refuses(provider)


async def test_a_provider_that_can_more_than_it_says_is_found() -> None:
    class Modest(MemoryProvider):
        capabilities = MemoryProvider.capabilities.__class__(watch=True, register=True)

    provider = Modest("modest", MemoryTopology())
    with pytest.raises(pytest.fail.Exception):
        await Impatient().test_capabilities_say_what_it_can(provider)
