"""What a kind and a key may be."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.core.identity.identity import KEY_BYTES_MAX, KIND_BYTES_MAX, identity, validate_key, validate_kind
from inaho.errors import InvalidPid
from inaho.types import ClusterIdentity


@pytest.mark.parametrize("kind", ["Cart", "shop.Cart", "_Hidden", "Éclair", "A1", "a" * KIND_BYTES_MAX])
def test_good_kinds(kind: str) -> None:
    validate_kind(kind)


@pytest.mark.parametrize(
    "kind",
    ["", "a/b", "1Cart", "Cart ", "a..b", ".a", "a.", "a-b", "a\nb", "a\x00", "<locals>", "\ud800", "é" * 101, None, 7],
)
def test_bad_kinds_are_refused_by_name(kind: object) -> None:
    with pytest.raises(InvalidPid, match=r"^kind must "):
        validate_kind(kind)


@pytest.mark.parametrize("key", ["a", "alice", "a/b", "稲穂", "with space", "…", "x" * KEY_BYTES_MAX, "é" * 512, "%2F"])
def test_good_keys(key: str) -> None:
    assert identity("Cart", key) == ClusterIdentity("Cart", key)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "1 to 1024 bytes"),
        ("x" * (KEY_BYTES_MAX + 1), "not 1025"),
        ("é" * 513, "not 1026"),
        ("a\nb", "control character at position 1"),
        ("\x00", "control character at position 0"),
        ("é\x85", "control character at position 1"),
        ("\x7f", "control character"),
        ("a\ud800", "lone surrogate at position 1"),
        (7, "must be a str, not int"),
        (b"a", "must be a str, not bytes"),
    ],
)
def test_bad_keys_are_refused_with_the_rule(key: object, reason: str) -> None:
    with pytest.raises(InvalidPid, match=reason) as caught:
        validate_key(key)
    assert caught.value.code == "invalid_pid"
    assert not caught.value.maybe_executed


@given(st.text(alphabet=st.characters(), max_size=40))
def test_a_key_passes_exactly_when_it_obeys_the_rule(key: str) -> None:
    categories = [unicodedata.category(character) for character in key]
    good = bool(key) and "Cc" not in categories and "Cs" not in categories
    if good:
        validate_key(key)
    else:
        with pytest.raises(InvalidPid):
            validate_key(key)


def test_a_long_bad_kind_is_cut_in_the_reason() -> None:
    with pytest.raises(InvalidPid) as caught:
        validate_kind("!" * 10_000)
    assert len(str(caught.value)) < 200
