"""The provider in PostgreSQL: its table, permissions, locks, standbys, and TLS."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from inaho.core.provisioning.founding import ClusterRecord
from inaho.errors import ProviderInvalid, ProviderUnreachable
from inaho.providers.base import TopologyProvider
from support.certificates import CertificateAuthority
from support.service_servers import program
from support.topology_servers import PostgresTopologyServer, TopologyProviders, member

pytestmark = pytest.mark.integration

LIMIT_S = 20.0
TTL_S = 60.0
RECORD = ClusterRecord("0123456789abcdef", 1, "127.0.0.1:1", "node1")
USER = PostgresTopologyServer.USER


@asynccontextmanager
async def operator(server: PostgresTopologyServer) -> AsyncIterator[Any]:
    """A connection of the operator."""
    asyncpg = pytest.importorskip("asyncpg")
    connection = await asyncpg.connect(host=str(server.folder), port=server.port, user="inaho", database="postgres")
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def altered(server: PostgresTopologyServer, change: str, back: str) -> Iterator[None]:
    """A change for some time."""
    server.execute(change)
    try:
        yield
    finally:
        server.execute(back)


async def test_twenty_nodes_make_the_table_at_once(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    nodes = [providers.make(timeout_s=LIMIT_S) for _ in range(20)]
    assert (await nodes[0].read()).members == (), "reading makes no table"
    await asyncio.gather(*(node.register(member(port), TTL_S) for port, node in enumerate(nodes, 1)))
    assert len((await nodes[0].read()).members) == 20


async def test_a_table_that_is_made_during_the_check_is_ours(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may show a table whose creation ends during the question without its comment."""
    provider = providers.make()
    await provider.register(member(1), TTL_S)
    real = provider._run
    asked: list[str] = []

    async def run(statement: str, *values: Any) -> list[Any] | None:
        rows: list[Any] | None = await real(statement, *values)
        asked.append(statement)
        if rows and len(asked) == 1:
            rows = [(*rows[0][:4], None, rows[0][5])]
        return rows

    monkeypatch.setattr(provider, "_run", run)
    await provider.check()
    assert len(asked) == 2


async def test_a_table_that_is_removed_is_made_again(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make()
    await provider.register(member(1), TTL_S)
    postgres_topology.clear()
    assert (await provider.read()).members == ()
    assert await provider.renew(member(1), TTL_S) is False
    await provider.register(member(1), TTL_S)
    postgres_topology.clear()
    assert await provider.write_record(RECORD, "")


async def test_permissions_that_are_missing_are_named(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make()
    revoked = altered(
        postgres_topology,
        f"REVOKE CREATE ON SCHEMA public FROM {USER}",
        f"GRANT CREATE ON SCHEMA public TO {USER}",
    )
    with revoked:
        with pytest.raises(ProviderInvalid, match="grant CREATE"):
            await provider.check()
        with pytest.raises(ProviderInvalid, match="refuses a permission"):
            await provider.register(member(1), TTL_S)
        postgres_topology.create_table()
        await provider.check()
        await provider.register(member(1), TTL_S)
        postgres_topology.execute(f"REVOKE INSERT, DELETE ON inaho_topology FROM {USER}")
        with pytest.raises(ProviderInvalid, match="refuses INSERT, DELETE"):
            await provider.check()
        with pytest.raises(ProviderInvalid, match="refuses a permission"):
            await provider.register(member(1), TTL_S)
        assert (await provider.read()).members == (member(1),)


async def test_a_table_of_another_application_is_refused(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    grant = f"GRANT ALL ON theirs TO {USER}"
    with altered(postgres_topology, "CREATE TABLE theirs (x int)", "DROP TABLE theirs"):
        postgres_topology.execute(grant)
        provider = providers.make("?table=theirs")
        with pytest.raises(ProviderInvalid, match="not made"):
            await provider.check()
        with pytest.raises(ProviderInvalid, match="another application"):
            await provider.read()


async def test_a_schema_can_be_named(postgres_topology: PostgresTopologyServer, providers: TopologyProviders) -> None:
    with altered(postgres_topology, "CREATE SCHEMA shop", "DROP SCHEMA shop CASCADE"):
        provider = providers.make("?schema=shop&table=nodes&prefix=ours")
        with pytest.raises(ProviderInvalid, match=r"permission denied for schema|grant CREATE"):
            await provider.check()
        postgres_topology.execute(f"GRANT USAGE, CREATE ON SCHEMA shop TO {USER}")
        await provider.check()
        await provider.register(member(1), TTL_S)
        found = postgres_topology.execute("SELECT prefix, key, node_id FROM shop.nodes")
        assert found == "ours|members/127.0.0.1:1|node1\n"
    with pytest.raises(ProviderInvalid, match="schema"):
        await providers.make("?schema=absent").check()


async def test_a_database_that_is_missing_is_invalid(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    with pytest.raises(ProviderInvalid, match="no database"):
        await providers.make(postgres_topology.url.replace("/postgres", "/absent")).check()


async def test_a_server_without_a_free_connection_is_unreachable(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    limit = altered(
        postgres_topology, f"ALTER ROLE {USER} CONNECTION LIMIT 0", f"ALTER ROLE {USER} CONNECTION LIMIT -1"
    )
    with limit, pytest.raises(ProviderUnreachable, match="max_connections") as caught:
        await providers.make().read()
    assert USER not in caught.value.reason


async def test_a_server_that_accepts_no_writes_is_unreachable_and_is_read(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    before = providers.make()
    await before.register(member(1), TTL_S)
    read_only = altered(
        postgres_topology,
        f"ALTER ROLE {USER} SET default_transaction_read_only = on",
        f"ALTER ROLE {USER} RESET default_transaction_read_only",
    )
    with read_only:
        provider = providers.make()
        assert (await provider.read()).members == (member(1),)
        for request in (
            provider.check(),
            provider.register(member(2), TTL_S),
            provider.renew(member(1), TTL_S),
            provider.write_record(RECORD, ""),
        ):
            with pytest.raises(ProviderUnreachable, match="no writes now"):
                await request
    assert await providers.make().renew(member(1), TTL_S) is True


async def test_a_full_disk_is_unreachable_and_is_read(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    """The server answers as with a full disk: it cannot extend the file of the table."""
    provider = providers.make()
    await provider.register(member(1), TTL_S)
    postgres_topology.execute(
        "CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$",
        "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON inaho_topology EXECUTE FUNCTION full_disk()",
    )
    for request in (
        provider.register(member(2), TTL_S),
        provider.renew(member(1), TTL_S),
        provider.write_record(RECORD, ""),
    ):
        with pytest.raises(ProviderUnreachable, match="No space left"):
            await request
    assert (await provider.read()).members == (member(1),)
    postgres_topology.execute("DROP TRIGGER full_disk ON inaho_topology")
    assert await provider.renew(member(1), TTL_S) is True


async def test_an_expired_row_that_is_locked_is_left_for_later(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    """Several nodes remove expired rows at once, and do not wait for each other."""
    provider = providers.make(timeout_s=1.0)
    await provider.register(member(1), TTL_S)
    postgres_topology.expire(member(1).authority)
    async with operator(postgres_topology) as connection, connection.transaction():
        await connection.execute("SELECT FROM inaho_topology FOR UPDATE")
        await provider.register(member(2), TTL_S)
    count = "SELECT count(*) FROM inaho_topology"
    assert postgres_topology.execute(count) == "2\n"
    await provider.register(member(2), TTL_S)
    assert postgres_topology.execute(count) == "1\n"


async def test_the_record_is_flushed_where_the_user_does_not_wait_for_that(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    postgres_topology.create_table()
    postgres_topology.execute(
        "CREATE OR REPLACE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "NEW.node_id := current_setting('synchronous_commit'); RETURN NEW; END $$",
        "CREATE TRIGGER noted BEFORE INSERT ON inaho_topology FOR EACH ROW EXECUTE FUNCTION noted()",
    )
    with altered(
        postgres_topology,
        f"ALTER ROLE {USER} SET synchronous_commit = off",
        f"ALTER ROLE {USER} RESET synchronous_commit",
    ):
        assert await providers.make().write_record(RECORD, "")
    assert postgres_topology.execute("SELECT node_id FROM inaho_topology WHERE key = 'record'") == "on\n"


async def test_a_lock_on_the_table_ends_in_an_answer(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make(timeout_s=1.0)
    await provider.register(member(1), TTL_S)
    async with operator(postgres_topology) as connection:
        async with connection.transaction():
            await connection.execute("LOCK TABLE inaho_topology")
            with pytest.raises(ProviderUnreachable, match="gave a statement up"):
                await provider.renew(member(1), TTL_S)
        assert await provider.renew(member(1), TTL_S) is True


class Standby(PostgresTopologyServer):
    """A standby, from a copy of the data of a primary."""

    def __init__(self, primary: PostgresTopologyServer) -> None:
        super().__init__()
        self._has_user = True
        copy = ["-h", str(primary.folder), "-p", str(primary.port), "-U", "inaho", "-D", str(self.folder / "copy")]
        command = [program("pg_basebackup"), *copy, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        subprocess.run(command, user=self._user, cwd=self.folder, check=True, capture_output=True)
        (self.folder / "data").rename(self.folder / "initial")
        (self.folder / "copy").rename(self.folder / "data")
        self.secrets = primary.secrets


async def test_a_standby_is_refused_and_the_primary_is_found(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    before = providers.make()
    await before.register(member(1), TTL_S)
    assert await before.write_record(RECORD, "")
    standby = Standby(postgres_topology)
    try:
        standby.start()
        for request in (TopologyProvider.check, TopologyProvider.read, TopologyProvider.read_record):
            with pytest.raises(ProviderUnreachable, match="is a standby"):
                await getattr(providers.make(standby.url), request.__name__)()
        both = providers.make(f"postgresql://127.0.0.1:{standby.port},127.0.0.1:{postgres_topology.port}/postgres")
        await both.check()
        assert (await both.read()).members == (member(1),)
        await both.register(member(2), TTL_S)
        postgres_topology.kill()
        with pytest.raises(ProviderUnreachable):
            await both.read()
        async with operator(standby) as connection:
            assert await connection.fetchval("SELECT pg_promote()")
        assert member(1) in (await both.read()).members
        assert (await both.read_record())[0] == RECORD
    finally:
        standby.end()
        if not postgres_topology.runs:
            postgres_topology.start()


async def test_the_certificate_of_the_server_is_verified(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders, tmp_path: Path
) -> None:
    theirs, other = CertificateAuthority(tmp_path, "theirs"), CertificateAuthority(tmp_path, "other")
    with pytest.raises(ProviderUnreachable, match="SSL"):
        await providers.make("?tls=true").check()
    files = theirs.issue("server", "127.0.0.1")
    postgres_topology.use_tls(files)
    try:
        for options in ("?tls=true", f"?tls=true&ca={other.issue('client').authority_certificates}"):
            with pytest.raises(ProviderInvalid, match="certificate of the server does not verify"):
                await providers.make(options).check()
        provider = providers.make(f"?tls=true&ca={files.authority_certificates}")
        await provider.register(member(1), TTL_S)
        assert postgres_topology.execute(
            f"SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = '{USER}'"
        ).splitlines() == ["t"]
    finally:
        postgres_topology.execute("ALTER SYSTEM SET ssl = off", "SELECT pg_reload_conf()")


async def test_a_unix_socket_can_be_named(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGUSER", "inaho")
    url = f"postgresql://localhost:{postgres_topology.port}/postgres?host={postgres_topology.folder}"
    provider = providers.make(url, secrets={})
    await provider.check()
    await provider.register(member(1), TTL_S)
    assert (await providers.make(url, secrets={}).read()).members == (member(1),)
