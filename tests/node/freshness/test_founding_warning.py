"""Two clusters over one storage, as workers of a server without seeds make them, are told (and one is not)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import inaho
from inaho import Cluster, Grain, Struct
from inaho.runtime.cluster.join import Joining
from support.waiting import until


class Count(Struct):
    n: int = 0


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.n += 1
        await self.save()
        return self.state.n


def start(directory: Path, *seeds: str, grains: Any = (Counter,)) -> Joining:
    return inaho.join("127.0.0.1:0", grains=list(grains), data_dir=directory, seeds=list(seeds))


async def has_written(cluster: Cluster) -> None:
    await until(lambda: cluster._node.freshness.others._record.writes)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """All but those of a machine that let this process wait for long."""
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    return [line for line in told if "this process did not run for" not in line]


async def test_a_second_cluster_over_the_same_storage_is_told_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with start(tmp_path) as first:
        await has_written(first)
        assert warnings(caplog) == []
        async with start(tmp_path) as second:
            await until(lambda: warnings(caplog))
            (told,) = warnings(caplog)
            assert told.startswith(f"{second.authority} has founded a cluster named 'inaho', but {first.authority} has")
            assert f"give this one the seed {first.authority} to join the other" in told


async def test_a_cluster_that_starts_again_or_is_joined_is_told_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with inaho.join("127.0.0.1:0", grains=[Counter], data_dir=tmp_path) as first:
        await first.grain(Counter, "k").add()
    async with (
        inaho.join("127.0.0.1:0", grains=[Counter], data_dir=tmp_path) as again,
        inaho.join("127.0.0.1:0", seeds=[again.authority], grains=[Counter], data_dir=tmp_path) as other,
    ):
        assert await other.grain(Counter, "k").add() == 2
        again._node.freshness.check()
    assert warnings(caplog) == []


class Stateless(Grain):
    async def hi(self) -> str:
        return "hi"


@pytest.mark.parametrize("gone", [1, 2])
async def test_a_cluster_whose_founder_has_left_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture, gone: int):
    """One leaves, or it and its heir at the same time."""
    first = await start(tmp_path)
    await has_written(first)
    members = sorted([await start(tmp_path, first.authority) for _ in range(2)], key=lambda each: each.authority)
    # A member that does not know the heir yet would write the marker itself.
    await until(lambda: all(len(member.members()) == 3 for member in members))
    await asyncio.gather(first.close(), *(member.close() for member in members[: gone - 1]))
    await has_written(members[gone - 1])
    async with start(tmp_path) as second:
        await until(lambda: warnings(caplog))
        (told,) = warnings(caplog)
        assert told.startswith(
            f"{second.authority} has founded a cluster named 'inaho', but {members[gone - 1].authority}"
        )
    for member in members:
        await member.close()


async def test_a_cluster_whose_founder_has_no_grains_with_state_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with start(tmp_path, grains=[Stateless]) as first, start(tmp_path, first.authority) as member:
        await has_written(member)
        async with start(tmp_path) as second:
            await until(lambda: warnings(caplog))
            (told,) = warnings(caplog)
            assert told.startswith(f"{second.authority} has founded a cluster named 'inaho', but {member.authority}")


async def test_who_writes_the_marker_of_one_that_left_tells_of_who_founded_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    first = await start(tmp_path)
    async with start(tmp_path, first.authority) as member:
        others = member._node.freshness.others
        with monkeypatch.context() as patch:
            patch.setattr(others, "look", lambda: None)
            await first.close()
            await until(lambda: len(member.members()) == 1)
        async with start(tmp_path) as second:
            await has_written(second)
            assert warnings(caplog) == []
            others.look()
            await until(lambda: warnings(caplog))
            (told,) = warnings(caplog)
            assert told.startswith(f"{member.authority} is a member of a cluster named 'inaho', but {second.authority}")
            assert f"give that one the seed {member.authority} to join the other" in told
