"""Which exceptions can be registered, under which names, and which are expected."""

from __future__ import annotations

from typing import Any

import pytest

from inaho.errors import InvalidConfig, RemoteError
from inaho.wire import exceptions
from inaho.wire.exceptions import GrainError, is_expected, register_exception
from support.raised_errors import cross


def test_a_name_belongs_to_one_class() -> None:
    class FirstError(Exception):
        pass

    class SecondError(Exception):
        pass

    assert register_exception(FirstError, "tests.first") is FirstError
    register_exception(FirstError, "tests.first")
    with pytest.raises(InvalidConfig, match=r"tests\.first"):
        register_exception(SecondError, "tests.first")
    with pytest.raises(InvalidConfig, match="ValueError"):
        register_exception(SecondError, "ValueError")
    assert type(cross(FirstError(1))) is FirstError
    assert isinstance(cross(SecondError(1)), RemoteError)


def test_names_of_registered_classes_are_unique_and_lead_back() -> None:
    assert len(set(exceptions._names.values())) == len(exceptions._names)
    for kind, name in exceptions._names.items():
        assert exceptions._by_name[name] is kind


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException, StopIteration, StopAsyncIteration]
)
def test_signals_to_python_cannot_be_registered(kind: Any) -> None:
    with pytest.raises(InvalidConfig, match="cannot cross the wire"):
        register_exception(kind)
    with pytest.raises(InvalidConfig, match="cannot cross the wire"):
        register_exception(type("Derived", (kind,), {}), "tests.derived")
    assert "tests.derived" not in exceptions._by_name


@register_exception
class ExpectedError(Exception):
    """What a program expects."""


def test_expected_is_what_the_program_has_registered():
    assert is_expected(ExpectedError("x"))
    assert is_expected(GrainError("x"))
    assert not is_expected(ValueError("x"))
    assert not is_expected(RemoteError(type_name="x.Y", message="z"))
    assert is_expected(ExceptionGroup("both", [ExpectedError("x"), ExceptionGroup("one", [GrainError("y")])]))
    assert not is_expected(ExceptionGroup("one is a mistake", [ExpectedError("x"), KeyError("y")]))
