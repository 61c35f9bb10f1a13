"""Joining with seeds of which some are wrong: the right ones count, and the log says what is wrong with the others."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

import inaho
from inaho import AuthenticationFailed, ClusterConfig, MembershipConfig, TopologyUnavailable, WrongCluster
from inaho.runtime.control import join_watch
from inaho.runtime.transport.transport import TcpTransport


class Named(inaho.Grain):
    async def say(self, text: str) -> str:
        return text


QUICK = ClusterConfig(membership=MembershipConfig(join_timeout_s=1.0))


def member(*seeds: str, name: str = "shop", secret: str = "s3cret", config: ClusterConfig | None = None) -> Any:
    return inaho.join("127.0.0.1:0", seeds=seeds, name=name, secret=secret, storage="memory", config=config)


def client(*seeds: str, config: ClusterConfig | None = None) -> Any:
    return inaho.connect(seeds, name="shop", secret="s3cret", config=config)


async def entered(joining: Any) -> Any:
    return await joining


@pytest.fixture
def dead_seed() -> Iterator[str]:
    """An authority that nobody listens at, and nobody else takes."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


async def test_wrong_seeds_do_not_defeat_a_right_one(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        member(name="another") as foreign,
        member(secret="another secret") as stranger,
        member() as good,
    ):
        wrong = (foreign.authority, stranger.authority)
        for seeds in ((*wrong, good.authority), (good.authority, *wrong), (wrong[0], good.authority, wrong[1])):
            async with asyncio.timeout(10.0), member(*seeds) as joined:
                assert {each.authority for each in joined.members()} >= {good.authority, joined.authority}
            async with asyncio.timeout(10.0), client(*seeds) as connected:
                assert good.authority in {each.authority for each in connected.members()}
    for authority, code in zip(wrong, ("wrong_cluster", "authentication_failed"), strict=True):
        assert any(authority in line and code in line for line in caplog.messages)


async def test_when_all_seeds_refuse_the_join_fails_at_once() -> None:
    async with member(name="another") as foreign, member(secret="another secret") as stranger:
        for enter in (member, client):
            for seed, kind in ((foreign, WrongCluster), (stranger, AuthenticationFailed)):
                with pytest.raises(kind) as raised:
                    await asyncio.wait_for(entered(enter(seed.authority)), 10.0)
                assert seed.authority in str(raised.value)


async def test_a_seed_that_is_the_node_itself_is_said(caplog: pytest.LogCaptureFixture, kept_port: int) -> None:
    port = kept_port
    with pytest.raises(TopologyUnavailable) as raised:
        await entered(inaho.join(f"127.0.0.1:{port}", seeds=[f"localhost:{port}"], storage="memory", config=QUICK))
    assert f"localhost:{port}: that is this node; its authority is 127.0.0.1:{port}" in str(raised.value)
    assert not any("second process" in line for line in caplog.messages)


async def test_giving_up_names_each_seed_and_who_may_found(dead_seed: str) -> None:
    with pytest.raises(TopologyUnavailable) as raised:
        await member(dead_seed, config=QUICK)
    text = str(raised.value)
    assert f"within 1 s ({dead_seed}: nobody listens there)" in text
    assert f"only the first of the seeds, {dead_seed}, founds a cluster" in text


@pytest.mark.parametrize("enter", [member, client])
async def test_a_search_that_takes_long_is_told_and_told_again(
    enter: Any, dead_seed: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join_watch, "FIRST_S", 0.2)
    monkeypatch.setattr(join_watch, "AGAIN_S", 0.3)
    start = "no seed has admitted this node to the cluster 'shop'"
    told: list[logging.LogRecord] = []
    began = time.time()
    with caplog.at_level(logging.WARNING, "inaho"):
        searching = asyncio.ensure_future(entered(enter(dead_seed)))
        async with asyncio.timeout(10.0):
            while len(told) < 2:
                await asyncio.sleep(0.01)
                told = [record for record in caplog.records if record.getMessage().startswith(start)]
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
    assert f"{dead_seed}: nobody listens there" in told[0].getMessage()
    assert told[0].created - began > 0.19 and told[1].created - told[0].created > 0.29  # none comes before its time


async def test_a_client_that_gives_up_names_each_seed(dead_seed: str) -> None:
    with pytest.raises(TopologyUnavailable) as raised:
        await client(dead_seed, config=QUICK)
    assert f"within 1 s: {dead_seed}: nobody listens there" in str(raised.value)


async def test_a_name_that_stands_for_several_nodes_is_dialled_anew(
    monkeypatch: pytest.MonkeyPatch, kept_port: int
) -> None:
    """As behind a load balancer: the first dial leads to the node itself, a later one to a member."""
    async with inaho.join("127.0.0.1:0", storage="memory") as seed:
        own = f"127.0.0.1:{kept_port}"
        dialled: list[str] = []
        right = TcpTransport.dial

        async def dial(self: TcpTransport, authority: str, protocol: Any) -> Any:
            if authority == "localhost:1":
                authority = seed.authority if dialled else own
                dialled.append(authority)
            return await right(self, authority, protocol)

        monkeypatch.setattr(TcpTransport, "dial", dial)
        async with inaho.join(own, seeds=["localhost:1"], storage="memory") as joined:
            assert dialled[:2] == [own, seed.authority]
            assert len(joined.members()) == 2


async def test_a_seed_may_be_named_otherwise_than_it_names_itself() -> None:
    async with inaho.join("127.0.0.1:0", grains=[Named], storage="memory") as seed:
        name = f"localhost:{seed.authority.rpartition(':')[2]}"
        async with inaho.join("127.0.0.1:0", seeds=[name], storage="memory") as joined, inaho.connect([name]) as client:
            assert len(joined.members()) == 2
            for cluster in (joined, client):
                assert await cluster.grain(Named, "a").say("hello") == "hello"
