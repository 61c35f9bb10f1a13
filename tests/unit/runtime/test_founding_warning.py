"""Two clusters over one storage, as workers of a server without seeds make them, are told (and one is not)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import inaho
from inaho import Grain, Struct
from inaho.runtime.joining import Joining


class Count(Struct):
    n: int = 0


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.n += 1
        await self.save()
        return self.state.n


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


async def test_a_second_cluster_over_the_same_storage_is_told_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    def start() -> Joining:
        return inaho.join("127.0.0.1:0", grains=[Counter], data_dir=tmp_path)

    async with start() as first:
        assert warnings(caplog) == []
        async with start() as second:
            end = asyncio.get_running_loop().time() + 20.0
            while not warnings(caplog):
                assert asyncio.get_running_loop().time() < end, "nothing is told"
                await asyncio.sleep(0.01)
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
