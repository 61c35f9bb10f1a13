"""Running a command's coroutine: uvloop where it is installed, one rule for errors and for being interrupted."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import typer

from inaho.cli.output import EXIT_INTERRUPTED, Output
from inaho.errors import InahoError, InvalidConfig

__all__ = ["LOG_LEVELS", "run_command", "run_loop", "start_logging"]

LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def run_command(output: Output, command: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Runs a command to its end and leaves with its exit code.

    Args:
        output: where failures are told.
        command: makes the coroutine; it returns the exit code.

    Raises:
        typer.Exit: always.
    """
    try:
        code = run_loop(command)
    except InahoError as error:
        code = output.failure(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        output.note("interrupted")
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


def run_loop(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Runs the coroutine on uvloop, or on asyncio's own loop where uvloop is not installed.

    SIGTERM ends it as Ctrl-C does, through cancellation, so that what it started is cleaned up.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_with_signals(command))


async def _with_signals(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await command()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # optional at run time, and absent on Windows
        return None
    return uvloop.new_event_loop


def start_logging(level: str) -> None:
    """Sends the library's log to standard error.

    Raises:
        InvalidConfig: no such level.
    """
    if level not in LOG_LEVELS:
        raise InvalidConfig(f"log level must be one of {', '.join(LOG_LEVELS)}, not {level!r}")
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
