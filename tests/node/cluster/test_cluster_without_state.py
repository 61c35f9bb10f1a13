"""A cluster whose grains have no state, and that uses no topics, makes no storage."""

from __future__ import annotations

import asyncio
from pathlib import Path

import inaho
from inaho import ClusterConfig, Grain


class Echo(Grain):
    async def say(self, text: str) -> str:
        return text


async def test_no_file_is_made_before_a_topic_or_a_durable_send_needs_it(tmp_path: Path):
    config = ClusterConfig(authority="127.0.0.1:0", data_dir=str(tmp_path / "data"))
    file = tmp_path / "data" / "state.sqlite"
    async with inaho.join(config=config, grains=[Echo]) as first:
        async with inaho.join(config=config, seeds=[first.authority], grains=[Echo]) as second:
            for key in map(str, range(20)):
                assert await second.grain(Echo, key).say("x") == "x"
            await asyncio.sleep(0)
            assert len(first.members()) == 2
        assert not file.exists()
        topic = await first.topic("news", str, allow_no_subscribers=True)
        await topic.publish("x")
        assert file.exists()
