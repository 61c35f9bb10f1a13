"""Failures on the wire: what is raised there is raised here."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inaho import errors
from inaho.errors import InahoError, RemoteError
from inaho.wire.exceptions import GrainError, as_seen_by_caller, decode_failure, encode_failure
from support.raised_errors import (
    INAHO_ERRORS,
    ChangelingError,
    OutOfStockError,
    PickyError,
    UnspeakableError,
    arguments,
    cross,
    failure,
    plain,
    raised,
    texts,
)

# Errors of ours.


@pytest.mark.parametrize("maybe_executed", [True, False])
@pytest.mark.parametrize("kind", INAHO_ERRORS, ids=lambda kind: kind.__name__)
def test_our_errors_arrive_as_they_were(kind: type[InahoError], maybe_executed: bool) -> None:
    sent = kind("it broke: ä 稲", identity="Other/bob", authority="[::1]:9", maybe_executed=maybe_executed)
    got = cross(sent)
    assert type(got) is kind
    assert (got.code, got.reason, got.identity, got.authority, got.maybe_executed) == (
        kind.code, "it broke: ä 稲", "Other/bob", "[::1]:9", maybe_executed,
    )  # fmt: skip


def test_an_error_that_does_not_know_its_place_gets_that_of_the_call() -> None:
    got = cross(errors.Overloaded("full"))
    assert isinstance(got, errors.Overloaded)
    assert (got.identity, got.authority, got.maybe_executed) == ("Cart/alice", "10.0.0.1:7700", False)


@pytest.mark.parametrize("maybe_executed", [True, False])
def test_a_remote_error_is_passed_on_as_it_was(maybe_executed: bool) -> None:
    sent = RemoteError(
        identity="Far/away", authority="h:1", maybe_executed=maybe_executed, type_name="shop.Empty", message="no cart",
        remote_traceback="Traceback …",
    )  # fmt: skip
    got = cross(sent)
    assert isinstance(got, RemoteError) and vars(got) == vars(sent)


def test_an_error_of_a_code_that_is_known_here_only_is_told() -> None:
    class ShopClosedError(InahoError):
        code = "shop_closed"

    got = cross(ShopClosedError("at night", maybe_executed=True))
    assert isinstance(got, RemoteError) and got.maybe_executed
    assert "shop_closed" in got.reason and "at night" in got.reason
    again = cross(got)
    assert isinstance(again, RemoteError) and again.reason == got.reason


# Exceptions of users.


@given(texts, st.integers(-(2**63), 2**63 - 1))
def test_a_registered_exception_arrives_as_itself(sku: str, left: int) -> None:
    sent = raised(OutOfStockError(sku, left))
    sent.note = [sku]  # type: ignore[attr-defined]
    got = cross(sent)
    assert type(got) is OutOfStockError
    assert (got.sku, got.left, got.args, got.note) == (sku, left, (sku, left), [sku])  # type: ignore[attr-defined]
    shown = "".join(traceback.format_exception(got))
    assert "raised by Cart/alice at 10.0.0.1:7700" in shown and "in raised" in shown


@given(
    st.lists(plain, max_size=3),
    st.dictionaries(texts.filter(lambda name: not hasattr(BaseException, name)), plain, max_size=3),
)
def test_arguments_and_attributes_round_trip(values: list[Any], attributes: dict[str, Any]) -> None:
    sent = GrainError(*values)
    vars(sent).update(attributes)
    got = cross(sent)
    assert type(got) is GrainError
    assert list(got.args) == values
    assert {name: value for name, value in vars(got).items() if name != "__notes__"} == attributes


@pytest.mark.parametrize(
    "sent",
    [
        ValueError("x"), KeyError("k"), ZeroDivisionError(), FileNotFoundError(2, "No such file"), TimeoutError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), NotImplementedError("later"), OSError(5, "io"),
        RecursionError("deep"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_python_s_own_errors_arrive_as_themselves(sent: Exception) -> None:
    got = cross(sent)
    assert type(got) is type(sent) and str(got) == str(sent)


def test_one_that_is_not_registered_arrives_as_a_remote_error() -> None:
    class StrangerError(Exception):
        pass

    got = cross(raised(StrangerError("who?")))
    assert isinstance(got, RemoteError)
    assert got.type_name.endswith("StrangerError") and got.message == "who?"
    assert "StrangerError: who?" in got.remote_traceback and got.maybe_executed
    assert (got.identity, got.authority) == ("Cart/alice", "10.0.0.1:7700")
    assert cross(StrangerError(), executed=False).maybe_executed is False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "what", [object(), 2**70, lambda: None, {"deep": object()}], ids=["object", "long", "lambda", "inside"]
)
def test_a_registered_one_with_arguments_that_cannot_be_sent_is_told(what: object) -> None:
    got = cross(ValueError("price", what))
    assert isinstance(got, RemoteError) and got.type_name == "ValueError" and "price" in got.message


def test_a_list_that_contains_itself_is_told() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert isinstance(cross(GrainError(endless)), RemoteError)


@pytest.mark.parametrize("number", range(5))
def test_a_constructor_that_raises_here_does_not_hide_the_failure(number: int) -> None:
    name = f"{PickyError.__module__}.{PickyError.__qualname__}"
    got = decode_failure(failure(type_name=name, arguments=arguments(number), traceback="there"))
    assert isinstance(got, RemoteError) and got.type_name == name and got.remote_traceback == "there"


def test_a_constructor_that_gives_something_else_does_not_hide_the_failure() -> None:
    name = f"{ChangelingError.__module__}.{ChangelingError.__qualname__}"
    assert isinstance(decode_failure(failure(type_name=name, arguments=arguments())), RemoteError)


@given(st.text(max_size=30))
@example("\ud800")
def test_text_without_an_encoding_is_still_told(text: str) -> None:
    for error in (ValueError(text), UnspeakableError(text), errors.Overloaded(text, identity=text)):
        cross(error)
    assert cross(FileNotFoundError(2, "No such file", "\udcff")).__class__ in (FileNotFoundError, RemoteError)


def test_an_exception_that_has_no_text_is_told_by_its_type() -> None:
    got = cross(raised(UnspeakableError()))
    assert isinstance(got, RemoteError) and "KeyError" in got.message and got.type_name.endswith("UnspeakableError")


@pytest.mark.parametrize(
    "signal", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError("x")], ids=repr
)
def test_what_ends_a_process_arrives_as_a_remote_error(signal: BaseException) -> None:
    got = cross(signal)
    assert isinstance(got, RemoteError) and got.type_name.rpartition(".")[2] == type(signal).__name__


class Signal(BaseException):
    """No error to Python: it cannot be registered."""


def test_only_what_can_be_registered_is_advised_to_be() -> None:
    for got in (cross(raised(UnspeakableError())), cross(cross(raised(UnspeakableError())))):
        assert isinstance(got, RemoteError) and "register_exception" in str(got)
    for error in (Signal("b"), BaseExceptionGroup("g", [Signal("b")]), SystemExit(3)):
        got = cross(raised(error))
        for passed_on in (got, cross(got)):
            assert isinstance(passed_on, RemoteError) and "register_exception" not in str(passed_on)
            assert "its class cannot be registered" in str(passed_on)
            assert passed_on.type_name.rpartition(".")[2] == type(error).__name__
            assert passed_on.message and "in raised" in passed_on.remote_traceback


@pytest.mark.parametrize(
    "error",
    [
        GrainError("x" * 5_000_000), ValueError(list(range(1_000_000))),
        errors.Overloaded("r" * 5_000_000, identity="i" * 5_000_000),
        RemoteError(type_name="t" * 5_000_000, message="\ud800" * 5_000_000, remote_traceback="b" * 5_000_000),
        UnspeakableError("x" * 5_000_000),
    ],
    ids=["user", "builtin", "ours", "remote", "stranger"],
)  # fmt: skip
def test_a_failure_fits_in_a_frame_whatever_was_raised(error: Exception) -> None:
    body = encode_failure(raised(error), identity="I" * 5_000_000, authority="h:1", executed=True)
    assert len(body) < 512 << 10
    assert isinstance(decode_failure(body), Exception)


def test_a_caller_on_the_same_node_gets_what_one_elsewhere_would() -> None:
    class LocalError(Exception):
        pass

    ours, users, stranger = errors.Pending("p"), OutOfStockError("apple"), LocalError("l")
    assert as_seen_by_caller(ours, identity="i", authority="a") is ours
    assert (ours.identity, ours.authority) == ("i", "a")
    plain = ValueError("short", 5)
    assert as_seen_by_caller(plain, identity="i", authority="a") is plain
    made = as_seen_by_caller(users, identity="i", authority="a")
    assert isinstance(made, OutOfStockError)
    assert (made.args, made.sku, made.left) == (users.args, "apple", 0)
    seen = as_seen_by_caller(stranger, identity="i", authority="a")
    assert isinstance(seen, RemoteError) and seen.__cause__ is None and seen.message == "l"


@pytest.mark.parametrize("values", [(), (1,), ("message",), ("message", [1])], ids=repr)
def test_a_group_without_members_is_none(values: tuple[Any, ...]) -> None:
    got = decode_failure(failure(type_name="ExceptionGroup", arguments=arguments(*values)))
    assert type(got) is RemoteError and got.type_name == "ExceptionGroup"
