"""The storage of a node: opened once however many need it, tried again after a failure, closed once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Cluster, Grain, InvalidConfig, MemoryStorage, Storage, StorageFailed, Struct
from support.waiting import Eventually


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def look(self) -> int:
        return self.state.value


class Specialist(Counter, role="counting"): ...


class Echo(Grain):
    async def ask(self) -> int:
        return 1


class Gated(MemoryStorage):
    """Opens when it is let, and fails as often as it is told to."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        super().__init__()
        self.failures_left = failures
        self.error = error or StorageFailed("down", maybe_executed=False)
        self.begun = 0
        self.opened = 0
        self.closed = 0
        self.gate = asyncio.Event()

    async def _open(self) -> None:
        self.begun += 1
        await self.gate.wait()
        if self.failures_left:
            self.failures_left -= 1
            raise self.error
        self.opened += 1

    async def _close(self) -> None:
        self.closed += 1


async def test_all_who_wait_share_an_attempt_and_the_one_after_it(fleet: Any):
    storage = Gated(failures=1)
    cluster = await fleet.member(storage=storage)

    async def use() -> Storage:
        with pytest.raises(StorageFailed):
            await cluster._node.storage_access.opened()
        used: Storage = await cluster._node.storage_access.opened()  # at once, while others hear of the failure
        return used

    uses = [asyncio.create_task(use()) for _ in range(3)]
    storage.gate.set()
    assert await asyncio.gather(*uses) == [storage] * 3
    await cluster.close()
    assert (storage.begun, storage.opened, storage.closed) == (2, 1, 1)


async def test_a_failure_that_nobody_waited_for_concerns_no_later_need(fleet: Any, eventually: Eventually):
    storage = Gated(failures=1)
    cluster = await fleet.member(storage=storage)
    await begun_and_forgotten(cluster, storage, eventually)
    assert await cluster._node.storage_access.opened() is storage


async def test_a_node_that_could_not_open_a_shared_storage_does_not_close_it_for_others(
    fleet: Any, eventually: Eventually
):
    storage = Gated(failures=1)
    one, other = await fleet.member(storage=storage), await fleet.member(storage=storage)
    await begun_and_forgotten(one, storage, eventually)
    await other._node.storage_access.opened()
    await one.close()
    assert storage.closed == 0
    await other.close()
    assert storage.closed == 1


async def begun_and_forgotten(cluster: Any, storage: Gated, eventually: Eventually) -> None:
    """An attempt that fails once who began it has been cancelled."""
    use = asyncio.create_task(cluster._node.storage_access.opened())
    await eventually(lambda: storage.begun)
    use.cancel()
    await asyncio.wait({use})
    storage.gate.set()
    await eventually(lambda: not storage.failures_left)
    await eventually(cluster._node.storage_access._opening.done)


# At the start.


async def test_a_member_with_grains_that_have_state_begins_with_the_storage(fleet: Any, eventually: Eventually):
    storage = Gated()
    starting = asyncio.create_task(fleet.member(Counter, Echo, storage=storage))
    await eventually(lambda: storage.begun)
    assert not fleet.network._listeners
    storage.gate.set()
    assert await (await starting).grain(Counter, "a").look() == 0
    assert storage.opened == 1


@pytest.mark.parametrize("kind", [Echo, Specialist], ids=["no state", "not hosted"])
async def test_a_member_that_hosts_no_state_needs_none(fleet: Any, kind: type[Grain]):
    storage = Gated()
    await fleet.member(kind, storage=storage)
    assert not storage.begun


async def test_a_storage_that_is_configured_wrongly_fails_the_start_before_anybody_hears_of_it(fleet: Any):
    first: Cluster = await fleet.member(Counter)
    storage = Gated(failures=1, error=InvalidConfig("the port is none"))
    storage.gate.set()
    with pytest.raises(InvalidConfig, match="the port is none"):
        await fleet.member(Counter, storage=storage)
    assert [member.authority for member in first.members()] == [first.authority]
    assert storage.closed == 0


async def test_a_storage_that_is_down_at_the_start_is_told_and_may_come_up_later(
    fleet: Any, caplog: pytest.LogCaptureFixture
):
    storage = Gated(failures=1)
    storage.gate.set()
    cluster = await fleet.member(Counter, storage=storage)
    [line] = [text for text in caplog.messages if "storage" in text]
    assert "down" in line
    assert await cluster.grain(Counter, "a").look() == 0
    assert (storage.begun, storage.opened) == (2, 1)
