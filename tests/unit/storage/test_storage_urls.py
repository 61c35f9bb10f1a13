"""Storages by text: which it is, what is wrong with it, and that no secret in it is repeated."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inaho.config import ClusterConfig, StorageConfig
from inaho.config.sources import load_config
from inaho.errors import InvalidConfig, StorageFailed
from inaho.runtime.cluster.extension import storage_of
from inaho.storage import MemoryStorage, SqliteStorage
from inaho.storage.urls import shown, storage_from_url

CONFIG = StorageConfig(operation_timeout_s=0.2, connections_max=3)


@pytest.mark.parametrize("url", ["memory", "memory:"])
def test_memory(url: str) -> None:
    storage = storage_from_url(url, CONFIG)
    assert isinstance(storage, MemoryStorage)
    assert storage.config is CONFIG


def test_sqlite(tmp_path: Path) -> None:
    storage = storage_from_url(f"sqlite:{tmp_path / 'state.db'}", CONFIG)
    assert isinstance(storage, SqliteStorage)
    assert storage.path == tmp_path / "state.db"


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "rediss://user:top@host:6380/2",
        "redis+unix:///run/redis.sock",
        "redis+cluster://host:7000",
        "rediss+cluster://:top@host",
    ],
)
def test_redis(url: str) -> None:
    pytest.importorskip("redis")
    storage = storage_from_url(url, CONFIG)
    assert type(storage).__name__ == "RedisStorage"
    assert storage.config is CONFIG
    assert "top" not in repr(storage)


@pytest.mark.parametrize("url", ["postgresql://user:top@host:5433/db?sslmode=require", "postgres:///db"])
def test_postgres(url: str) -> None:
    pytest.importorskip("asyncpg")
    storage = storage_from_url(url, CONFIG)
    assert type(storage).__name__ == "PostgresStorage"
    assert "top" not in repr(storage)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite:",
        "disk",
        "mysql://u:top@host",
        "redis:host",
        "redis",
        "redis://:to/p@host",
        "http://x",
        "host=db password=top",
        "host=db password=top://x",
        "redis:password=top",
        "redis:/u:to/p/h",
    ],
)
def test_what_names_no_storage_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        storage_from_url(url)
    assert "top" not in str(caught.value)
    assert "to/p" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory", "memory"),
        ("redis://host:1/2", "redis://host:1/2"),
        ("redis://me:top@host:1/2?password=top", "redis://***@host:1/2"),
        ("redis://top@[::1]:1", "redis://***@[::1]:1"),
        ("redis://:to/p@host", "redis://***"),
        ("redis://:to#p@host", "redis://***"),
        ("redis://:to?p@host", "redis://***"),
        ("redis://host:top", "redis://***"),
        ("redis+unix:///run/r.sock?password=top", "redis+unix:///run/r.sock"),
        ("me:top@host", "***"),
        ("host=db user=shop password=top dbname=x", "host=***"),
        ("password = 'to p' host=db", "password=***"),
        ("'to p' host=db", "***"),
        ("host=db password=top://x", "host=***"),
        ("redis:password=top", "redis:***"),
        ("postgresql://db password=top", "postgresql://***"),
        ("postgresql://db/x password=top", "postgresql://***"),
        ("redis:/me:top/h", "redis:***"),
        ("sqlite:", "sqlite:"),
        ("redis", "redis"),
        ("top", "***"),
        ("", ""),
    ],
)
def test_shown_hides_what_may_be_secret(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("module", "package", "extra"), [("redis", "redis", "redis"), ("postgres", "asyncpg", "postgres")]
)
def test_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str, extra: str
) -> None:
    ours = f"inaho.storage.{module}"
    for name in [n for n in sys.modules if n.split(".")[0] == package or n == ours or n.startswith(ours + ".")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    scheme = {"redis": "redis", "postgres": "postgresql"}[module]
    with pytest.raises(InvalidConfig, match=rf"inaho\[{extra}\]"):
        storage_from_url(f"{scheme}://host")
    with pytest.raises(InvalidConfig, match=package):
        importlib.import_module(ours)


def test_optional_packages_are_not_imported_by_others() -> None:
    found = "[name for name in ('redis', 'asyncpg') if name in sys.modules]"
    program = f"import sys, inaho, inaho.cli.app, inaho.storage.urls; print({found})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_way_in_takes_a_url(tmp_path: Path) -> None:
    config = ClusterConfig(data_dir=str(tmp_path))
    assert isinstance(storage_of("memory:", config), MemoryStorage)
    assert isinstance(storage_of(None, config), SqliteStorage)
    pytest.importorskip("redis")
    assert repr(storage_of("redis://me:top@host", config)) == "RedisStorage('redis://***@host')"


def test_the_variable_of_the_command_line_is_no_setting() -> None:
    environ = {"INAHO_STORAGE": "redis://:s3cret@host", "INAHO_STORAGE__CONNECTIONS_MAX": "7"}
    config = load_config(environ=environ, overrides={})
    assert config.storage.connections_max == 7
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "postgresql"])
async def test_unreachable_server_is_told_without_the_secret(scheme: str) -> None:
    pytest.importorskip("redis" if scheme.startswith("redis") else "asyncpg")
    storage = storage_from_url(f"{scheme}://me:top@127.0.0.1:1", CONFIG)
    with pytest.raises(StorageFailed) as caught:
        await storage.open()
    assert not caught.value.maybe_executed
    assert "top" not in str(caught.value)
    assert f"{scheme}://***@127.0.0.1:1" in caught.value.reason


async def test_wrong_options_are_refused() -> None:
    pytest.importorskip("redis")
    pytest.importorskip("asyncpg")
    with pytest.raises(InvalidConfig, match="options of redis-py"):
        storage_from_url("redis://host?nonsense=1")
    with pytest.raises(InvalidConfig, match="connection URIs"):
        await storage_from_url("postgresql://me:top@host/db?sslmode=nonsense").open()
    from inaho.storage.postgres import PostgresStorage
    from inaho.storage.redis import RedisStorage

    with pytest.raises(InvalidConfig, match="braces"):
        RedisStorage("redis://host", prefix="{x}")
    with pytest.raises(InvalidConfig, match="small letters"):
        PostgresStorage("postgresql://host", table='x"; DROP')
    huge = StorageConfig(data_bytes_max=1 << 30, queue_bytes_max=1 << 30)
    for url in ("redis://host", "postgresql://host"):
        with pytest.raises(InvalidConfig, match="data_bytes_max"):
            storage_from_url(url, huge)


@pytest.mark.parametrize("hosts", ["127.0.0.1:99999", "localhost:0", "host:-1", "one:1,two:123456789", "[::1]:65536"])
def test_ports_that_cannot_be_are_refused_without_the_secret(hosts: str) -> None:
    pytest.importorskip("asyncpg")
    with pytest.raises(InvalidConfig, match="65535") as caught:
        storage_from_url(f"postgresql://me:top@{hosts}/db")
    assert "top" not in str(caught.value)


async def test_a_port_that_cannot_be_is_refused_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("asyncpg")
    monkeypatch.setenv("PGPORT", "99999")
    with pytest.raises(InvalidConfig, match="connection URIs") as caught:
        await storage_from_url("postgresql://me:top@127.0.0.1/db", CONFIG).open()
    assert "top" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("hosts", ["", "host", "one:1,two:65535", "[::1]:5432", "[::1]"])
def test_ports_that_can_be_are_taken(hosts: str) -> None:
    pytest.importorskip("asyncpg")
    assert storage_from_url(f"postgresql://me:99999@{hosts}/db:99999?x=:99999") is not None


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_the_command_line_takes_a_url_and_does_not_repeat_its_secret(way: str, tmp_path: Path) -> None:
    url = "mysql://me:top-secret@host/db"
    command = [sys.executable, "-m", "inaho.cli", "up", "inaho.cli.sample:Echo", "--authority", "127.0.0.1:0"]
    command += ["--data-dir", str(tmp_path), *(("--storage", url) if way == "argument" else ())]
    environ = {**os.environ, **({"INAHO_STORAGE": url} if way == "variable" else {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=50)
    assert done.returncode != 0
    assert "mysql://***@host/db" in done.stderr
    assert "top-secret" not in done.stdout + done.stderr
