"""The definition of a provider: each mistake is named, and no secret is shown (SPEC PR-1.1, PR-1.5)."""

from __future__ import annotations

import pytest

from inaho.config import ProviderDescriptor, ProvisioningConfig, SecretReference
from inaho.core.provisioning.descriptor import parse_url, problems
from inaho.errors import ProviderInvalid
from inaho.providers.backends import make_provider


def test_missing_fields_are_each_named():
    found = problems(ProviderDescriptor(secrets={"b": SecretReference(), "a": SecretReference(env="X", file="y")}))
    assert found == (
        "name is missing",
        "url is missing",
        "secrets.a: give either env or file",
        "secrets.b: give either env or file",
    )


def test_a_url_is_taken_apart():
    url = parse_url("etcd://10.0.0.9:2379, 10.0.0.8:2379/a%20shop/?x=1&y=")
    assert (url.scheme, url.servers, url.path) == ("etcd", ("10.0.0.9:2379", "10.0.0.8:2379"), "a shop")
    assert url.options == {"x": "1", "y": ""}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("etcd:a", "has no scheme"),
        ("etcd://root:hunter2@a:1/x", "contains a user or a password"),
        ("etcd://root:hunter2/x@a:1/x", "contains a user or a password"),
        ("etcd://root:hunter2℀@a", "contains a user or a password"),
        ("etcd://root:hunter2#@a", "contains a user or a password"),
        ("etcd://a#hunter2", "without '#'"),
        ("etcd://a\nhunter2", "printable characters"),
        ("etcd://a/" + "hunter2" * 600, "at most 4096"),
        ("etcd://a?password=hunter2", "contains a password; give it as a secret"),
        ("etcd://a?x=1&token=hunter2", "contains a token; give it as a secret"),
        ("etcd://a?x=hunter2&x=2", "the option x twice"),
        ("etcd://[::1/x", "cannot be read"),
    ],
)
@pytest.mark.parametrize("name", ["", "main"])
def test_a_url_with_a_mistake_or_a_secret_is_refused_without_the_secret(url: str, expected: str, name: str):
    with pytest.raises(ProviderInvalid, match=expected) as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)
    definition = ProviderDescriptor(name=name, url=url)
    with pytest.raises(ProviderInvalid, match=expected) as caught:
        make_provider(definition, "shop", ProvisioningConfig())
    if name or "@" in url or "password=" in url or "token=" in url:
        assert "hunter2" not in str(caught.value)
