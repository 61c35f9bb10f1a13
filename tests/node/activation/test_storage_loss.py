"""A storage that lost what it had acknowledged: refused on every node until an operator accepts what is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import inaho
from inaho import Cluster, Grain, MemoryStorage, SqliteStorage, Struct
from inaho.cli.commands.storage import accept_storage, show_storages
from inaho.cli.output import EXIT_FAILED, EXIT_OK, Output
from inaho.config import ClusterConfig
from inaho.errors import StateMissing, StorageLost
from inaho.events import StorageAccepted, StorageDataLost
from inaho.storage import StoredState
from inaho.types import ClusterIdentity, MemberStatus


class Items(Struct):
    items: list[str] = msgspec.field(default_factory=list)


class Basket(Grain[Items]):
    async def add(self, item: str) -> list[str]:
        self.state.items.append(item)
        await self.save()
        return self.state.items

    async def wipe(self) -> None:
        await self.clear()

    async def get(self) -> list[str]:
        return self.state.items

    async def follow(self) -> AsyncIterator[list[str]]:
        while True:
            yield self.state.items
            await asyncio.sleep(0.01)

    async def rest(self) -> None:
        self.deactivate()


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def cluster(storage: MemoryStorage) -> AsyncIterator[Cluster]:
    async with inaho.join("127.0.0.1:0", grains=[Basket], storage=storage) as cluster:
        yield cluster


async def fill(cluster: Cluster) -> Any:
    basket = cluster.grain(Basket, "alice")
    for item in "abc":
        await basket.add(item)
    return basket


@pytest.mark.parametrize("idle_first", [False, True])
@pytest.mark.parametrize("first", ["add", "wipe"])
async def test_what_was_lost_never_becomes_an_empty_state(
    cluster: Cluster, storage: MemoryStorage, idle_first: bool, first: str
) -> None:
    basket = await fill(cluster)
    if idle_first:
        await basket.rest()
    storage.lose()
    for _ in range(2):
        with pytest.raises(StorageLost):
            await (basket.add("x") if first == "add" else basket.wipe())
        with pytest.raises(StateMissing):
            await basket.get()
    with pytest.raises(StateMissing):
        await cluster.grain(Basket, "bob").get()


async def test_what_is_active_is_refused_too_until_an_operator_accepts(
    cluster: Cluster, storage: MemoryStorage
) -> None:
    """One activation meets the loss. The others still have what was lost in memory, and the node refuses them all."""
    baskets = [cluster.grain(Basket, str(number)) for number in range(4)]
    for basket in baskets:
        await basket.add("a")
    items = baskets[1].follow()
    assert await anext(items) == ["a"]
    storage.lose()
    with pytest.raises(StorageLost):
        await baskets[0].add("b")
    for basket in baskets[1:]:
        for _ in range(2):
            with pytest.raises(StorageLost):
                await basket.get()
    with pytest.raises(StorageLost):
        await anext(items)
    await cluster.accept_storage()
    assert [await basket.get() for basket in baskets] == [[]] * 4
    assert await baskets[1].add("c") == ["c"]


async def test_the_first_loss_is_an_event_and_a_line_and_acceptance_too(
    cluster: Cluster, storage: MemoryStorage, caplog: pytest.LogCaptureFixture
) -> None:
    basket = await fill(cluster)
    copy = storage.snapshot()
    await basket.add("d")
    storage.restore(copy)
    with (
        caplog.at_level(logging.INFO),
        cluster.system.events.subscribe(StorageDataLost, StorageAccepted) as events,
    ):
        for _ in range(2):
            with pytest.raises(StorageLost, match=r"at commit \d+, and has instance 1 at"):
                await basket.add("e")
        found = await cluster.storages()
        assert [report.authority for report in found.lost] == [cluster.authority]
        accepted = await cluster.accept_storage()
        assert accepted.reports == found.reports
        assert not accepted.silent
        lost, taken = await anext(events), await anext(events)
        assert isinstance(lost, StorageDataLost)
        assert "at commit" in lost.reason
        assert isinstance(taken, StorageAccepted)
    assert sum("has lost acknowledged data" in record.getMessage() for record in caplog.records) == 1
    assert any(getattr(record, "audit_event", "").startswith("accept") for record in caplog.records)
    assert not (await cluster.storages()).lost
    assert await basket.get() == ["a", "b", "c"]
    assert await basket.add("f") == ["a", "b", "c", "f"]


async def test_activations_that_are_up_begin_again_after_acceptance(cluster: Cluster, storage: MemoryStorage) -> None:
    """This member has met nothing of the loss, but its activation has what was lost."""
    basket = await fill(cluster)
    storage.lose()
    await cluster.accept_storage()
    assert await basket.get() == []
    assert await basket.add("new") == ["new"]


async def test_one_record_below_what_was_acknowledged_is_missing_state(
    cluster: Cluster, storage: MemoryStorage
) -> None:
    """The storage as a whole has lost nothing that its mark would tell."""
    basket = await fill(cluster)
    identity = ClusterIdentity("Basket", "alice")
    storage._states[identity] = StoredState(b"\x81\xa5items\x90", 2, 1)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StateMissing, match="version 3 was acknowledged, and the storage has version 2"):
        await basket.add("x")


async def test_all_members_accept_and_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "state.db"
    config = ClusterConfig(data_dir=str(tmp_path))
    async with (
        inaho.join("127.0.0.1:0", grains=[Basket], storage=SqliteStorage(path), config=config) as one,
        inaho.join("127.0.0.1:0", grains=[Basket], storage=SqliteStorage(path), seeds=[one.authority]) as other,
    ):
        await up(one, other)
        baskets = [one.grain(Basket, str(number)) for number in range(12)]
        for basket in baskets:
            await basket.add("a")
        settings = ClusterConfig(seeds=(one.authority,))
        assert await show_storages(Output(as_json=False), settings) == EXIT_OK
        await _lose(path)
        outcomes = [await _outcome(basket) for basket in baskets]
        assert set(outcomes) == {"StorageLost"}
        assert await show_storages(Output(as_json=False), settings) == EXIT_FAILED
        assert await accept_storage(Output(as_json=False), settings) == EXIT_OK
        told = capsys.readouterr().out
        assert told.count("accepted: it had instance") == 2
        assert all(each.authority in told for each in (one, other))
        assert [await basket.add("b") for basket in baskets] == [["b"]] * 12


async def up(*clusters: Cluster) -> None:
    """Returns when each sees that all are up."""
    async with asyncio.timeout(20.0):
        while not all(
            [member.status for member in cluster.members()] == [MemberStatus.UP] * len(clusters) for cluster in clusters
        ):
            await asyncio.sleep(0.01)


async def _outcome(basket: Any) -> str:
    try:
        await basket.add("x")
    except StateMissing as error:
        return type(error).__name__
    return "saved"


async def _lose(path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DELETE FROM grain_states")
        file.execute("DELETE FROM storage_mark")
