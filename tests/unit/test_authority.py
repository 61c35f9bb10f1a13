"""Authorities have one spelling, and what is wrong with a text is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.authority import Authority, is_loopback_address, parse_authority
from inaho.errors import InvalidConfig


@pytest.mark.parametrize(
    ("text", "host", "port", "spelling"),
    [
        ("127.0.0.1:7700", "127.0.0.1", 7700, "127.0.0.1:7700"),
        ("localhost:0", "localhost", 0, "localhost:0"),
        ("Node-1.Example.ORG:65535", "node-1.example.org", 65535, "node-1.example.org:65535"),
        ("compose_service:1", "compose_service", 1, "compose_service:1"),
        ("[::1]:7700", "::1", 7700, "[::1]:7700"),
        ("[0:0::0001]:7700", "::1", 7700, "[::1]:7700"),
        ("[2001:DB8::A]:7700", "2001:db8::a", 7700, "[2001:db8::a]:7700"),
    ],
)
def test_one_spelling(text: str, host: str, port: int, spelling: str) -> None:
    parsed = parse_authority(text)
    assert parsed == Authority(host, port)
    assert str(parsed) == spelling
    assert parse_authority(spelling) == parsed


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no port"),
        ("host", "no port"),
        (":7700", "no host"),
        ("host:", "port ''"),
        ("host:http", "port 'http'"),
        ("host:65536", "port '65536'"),
        ("host:-1", "port '-1'"),
        ("host:07700", "port '07700'"),
        ("host:+1", "port"),
        ("host:\u0667", "port"),
        ("host: 1", "port"),
        ("host:1\n", "port"),
        ("http://host:1", "URL"),
        ("::1:7700", "brackets"),
        ("[::1:7700", "bracket"),
        ("[::1]7700", "bracket"),
        ("[::g]:1", "not an IPv6 address"),
        ("[1.2.3.4]:1", "not an IPv6 address"),
        ("[fe80::1%eth0]:1", "zone"),
        ("127.1:1", "not an IPv4 address"),
        ("256.1.1.1:1", "not an IPv4 address"),
        ("a b:1", "'a b'"),
        ("-a:1", "'-a'"),
        ("a..b:1", "''"),
        ("a.:1", "''"),
        ("x" * 64 + ":1", "x" * 64),
        ("a." * 130 + "a:1", "longer than"),
        ("user@host:1", "'user@host'"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_authority(text)
    assert named in str(caught.value)


def test_port_zero_can_be_forbidden() -> None:
    with pytest.raises(InvalidConfig, match="port 0"):
        parse_authority("host:0", allow_port_zero=False)


@given(st.text(max_size=40))
def test_any_text_parses_to_itself_or_is_refused(text: str) -> None:
    try:
        parsed = parse_authority(text)
    except InvalidConfig:
        return
    assert parse_authority(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("localhost", False)],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback_address(address) is loopback
