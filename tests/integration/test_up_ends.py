"""`inaho up` ends whatever the code of its grains does: sleeps, waits in a thread, blocks the event loop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

LIMIT_S = 40.0

GRAINS = """
import asyncio, time, inaho

KEPT = []

class Slow(inaho.Grain):
    async def nap(self, seconds: float) -> None:
        print("begun", flush=True)
        await asyncio.sleep(seconds)

    async def thread(self, seconds: float) -> None:
        print("begun", flush=True)
        await asyncio.to_thread(time.sleep, seconds)

    async def thread_beside(self, seconds: float) -> None:
        asyncio.get_running_loop().run_in_executor(None, time.sleep, seconds)
        print("begun", flush=True)

    async def block(self, seconds: float) -> None:
        print("begun", flush=True)
        time.sleep(seconds)

    async def task(self, seconds: float) -> None:
        self.beside = asyncio.create_task(self.stubborn(), name="stubborn")
        await asyncio.sleep(0.01)
        print("begun", flush=True)

    async def generator(self, seconds: float) -> None:
        KEPT.append(self.closed_late())  # not in the grain: it would end when the collector finds it
        await anext(KEPT[0])
        print("begun", flush=True)

    async def exit_beside_a_thread(self, seconds: float) -> None:
        asyncio.get_running_loop().run_in_executor(None, time.sleep, seconds)
        print("begun", flush=True)
        raise SystemExit(7)

    async def stubborn(self) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

    async def closed_late(self):
        try:
            yield 1
        finally:
            await asyncio.sleep(3600)
"""


@contextmanager
def busy_member(folder: Path, method: str, drain_s: float = 10.0) -> Iterator[subprocess.Popen[str]]:
    """An `inaho up` whose grain is at work for an hour; its caller is a process too. Neither is left behind."""
    (folder / "slow_grains.py").write_text(GRAINS)
    (folder / "inaho.toml").write_text(f"[activation]\ndrain_s = {drain_s}\n")
    inaho = [sys.executable, "-m", "inaho.cli"]
    up = [*inaho, "up", "slow_grains", "--authority", "127.0.0.1:0", "--config", "inaho.toml", "--json"]
    pipe = subprocess.PIPE
    member = subprocess.Popen(up, cwd=folder, stdout=pipe, stderr=pipe, text=True)
    caller = None
    try:
        assert member.stdout is not None
        authority = msgspec.json.decode(member.stdout.readline())["authority"]
        call = [*inaho, "call", "Slow", "k", method, "3600", "--seeds", authority]
        caller = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while (line := member.stdout.readline()) and line.strip() != "begun":
            pass
        assert line, "the member has ended"
        yield member
    finally:
        for process in (member, caller):
            if process is not None and process.poll() is None:
                process.kill()
            if process is not None:
                process.communicate()


def ended(member: subprocess.Popen[str]) -> tuple[int, float, str]:
    """Exit code, seconds and messages of a member that ends by itself."""
    begun = time.monotonic()
    try:
        _, errors = member.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        member.kill()
        pytest.fail(f"still there after {LIMIT_S} s: {member.communicate()[1][-2000:]}")
    return member.returncode, time.monotonic() - begun, errors


@pytest.mark.parametrize("method", ["thread", "thread_beside", "task", "generator"])
def test_what_does_not_end_does_not_keep_the_process(tmp_path: Path, method: str) -> None:
    with busy_member(tmp_path, method, drain_s=0.5) as member:
        member.send_signal(signal.SIGTERM)
        code, took_s, errors = ended(member)
    assert code == 0, errors
    assert "did not end in time" in errors and "ends without them" in errors, errors
    assert method != "task" or "Task stubborn" in errors, errors
    assert took_s < 20.0, errors


def test_sys_exit_does_not_wait_for_a_thread(tmp_path: Path) -> None:
    with busy_member(tmp_path, "exit_beside_a_thread") as member:
        code, _, errors = ended(member)
    assert code == 7, errors
    assert "ends without them: thread" in errors, errors


def test_a_signal_while_grains_are_imported_is_not_lost(tmp_path: Path) -> None:
    module = """
import pathlib, time, inaho
print("importing", flush=True)
while not pathlib.Path("signalled").exists():
    time.sleep(0.01)
class Late(inaho.Grain):
    pass
"""
    (tmp_path / "slow_import.py").write_text(module)
    up = [sys.executable, "-m", "inaho.cli", "up", "slow_import", "--authority", "127.0.0.1:0"]
    with subprocess.Popen(up, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as member:
        assert member.stdout is not None
        assert member.stdout.readline() == "importing\n"
        member.send_signal(signal.SIGTERM)
        (tmp_path / "signalled").touch()
        code, _, errors = ended(member)
    assert code == 130, errors
    assert "interrupted" in errors, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("method", ["nap", "thread", "block"])
def test_the_second_signal_ends_at_once(tmp_path: Path, method: str, number: signal.Signals) -> None:
    with busy_member(tmp_path, method) as member:
        assert member.stderr is not None
        member.send_signal(number)
        if method == "block":  # it would leave if its loop ran
            with pytest.raises(subprocess.TimeoutExpired):
                member.wait(1.0)
        else:
            while (line := member.stderr.readline()) and line != "leaving\n":
                pass
            assert line, "the member has ended"
        assert member.poll() is None
        begun = time.monotonic()
        member.send_signal(number)
        while method == "block" and member.poll() is None and time.monotonic() < begun + LIMIT_S:
            with suppress(subprocess.TimeoutExpired):
                member.wait(0.2)
            member.send_signal(number)  # again: two signals before Python looks are one
        code, _, errors = ended(member)
        took_s = time.monotonic() - begun
    assert code == 130, errors
    assert took_s < 8.0, errors
    assert method != "thread" or "did not end in time" in errors, errors
    assert method != "block" or "the event loop is blocked" in errors, errors
