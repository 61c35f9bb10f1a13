"""What the providers in Redis and PostgreSQL refuse in a definition, before anything is connected."""

from __future__ import annotations

import pytest

from inaho.config import ProviderDescriptor, ProvisioningConfig, SecretReference
from inaho.core.provisioning.descriptor import parse_url
from inaho.errors import ProviderInvalid
from inaho.providers.backends import make_provider
from inaho.providers.base import TopologyProvider
from inaho.providers.definition_checks import servers_of
from inaho.providers.setup import ProviderSetup, Secrets


def made(url: str, *secrets: str) -> TopologyProvider:
    pytest.importorskip("redis" if url.startswith("redis") else "asyncpg")
    references = {name: SecretReference(env=name.upper()) for name in secrets}
    return make_provider(ProviderDescriptor(name="ours", url=url, secrets=references), "shop", ProvisioningConfig())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://", "one server"),
        ("redis://a:1,b:1", "one server"),
        ("redis://a:0", "'a:0' is no server"),
        ("redis://a:70000", "is no server"),
        ("redis://a:x", "is no server"),
        ("redis://a/with{braces}", "no braces"),
        ("redis://a?db=x", "db must be a number"),
        ("redis://a?ttl=3", "unknown option ttl; known are ca, cert, db, key"),
        ("redis://a?ca=/x", "write rediss://"),
        ("rediss://a?ca=/nonexistent", "/nonexistent"),
        ("postgresql://", "a server and a database"),
        ("postgresql://a", "a server and a database"),
        ("postgresql://a/b/c", "a server and a database"),
        ("postgresql://a:0/b", "is no server"),
        ("postgresql://a/b?sslmode=require", "unknown option sslmode; known are ca, "),
        ("postgresql://a/b?tls=yes", "tls=true"),
        ("postgresql://a/b?ca=/x", "tls=true"),
        ("postgresql://a/b?tls=true&ca=/nonexistent", "/nonexistent"),
        ("postgresql://a/b?table=My-Table", "option table must be"),
        ("postgresql://a/b?schema=", "option schema must be"),
        ('postgresql://a/b?table=x";--', "option table must be"),
    ],
)
def test_definitions_that_are_refused(url: str, reason: str) -> None:
    with pytest.raises(ProviderInvalid, match="provider ours") as caught:
        made(url)
    assert reason in caught.value.reason


@pytest.mark.parametrize("url", ["redis://a", "postgresql://a/b"])
def test_an_unknown_secret_is_named(url: str) -> None:
    with pytest.raises(ProviderInvalid, match=r"unknown secret token; known are password, username"):
        made(url, "token", "password")


@pytest.mark.parametrize(
    "url", ["redis://a", "rediss://[::1]:7", "postgresql://a,b:3/c", "postgresql:///c?host=/run/postgresql"]
)
def test_definitions_that_are_accepted(url: str) -> None:
    provider = made(url, "username", "password")
    assert provider.name == "ours"
    assert provider.capabilities.register
    assert provider.capabilities.record


def test_servers_have_the_port_of_the_back_end_unless_they_name_one() -> None:
    setup = ProviderSetup("ours", parse_url("x://Db1,[fd00::1]:7,10.0.0.1:8/y"), "shop", Secrets({}), 5.0)
    assert servers_of(setup, 5432) == (("db1", 5432), ("fd00::1", 7), ("10.0.0.1", 8))
