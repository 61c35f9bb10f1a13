"""The storage of a node: opened once however many need it, tried again after a failure, closed once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from inaho import MemoryStorage, Storage, StorageFailed

Eventually = Callable[[Callable[[], object]], Coroutine[Any, Any, None]]


class Gated(MemoryStorage):
    """Opens when it is let, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures_left = failures
        self.begun = 0
        self.opened = 0
        self.closed = 0
        self.gate = asyncio.Event()

    async def _open(self) -> None:
        self.begun += 1
        await self.gate.wait()
        if self.failures_left:
            self.failures_left -= 1
            raise StorageFailed("down", maybe_executed=False)
        self.opened += 1

    async def _close(self) -> None:
        self.closed += 1


async def test_all_who_wait_share_an_attempt_and_the_one_after_it(fleet: Any):
    storage = Gated(failures=1)
    cluster = await fleet.member(storage=storage)

    async def use() -> Storage:
        with pytest.raises(StorageFailed):
            await cluster._node.open_storage()
        used: Storage = await cluster._node.open_storage()  # at once, while others hear of the failure
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
    assert await cluster._node.open_storage() is storage


async def test_a_node_that_could_not_open_a_shared_storage_does_not_close_it_for_others(
    fleet: Any, eventually: Eventually
):
    storage = Gated(failures=1)
    one, other = await fleet.member(storage=storage), await fleet.member(storage=storage)
    await begun_and_forgotten(one, storage, eventually)
    await other._node.open_storage()
    await one.close()
    assert storage.closed == 0
    await other.close()
    assert storage.closed == 1


async def begun_and_forgotten(cluster: Any, storage: Gated, eventually: Eventually) -> None:
    """An attempt that fails once who began it has been cancelled."""
    use = asyncio.create_task(cluster._node.open_storage())
    await eventually(lambda: storage.begun)
    use.cancel()
    await asyncio.wait({use})
    storage.gate.set()
    await eventually(lambda: not storage.failures_left)
    await eventually(cluster._node._storage_opening.done)
