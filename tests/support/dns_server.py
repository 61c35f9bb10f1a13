"""DNS servers for tests: a real dnsmasq, and a server in this process that gives any answer, also a wrong one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

import dns.exception
import dns.message
import dns.query

from inaho.testing.histories.grain_process import free_ports
from support.service_servers import Server, program

ZONE = "inaho.test"


class DnsmasqServer(Server):
    """dnsmasq that knows the names of one zone, on a port of its own.

    Attributes:
        url: of the addresses of `shop.inaho.test`, for `make_provider`.
    """

    def __init__(self) -> None:
        self._program = program("dnsmasq")
        super().__init__()
        self.port = free_ports(1)[0]
        self.nameserver = f"127.0.0.1:{self.port}"
        self.url = f"dns://shop.{ZONE}:7700?nameserver={self.nameserver}&period_s=1"
        self.set_addresses({})
        self._services: list[str] = []

    def set_addresses(self, names: dict[str, list[str]]) -> None:
        """The addresses of each name below the zone, from the next answer on."""
        lines = [f"{address} {name}.{ZONE}\n" for name, addresses in names.items() for address in addresses]
        (self.folder / "hosts").write_text("".join(lines))
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGHUP)

    def set_services(self, services: list[tuple[str, str, int]]) -> None:
        """Name, target and port of each SRV record, from the next start on."""
        self._services = [f"--srv-host={name}.{ZONE},{target},{port}" for name, target, port in services]

    def _command(self) -> list[str]:
        return [
            self._program,
            *("--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=", "--log-facility=-"),
            *(f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces", f"--local=/{ZONE}/"),
            *(f"--addn-hosts={self.folder}/hosts", "--no-round-robin"),
            *(["--user=root"] if os.getuid() == 0 else []),  # another user cannot read the folder
            *self._services,
        ]

    def _answers(self) -> bool:
        try:
            dns.query.udp(dns.message.make_query(ZONE, "A"), "127.0.0.1", port=self.port, timeout=1.0)
        except (OSError, dns.exception.DNSException):
            return False
        return True


Answer = Callable[[dns.message.Message, bool], bytes | None]
"""The bytes that answer a query, which came over TCP or not; None is silence."""


class AnsweringServer:
    """A DNS server in this process.

    Attributes:
        nameserver: for the option of the URL.
        answer: gives each answer; may be replaced at any time.
        queries: how many queries came, over UDP and over TCP.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.queries = {"udp": 0, "tcp": 0}
        self.port = free_ports(1)[0]
        self.nameserver = f"127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self, *, tcp: bool = True) -> AsyncIterator[AnsweringServer]:
        """Answers for as long as the context is open; without TCP, connections are refused."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), ("127.0.0.1", self.port))
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port) if tcp else None
        try:
            yield self
        finally:
            transport.close()
            if server is not None:
                server.close()
                await server.wait_closed()

    def reply(self, data: bytes, *, tcp: bool) -> bytes | None:
        """The answer to the bytes of a query."""
        self.queries["tcp" if tcp else "udp"] += 1
        return self.answer(dns.message.from_wire(data), tcp)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            length = int.from_bytes(await reader.readexactly(2))
            found = self.reply(await reader.readexactly(length), tcp=True)
            if found is not None:
                writer.write(len(found).to_bytes(2) + found)
                await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: AnsweringServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        found = self._server.reply(data, tcp=False)
        if found is not None:
            self._transport.sendto(found, addr)
