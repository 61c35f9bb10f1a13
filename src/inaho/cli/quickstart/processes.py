"""Starts and ends the node processes of a command: one object per process, which can end only that process.

A node is told to leave by closing its standard input. This also happens when this process dies in any way, so no
quickstart leaves nodes behind, wherever it is killed. Each node is in a session of its own, so Ctrl-C in the terminal
reaches only this process, which then ends the nodes in order.
"""

from __future__ import annotations

import asyncio
import os
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, cast

import msgspec

from inaho.errors import InahoError, ShuttingDown, Timeout, error_from_code

__all__ = ["NodeProcess", "process_age_s"]

LINE_BYTES_MAX: Final = 1 << 20
LOG_CHARACTERS_SHOWN: Final = 2000

_imported_at: Final = time.monotonic()


def process_age_s() -> float:
    """Seconds since this process was started, the interpreter's own start included where the system tells it."""
    try:
        fields = Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), counted from the third
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _imported_at


class NodeProcess:
    """One `inaho up` as a child of this process; made by `start`.

    Attributes:
        name: for messages and the log file.
        authority: that it was told to bind.
        command: which a person can repeat.
        log_file: standard error and output of the process.
        ready: the content of its ready line; None before.
    """

    def __init__(self, name: str, authority: str, command: Sequence[str], log_file: Path, process: Process) -> None:
        self.name = name
        self.authority = authority
        self.command = list(command)
        self.log_file = log_file
        self.ready: dict[str, Any] | None = None
        self._process = process
        self._told: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(cast("asyncio.StreamReader", process.stdout)))

    @classmethod
    async def start(
        cls, name: str, authority: str, command: Sequence[str], directory: Path, environ: Mapping[str, str]
    ) -> Self:
        """Starts the process; `wait_ready` waits until the node is up.

        Args:
            name: for messages and the log file.
            authority: that it is told to bind.
            command: an `inaho up`; what this class needs is appended.
            directory: where its log goes.
            environ: its environment.
        """
        log_file = directory / f"{name}.log"
        with log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--json",
                "--stop-on-eof",
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                env=dict(environ),
                start_new_session=True,
                limit=LINE_BYTES_MAX,
            )
        return cls(name, authority, command, log_file, process)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.returncode is None

    async def wait_ready(self, within_s: float) -> dict[str, Any]:
        """Waits until the node is up.

        Returns:
            The content of its ready line.

        Raises:
            InahoError: the node's error, or it ended without a message.
            Timeout: there was no ready line in time.
        """
        try:
            async with asyncio.timeout(within_s):
                said = await asyncio.shield(self._told)
        except TimeoutError as error:
            raise Timeout(f"{self.name} was not ready within {within_s:g} s", authority=self.authority) from error
        if said.get("event") == "ready":
            self.ready = said
            return said
        raise self._failure(said.get("error"))

    def _failure(self, told: dict[str, Any] | None) -> InahoError:
        if told is not None:
            return error_from_code(
                told["code"], f"{self.name}: {told['reason']}", authority=told["authority"] or self.authority
            )
        log = self.log_file.read_text("utf-8", "replace")[-LOG_CHARACTERS_SHOWN:].strip()
        return ShuttingDown(f"{self.name} ended before it was ready: {log or 'it said nothing'}")

    async def _read(self, lines: asyncio.StreamReader) -> None:
        """Copies the node's output into its log, and passes the first ready line or failure to the waiting caller."""
        told = self._told
        with self.log_file.open("ab", buffering=0) as log:
            async for line in lines:
                log.write(line)
                if not told.done():
                    said = _decoded(line)
                    if said.get("event") == "ready" or "error" in said:
                        told.set_result(said)
        if not told.done():
            told.set_result({})

    async def kill(self) -> None:
        """Ends the process at once, as a crash would (SIGKILL), and waits for its end."""
        if self.running:
            self._process.kill()
            await self._ended()

    async def stop(self, within_s: float) -> bool:
        """Makes the node leave, and kills it when that takes too long.

        Returns:
            Whether it left by itself.
        """
        if not self.running:
            return True
        cast("asyncio.StreamWriter", self._process.stdin).close()
        try:
            async with asyncio.timeout(within_s):
                await self._ended()
        except TimeoutError:
            await self.kill()
            return False
        return self._process.returncode == 0

    async def _ended(self) -> None:
        await self._process.wait()
        await asyncio.shield(self._reader)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:  # a grain's module may print anything
        return {}
