"""Members in processes that find each other through providers, as the benchmark of providers sees them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from providers_nursery import Start

from inaho.config import ClusterConfig

__all__ = ["Fleet", "Process", "clusters_of", "until"]

NURSERY = Path(__file__).with_name("providers_nursery.py")
SOURCE = Path(__file__).resolve().parent.parent / "src"
LIMIT_S = 120.0
POLL_S = 0.005


async def until(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Polls until it is so. Raises `RuntimeError`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {limit_s:g} s: {what}")
        await asyncio.sleep(POLL_S)


class Process:
    """One process and what it has told, in order, each line with `event` and `at` of the monotonic clock."""

    def __init__(self, pid: int, authority: str, forked_at: float) -> None:
        self.pid = pid
        self.authority = authority
        self.forked_at = forked_at
        self.lines: list[dict[str, Any]] = []

    def told(self, *events: str) -> list[dict[str, Any]]:
        """All lines of these events."""
        return [line for line in self.lines if line["event"] in events]

    def first(self, event: str) -> dict[str, Any] | None:
        """The first line of an event; None if there is none. Raises `RuntimeError` if the process could not join."""
        for line in self.lines:
            if line["event"] == "failed":
                raise RuntimeError(f"{self.authority} could not join: {line['reason']}")
            if line["event"] == event:
                return line
        return None

    @property
    def node_id(self) -> str:
        """Of its member."""
        ready = self.first("ready")
        assert ready is not None
        found: str = ready["node_id"]
        return found

    @property
    def up(self) -> set[str]:
        """Node ids of the members that are up, in its newest view."""
        for line in reversed(self.lines):
            if line["event"] == "view":
                return set(line["up"])
        return set()

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        os.kill(self.pid, number)

    def lives(self) -> bool:
        """Whether it runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def processor_s(self) -> float:
        """Processor time that it has used, seconds."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Fleet:
    """Starts and ends processes; see `providers_nursery`.

    Attributes:
        processes: all that were started, in that order.
    """

    def __init__(self, nursery: asyncio.subprocess.Process) -> None:
        self.processes: list[Process] = []
        self._nursery = nursery
        self._by_pid: dict[int, Process] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, log: Path) -> AsyncIterator[Fleet]:
        """A fleet without processes. In the end all of them are killed."""
        with log.open("ab") as file:
            nursery = await asyncio.create_subprocess_exec(
                sys.executable, str(NURSERY), stdin=PIPE, stdout=PIPE, stderr=file, limit=2**20,
                env={**os.environ, "PYTHONPATH": str(SOURCE)},
            )  # fmt: skip
        fleet = cls(nursery)
        reading = asyncio.ensure_future(fleet._read())
        try:
            yield fleet
        finally:
            await fleet.kill(fleet.processes)
            nursery.kill()
            await nursery.wait()
            await reading

    async def _read(self) -> None:
        assert self._nursery.stdout is not None
        early: dict[int, list[dict[str, Any]]] = {}
        async for line in self._nursery.stdout:
            told: dict[str, Any] = msgspec.json.decode(line)
            pid: int = told["pid"]
            if told["event"] == "forked":
                process = Process(told["child"], told["authority"], told["at"])
                process.lines += early.pop(process.pid, [])
                self._by_pid[process.pid] = process
                self.processes.append(process)
            elif pid in self._by_pid:
                self._by_pid[pid].lines.append(told)
            elif told["event"] != "nursery":
                early.setdefault(pid, []).append(told)

    async def start(
        self, configs: Iterable[ClusterConfig], within_s: float = 0.0, *, tells_registration: bool = False
    ) -> list[Process]:
        """Forks a process for each, at random moments of `within_s` seconds. Returns when they are forked."""
        starts = [Start(random.uniform(0.0, within_s), config, tells_registration) for config in configs]
        starts.sort(key=lambda start: start.after_s)
        before = len(self.processes)
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(msgspec.json.encode(starts) + b"\n")
        await self._nursery.stdin.drain()
        await until(lambda: len(self.processes) >= before + len(starts), "all processes are forked")
        return self.processes[before:]

    async def ready(self, processes: Sequence[Process]) -> None:
        """Returns when all are members of some cluster."""
        await until(lambda: all(one.first("ready") for one in processes), "all processes are up")

    async def agree(self, processes: Sequence[Process], limit_s: float = LIMIT_S) -> float:
        """Returns when each sees exactly these up: when the last of them saw it, on the monotonic clock."""
        await self.ready(processes)
        everybody = {one.node_id for one in processes}
        await until(lambda: all(one.up == everybody for one in processes), "all see the same members", limit_s)
        last: float = max(one.told("view")[-1]["at"] for one in processes)
        return last

    async def kill(self, processes: Iterable[Process]) -> None:
        """SIGKILL, and waits for their ends."""
        given = list(processes)
        for one in given:
            with contextlib.suppress(ProcessLookupError):
                one.send(signal.SIGKILL)
        await until(lambda: not any(one.lives() for one in given), "killed processes end")

    async def leave(self, processes: Iterable[Process]) -> None:
        """SIGTERM, and waits for their ends."""
        given = list(processes)
        for one in given:
            one.send(signal.SIGTERM)
        await until(lambda: not any(one.lives() for one in given), "processes leave")


def clusters_of(processes: Sequence[Process]) -> int:
    """How many clusters these processes have first seen, when they had just become members.

    A member sees the one that founded its cluster from the beginning, so views of one cluster are connected.
    """
    groups: list[set[str]] = []
    for one in processes:
        first = one.first("view")
        group = {one.node_id, *(first["up"] if first else ())}
        apart = [each for each in groups if not each & group]
        groups = [*apart, group.union(*(each for each in groups if each & group))]
    return len(groups)
