"""`inaho providers` without a cluster: what is typed, `check`, and where a member with providers listens."""

from __future__ import annotations

import os
from typing import Any

import pytest
from msgspec import json
from typer.testing import CliRunner

from inaho.cli.app import app
from inaho.cli.commands.providers import read_definition
from inaho.cli.up.checks import with_authority
from inaho.config import ClusterConfig, ProviderDescriptor, SecretReference
from inaho.errors import InvalidConfig
from inaho.testing.histories.grain_process import free_ports


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("INAHO_")]:
        monkeypatch.delenv(name)


def test_a_definition_is_read_from_options():
    credentials = ["password=env:ETCD_PASSWORD", "token=file:/run/token:1"]
    assert read_definition("etcd://a:1,b:2/shop", "main", 3, credentials) == ProviderDescriptor(
        name="main",
        url="etcd://a:1,b:2/shop",
        priority=3,
        secrets={"password": SecretReference(env="ETCD_PASSWORD"), "token": SecretReference(file="/run/token:1")},
    )
    assert read_definition("dns+srv://_x._tcp.y", "", 0, None).name == "dns-srv"


@pytest.mark.parametrize(
    ("url", "credentials", "expected"),
    [
        ("a:1", [], "url of provider 1 has no scheme"),
        ("etcd://root:hunter2@a", [], "url of provider 1 contains a user or a password"),
        ("etcd://a", ["password=hunter2"], "never the secret itself"),
        ("etcd://a", ["password=vault:hunter2"], "never the secret itself"),
        ("etcd://a", ["hunter2"], "never the secret itself"),
        ("etcd://a", ["=env:hunter2"], "never the secret itself"),
        ("etcd://a", ["password=env:"], "never the secret itself"),
    ],
)
def test_what_has_a_wrong_form_is_refused_without_the_secret(url: str, credentials: list[str], expected: str):
    with pytest.raises(InvalidConfig, match=expected) as caught:
        read_definition(url, "", 0, credentials)
    assert "hunter2" not in str(caught.value)


def check(*arguments: str) -> tuple[int, Any, str]:
    """Exit code, the JSON document, and standard error."""
    done = CliRunner().invoke(app, ["providers", "check", *arguments, "--json"])
    return done.exit_code, json.decode(done.stdout), done.stderr


def test_a_provider_that_answers_is_described():
    code, found, _ = check("seeds://10.0.0.6:7700,10.0.0.5:7700")
    assert (code, found["provider"], found["capabilities"]) == (0, "seeds", [])
    assert found["members"] == ["10.0.0.5:7700", "10.0.0.6:7700"]
    code, found, _ = check("memory://shop")
    assert (code, found["capabilities"], found["members"]) == (0, ["watch", "register", "record", "details"], [])
    told = CliRunner().invoke(app, ["providers", "check", "seeds://10.0.0.6:7700"]).stdout
    assert "seeds://10.0.0.6:7700 is valid and answers; it has only addresses" in told
    assert "it lists 1 member of 'inaho': 10.0.0.6:7700" in told


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("etcdd://10.0.0.9:2379", "unknown scheme 'etcdd'; known are"),
        ("seeds://10.0.0.9", "provider seeds"),
        ("memory://shop?x=1", "unknown option x"),
    ],
)
def test_a_definition_that_is_not_valid_is_wrong_usage(url: str, expected: str):
    code, found, told = check(url)
    assert (code, found["error"]["code"]) == (2, "provider_invalid")
    assert expected in found["error"]["reason"]
    assert expected in told


def test_a_back_end_that_is_not_there_is_a_failure():
    pytest.importorskip("aiohttp")
    [port] = free_ports(1)
    code, found, told = check(f"etcd://127.0.0.1:{port}/shop")
    assert (code, found["error"]["code"]) == (1, "provider_unreachable")
    assert f"127.0.0.1:{port}" in told


@pytest.mark.parametrize(
    ("urls", "authority"),
    [
        (["seeds://127.0.0.1:7700,localhost:7701"], "127.0.0.1:0"),
        (["etcd://127.0.0.1/shop", "redis://[::1]:6379/0"], "127.0.0.1:0"),
        (["etcd://127.0.0.1/shop", "etcd://10.0.0.9:2379,127.0.0.1:2379"], ""),
        (["kubernetes://"], ""),
        (["dns://shop.example:7700"], ""),
    ],
)
def test_a_member_with_providers_of_this_machine_needs_no_authority(urls: list[str], authority: str):
    settings = ClusterConfig(providers=tuple(ProviderDescriptor(name=url, url=url) for url in urls))
    if authority:
        assert with_authority(settings).authority == authority
    else:
        with pytest.raises(InvalidConfig, match=r"authority missing: the provider .* may list other machines"):
            with_authority(settings)
    assert with_authority(settings.replace(authority="127.0.0.1:9")).authority == "127.0.0.1:9"
