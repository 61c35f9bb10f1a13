"""Hostile bytes and values: nothing is executed, and what cannot be decoded or encoded is one of our errors."""

from __future__ import annotations

import ast
import typing
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inaho
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, decoder, encode
from inaho.wire.exceptions import encode_failure
from inaho.wire.frames import ChainLink, pack_fields
from support.encoded_types import ROUND_TRIPS, Box, Customer, Order, Pair, Settings, Tree


class Canary:
    """Writes a file when something that trusts `__reduce__` makes a copy of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "it was executed")

    def __reduce_ex__(self, protocol: typing.SupportsIndex) -> tuple[Any, ...]:
        return self.__reduce__()


def test_nothing_that_reduces_is_executed_or_encoded(tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    for value in (canary, [canary], {"x": (canary,)}, Box(canary), Order(canary)):  # type: ignore[arg-type]
        with pytest.raises(ENCODE_ERRORS):
            encode(value)
    with pytest.raises(ENCODE_ERRORS):
        pack_fields(None, (ChainLink("Kind", canary, "node", 1),), "")  # type: ignore[arg-type]
    error = inaho.GrainError("x", canary)
    error.extra = canary  # type: ignore[attr-defined]
    assert b"executed" not in encode_failure(error, identity="i", authority="a", executed=True)
    assert not canary.path.exists()


def test_no_module_of_ours_knows_pickle() -> None:
    forbidden = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
    root = Path(inaho.__file__).parent
    modules = sorted(root.rglob("*.py"))
    assert len(modules) > 50
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "__import__", "import_module",
            ):  # fmt: skip
                names = [str(part.value) for part in node.args if isinstance(part, ast.Constant)]
            imported = {part for name in names for part in name.split(".")}
            assert not imported & forbidden, f"{path}:{getattr(node, 'lineno', 0)} imports {imported & forbidden}"


class Shy(msgspec.Struct):
    value: int


class Grumpy(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        raise KeyError("not with me")


class GrumpyModel(pydantic.BaseModel):
    value: int

    @pydantic.model_validator(mode="after")
    def refuse(self) -> GrumpyModel:
        raise LookupError("not with me")

    @pydantic.model_serializer
    def dump(self) -> dict[str, Any]:
        raise LookupError("not with me either")


@pytest.mark.parametrize("kind", [Grumpy, GrumpyModel, list[Grumpy], dict[str, GrumpyModel]], ids=repr)
def test_whatever_a_user_s_validator_raises_is_among_the_decode_errors(kind: Any) -> None:
    inner: Any = {"value": 1}
    body = [inner] if kind == list[Grumpy] else {"k": inner} if kind == dict[str, GrumpyModel] else inner
    with pytest.raises(DECODE_ERRORS, match="not with me"):
        decoder(kind)(encode(body))


def test_whatever_a_user_s_value_raises_is_among_the_encode_errors() -> None:
    unset = Shy(1)
    del unset.value
    endless: list[Any] = []
    endless.append(endless)
    for value in (unset, endless, 2**64, -(2**63) - 1, "\ud800", GrumpyModel.model_construct(value=1), object(), 1j):
        with pytest.raises(ENCODE_ERRORS):
            encode(value)


BOMBS = {
    "deep arrays": b"\x91" * 1_000_000,
    "deep arrays, closed": b"\x91" * 1_000_000 + b"\xc0",
    "deep maps": b"\x81\xa1a" * 300_000 + b"\xc0",
    "deep maps by maps": b"\x81" * 1_000_000,
    "four billion items": b"\xdd\xff\xff\xff\xff" + b"\xc0" * 100,
    "four billion entries": b"\xdf\xff\xff\xff\xff" + b"\xa1a\xc0" * 100,
    "four gigabytes of text": b"\xdb\xff\xff\xff\xff" + b"a" * 100,
    "four gigabytes of bytes": b"\xc6\xff\xff\xff\xff" + b"a" * 100,
    "four gigabytes of extension": b"\xc9\xff\xff\xff\xff\x01" + b"a" * 100,
    "nested promises": b"\xdd\xff\xff\xff\xff" * 200,
    "never used": b"\xc1",
    "no text": b"\xa2\xff\xfe",
    "timestamp beyond time": b"\xc7\x0c\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    "nothing": b"",
}
VICTIMS = [
    Any, list, list[Any], dict[str, Any], set[str], frozenset[int], tuple[int, ...], str, bytes, Tree, Order, Box[Any],
    Settings, Customer, Pair, tuple[str, Any],
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("kind", VICTIMS, ids=repr)
def test_a_bomb_is_an_error_and_not_a_crash(kind: Any, bomb: str) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError, RecursionError)):
        decoder(kind)(BOMBS[bomb])


@given(st.sampled_from(sorted(ROUND_TRIPS)), st.data())
def test_mutated_bytes_decode_to_the_type_or_are_refused(name: str, data: st.DataObject) -> None:
    kind, values = ROUND_TRIPS[name]
    mutated = bytearray(encode(data.draw(values)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(mutated)))
        mutated[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        got = decoder(kind)(bytes(mutated))
    except DECODE_ERRORS:
        return
    assert decoder(kind)(encode(got)) == got or "nan" in repr(got)


@given(st.sampled_from(VICTIMS), st.binary(max_size=100))
def test_random_bytes_decode_or_are_refused(kind: Any, body: bytes) -> None:
    try:
        decoder(kind)(body)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return
