"""What goes to standard output and to standard error, and the exit codes."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import msgspec
import pytest
import typer

from inaho.cli.command_runner import run_command
from inaho.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, Output, date_and_time, describe_error
from inaho.errors import (
    InahoError,
    InvalidConfig,
    InvalidGrain,
    InvalidPid,
    NoSuchKind,
    RemoteError,
    SerializationFailed,
    Timeout,
)


def exit_code(output: Output, command: Any) -> int:
    with pytest.raises(typer.Exit) as ended:
        run_command(output, command)
    return ended.value.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidConfig("no"), EXIT_USAGE),
        (InvalidGrain("no"), EXIT_USAGE),
        (InvalidPid("no"), EXIT_USAGE),
        (InvalidPid("no", maybe_executed=True), EXIT_FAILED),
        (NoSuchKind("no"), EXIT_FAILED),
        (Timeout("no"), EXIT_FAILED),
    ],
)
def test_a_failure_ends_the_command_with_code_and_reason(
    capsys: pytest.CaptureFixture[str], error: InahoError, code: int
):
    async def command() -> int:
        raise error

    assert exit_code(Output(as_json=True), command) == code
    written = capsys.readouterr()
    assert msgspec.json.decode(written.out) == {"error": describe_error(error)}
    assert f"error [{error.code}]: no" in written.err
    assert exit_code(Output(as_json=False), command) == code
    assert capsys.readouterr().out == ""


def test_the_commands_own_exit_code_is_passed_on():
    async def command() -> int:
        return 1

    assert exit_code(Output(as_json=False), command) == 1


def test_a_cancelled_command_is_interrupted(capsys: pytest.CaptureFixture[str]):
    async def command() -> int:
        raise asyncio.CancelledError

    assert exit_code(Output(as_json=True), command) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_an_error_is_described_with_all_that_a_caller_asks():
    described = describe_error(Timeout("late", identity="K/k", authority="h:1"))
    assert described == {
        "code": "timeout",
        "reason": "late",
        "identity": "K/k",
        "authority": "h:1",
        "maybe_executed": True,
        "advice": Timeout.advice,
    }
    remote = describe_error(RemoteError(type_name="ValueError", message="bad", remote_traceback="Traceback"))
    assert (remote["type_name"], remote["remote_traceback"]) == ("ValueError", "Traceback")


def test_values_are_text_or_json_for_people_and_one_line_of_json_for_programs(capsys: pytest.CaptureFixture[str]):
    Output(as_json=False).value("plain", name="result")
    Output(as_json=False).value({"a": [1, 2]}, name="result")
    Output(as_json=False).value(None, name="result")
    assert capsys.readouterr().out == 'plain\n{\n  "a": [\n    1,\n    2\n  ]\n}\nnull\n'
    Output(as_json=True).value({"a": [1, 2]}, name="result")
    assert capsys.readouterr().out == '{"result":{"a":[1,2]}}\n'


def test_what_json_cannot_express_is_a_failure_and_not_a_traceback():
    with pytest.raises(SerializationFailed, match="cannot be written as JSON") as failed:
        Output(as_json=True).document("a lone surrogate: \ud800")
    assert failed.value.maybe_executed, "the call had its answer"


def test_tables_and_text_are_for_people(capsys: pytest.CaptureFixture[str]):
    for as_json in (True, False):
        output = Output(as_json=as_json)
        output.table("things", ("name", "colour"), [("[red]brick[/red]", "x" * 100)])
        output.text("done")
        written = capsys.readouterr().out
        assert ("[red]brick[/red]" in written and "x" * 100 in written and "done" in written) is not as_json


def test_an_exception_of_a_grain_is_told_without_advice_for_programs(capsys: pytest.CaptureFixture[str]):
    error = RemoteError(identity="Shop/a", type_name="shop.OutOfStock", message="no rice")
    assert "register_exception" in str(error)
    assert Output(as_json=True).failure(error) == 1
    said = capsys.readouterr()
    assert "shop.OutOfStock: no rice" in said.err
    assert "register_exception" not in said.err + said.out


def test_a_time_that_may_be_days_ago_is_written_with_its_date():
    at = datetime(2026, 5, 1, 14, 3, 9, 900_000).astimezone().timestamp()
    assert date_and_time(at) == "2026-05-01 14:03:09"
