"""Real servers for tests: started on this machine with data of their own, killed, stopped and started again at will.

Each lives in a temporary folder and ends with the process that started it, also if that is killed. As root PostgreSQL
refuses to run, so its processes belong to another user then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from inaho.testing.histories.grain_process import free_ports

START_S = 50.0
POLL_S = 0.02
USERS = ("postgres", "nobody")
PASSWORD = "s3cret/of the test"

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class Missing(Exception):  # noqa: N818  a condition of the machine
    """The service is not installed."""


def program(name: str) -> str:
    """The path of an executable; PostgreSQL's are not on the PATH in Debian."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: each.parent.name, reverse=True)
    path = shutil.which(name) or next((str(each / name) for each in folders if (each / name).exists()), None)
    if path is None:
        raise Missing(f"{name} is not installed (make test as root installs it)")
    return path


class Server(ABC):
    """A server with its data in `folder`.

    Attributes:
        url: for `storage_from_url`.
    """

    url: str

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="inaho-service-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._user: str | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """What runs the server in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it takes connections."""

    def start(self) -> None:
        """Starts it on the data that is there, and waits until it answers.

        Call it on the main thread: the server ends with the thread that has started it.
        """
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Starts it and does not wait, for a server that answers only when others do."""
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._user,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  no other thread of a test holds a lock that it needs
            )

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command()[0]} did not start:\n{self.log()[-2000:]}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """SIGKILL to all its processes: what it had not written is gone."""
        process = self._process
        if process is None:
            return
        family = _family(process.pid)
        for each in family:
            _signal(each, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + START_S
        while any(_lives(each) for each in family) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        assert self._process is not None
        for each in _family(self._process.pid):
            _signal(each, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: what was received meanwhile is carried out."""
        assert self._process is not None
        for each in _family(self._process.pid):
            _signal(each, signal.SIGCONT)

    def end(self) -> None:
        """Kills it and removes its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What it has printed."""
        return (self.folder / "log").read_text(errors="replace")


class RedisServer(Server):
    """Redis with an append-only file, which is written before an answer is given and never flushed.

    So a kill takes nothing, and a busy disk holds up nothing. With `everysec` a kill may take what was acknowledged,
    because Redis then holds writes back behind a flush that has not ended.

    Args:
        clustered: a Redis Cluster of one node.
    """

    def __init__(self, *, clustered: bool = False) -> None:
        self._program = program("redis-server")
        super().__init__()
        self._clustered = clustered
        self.port = free_ports(1)[0]
        scheme = "redis+cluster" if clustered else "redis"
        escaped = PASSWORD.replace("/", "%2F").replace(" ", "%20")
        self.url = f"{scheme}://:{escaped}@127.0.0.1:{self.port}"

    def start(self) -> None:
        super().start()
        if not self._clustered:
            return
        if "cluster_slots_assigned:0" in self.ask("CLUSTER", "INFO"):  # it was never started before
            self.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        deadline = time.monotonic() + START_S
        while "cluster_state:ok" not in (said := self.ask("CLUSTER", "INFO")):
            if time.monotonic() > deadline:
                raise RuntimeError(said)
            time.sleep(POLL_S)

    def ask(self, *words: str, password: str = PASSWORD) -> str:
        """The answer to one command, as it comes over the wire. Raises `RuntimeError` if that is an error."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as connection:
            connection.sendall(_packed("AUTH", password) + _packed(*words))
            connection.settimeout(10.0)
            received = b""
            lines = 0
            while lines < 2 or not received.endswith(b"\r\n"):
                more = connection.recv(65536)
                if not more:
                    raise ConnectionResetError(f"the server hung up after {received!r}")
                received += more
                lines = received.count(b"\r\n")
        answer = received.partition(b"\r\n")[2].decode(errors="replace")
        if answer.startswith("-"):
            raise RuntimeError(f"{' '.join(words)}: {answer.strip()}")
        return answer

    def _command(self) -> list[str]:
        return [
            self._program,
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "no", "--requirepass", PASSWORD),
            *(("--cluster-enabled", "yes", "--cluster-port", str(free_ports(1)[0])) if self._clustered else ()),
        ]

    def _answers(self) -> bool:
        try:
            return "PONG" in self.ask("PING")
        except (OSError, RuntimeError):  # it does not listen yet, or loads its data
            return False


class RedisNode(RedisServer):
    """One of several servers of a Redis Cluster, see `RedisNodes`."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = free_ports(1)[0]

    def _command(self) -> list[str]:
        settings = {"cluster-enabled": "yes", "cluster-port": str(self.bus), "cluster-node-timeout": "4000"}
        settings |= {"cluster-require-full-coverage": "no", "cluster-replica-validity-factor": "0"}
        settings |= {"repl-diskless-sync-delay": "0", "masterauth": PASSWORD}
        return [*super()._command(), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    @property
    def identifier(self) -> str:
        """How the cluster calls it."""
        return self.ask("CLUSTER", "MYID").splitlines()[-1]

    def keys_in(self, slot: int) -> list[str]:
        """The keys that it has of a slot."""
        return self.ask("CLUSTER", "GETKEYSINSLOT", str(slot), "100").splitlines()[2::2]

    def nodes(self) -> list[list[str]]:
        """What it knows of the cluster: the words of a line for each node, the port of its clients first."""
        lines = [line.split() for line in self.ask("CLUSTER", "NODES").splitlines() if "@" in line]
        return [[line[1].partition("@")[0].rpartition(":")[2], *line] for line in lines]


class RedisNodes:
    """A Redis Cluster: primaries that share the slots, and one replica, of the first of them.

    Attributes:
        servers: the primaries as they were at first, then the replica.
        url: for `storage_from_url`; it names the second.
    """

    def __init__(self, primaries: int) -> None:
        self.servers = [RedisNode() for _ in range(primaries + 1)]
        self.url = self.servers[1].url.replace("redis", "redis+cluster", 1)

    def start(self) -> None:
        """Starts and joins them, and waits until they agree."""
        for server in self.servers:
            server.start()
        first, *others = self.servers
        for other in others:
            first.ask("CLUSTER", "MEET", "127.0.0.1", str(other.port), str(other.bus))
        primaries = self.servers[:-1]
        bounds = [16384 * number // len(primaries) for number in range(len(primaries) + 1)]
        for primary, begin, end in zip(primaries, bounds, bounds[1:], strict=False):
            primary.ask("CLUSTER", "ADDSLOTSRANGE", str(begin), str(end - 1))
        self.wait(lambda: all(len(server.nodes()) == len(self.servers) for server in self.servers))
        self.servers[-1].ask("CLUSTER", "REPLICATE", first.identifier)
        self.wait(lambda: "master_link_status:up" in self.servers[-1].ask("INFO", "replication"))
        self.settle()

    def settle(self) -> None:
        """Waits until all are there and serve, and know who has each slot: a server may be ok without knowing it."""
        for said in ("cluster_state:ok", "cluster_slots_assigned:16384"):
            self.wait(lambda said=said: all(said in server.ask("CLUSTER", "INFO") for server in self.servers))
        self.wait(lambda: not any("fail" in words[3] for server in self.servers for words in server.nodes()))
        self.wait(lambda: len({tuple(sorted(map(_slots, server.nodes()))) for server in self.servers}) == 1)

    def move(self, slot: int, target: RedisNode) -> None:
        """Gives an empty slot to another primary, as an operator does.

        The target must import it first: else it has no newer epoch than who had the slot, and who comes first is right.
        """
        source = self.primary(slot)
        target.ask("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source.identifier)
        source.ask("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target.identifier)
        for server in (target, source):
            server.ask("CLUSTER", "SETSLOT", str(slot), "NODE", target.identifier)

    @staticmethod
    def migrate(key: str, source: RedisNode, target: RedisNode) -> None:
        """Moves one key."""
        source.ask("MIGRATE", "127.0.0.1", str(target.port), key, "0", "5000", "AUTH", PASSWORD)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds."""
        deadline = time.monotonic() + START_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError("\n".join(server.ask("CLUSTER", "NODES") for server in self.servers))
            time.sleep(POLL_S)

    def primary(self, slot: int) -> RedisNode:
        """Who has the slot, as the second server knows it."""
        for port, *words in self.servers[1].nodes():
            for each in words[8:]:
                begin, _, end = each.partition("-")
                if begin.isdigit() and int(begin) <= slot <= int(end or begin):
                    return next(server for server in self.servers if str(server.port) == port)
        raise LookupError(slot)

    def end(self) -> None:
        """Ends them all."""
        for server in self.servers:
            server.end()


def _slots(words: list[str]) -> tuple[str, ...]:
    """Port and slots of a node, from a line about it."""
    return (words[0], *words[9:])


class PostgresServer(Server):
    """PostgreSQL as `initdb` makes it, reached through a socket in its folder."""

    def __init__(self) -> None:
        self._program, initdb = program("postgres"), program("initdb")
        super().__init__()
        self.url = f"postgresql://inaho:{PASSWORD.replace('/', '%2F').replace(' ', '%20')}@/postgres?host={self.folder}"
        if os.geteuid() == 0:
            known = {each.pw_name for each in pwd.getpwall()}
            self._user = next(name for name in USERS if name in known)
            shutil.chown(self.folder, self._user)
        options = ["--no-sync", "--auth=trust", "--username=inaho", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [initdb, *options, "-D", str(self.folder / "data")],
            user=self._user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{made.stderr}")

    def _command(self) -> list[str]:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "shared_buffers": "16MB"}
        settings["fsync"] = "off"  # kills take what a process holds, not what the system does
        settings["dynamic_shared_memory_type"] = "mmap"  # in its folder: a kill leaves it behind, and `end` removes it
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self._program, "-D", str(self.folder / "data"), *options]

    def _answers(self) -> bool:
        lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines() if self._started() else []
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _started(self) -> bool:
        """Whether the file is of this start, and not of one that was killed."""
        file = self.folder / "data" / "postmaster.pid"
        try:
            return self._process is not None and file.read_text().split("\n", 1)[0] == str(self._process.pid)
        except OSError:
            return False


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _lives(process: int) -> bool:
    """Whether it runs; one that only waits to be collected by `init` does not."""
    try:
        return _stat(process)[0] != "Z"
    except OSError:
        return False


def _stat(process: int) -> list[str]:
    """State, parent and so on of a process."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _family(process: int) -> list[int]:
    """A process and its children: PostgreSQL gives each of them a session of its own. It has no grandchildren."""
    children: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int(_stat(int(entry.name))[1]) == process:
                    children.append(int(entry.name))
    return [process, *children]


def _packed(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in encoded)
