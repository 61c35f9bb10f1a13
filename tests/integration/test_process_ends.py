"""Every way in which a program with a member ends: the process ends too, soon, with the program's own outcome."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.programs import command

LIMIT_S = 30.0
"""For a busy machine. What hangs, hangs for ever."""

LOOPS = ("asyncio", "uvloop")
BUSY = ("idle", "tick", "call", "stream", "stubborn")


@contextmanager
def program(scenario: str, loop: str, folder: Path, busy: str = "idle") -> Iterator[subprocess.Popen[str]]:
    """A child that has said its authority, or has ended; never left behind."""
    child = subprocess.Popen(
        command("ending_node.py", scenario, loop, str(folder), busy),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a child that ends by itself."""
    try:
        out, errors = child.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        _, errors = child.communicate()
        pytest.fail(f"still there after {LIMIT_S} s: {errors[-2000:]}")
    return child.returncode, out, errors


def is_free(authority: str) -> bool:
    host, _, port = authority.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, int(port)))
    return True


def quiet(errors: str) -> None:
    """asyncio has found nothing that was forgotten."""
    assert "never retrieved" not in errors and "was destroyed" not in errors, errors


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("busy", BUSY)
def test_main_returns_without_closing(tmp_path: Path, busy: str, loop: str) -> None:
    with program("careless-returns", loop, tmp_path, busy) as child:
        code, _, errors = ended(child)
    assert code == 0, errors
    assert "before its cluster was closed" in errors, errors
    quiet(errors)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("busy", ["stubborn_numbers", "numbers_that_end_late"])
@pytest.mark.parametrize("scenario", ["returns", "exits"])
def test_a_generator_that_catches_its_cancellation_is_closed(
    tmp_path: Path, busy: str, scenario: str, loop: str
) -> None:
    with program(f"careless-{scenario}", loop, tmp_path, busy) as child:
        code, out, errors = ended(child)
    assert code == (0 if scenario == "returns" else 5), errors
    assert "generator closed" in out, errors
    quiet(errors)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("scenario", "codes"),
    [
        ("raises", {1}),
        ("exits", {5}),
        ("sigint", {-signal.SIGINT, 130}),
        ("close_cancelled", {1}),
        ("tasks_cancelled", {0}),
    ],
)
def test_main_ends_otherwise_without_closing(tmp_path: Path, scenario: str, codes: set[int], loop: str) -> None:
    with program(f"careless-{scenario}", loop, tmp_path, "call") as child:
        code, _, errors = ended(child)
    assert code in codes, errors
    assert "before its cluster was closed" in errors, errors
    quiet(errors)


PLACES = ("turn", "suspended", "timer", "reminder", "activate", "deactivate", "stream", "actor")


@pytest.mark.parametrize(("manner", "loop"), [("careless", "asyncio"), ("careless", "uvloop"), ("polite", "asyncio")])
@pytest.mark.parametrize("where", PLACES)
def test_sys_exit_in_user_code_ends_the_process(tmp_path: Path, where: str, manner: str, loop: str) -> None:
    with program(f"{manner}-exit_{where}", loop, tmp_path) as child:
        code, _, errors = ended(child)
    assert code == 7, errors
    quiet(errors)


FAR = ("turn", "send", "stream", "constructor", "argument", "result", "event")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("where", FAR)
def test_sys_exit_below_a_connection_ends_the_process(tmp_path: Path, where: str, loop: str) -> None:
    with program(f"careless-far_{where}", loop, tmp_path) as child:
        code, _, errors = ended(child)
    assert code == 7, errors
    quiet(errors)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("busy", ["tick", "call", "stubborn"])
def test_the_second_ctrl_c_ends_at_once(tmp_path: Path, busy: str, loop: str) -> None:
    with program("polite-waits", loop, tmp_path, busy) as child:
        assert child.stdout is not None
        authority = child.stdout.readline().strip()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "leaving\n"  # its turn holds that up for ten seconds
        assert child.poll() is None
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        code, _, errors = ended(child)
        took = time.monotonic() - begun
    assert code in {-signal.SIGINT, 130, 1}, errors
    assert took < 8.0, f"{took} s: {errors}"
    assert is_free(authority)
