"""Providers in the sources of settings: `[[providers]]`, `INAHO_PROVIDERS`, arguments; and `membership.source`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.config import ProviderDescriptor, SecretReference, with_names
from inaho.config.provider_definitions import split_urls
from inaho.config.sources import load_config
from inaho.errors import InvalidConfig


def load(toml: str = "", tmp_path: Path | None = None, environ: dict[str, str] | None = None, **overrides: Any):
    file = None
    if tmp_path is not None:
        file = tmp_path / "inaho.toml"
        file.write_text(toml, "utf-8")
    return load_config(file=file, environ=environ or {}, overrides=overrides)


def test_a_file_has_tables_with_references_to_secrets(tmp_path: Path):
    toml = """
        [[providers]]
        name = "main"
        url = "etcd://10.0.0.9:2379,10.0.0.8:2379/shop"
        priority = 5
        secrets = { password = { env = "X" }, token = { file = "token.txt" } }
        [[providers]]
        url = "dns+srv://_inaho._tcp.shop.svc"
        [provisioning]
        ttl_s = 9
        [membership]
        source = "provider"
        """
    config = load(toml, tmp_path)
    secrets = {"password": SecretReference(env="X"), "token": SecretReference(file=str(tmp_path / "token.txt"))}
    assert config.providers == (
        ProviderDescriptor(name="main", url="etcd://10.0.0.9:2379,10.0.0.8:2379/shop", priority=5, secrets=secrets),
        ProviderDescriptor(name="dns-srv", url="dns+srv://_inaho._tcp.shop.svc"),
    )
    assert (config.provisioning.ttl_s, config.membership.source) == (9.0, "provider")


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", []),
        (" , ", []),
        ("seeds://a:1", ["seeds://a:1"]),
        ("etcd://a:1,b:2/shop,seeds://c:3", ["etcd://a:1,b:2/shop", "seeds://c:3"]),
        (" etcd://a:1, b:2\n dns+srv://_x._tcp.y ,", ["etcd://a:1, b:2", "dns+srv://_x._tcp.y"]),
        ("a:1,seeds://c:3", ["a:1", "seeds://c:3"]),
        ("seeds://c:3 ETCD://a:1", ["seeds://c:3", "ETCD://a:1"]),
    ],
)
def test_a_comma_within_a_list_of_servers_belongs_to_the_url(text: str, urls: list[str]):
    assert split_urls(text) == urls


SERVERS = st.lists(st.from_regex(r"[a-z]{1,5}:[0-9]{1,4}", fullmatch=True), min_size=1, max_size=3)
URLS = st.lists(
    st.builds(
        lambda scheme, servers: f"{scheme}://{','.join(servers)}",
        st.sampled_from(["etcd", "dns+srv", "seeds"]),
        SERVERS,
    ),
    max_size=4,
)


@given(urls=URLS, separator=st.sampled_from([",", ", ", " ", "\n", " ,"]))
def test_urls_that_are_joined_by_any_separator_are_found_again(urls: list[str], separator: str):
    assert split_urls(separator.join(urls)) == urls


def test_the_environment_replaces_the_list_of_the_file_and_arguments_that_of_the_environment(tmp_path: Path):
    toml = '[[providers]]\nurl = "memory://file"\n'
    environ = {"INAHO_PROVIDERS": "etcd://a:1,b:2/shop,etcd://c:3"}
    assert [each.url for each in load(toml, tmp_path).providers] == ["memory://file"]
    found = load(toml, tmp_path, environ).providers
    assert [(each.name, each.url) for each in found] == [("etcd", "etcd://a:1,b:2/shop"), ("etcd-2", "etcd://c:3")]
    mine = ProviderDescriptor(name="mine", url="seeds://d:4", priority=1)
    found = load(toml, tmp_path, environ, providers=["seeds://c:3", mine, {"url": "seeds://e:5"}]).providers
    assert [each.name for each in found] == ["seeds", "mine", "seeds-2"]
    assert found[1] == mine
    assert load(toml, tmp_path, environ, providers=[]).providers == ()


def test_a_name_that_is_made_is_not_one_that_was_given():
    given_ = [ProviderDescriptor(url="etcd://a"), ProviderDescriptor(name="etcd", url="etcd://b")]
    assert [each.name for each in with_names(given_, taken=["etcd-2"])] == ["etcd-3", "etcd"]
    assert with_names([ProviderDescriptor(url="no scheme")]) == (ProviderDescriptor(url="no scheme"),)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("providers = 5", r"providers in file .*inaho\.toml must be a list of URLs, or of tables"),
        ('providers = "etcd://a"', r"providers in file .*inaho\.toml must be a list of URLs"),
        ('[providers]\nurl = "etcd://a"', "must be a list of URLs"),
        ("providers = [5]", r"provider 1 \(providers\) in file .*inaho\.toml must be a URL or a table"),
        ("[[providers]]\npriority = 1", r"url of provider 1 \(providers\) in file .* is missing"),
        ('[[providers]]\nurl = "a:1"', r"url of provider 1 \(providers\) in file .* has no scheme; write for example"),
        ('providers = ["dns://x", "a:1"]', r"url of provider 2 \(providers\) in file .* has no scheme"),
        ('[[providers]]\nurl = 5\nname = "x"', "url of provider 1 .* must be a text"),
        ('[[providers]]\nurl = "dns://x"\npriorty = 5', r"priorty of provider 1 .* did you mean priority\?"),
        ('[[providers]]\nurl = "dns://x"\nzone = 5', "zone of provider 1 .* known are name, url, priority, secrets"),
        ('[[providers]]\nurl = "dns://x"\npriority = true', "priority of provider 1 .* whole number, not True"),
        ('[[providers]]\nurl = "dns://x"\nsecrets = "x"', "secrets of provider 1 .* must be a table of references"),
        (
            'providers = [{ name = "a", url = "dns://x" }, { name = "a", url = "dns://y" }]',
            r"name of provider 2 \(providers\) in file .* is 'a', as that of provider 1",
        ),
        ('[membership]\nsource = "gosip"', r"membership\.source .* must be one of gossip, provider, not 'gosip'"),
        ("[provisioning]\nread_period = 5", r"did you mean provisioning\.read_period_s\?"),
        ("[provisioning]\nread_period_s = 20", r"must be below timeout_s .*provisioning\.read_period_s = 20 in file"),
    ],
)
def test_mistakes_name_the_key_the_place_and_the_source(toml: str, expected: str, tmp_path: Path):
    with pytest.raises(InvalidConfig, match=expected):
        load(toml, tmp_path)


def test_mistakes_in_the_environment_name_the_variable():
    with pytest.raises(InvalidConfig, match=r"url of provider 1 \(INAHO_PROVIDERS\) in the environment has no scheme"):
        load(environ={"INAHO_PROVIDERS": "10.0.0.9:2379"})
    with pytest.raises(InvalidConfig, match="INAHO_MEMBERSHIP__SOURCE in the environment must be one of gossip, prov"):
        load(environ={"INAHO_MEMBERSHIP__SOURCE": "etcd"})


@pytest.mark.parametrize(
    "entry",
    [
        '{ url = "etcd://root:hunter2@a:1" }',
        '{ url = "etcd://root:hun/ter2@a:1", name = "hunter2" }',
        '{ url = "etcd://a", secrets = { password = "hunter2" } }',
        '{ url = "etcd://a", secrets = { password = { vault = "hunter2" } } }',
        '{ url = "etcd://a", secrets = { password = { env = "hunter2", file = "hunter2" } } }',
        '{ url = "etcd://a", secrets = { password = { env = ["hunter2"] } } }',
        '{ url = "etcd://a", secrets = ["hunter2"] }',
        '{ url = ["hunter2"] }',
    ],
)
def test_a_secret_that_is_no_reference_is_refused_and_not_shown(entry: str, tmp_path: Path):
    with pytest.raises(InvalidConfig, match=r"provider 1 \(providers\) in file") as caught:
        load(f"providers = [{entry}]", tmp_path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "etcd://root:hunter2@a:1/x",
        "root:hunter2@a",
        "etcd://root:hunter2",
        "etcd://a?password=hunter2&x=1",
        "postgresql://etcd?sslpassword=hunter2",
        "etcd://a?API_KEY=hunter2",
    ],
)
def test_no_repr_shows_what_may_be_a_password(url: str):
    definition = ProviderDescriptor(name="etcd", url=url)
    shown = f"{definition!r} {definition.shown_url}"
    # Without an "@" it is a port, and no password.
    assert ("hunter2" in shown) == (url == "etcd://root:hunter2")
    assert "etcd" in shown
