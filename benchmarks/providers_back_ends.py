"""The back ends that the benchmark of providers uses: the real servers and the doubles of the tests.

Redis, PostgreSQL, etcd and dnsmasq are real; Consul and the API server of Kubernetes are doubles in processes of their
own. All of them run on free ports of loopback with data in temporary folders, and end with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from inaho.config import ClusterConfig, MembershipConfig, ProviderDescriptor, ProvisioningConfig, SecretReference
from inaho.testing.histories.grain_process import free_ports
from support.consul_servers import ConsulServer
from support.dns_server import ZONE, DnsmasqServer
from support.etcd_server import EtcdServer
from support.kubernetes_server import KubernetesServer
from support.provider_back_ends.base import ServedBackEnd
from support.provider_back_ends.consul import ConsulBackEnd
from support.provider_back_ends.etcd import EtcdBackEnd
from support.provider_back_ends.kubernetes import KubernetesBackEnd
from support.provider_back_ends.postgresql import PostgresBackEnd
from support.provider_back_ends.redis import RedisBackEnd
from support.topology_servers import PostgresTopologyServer, RedisTopologyServer

__all__ = ["POLLED", "RECORDING", "Place", "serving"]

ADDRESSES_MAX: Final = 200


class DnsBackEnd(ServedBackEnd):
    """A name of dnsmasq. Members share a port and differ in the address."""

    server: DnsmasqServer

    def url(self, host: int, port: int) -> str:
        del host
        return f"dns://{self.prefix}.{ZONE}:{self.listens_at}?nameserver=127.0.0.1:{port}&period_s=1&types=a"

    def __init__(self, server: DnsmasqServer, prefix: str) -> None:
        super().__init__(server, prefix)
        [self.listens_at] = free_ports(1)


class TokenConsulBackEnd(ConsulBackEnd):
    """Consul that demands a token of members, and none of its operator."""

    def __init__(self, server: ConsulServer, prefix: str) -> None:
        super().__init__(server, prefix)
        file = server.folder / "token"
        file.write_text(prefix)
        self.secrets = {"token": SecretReference(file=str(file))}
        _accept(server, prefix)


def _accept(server: ConsulServer, token: str) -> None:
    rules = {f"{kind}_prefix": {"": "write"} for kind in ("key", "session")}
    server.control("tokens", tokens={token: rules, "": rules})


MAKERS: Final[dict[str, tuple[Callable[[], Any], Any]]] = {
    "consul": (ConsulServer, TokenConsulBackEnd),
    "dns": (DnsmasqServer, DnsBackEnd),
    "etcd": (lambda: EtcdServer(quota_bytes=64 << 20), EtcdBackEnd),
    "kubernetes": (KubernetesServer, KubernetesBackEnd),
    "postgresql": (PostgresTopologyServer, PostgresBackEnd),
    "redis": (RedisTopologyServer, RedisBackEnd),
}
RECORDING: Final = ("consul", "etcd", "kubernetes", "postgresql", "redis")
"""Those in which the cluster has a record."""
POLLED: Final = ("dns", "redis")
"""Those without a watch: they are read once a second here."""


@contextlib.contextmanager
def serving(name: str) -> Iterator[Any]:
    """The server of a back end, until the context ends."""
    server = MAKERS[name][0]()
    try:
        server.start()
        yield server
    finally:
        server.end()


class Place:
    """One prefix of a server, in which one cluster finds itself.

    Args:
        name: of the back end.
        server: of it.
        port: where members reach it; that of the server unless given.

    Attributes:
        back_end: past the provider.
    """

    def __init__(self, name: str, server: Any, port: int = 0) -> None:
        self.name = name
        self.server = server
        self.back_end = MAKERS[name][1](server, f"bench-{secrets.token_hex(6)}")
        self._port = port or server.port
        self._hosts = 0

    def authorities(self, count: int) -> list[str]:
        """Authorities on loopback for members that have none yet; with DNS their addresses differ."""
        if self.name != "dns":
            return [f"127.0.0.1:{port}" for port in free_ports(count)]
        first, self._hosts = self._hosts, self._hosts + count
        return [
            f"127.0.0.{2 + number % ADDRESSES_MAX}:{self.back_end.listens_at}" for number in range(first, first + count)
        ]

    def provider(self, authority: str, priority: int = 0) -> ProviderDescriptor:
        """The definition of a member's provider."""
        host = int(authority.rpartition(":")[2])
        return ProviderDescriptor(
            name=self.name, url=self.back_end.url(host, self._port), priority=priority, secrets=self.back_end.secrets
        )

    def list_addresses(self, authorities: Sequence[str]) -> None:
        """Has DNS answer with these; members register themselves elsewhere."""
        if self.name == "dns":
            self.server.set_addresses({self.back_end.prefix: [each.rpartition(":")[0] for each in authorities]})

    def config(self, authority: str, *others: Place, provisioning: ProvisioningConfig | None = None) -> ClusterConfig:
        """The configuration of a member that uses this place and, where it is down, the others in their order."""
        places = (self, *others)
        return ClusterConfig(
            name="bench",
            secret="a secret of this machine",
            authority=authority,
            providers=tuple(place.provider(authority, number) for number, place in enumerate(places)),
            membership=MembershipConfig(join_timeout_s=60.0),
            provisioning=provisioning or ProvisioningConfig(),
        )

    async def expire(self, authority: str) -> None:
        """As if a registration had run out."""
        if self.name in ("redis", "postgresql"):
            await asyncio.to_thread(self.server.expire, authority, self.back_end.prefix)
        else:
            await self.back_end.expire(authority)

    def rotate(self) -> Callable[[], None]:
        """Makes the secret of the members invalid. What it returns gives them the new one."""
        new, name = f"s3cret-{secrets.token_hex(6)}", "token"
        if self.name == "consul":
            _accept(self.server, new)
        elif self.name == "kubernetes":
            self.server.set_tokens(new)
        else:
            assert self.name == "postgresql"
            user, name = self.server.USER, "password"
            self.server.execute(
                f"ALTER ROLE {user} PASSWORD '{new}'",
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'",
            )

        def give() -> None:
            Path(self.back_end.secrets[name].file).write_text(new)

        return give

    def requests(self) -> int:
        """Requests that the server has had so far."""
        if self.name == "etcd":
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}/metrics") as answer:
                text = answer.read().decode()
            return sum(int(float(each)) for each in re.findall(r"^grpc_server_started_total\{.*\} (\S+)$", text, re.M))
        if self.name == "consul":
            return sum(count for what, count in self.server.requests().items() if "/control" not in what)
        if self.name == "kubernetes":
            return sum(self.server.counts().values())
        if self.name == "redis":
            scripts = re.findall(r"cmdstat_(?:eval|evalsha):calls=(\d+)", self.server.ask("INFO", "commandstats"))
            return sum(map(int, scripts))
        assert self.name == "postgresql"
        return int(
            self.server.execute("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'")
        )
