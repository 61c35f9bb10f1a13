"""TCP on loopback: what can be dialled and bound, and why not."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from inaho.config import TransportConfig
from inaho.errors import AuthorityInUse, InvalidConfig, ShuttingDown, Unreachable
from inaho.runtime.transport.transport import DialFailed, TcpTransport
from support.loops import both_loops, run
from support.tcp_nodes import Talk, tcp


@both_loops
def test_nobody_listens(loop_name: str, kept_port: int) -> None:
    async def scenario() -> None:
        transport = tcp()
        listener = await transport.listen(f"127.0.0.1:{kept_port}", Talk)
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0)
        with pytest.raises(DialFailed) as caught:
            await tcp().dial(listener.authority, Talk)
        assert caught.value.cause_kind == "refused"
        assert caught.value.code == "unreachable"
        assert isinstance(caught.value, Unreachable)

    run(scenario(), loop_name)


def without_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name has an address for the running loop; a real name server may take its time to say so."""
    loop = asyncio.get_running_loop()
    addresses = loop.getaddrinfo

    async def of_addresses(host: Any, port: Any, **hints: Any) -> Any:
        if host == "no-such-host.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return await addresses(host, port, **hints)

    monkeypatch.setattr(loop, "getaddrinfo", of_addresses)


def test_a_name_without_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        without_names(monkeypatch)
        with pytest.raises(DialFailed) as caught:
            await tcp().dial("no-such-host.invalid:7700", Talk)
        assert caught.value.cause_kind == "other"

    run(scenario())


@both_loops
def test_a_full_backlog_is_a_timeout(loop_name: str) -> None:
    async def scenario() -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            authority = f"127.0.0.1:{deaf.getsockname()[1]}"
            opened: list[asyncio.BaseTransport] = []

            async def fill() -> None:
                for _ in range(8):
                    opened.append(await tcp(dial_timeout_s=0.1).dial(authority, Talk))

            with pytest.raises(DialFailed) as caught:
                await fill()
            assert caught.value.cause_kind == "timeout"
            for transport in opened:
                transport.close()
            await asyncio.sleep(0)

    run(scenario(), loop_name)


@both_loops
def test_a_taken_port(loop_name: str, kept_port: int) -> None:
    async def scenario() -> None:
        transport = tcp()
        assert not (await transport.listen("127.0.0.1:0", Talk)).authority.endswith(":0")
        listener = await transport.listen(f"127.0.0.1:{kept_port}", Talk)
        with pytest.raises(AuthorityInUse) as caught:
            await tcp().listen(listener.authority, Talk)
        assert caught.value.authority == listener.authority
        listener.close()
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0)
        again = await transport.listen(listener.authority, Talk)
        assert again.authority == listener.authority
        transport.close()

    run(scenario(), loop_name)


@pytest.mark.parametrize("authority", ["localhost:0", "[::1]:0"])
def test_names_and_ipv6(authority: str) -> None:
    async def scenario() -> None:
        transport = tcp()
        listener = await transport.listen(authority, Talk)
        assert listener.authority.rpartition(":")[0] == authority.rpartition(":")[0]
        end = await tcp().dial(listener.authority, Talk)
        end.close()
        transport.close()
        await asyncio.sleep(0)

    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            if authority.startswith("["):
                pytest.skip("this machine has no IPv6 loopback")
    run(scenario())


@pytest.mark.parametrize("authority", ["0.0.0.0:0", "[::]:0"])
def test_a_public_bind_needs_authentication(authority: str) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidConfig) as caught:
            await TcpTransport(TransportConfig(), authenticated=False).listen(authority, Talk)
        for setting in ("secret", "tls", "insecure=True"):
            assert setting in str(caught.value)
        for allowed in ({"authenticated": True}, {"authenticated": False, "insecure": True}):
            transport = TcpTransport(TransportConfig(), **allowed)
            try:
                await transport.listen(authority, Talk)
            except InvalidConfig as error:
                assert authority.startswith("["), error
            transport.close()
        loopback = TcpTransport(TransportConfig(), authenticated=False)
        await loopback.listen("127.0.0.1:0", Talk)
        loopback.close()

    run(scenario())


@pytest.mark.parametrize("authority", ["203.0.113.7:0", "no-such-host.invalid:0", "host", "127.0.0.1:99999"])
def test_what_cannot_be_bound(authority: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        without_names(monkeypatch)
        with pytest.raises(InvalidConfig):
            await tcp().listen(authority, Talk)

    run(scenario())


def test_a_closed_transport_opens_nothing() -> None:
    async def scenario() -> None:
        transport = tcp()
        transport.close()
        with pytest.raises(ShuttingDown):
            await transport.listen("127.0.0.1:0", Talk)
        with pytest.raises(ShuttingDown):
            await transport.dial("127.0.0.1:1", Talk)

    run(scenario())
