"""A node that has closed has no open socket, whatever its peers do; TLS ends with an answer of the peer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import inaho
from inaho import Cluster, ClusterConfig, Grain
from inaho.config import TlsConfig, TransportConfig
from inaho.runtime.connections.connection import Connection
from support.certificates import CertificateAuthority
from support.gate import Gate, Mode

QUICK = TransportConfig(goodbye_timeout_s=0.3)


class Echo(Grain):
    async def echo(self, number: int) -> int:
        return number


@asynccontextmanager
async def member_behind_a_gate(tls: TlsConfig | None) -> AsyncIterator[tuple[Cluster, Gate]]:
    config = ClusterConfig(transport=QUICK)
    async with (
        inaho.join("127.0.0.1:0", grains=[Echo], storage="memory", tls=tls, config=config) as member,
        Gate.to_port(int(member.authority.rpartition(":")[2])) as gate,
    ):
        yield member, gate


def sockets(connections: Iterable[Connection]) -> list[socket.socket]:
    found = [connection._transport.get_extra_info("socket") for connection in connections]
    assert found
    return found


@pytest.mark.parametrize("mode", [Mode.PASS, Mode.SILENT])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_no_socket_is_open_after_close(tmp_path: Path, mode: Mode, secure: bool) -> None:
    tls = CertificateAuthority(tmp_path, "authority").issue("node") if secure else None
    async with member_behind_a_gate(tls) as (member, gate):
        seeds = (f"127.0.0.1:{gate.port}",)
        client = await inaho.connect(config=ClusterConfig(seeds=seeds, tls=tls, transport=QUICK))
        assert await client.grain(Echo, "a").echo(1) == 1
        dialled = sockets(client.runtime.peers.connections.values())
        accepted = sockets(member.runtime.acceptor.connections)
        gate.set(mode)
        await asyncio.wait_for(client.close(), 10)
        assert {each.fileno() for each in dialled} == {-1}
        await asyncio.wait_for(member.close(), 10)
        assert {each.fileno() for each in accepted} == {-1}
