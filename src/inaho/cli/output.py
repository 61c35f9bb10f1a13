"""Writes the output of all commands: JSON or text, and the exit code.

Standard output carries the answer: JSON documents, or text and tables for a person. Standard error carries everything
else, failures included, so that a pipe never mixes the two.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from inaho.errors import (
    InahoError,
    InvalidConfig,
    InvalidGrain,
    InvalidPid,
    InvalidTopic,
    ProviderInvalid,
    RemoteError,
    SerializationFailed,
)

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_USAGE",
    "Output",
    "date_and_time",
    "describe_error",
    "time_of_day",
    "to_json",
]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
"""128 plus the number of SIGINT, as in shells."""

_USAGE_ERRORS: Final = (InvalidConfig, InvalidGrain, InvalidPid, InvalidTopic, ProviderInvalid)
"""Errors of wrong use: the same command gives the same error again. A grain that ran may raise them too."""


def describe_error(error: InahoError) -> dict[str, Any]:
    """An error as plain data, for JSON documents.

    Returns:
        `code`, `reason`, `identity`, `authority`, `maybe_executed` and `advice`; for an exception of a grain also
        `type_name` and `remote_traceback`.
    """
    described: dict[str, Any] = {
        "code": error.code,
        "reason": error.reason,
        "identity": error.identity,
        "authority": error.authority,
        "maybe_executed": error.maybe_executed,
        "advice": error.advice,
    }
    if isinstance(error, RemoteError):
        described |= {"type_name": error.type_name, "remote_traceback": error.remote_traceback}
    return described


def date_and_time(at: float) -> str:
    """A time in seconds since the epoch as the local date and time, to the second."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def time_of_day(at: float) -> str:
    """A time in seconds since the epoch as the local time of day, to the millisecond."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S.%f")[:-3]


class Output:
    """Writes the output of one command.

    Args:
        as_json: write JSON instead of text and tables.

    Attributes:
        as_json: the same.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def document(self, value: Any) -> None:
        """Writes one JSON document on one line.

        Raises:
            SerializationFailed: JSON cannot express the value.
        """
        self._write(to_json(value).decode())

    def text(self, line: str) -> None:
        """Writes a line for a person; nothing under `--json`."""
        if not self.as_json:
            self._write(line)

    def note(self, line: str) -> None:
        """Writes a line to standard error, under `--json` too."""
        with contextlib.suppress(BrokenPipeError):
            print(line, file=sys.stderr, flush=True)

    def value(self, value: Any, *, name: str) -> None:
        """Writes one answer: `{name: value}` under `--json`; else text as it is, and anything else as JSON.

        Raises:
            SerializationFailed: JSON cannot express the value.
        """
        if self.as_json:
            self.document({name: value})
        elif isinstance(value, str):
            self._write(value)
        else:
            self._write(msgspec.json.format(to_json(value)).decode())

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Writes a table for a person; nothing under `--json`."""
        if self.as_json:
            return
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        sys.stdout.flush()
        # A file or a pipe has no width; rows must not be wrapped there to the width of a default terminal.
        Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False).print(table)

    def failure(self, error: InahoError, **known: Any) -> int:
        """Writes why the command failed: to standard error, and as `{"error": …}` under `--json`.

        Args:
            error: what happened.
            known: further members of the JSON document.

        Returns:
            The exit code of the command.
        """
        if isinstance(error, RemoteError):
            error.advice = ""  # advice for programs, such as to register the class, does not help on the command line
        self.note(f"error [{error.code}]: {error}")
        if self.as_json:
            self.document({**known, "error": describe_error(error)})
        return EXIT_USAGE if isinstance(error, _USAGE_ERRORS) and not error.maybe_executed else EXIT_FAILED

    def _write(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # The reader, such as `head`, has closed the pipe. Buffered output must not fail again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise KeyboardInterrupt from None


def to_json(value: Any) -> bytes:
    """A value on one line; what JSON cannot express is text where that is possible. Raises `SerializationFailed`."""
    try:
        return msgspec.json.encode(value, enc_hook=repr)
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationFailed(f"the answer cannot be written as JSON: {error}", maybe_executed=True) from error
