"""Runs a command's coroutine: on uvloop where installed, with one rule for errors and interrupts.

It also ends the process when Tasks or threads of user code do not end by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn

import typer

from inaho.cli.output import EXIT_INTERRUPTED, Output
from inaho.errors import InahoError, InvalidConfig

__all__ = ["LOG_LEVELS", "run_command", "start_logging"]

ENDS_S: Final = 5.0
"""How long a command waits at its end for Tasks, and then for threads, that user code has started."""

INTERRUPTED_S: Final = 1.5
"""How long an interrupted command waits for Tasks: a node that stops at once gives its turns a second."""

NAMED_MAX: Final = 5
"""Bound of the Tasks or threads left behind that are named."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def run_command(output: Output, command: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Runs a command to its end and exits with its exit code.

    Tasks and threads that user code has left behind get `ENDS_S` each; then the process ends without them. An
    interrupted command waits `INTERRUPTED_S` for Tasks, so that its connections are closed, and does not wait for
    threads.

    Args:
        output: takes failures.
        command: makes the coroutine; it returns the exit code.

    Raises:
        typer.Exit: when the command has ended.
        BaseException: an exception of the command that is no `InahoError`.
    """
    before = threading.enumerate()
    runner = asyncio.Runner(loop_factory=_loop_factory())
    interrupted = False
    failure: BaseException | None = None
    try:
        code = _run_loop(runner, command)
    except InahoError as error:
        code = output.failure(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        output.note("interrupted")
        code, interrupted = EXIT_INTERRUPTED, True
    except BaseException as error:  # `sys.exit` in a grain, or an error of the command
        failure, code = error, _exit_code(error)
    try:
        left = _end_tasks(runner, INTERRUPTED_S if interrupted else ENDS_S)
        if not left:
            runner.close()
            left = _end_threads(before, 0.0 if interrupted else ENDS_S)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        left = [*_tasks_left(runner), *_threads_left(before)]
    if left:
        _end_without(output, left, code, failure)
    if failure is not None:
        raise failure
    raise typer.Exit(code)


def _run_loop(runner: asyncio.Runner, command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Runs the coroutine. SIGTERM ends it as Ctrl-C does, by cancellation, so that it cleans up."""
    loop = runner.get_loop()
    executor = ThreadPoolExecutor(thread_name_prefix="inaho-thread")
    loop.set_default_executor(executor)
    try:
        return runner.run(_with_signals(command))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        loop.set_default_executor(ThreadPoolExecutor(1))  # the runner would wait for the threads of the other executor


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        return error.code or 0
    return 1


def _end_tasks(runner: asyncio.Runner, limit_s: float) -> list[str]:
    """Cancels Tasks that still run in the loop; returns those that do not end in `limit_s`. The runner would wait."""
    with contextlib.suppress(SystemExit):  # of a Task that ends; the exit code of the process is known already
        runner.get_loop().run_until_complete(_cancelled(limit_s))
    return _tasks_left(runner)


async def _cancelled(limit_s: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=limit_s)
    closing = loop.create_task(loop.shutdown_asyncgens(), name="end of async generators")
    await asyncio.wait([closing], timeout=max(deadline - loop.time(), 0.1))


def _tasks_left(runner: asyncio.Runner) -> list[str]:
    loop = runner.get_loop()
    return [] if loop.is_closed() else [f"Task {task.get_name()}" for task in asyncio.all_tasks(loop)]


def _end_threads(before: list[threading.Thread], limit_s: float) -> list[str]:
    """Waits for threads that would keep the process alive; returns those that continue after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while (left := _threads_since(before)) and time.monotonic() < deadline:
        left[0].join(min(0.1, limit_s))
    return _threads_left(before)


def _threads_left(before: list[threading.Thread]) -> list[str]:
    return [f"thread {thread.name}" for thread in _threads_since(before)]


def _end_without(output: Output, left: list[str], code: int, failure: BaseException | None) -> NoReturn:
    """Ends the process although user code still runs."""
    if isinstance(failure, SystemExit):
        if isinstance(failure.code, str):
            output.note(failure.code)
    elif failure is not None:
        traceback.print_exception(failure)
    names = ", ".join(left[:NAMED_MAX])
    output.note(f"{len(left)} Tasks or threads of grains did not end in time; the process ends without them: {names}")
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code)


def _threads_since(before: list[threading.Thread]) -> list[threading.Thread]:
    """Threads that were started since, and for which the interpreter would wait."""
    return [thread for thread in threading.enumerate() if not thread.daemon and thread not in before]


async def _with_signals(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Runs the command with Python's own signal handler and not one of the loop.

    A handler of the loop loses a signal that comes while a module is imported, if `inaho up` sets its own handler
    right after that.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def asked(_number: int, _frame: object) -> None:
        if task is not None:
            loop.call_soon_threadsafe(task.cancel)

    before = signal.signal(signal.SIGTERM, asked)
    try:
        return await command()
    finally:
        signal.signal(signal.SIGTERM, before)


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
