"""The command `inaho` as a user runs it: one command to its end, or `inaho up` for as long as a test takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec

import inaho

COMMAND = [sys.executable, "-m", "inaho.cli"]
SECRET = "of-the-tests"
WAIT_S = 20.0

SHOP = dedent("""
    from collections.abc import AsyncIterator
    from inaho import Grain, GrainError

    class OutOfStock(GrainError):
        pass

    class Shop(Grain):
        async def order(self, sku: str, n: int = 1, *, gift: bool = False) -> dict[str, str | int]:
            return {"key": self.key, "sku": sku, "n": n, "gift": gift}

        async def fail(self, how: str) -> None:
            raise OutOfStock("no rice") if how == "own" else ValueError("no such thing")

        async def letters(self, text: str) -> AsyncIterator[str]:
            for letter in text:
                yield letter

        async def broken(self) -> AsyncIterator[int]:
            yield 1
            raise ValueError("broken off")
""")


def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INAHO_")}
    return {**clean, "PYTHONPATH": str(Path(inaho.__path__[0]).parent)}


def run(*arguments: str, within_s: float = WAIT_S) -> tuple[int, list[Any], str]:
    """Exit code, the JSON documents on standard output, and standard error."""
    done = subprocess.run(
        [*COMMAND, arguments[0], "--json", *arguments[1:]],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=within_s,
        check=False,
    )
    return done.returncode, [msgspec.json.decode(line) for line in done.stdout.splitlines()], done.stderr.decode()


class Node:
    """An `inaho up` and what its ready line said."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        assert process.stdout is not None
        self.ready = msgspec.json.decode(process.stdout.readline() or b'{"event":"ended"}')
        self.authority: str = self.ready.get("authority", "")

    def rest(self) -> list[Any]:
        """What it wrote after its ready line; waits for its end."""
        out, _ = self.process.communicate(timeout=WAIT_S)
        return [msgspec.json.decode(line) for line in out.splitlines()]


@contextmanager
def node(folder: Path, *arguments: str, target: str = "inaho_cli_test_store:Shop") -> Iterator[Node]:
    (folder / "inaho_cli_test_store.py").write_text(SHOP)
    with subprocess.Popen(
        [*COMMAND, "up", target, "--authority", "127.0.0.1:0", "--stop-on-eof", "--json", *arguments],
        env={**environment(), "INAHO_PROFILE": "local", "INAHO_STORAGE__BUSY_TIMEOUT_S": "5"},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Node(process)
        finally:
            process.kill()
