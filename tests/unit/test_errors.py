"""The tree of errors: one code per class, and an answer to the same three questions from each."""

from __future__ import annotations

import ast
import asyncio
import copy
import re
from pathlib import Path

import pytest

import inaho
from inaho import errors
from inaho.errors import InahoError, RemoteError, Timeout, error_from_code
from inaho.errors.inspection import describe

LEVELS = ("debug", "info", "warning", "error", "critical", "log")


def tree(kind: type[InahoError] = InahoError) -> list[type[InahoError]]:
    """Every error of the module; classes that tests derive from them are none of it."""
    found = [kind]
    for child in kind.__subclasses__():
        if child.__module__.startswith(errors.__name__):
            found += tree(child)
    return found


ALL = tree()
NAMES = [kind.__name__ for kind in ALL]


def test_every_error_is_exported_and_nothing_else_is() -> None:
    assert sorted({*NAMES, "error_from_code"}) == sorted(errors.__all__)


def test_codes_are_stable_names_and_unique() -> None:
    codes = [kind.code for kind in ALL]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
    assert all("code" in vars(kind) for kind in ALL), "a code that is inherited names another class"


@pytest.mark.parametrize("kind", ALL, ids=NAMES)
def test_an_error_says_what_where_and_whether_it_ran(kind: type[InahoError]) -> None:
    error = kind("it broke", identity="Cart/alice", authority="10.0.0.1:7700")
    assert (error.reason, error.identity, error.authority) == ("it broke", "Cart/alice", "10.0.0.1:7700")
    assert error.maybe_executed is kind.maybe_executed_default
    assert str(error).startswith("Cart/alice at 10.0.0.1:7700: it broke")
    assert ("the call may have run" in str(error)) == error.maybe_executed
    assert kind.advice in str(error)


@pytest.mark.parametrize("maybe_executed", [True, False])
@pytest.mark.parametrize("kind", ALL, ids=NAMES)
def test_whoever_raises_knows_better_than_the_class(kind: type[InahoError], maybe_executed: bool) -> None:
    assert kind("x", maybe_executed=maybe_executed).maybe_executed is maybe_executed


@pytest.mark.parametrize("kind", ALL, ids=NAMES)
def test_an_error_can_be_made_of_nothing(kind: type[InahoError]) -> None:
    error = kind()
    assert (error.reason, error.identity, error.authority) == ("", "", "")
    assert isinstance(str(error), str)


@pytest.mark.parametrize("kind", ALL, ids=NAMES)
def test_a_code_gives_its_class_back(kind: type[InahoError]) -> None:
    error = error_from_code(kind.code, "r", identity="i", authority="a", maybe_executed=True)
    assert type(error) is kind
    assert (error.reason, error.identity, error.authority, error.maybe_executed) == ("r", "i", "a", True)


@pytest.mark.parametrize("code", ["", "nobody_knows", "Timeout", "__class__", "timeout ", "\u0000"])
def test_an_unknown_code_is_told_and_not_guessed(code: str) -> None:
    error = error_from_code(code, "the reason", identity="i", authority="a", maybe_executed=False)
    assert type(error) is RemoteError
    assert repr(code) in error.reason and "the reason" in error.reason
    assert (error.identity, error.authority, error.maybe_executed) == ("i", "a", False)


@pytest.mark.parametrize("kind", ALL, ids=NAMES)
def test_a_copy_is_the_same_error(kind: type[InahoError]) -> None:
    error = kind("it broke", identity="Cart/alice", authority="10.0.0.1:7700", maybe_executed=True)
    for twin in (copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind and twin is not error
        assert vars(twin) == vars(error) and twin.args == error.args and str(twin) == str(error)


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(Timeout, TimeoutError)
    assert issubclass(errors.InvalidArguments, TypeError)
    assert issubclass(errors.InvalidConfig, ValueError)
    assert issubclass(errors.InvalidGrain, TypeError)


def test_a_remote_error_shows_what_was_raised_and_where() -> None:
    error = RemoteError(identity="Cart/a", type_name="shop.Empty", message="no cart", remote_traceback="Traceback …")
    assert error.reason == "shop.Empty: no cart"
    assert "shop.Empty: no cart" in str(error) and str(error).endswith("Traceback …")
    assert "inaho.register_exception" in str(error) and "inaho.GrainError" in error.advice
    assert RemoteError(message="only this").reason == "only this"
    assert RemoteError("unknown error code").advice == ""


def test_a_description_of_an_error_is_never_empty() -> None:
    assert describe(TimeoutError()) == "TimeoutError: no answer in time"
    assert describe(asyncio.CancelledError()) == "CancelledError"
    assert describe(ConnectionResetError(104, "reset by peer")) == "ConnectionResetError: [Errno 104] reset by peer"
    assert describe(Timeout("late", authority="a:1")).startswith("Timeout: a:1: late (the call may have run)")
    assert describe(errors.Pending()).startswith("Pending: Pending; retry")
    assert RemoteError(type_name="shop.Empty").reason == "shop.Empty"


def test_no_log_line_has_the_bare_text_of_an_error_which_may_be_empty() -> None:
    """`%s` of a `TimeoutError` is nothing: logs take `describe(error)`, or `exc_info=error` for the traceback."""
    bare: list[str] = []
    for path in sorted(Path(inaho.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ExceptHandler) or node.name is None:
                continue
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS:
                    arguments = [given.id for given in call.args[1:] if isinstance(given, ast.Name)]
                    if node.name in arguments and "%r" not in ast.unparse(call.args[0]):
                        bare.append(f"{path.name}:{call.lineno}")
    assert bare == []
