"""Paths have one spelling each, and everything else is refused with the part that is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.core.identity.path import PATH_BYTES_MAX, ActorPath, parse_path
from inaho.core.identity.pid import format_pid, parse_pid, path_of, pid_of, resolve
from inaho.errors import InvalidPid, Unreachable
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid

BOOT = "0123456789abcdef"

texts = st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)
kinds = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}(\.[A-Za-z_][A-Za-z0-9_]{0,10})?", fullmatch=True) | st.just(
    "Éclair"
)
hosts = st.from_regex(r"[a-z][a-z0-9]{0,10}(\.[a-z][a-z0-9]{0,5})?", fullmatch=True) | st.sampled_from(
    ["127.0.0.1", "[::1]", "[2001:db8::7]"]
)
authorities = st.builds(lambda host, port: f"{host}:{port}", hosts, st.integers(1, 65535))
boots = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")
paths = st.builds(ActorPath, texts, authorities, kinds, texts, boots | st.just(""))
pids = st.builds(Pid, authorities, boots, st.builds(ClusterIdentity, kinds, texts))


def test_spelling() -> None:
    path = ActorPath("shop", "10.0.0.1:7700", "Cart", "alice/é 1", BOOT)
    assert str(path) == "inaho://shop@10.0.0.1:7700/Cart/alice%2F%C3%A9%201#0123456789abcdef"


@given(paths)
def test_every_path_reads_back(path: ActorPath) -> None:
    text = str(path)
    assert text.isascii()
    assert text.count("/") == 4
    assert parse_path(text) == path


@given(pids, texts)
def test_every_pid_reads_back(pid: Pid, cluster: str) -> None:
    assert parse_pid(format_pid(pid, cluster)) == pid
    assert pid_of(path_of(pid, cluster)) == pid


@given(paths, paths)
def test_two_paths_are_equal_exactly_when_their_texts_are(one: ActorPath, other: ActorPath) -> None:
    assert (one == other) == (str(one) == str(other))


@given(paths, st.data())
def test_a_damaged_text_is_refused_or_is_the_canonical_text_of_another_path(
    path: ActorPath, data: st.DataObject
) -> None:
    text = str(path)
    place = data.draw(st.integers(0, len(text)))
    character = data.draw(st.characters(max_codepoint=0x200) | st.sampled_from("%/@#:[].") | st.just(""))
    damaged = text[:place] + character + text[place + 1 :]
    try:
        parsed = parse_path(damaged)
    except InvalidPid as error:
        assert error.reason
    else:
        assert str(parsed) == damaged


@given(st.text(max_size=80))
def test_arbitrary_text_raises_nothing_but_invalid_pid(text: str) -> None:
    for candidate in (text, f"inaho://{text}", f"inaho://c@h:1/{text}", f"inaho://c@{text}/K/k"):
        try:
            parsed = parse_path(candidate)
        except InvalidPid:
            continue
        assert str(parsed) == candidate


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "scheme"),
        ("http://c@h:1/K/k", "scheme"),
        ("INAHO://c@h:1/K/k", "scheme"),
        ("inaho:/c@h:1/K/k", "scheme"),
        ("inaho://h:1/K/k", "cluster is missing"),
        ("inaho://@h:1/K/k", "cluster is empty"),
        ("inaho://c d@h:1/K/k", "cluster is not in canonical"),
        ("inaho://%0A@h:1/K/k", "cluster holds a control character"),
        ("inaho://c@h/K/k", "no port"),
        ("inaho://c@:1/K/k", "no host"),
        ("inaho://c@h:0/K/k", "port 0"),
        ("inaho://c@h:01/K/k", "port '01'"),
        ("inaho://c@h:65536/K/k", "port '65536'"),
        ("inaho://c@h:x/K/k", "port 'x'"),
        ("inaho://c@H:1/K/k", "canonical spelling; write h:1"),
        ("inaho://c@[0:0::1]:1/K/k", "canonical spelling; write"),
        ("inaho://c@a b:1/K/k", "host name"),
        ("inaho://c@1.2.3:1/K/k", "IPv4"),
        ("inaho://c@h:1", "kind is missing"),
        ("inaho://c@h:1/K", "key is missing"),
        ("inaho://c@h:1//k", "kind is empty"),
        ("inaho://c@h:1/1K/k", "kind must be a Python identifier"),
        ("inaho://c@h:1/%4B/k", "kind is not in canonical"),
        ("inaho://c@h:1/K/", "key is empty"),
        ("inaho://c@h:1/K/a/b", "key is not in canonical"),
        ("inaho://c@h:1/K/a%2fb", "key is not in canonical"),
        ("inaho://c@h:1/K/a%", "key is not in canonical"),
        ("inaho://c@h:1/K/%ff", "key is not in canonical|key is not percent-encoded"),
        ("inaho://c@h:1/K/%FF", "key is not percent-encoded UTF-8"),
        ("inaho://c@h:1/K/a%0Ab", "key holds a control character"),
        ("inaho://c@h:1/K/é", "key is not in canonical"),
        ("inaho://c@h:1/K/\ud800", "key is not"),
        ("inaho://c@h:1/K/" + "k" * 1025, "key must have 1 to 1024"),
        ("inaho://c@h:1/K/k#", "node id is missing"),
        ("inaho://c@h:1/K/k#0123", "node id must be 16"),
        ("inaho://c@h:1/K/k#0123456789ABCDEF", "node id must be 16"),
        ("inaho://c@h:1/K/k?x=1", "key is not in canonical"),
        ("inaho://" + "c" * PATH_BYTES_MAX, "at most 8192 characters"),
    ],
)
def test_a_malformed_path_names_the_part(text: str, part: str) -> None:
    """SPEC CL-2.4."""
    with pytest.raises(InvalidPid, match=part):
        parse_path(text)


def test_the_longest_names_fit() -> None:
    path = ActorPath("é" * 100, "h" * 63 + ":65535", "é" * 100, "é" * 512, BOOT)
    assert parse_path(str(path)) == path


def test_a_path_without_boot_is_no_pid() -> None:
    with pytest.raises(InvalidPid, match="node id is missing"):
        parse_pid("inaho://c@h:1/K/k")
    with pytest.raises(InvalidPid, match="node id is missing"):
        path_of(Pid("h:1", "", ClusterIdentity("K", "k")), "c")


def test_resolution_uses_the_membership() -> None:
    """SPEC CL-2.1, CL-2.2."""
    up = Member("h:1", BOOT, 1, MemberStatus.UP)
    gone = Member("h:2", BOOT, 1, MemberStatus.UNREACHABLE)
    members = (up, gone)
    expected = Pid("h:1", BOOT, ClusterIdentity("K", "k"))
    assert resolve(ActorPath("c", "h:1", "K", "k"), members) == expected
    assert resolve(ActorPath("c", "h:1", "K", "k", BOOT), members) == expected
    with pytest.raises(Unreachable, match="the member is unreachable"):
        resolve(ActorPath("c", "h:2", "K", "k"), members)
    with pytest.raises(Unreachable, match="runs as 0123456789abcdef"):
        resolve(ActorPath("c", "h:1", "K", "k", "f" * 16), members)
    with pytest.raises(Unreachable, match="no member has this authority") as caught:
        resolve(ActorPath("c", "h:3", "K", "k"), members)
    assert caught.value.identity == "K/k"
    assert caught.value.authority == "h:3"
