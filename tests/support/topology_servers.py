"""Redis and PostgreSQL as providers of topology use them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from inaho.config import ProviderDescriptor, ProvisioningConfig, SecretReference, TlsConfig
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.providers.backends import make_provider
from inaho.providers.base import TopologyProvider
from inaho.providers.postgresql_statements import CREATE, LOCK, MARK
from inaho.testing.histories.grain_process import free_ports
from support.service_servers import PASSWORD, PostgresServer, RedisServer, program

CLUSTER = "shop"
PREFIX = f"inaho/{CLUSTER}"
TIMEOUT_S = 2.0


def member(port: int, node_id: str = "", cluster: str = CLUSTER) -> ProviderMember:
    """A registration."""
    return ProviderMember(f"127.0.0.1:{port}", node_id or f"node{port}", 1, ("Cart",), cluster=cluster)


class TopologyProviders:
    """Makes providers of one server, and closes them.

    Args:
        server: whose `url` and `secrets` are used.
    """

    def __init__(self, server: RedisTopologyServer | PostgresTopologyServer) -> None:
        self._server = server
        self._made: list[TopologyProvider] = []

    def make(
        self,
        url: str = "",
        secrets: Mapping[str, SecretReference] | None = None,
        timeout_s: float = TIMEOUT_S,
        cluster: str = CLUSTER,
    ) -> TopologyProvider:
        """A provider; what is not given is that of the server. `url` may begin with `?`: options."""
        url = self._server.url + url if url.startswith("?") else url or self._server.url
        descriptor = ProviderDescriptor(
            name="ours", url=url, secrets=self._server.secrets if secrets is None else secrets
        )
        made = make_provider(descriptor, cluster, ProvisioningConfig(request_timeout_s=timeout_s))
        self._made.append(made)
        return made

    async def close(self) -> None:
        """Closes them all."""
        for each in self._made:
            await each.close()


class RedisTopologyServer(RedisServer):
    """Redis that flushes each write before it answers, so it keeps the record.

    Args:
        settings: further ones of `redis-server`; they go before.
        clustered: a Redis Cluster of one node.

    Attributes:
        url: for a provider.
        secrets: of the provider.
    """

    def __init__(self, *settings: str, clustered: bool = False) -> None:
        super().__init__(clustered=clustered)
        self._settings = settings
        self.url = f"redis://127.0.0.1:{self.port}"
        self.secrets = {"password": _secret(self.folder, "password", PASSWORD)}

    def _command(self) -> list[str]:
        return [*super()._command(), "--appendfsync", "always", "--repl-diskless-sync-delay", "0", *self._settings]

    def clear(self) -> None:
        """Removes all entries."""
        self.ask("FLUSHALL")

    def write(self, authority: str, text: str, prefix: str = PREFIX) -> None:
        """Writes an entry that does not expire, whatever its text is."""
        self.ask("HSET", f"{{{prefix}}}/members", authority, text)
        self.ask("ZADD", f"{{{prefix}}}/expiry", "+inf", authority)

    def expire(self, authority: str, prefix: str = PREFIX) -> None:
        """As if a registration had run out."""
        self.ask("ZADD", f"{{{prefix}}}/expiry", "1", authority)

    def block(self, authority: str, prefix: str = PREFIX) -> None:
        """As an operator does."""
        self.ask("HSET", f"{{{prefix}}}/blocked", authority, "by an operator")

    def unblock(self, authority: str, prefix: str = PREFIX) -> None:
        """Ends that."""
        self.ask("HDEL", f"{{{prefix}}}/blocked", authority)

    def stop(self) -> None:
        """Ends the process; its data stays."""
        self.kill()


class PostgresTopologyServer(PostgresServer):
    """PostgreSQL that is reached by TCP with a password; an operator is trusted at the socket.

    Attributes:
        url: for a provider.
        secrets: of the provider.
    """

    USER = "shopkeeper"

    def __init__(self) -> None:
        super().__init__()
        self._has_user = False
        self.port = free_ports(1)[0]
        self.url = f"postgresql://127.0.0.1:{self.port}/postgres"
        self.secrets = {
            "username": _secret(self.folder, "username", self.USER),
            "password": _secret(self.folder, "password", PASSWORD),
        }
        rules = "local all inaho trust\nhost all all 127.0.0.1/32 scram-sha-256\nlocal replication all trust\n"
        (self.folder / "data" / "pg_hba.conf").write_text(rules)

    def _command(self) -> list[str]:
        return [*super()._command(), "-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"]

    def start(self) -> None:
        super().start()
        if not self._has_user:
            self.execute(
                f"CREATE ROLE {self.USER} LOGIN PASSWORD '{PASSWORD}'",
                f"GRANT CREATE ON SCHEMA public TO {self.USER}",
            )
            self._has_user = True

    def clear(self) -> None:
        """Removes the table."""
        self.execute("DROP TABLE IF EXISTS inaho_topology")

    @property
    def runs(self) -> bool:
        """Whether it was started and not killed."""
        return self._process is not None

    def use_tls(self, files: TlsConfig) -> None:
        """Speaks TLS from now on to those who ask for it."""
        for name, file in (("server.crt", files.certificate), ("server.key", files.private_key)):
            made = self.folder / "data" / name
            shutil.copy(file, made)
            made.chmod(0o600)
            if self._user:
                shutil.chown(made, self._user)
        self.execute("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")

    def create_table(self) -> None:
        """Makes the table as the provider would, and gives it to the user."""
        statement = CREATE.format(table="inaho_topology", lock=LOCK, mark=MARK)
        self.execute(statement, f"GRANT ALL ON inaho_topology TO {self.USER}")

    def execute(self, *statements: str) -> str:
        """Carries statements out as the operator, each in a transaction of its own; what `psql` prints."""
        options = ["-h", str(self.folder), "-p", str(self.port), "-U", "inaho", "-d", "postgres"]
        words = [word for statement in statements for word in ("-c", statement)]
        done = subprocess.run(
            [program("psql"), *options, "-qAt", "-v", "ON_ERROR_STOP=1", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout

    def write(self, authority: str, text: str, prefix: str = CLUSTER) -> None:
        """Writes an entry that does not expire, whatever its text is."""
        self.execute(
            "INSERT INTO inaho_topology (prefix, key, value) "
            f"VALUES ('{prefix}', 'members/{authority}', '{text}') "
            "ON CONFLICT (prefix, key) DO UPDATE SET value = EXCLUDED.value, expires_at = NULL"
        )

    def expire(self, authority: str, prefix: str = CLUSTER) -> None:
        """As if a registration had run out."""
        self.execute(
            f"UPDATE inaho_topology SET expires_at = 'epoch' WHERE prefix = '{prefix}' AND key = 'members/{authority}'"
        )

    def block(self, authority: str, prefix: str = CLUSTER) -> None:
        """As an operator does."""
        self.execute(
            f"INSERT INTO inaho_topology (prefix, key, value) VALUES ('{prefix}', 'blocked/{authority}', 'by us')"
        )

    def unblock(self, authority: str, prefix: str = CLUSTER) -> None:
        """Ends that."""
        self.execute(f"DELETE FROM inaho_topology WHERE prefix = '{prefix}' AND key = 'blocked/{authority}'")

    def stop(self) -> None:
        """Ends the process; its data stays."""
        self.kill()


def _secret(folder: Path, name: str, value: str) -> SecretReference:
    file = folder / f"{name}.secret"
    file.write_text(value)
    return SecretReference(file=str(file))
