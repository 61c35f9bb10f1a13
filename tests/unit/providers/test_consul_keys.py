"""Keys of a cluster in Consul: no colons, folders are left out, what is no registration is refused."""

from __future__ import annotations

import re

import pytest

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot, ProviderInvalid
from inaho.providers.backends import make_provider
from inaho.providers.consul_keys import ConsulEntry, ConsulKeys
from inaho.providers.entries import encode

KEYS = ConsulKeys("inaho/shop", "consul")
STRICTEST = re.compile(r"[a-zA-Z0-9,_./\-?&=]+")  # Consul 1.21.5


@pytest.mark.parametrize("authority", ["10.0.0.5:7700", "shop-1.example:80", "[fd00::5]:7700", "[::1]:1"])
def test_a_key_has_no_colon_and_names_its_authority(authority: str):
    key = KEYS.member(authority)
    assert STRICTEST.fullmatch(key)
    blocked = ConsulEntry(key.replace("/members/", "/blocked/"), 7)
    assert KEYS.snapshot([blocked], "7").blocked_nodes == (authority,)


def test_a_blocked_authority_may_be_written_with_its_colon():
    assert KEYS.snapshot([ConsulEntry("inaho/shop/blocked/10.0.0.5:7700", 7)], "").blocked_nodes == ("10.0.0.5:7700",)


def test_a_snapshot_has_members_and_leaves_out_folders_and_other_keys():
    member = ProviderMember("10.0.0.5:7700", node_id="a", kinds=("Cart",))
    entries = [
        ConsulEntry("inaho/shop/blocked/", 1),
        ConsulEntry("inaho/shop/members/", 2),
        ConsulEntry("inaho/shop/members/10.0.0.5,7700", 3, encode(member).encode(), "session"),
        ConsulEntry("inaho/shop/note", 4, b"of an operator"),
        ConsulEntry("inaho/shop/record", 5, b"{}"),
    ]
    found = KEYS.snapshot(entries, "5")
    assert found.members == (member,) and found.blocked_nodes == () and found.position == "5"


@pytest.mark.parametrize("value", [None, b"", b"text", b"[]", b"{}", b"\xff"])
def test_what_is_no_registration_is_refused_by_its_key(value: bytes | None):
    with pytest.raises(InvalidSnapshot, match=r"x:1 \(key inaho/shop/members/x,1\)"):
        KEYS.snapshot([ConsulEntry("inaho/shop/members/x,1", 3, value)], "3")


@pytest.mark.parametrize("prefix", ["a b", "a:b", "a//b", "a/../b", "käse", "/a", "a/"])
def test_a_prefix_that_consul_refuses_is_refused_at_once(prefix: str):
    with pytest.raises(ProviderInvalid, match="Consul takes no keys"):
        ConsulKeys(prefix, "consul")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("consul://a/shop?waits=1", "unknown option waits; known are wait_s"),
        ("consul://a/shop?ca=ca.pem", "unknown option ca; known are wait_s"),
        ("consuls://a/shop?tls=1", "unknown option tls; known are ca, cert, key, server_name, wait_s"),
        ("consul://a/shop?wait_s=61", "wait_s must be a number from 1 to 60, not '61'"),
        ("consul://a/shop?wait_s=soon", "wait_s must be a number from 1 to 60, not 'soon'"),
        ("consul:///shop", "names no server"),
    ],
)
def test_a_url_that_is_wrong_is_refused(url: str, wrong: str):
    with pytest.raises(ProviderInvalid, match=re.escape(wrong)) as caught:
        make_provider(ProviderDescriptor(name="c1", url=url), "shop", ProvisioningConfig())
    assert "c1" in caught.value.reason
