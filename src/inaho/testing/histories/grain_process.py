"""Members in processes of their own that host a `Register` and can be restarted, killed and stopped.

    async with GrainCluster(5, folder) as cluster:
        await cluster.members[2].restart()

`python -m inaho.testing.histories.grain_process SETTINGS` is such a member. It writes its journal into the folder of
the cluster, where the end of the process takes nothing of it, and says what happens to it on standard output, one
line of JSON each. SIGTERM and the end of standard input make it leave, so whoever started it cannot leave it behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import socket
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import msgspec

import inaho
from inaho.config import ClusterConfig
from inaho.errors import InahoError
from inaho.events import MemberEvent, NodePaused, TopologyChanged
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.cluster.join import join
from inaho.testing.histories.grain_history import Died, Journal, Paused, Record, Resumed, Viewed, read_journals
from inaho.testing.histories.grain_workload import register_with, view_of

__all__ = ["GrainCluster", "GrainProcess", "Settings", "free_ports", "say"]

SOURCE: Final = Path(inaho.__file__).resolve().parents[1]
"""The folder that holds the package, so that a member runs the code of its parent."""

STATE: Final = "state.sqlite"
"""Name of the file that all members save to."""

READY_S: Final = 30.0
LEFT_S: Final = 60.0
PORTS_EACH: Final = 1000
"""Ports that one process of a test run takes from."""


class Settings(msgspec.Struct):
    """The settings of a member: its configuration, its storage, its journal."""

    config: ClusterConfig
    storage: str
    journal: str


class GrainProcess:
    """One member at one authority, in one process after the other.

    Attributes:
        authority: it binds and is reached at.
        node_id: of the process that runs now.
        lines: what all of its processes have said, decoded, with `at` of the monotonic clock.
        exit_codes: of those that have ended, in their order.
    """

    def __init__(self, cluster: GrainCluster, authority: str) -> None:
        self.authority = authority
        self.node_id = ""
        self.lines: list[dict[str, Any]] = []
        self.exit_codes: list[int] = []
        self._cluster = cluster
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return self._running.pid

    @property
    def _running(self) -> Process:
        assert self._process is not None, f"{self.authority} does not run"
        return self._process

    async def start(self) -> None:
        """Starts a process and waits until its node is up."""
        cluster = self._cluster
        number = len(self.exit_codes)
        config = cluster.config.replace(authority=self.authority, seeds=cluster.seeds)
        journal = cluster.folder / f"member-{self.authority.rpartition(':')[2]}-{number}.journal"
        document = msgspec.json.encode(Settings(config, cluster.storage, str(journal))).decode()
        with (cluster.folder / "members.log").open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                cluster.program,
                document,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(SOURCE)},
            )
        since = len(self.lines)
        self._reader = asyncio.create_task(self._read(process))
        ready = await self.says("ready", since, READY_S)
        self.node_id = ready["node_id"]

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.lines.append(msgspec.json.decode(line))

    async def says(self, event: str, since: int = 0, within_s: float = 10.0) -> dict[str, Any]:
        """The first line of that event from the `since`th on, waited for."""
        deadline = time.monotonic() + within_s
        while True:
            for line in self.lines[since:]:
                if line["event"] == event:
                    return line
            if time.monotonic() > deadline or (self._reader is not None and self._reader.done()):
                raise AssertionError(f"{self.authority} did not report {event}, but {self.lines[since:][-5:]}")
            await asyncio.sleep(0.005)

    async def restart(self) -> float:
        """Lets it leave (SIGTERM) and starts it again. Returns the seconds that leaving took."""
        began = time.monotonic()
        self._running.send_signal(signal.SIGTERM)
        await self._end(LEFT_S)
        left_s = time.monotonic() - began
        await self.start()
        return left_s

    async def kill(self) -> None:
        """Kills it (SIGKILL)."""
        self._running.kill()
        await self._end(5.0)

    def order(self, line: str) -> None:
        """Writes a line to its standard input, for programs that take orders."""
        assert self._running.stdin is not None
        self._running.stdin.write(line.encode() + b"\n")

    async def stop(self) -> None:
        """Pauses it (SIGSTOP), but not while it holds the lock of the SQLite file.

        A paused process would keep the lock, and no other member could save until it continues.
        """
        self._running.send_signal(signal.SIGSTOP)
        while not await asyncio.to_thread(_can_be_locked, self._cluster.folder / STATE):
            self._running.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.05)
            self._running.send_signal(signal.SIGSTOP)
        self._cluster.note(Paused(at=time.monotonic(), node=self.node_id))

    def go_on(self) -> None:
        """Continues it (SIGCONT)."""
        self._cluster.note(Resumed(at=time.monotonic(), node=self.node_id))
        self._running.send_signal(signal.SIGCONT)

    async def _end(self, within_s: float) -> None:
        process = self._running
        try:
            async with asyncio.timeout(within_s):
                self.exit_codes.append(await process.wait())
        except TimeoutError:
            process.kill()
            self.exit_codes.append(await process.wait())
        assert self._reader is not None
        await self._reader
        self._cluster.note(Died(at=time.monotonic(), node=self.node_id))
        self._process = None

    async def close(self) -> None:
        """Ends it if it runs or is paused."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._end(5.0)


class GrainCluster:
    """Several members on loopback that share one storage, an SQLite file unless another is given.

    Args:
        size: how many, at least 1.
        folder: for the file, the journals and `members.log`.
        config: settings of all, without authority and seeds.
        storage: a URL in place of the file.

    Attributes:
        program: the module that a member runs; it takes `Settings` in JSON as its argument.
        members: in the order in which they were started.
        journal: of this process, for callers.
        storage: as for `inaho.join`.
        seeds: all authorities.
    """

    program = "inaho.testing.histories.grain_process"

    def __init__(
        self, size: int, folder: Path, config: ClusterConfig | None = None, *, storage: str | None = None
    ) -> None:
        self.folder = folder
        self.config = config or ClusterConfig(name="grain-cluster", secret="a secret of this machine")  # noqa: S106
        self.storage = storage or f"sqlite:{folder / STATE}"
        self.seeds = tuple(f"127.0.0.1:{port}" for port in free_ports(size))
        self.members = [GrainProcess(self, authority) for authority in self.seeds]
        self.journal = Journal(time.monotonic, folder / "callers.journal")

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(member.start() for member in self.members))
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def add(self) -> GrainProcess:
        """Starts one more member."""
        [port] = free_ports(1)
        member = GrainProcess(self, f"127.0.0.1:{port}")
        self.members.append(member)
        await member.start()
        return member

    def note(self, record: Record) -> None:
        """Adds to the history of this process."""
        self.journal.write(record)

    @property
    def node_ids(self) -> list[str]:
        """Of all members, in their present processes."""
        return [member.node_id for member in self.members]

    def history(self) -> list[Record]:
        """All records of all members so far."""
        return read_journals(self.folder.glob("*.journal"))

    async def close(self) -> None:
        """Ends all members."""
        await asyncio.gather(*(member.close() for member in self.members))
        self.journal.close()


def _can_be_locked(path: Path) -> bool:
    """Whether a process that still runs may write to that SQLite file, soon."""
    with contextlib.closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        database.execute("ROLLBACK")
        return True


def _ports_of_this_process() -> Iterator[int]:
    """Each worker of pytest-xdist has a range of its own, and begins somewhere in it: other runs have the same."""
    lowest = 32_768
    with contextlib.suppress(OSError):
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
    first = lowest - (worker + 1) * PORTS_EACH
    if first < 1024:  # nothing is left below
        return itertools.repeat(0)
    begin = random.SystemRandom().randrange(PORTS_EACH)
    return (first + (begin + number) % PORTS_EACH for number in itertools.count())


_PORTS: Final = _ports_of_this_process()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now, and that the system gives to nobody else.

    They are below those that it hands out by itself, so no connection takes one between a kill and the restart.
    """
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for port in itertools.islice(_PORTS, PORTS_EACH):
            if len(found) == count:
                break
            probe = stack.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(int(probe.getsockname()[1]))
    assert len(found) == count, f"only {found} are free"
    return found


# The member.


def say(event: str, **details: Any) -> None:
    """One line for the parent."""
    line = msgspec.json.encode({"event": event, "at": time.monotonic(), **details})
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


async def _tell(cluster: Cluster, journal: Journal) -> None:
    async for event in cluster.events(MemberEvent, NodePaused, TopologyChanged, capacity=65_536):
        if isinstance(event, TopologyChanged):
            view = view_of(event.snapshot)
            journal.write(Viewed(at=time.monotonic(), node=cluster.self.node_id, view=view))
            continue
        details: dict[str, Any] = msgspec.to_builtins(event)
        say(type(event).__name__, **{name: value for name, value in details.items() if name != "at"})


async def _member(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def read() -> None:
        if not os.read(0, 4096):
            stop.set()

    loop.add_reader(0, read)
    journal = Journal(time.monotonic, settings.journal)
    kind = register_with(journal)
    try:
        cluster = await join(config=settings.config, grains=[kind], storage=settings.storage)
    except InahoError as error:
        say("failed", code=error.code, reason=error.reason)
        return 3
    telling = loop.create_task(_tell(cluster, journal))
    await asyncio.sleep(0)
    say("ready", authority=cluster.authority, node_id=cluster.self.node_id)
    await stop.wait()
    loop.remove_reader(0)
    await cluster.close()
    telling.cancel()
    say("left")
    return 0


def main() -> int:
    """The program of a member; its one argument is `Settings` in JSON."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_member(settings))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_member(settings))


if __name__ == "__main__":
    sys.exit(main())
