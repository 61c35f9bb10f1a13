"""Running a command's coroutine: uvloop where it is installed, one rule for errors, for being interrupted, and for
threads that user code has started and that do not end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import typer

from inaho.cli.output import EXIT_INTERRUPTED, Output
from inaho.errors import InahoError, InvalidConfig

__all__ = ["LOG_LEVELS", "run_command", "run_loop", "start_logging"]

THREADS_S: Final = 5.0
"""How long a command waits at its end for threads that code of the user has started."""

THREADS_NAMED_MAX: Final = 5

LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def run_command(output: Output, command: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Runs a command to its end and leaves with its exit code.

    Args:
        output: where failures are told.
        command: makes the coroutine; it returns the exit code.

    Raises:
        typer.Exit: always.
    """
    before = threading.enumerate()
    try:
        code = run_loop(command)
    except InahoError as error:
        code = output.failure(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        output.note("interrupted")
        code = EXIT_INTERRUPTED
    _end_with_threads(output, code, before)
    raise typer.Exit(code)


def run_loop(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Runs the coroutine on uvloop, or on asyncio's own loop where uvloop is not installed.

    SIGTERM ends it as Ctrl-C does, through cancellation, so that what it started is cleaned up.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        loop = runner.get_loop()
        executor = ThreadPoolExecutor(thread_name_prefix="inaho-thread")
        loop.set_default_executor(executor)
        try:
            return runner.run(_with_signals(command))
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            loop.set_default_executor(ThreadPoolExecutor(1))  # the runner would wait for the threads of the other one


def _end_with_threads(output: Output, code: int, before: list[threading.Thread]) -> None:
    """Waits for threads that would keep the process alive, for `THREADS_S`; then ends it without them."""
    left: list[threading.Thread] = []
    deadline = time.monotonic() + THREADS_S
    try:
        while (left := _threads_since(before)) and time.monotonic() < deadline:
            left[0].join(min(0.1, THREADS_S))
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    if left:
        names = ", ".join(thread.name for thread in left[:THREADS_NAMED_MAX])
        output.note(f"{len(left)} threads did not end within {THREADS_S:g} s; the process ends without them: {names}")
        sys.stdout.flush()
        sys.stderr.flush()
        logging.shutdown()
        os._exit(code)


def _threads_since(before: list[threading.Thread]) -> list[threading.Thread]:
    """Threads that were started since, and for which the interpreter would wait."""
    return [thread for thread in threading.enumerate() if not thread.daemon and thread not in before]


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
