"""Failures that a peer makes up: it can construct nothing that it should not."""

from __future__ import annotations

import asyncio
import builtins
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inaho.errors import InahoError, RemoteError, error_from_code
from inaho.wire import exceptions
from inaho.wire.exceptions import decode_failure
from support.raised_errors import NOT_EXCEPTIONS, SIGNALS, OutOfStockError, arguments, failure, plain, texts


def test_every_registered_builtin_can_be_raised_into_a_future() -> None:
    loop = asyncio.new_event_loop()
    try:
        for name, kind in exceptions._by_name.items():
            if kind.__module__ == "builtins":
                future: asyncio.Future[None] = loop.create_future()
                error = decode_failure(failure(type_name=name, arguments=arguments()))
                future.set_exception(error)
                assert future.exception() is error
    finally:
        loop.close()


@pytest.mark.parametrize("name", SIGNALS + NOT_EXCEPTIONS)
@pytest.mark.parametrize("values", [(), (1,), ("message", [1])], ids=repr)
def test_a_peer_constructs_only_what_is_registered(name: str, values: tuple[Any, ...]) -> None:
    assert name not in exceptions._by_name
    got = decode_failure(failure(type_name=name, arguments=arguments(*values)))
    assert type(got) is RemoteError and got.type_name == name


def test_no_signal_is_among_what_a_peer_can_construct() -> None:
    for kind in exceptions._by_name.values():
        assert issubclass(kind, Exception)
        assert not issubclass(kind, StopIteration | StopAsyncIteration | Warning)
    reachable = {kind for kind in exceptions._names if kind.__module__ == builtins.__name__}
    assert SystemExit not in reachable and ValueError in reachable


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(arguments(1, 2, 3, 4, 5), id="too many"),
        pytest.param(arguments(), id="too few"),
        pytest.param(b"\xc1", id="no msgpack"),
        pytest.param(msgspec.msgpack.encode([1, 2]), id="another shape"),
        pytest.param(msgspec.msgpack.encode(([1], {}, 3)), id="a third part"),
        pytest.param(b"\x92\xdd\xff\xff\xff\xff", id="four billion arguments"),
        pytest.param(b"\x92\x91" + b"\x91" * 50_000 + b"\xc0\x80", id="deep"),
    ],
)
def test_arguments_that_do_not_fit_leave_a_remote_error(body: bytes) -> None:
    name = exceptions._names[OutOfStockError]
    got = decode_failure(failure(type_name=name, arguments=body, reason="why"))
    assert type(got) is RemoteError and got.message == "why" and got.type_name == name


@pytest.mark.parametrize(
    "name", ["__notes__", "add_note", "with_traceback", "args", "__class__", "__dict__", "__str__", "__traceback__"]
)
@pytest.mark.parametrize("value", ["x", 1, None, ["y"], {"a": 1}], ids=repr)
def test_attributes_of_python_s_own_cannot_be_replaced(name: str, value: Any) -> None:
    body = failure(
        type_name="ValueError", arguments=msgspec.msgpack.encode((("v",), {name: value, "mine": 1})), traceback="there"
    )
    got = decode_failure(body)
    assert type(got) is ValueError and got.args == ("v",)
    assert vars(got)["mine"] == 1 and name not in vars(got).keys() - {"__notes__"}
    assert got.with_traceback(None) is got
    assert any("there" in note for note in got.__notes__)


@given(st.text(max_size=20) | st.sampled_from(["error", "remote_error", "timeout"]), texts)
def test_any_code_is_an_error(code: str, reason: str) -> None:
    got = error_from_code(code, reason)
    assert isinstance(got, InahoError) and reason in got.reason


@given(st.binary(max_size=200))
@example(b"\x98" + b"\x91" * 60_000)
@example(b"\x99\xa0\xa0\xa0\xa0\xc2\xa0\xa0\xc4\x00" + b"\x91" * 60_000)
def test_a_random_body_is_refused_or_an_exception(body: bytes) -> None:
    try:
        got = decode_failure(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    assert isinstance(got, Exception)


@given(
    st.sampled_from(sorted(exceptions._by_name)) | texts,
    st.binary(max_size=40)
    | st.builds(
        lambda a, d: msgspec.msgpack.encode((a, d)),
        st.lists(plain, max_size=6),
        st.dictionaries(texts, plain, max_size=2),
    ),
    texts,
)
def test_any_name_with_any_arguments_gives_an_exception(name: str, body: bytes, trace: str) -> None:
    got = decode_failure(failure(type_name=name, arguments=body, traceback=trace))
    assert isinstance(got, Exception) and not isinstance(got, StopIteration | StopAsyncIteration)
